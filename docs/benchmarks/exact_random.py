"""`method="exact"` on 2,000 random problems of at most 14 columns, beside enumeration."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, report, table

import l0quad

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from reference import brute_force

PROBLEMS = 2000
# A claim of optimality means this share of F - F_inf; enumeration is rounded by this share of the objective's terms.
OPTIMAL, ROUNDING = 2e-6, 1e-12

Drawn = tuple[np.ndarray, np.ndarray, Any, float, np.ndarray | None, np.ndarray | None]


def drawn(seed: int) -> tuple[Drawn, float, float]:
    """Return the arguments of a problem, and by how much A and b are to be multiplied."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(2, 15))
    n = int(rng.integers(2, 3 * p))
    A = rng.standard_normal((n, p)) if rng.random() < 0.8 else rng.integers(-2, 3, (n, p)).astype(float)
    if rng.random() < 0.3:
        A = A @ (0.3 * np.eye(p) + 0.3 * rng.standard_normal((p, p)) + 0.5)
    if rng.random() < 0.15:
        A[:, 0] = A[:, -1]
    if rng.random() < 0.1 and p > 2:
        A[:, 1] = A[:, 0] + A[:, 2]
    if rng.random() < 0.1:
        A = np.linalg.qr(rng.standard_normal((n + p, p)))[0]
    ridge = float(rng.choice([0.0, 0.0, 1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0]))
    scale_A, scale_b = 1.0, 1.0
    if rng.random() < 0.4:
        scale = float(rng.choice([1e150, 1e-150]))
        scale_A, scale_b = (scale, 1.0) if rng.random() < 0.5 else (1.0, scale)
    if scale_A != 1.0:
        ridge = 0.0
    w0 = rng.standard_normal(p) if ridge and rng.random() < 0.3 else None
    linear = rng.standard_normal(p) if ridge >= 1e-2 and rng.random() < 0.3 else None
    truth = np.where(rng.random(p) < 0.4, rng.standard_normal(p), 0.0)
    b = A @ truth + rng.choice([0.0, 0.1, 1.0]) * rng.standard_normal(A.shape[0])
    return (A, b, _constraint(rng, p), ridge, w0, linear), scale_A, scale_b


def _constraint(rng: np.random.Generator, p: int) -> Any:
    k, kind = int(rng.integers(0, p + 1)), rng.random()
    if kind < 0.15:
        return l0quad.NofM(int(rng.integers(0, 3)), int(rng.integers(1, 5)))
    if kind < 0.3:
        return l0quad.Groups(rng.integers(0, 5, p), int(rng.integers(0, 4)))
    if kind < 0.4:
        return l0quad.PerBlock(rng.integers(0, 2, p), rng.integers(0, 4, 2))
    if kind < 0.5 and k >= 1 and p > 3:
        order = rng.permutation(p)
        return l0quad.Cardinality(k, must=order[:1], never=order[1:3])
    return k


def judged(seed: int) -> tuple[bool, bool, bool]:
    """Return whether a problem is proven, its claim of optimality is wrong, its lower bound is above the optimum."""
    (A, b, k, ridge, w0, linear), scale_A, scale_b = drawn(seed)
    least, _ = brute_force(A, b, k, ridge, w0, linear)
    free, _ = brute_force(A, b, A.shape[1], ridge, w0, linear)
    slack = ROUNDING * (0.5 * b @ b + abs(least) + (0.0 if w0 is None else ridge * w0 @ w0))
    w0, linear = (None if each is None else each * scale_b for each in (w0, linear))
    result = l0quad.solve(l0quad.Problem(A * scale_A, b * scale_b, k, ridge, w0, linear), "exact")
    objective, bound = result.objective / scale_b / scale_b, result.lower_bound / scale_b / scale_b
    optimal = result.status is l0quad.Status.OPTIMAL
    return optimal, optimal and objective > least + OPTIMAL * (least - free) + slack, bound > least + slack


def main() -> None:
    problems = int(sys.argv[1]) if len(sys.argv) > 1 else PROBLEMS
    proven, wrong, false = np.array([judged(seed) for seed in range(problems)]).sum(axis=0)
    rows = [["drawn", problems], ["proven", proven], ["proven, but not optimal", wrong]]
    report(
        "exact-random",
        "Proven optima of random problems",
        machine(),
        "At most 14 columns: w0, linear terms, ridges of 0 and 1e-6 to 10, A or b scaled by 1e150 or 1e-150, equal and "
        "dependent columns, ties, orthonormal columns, every constraint.",
        table(["", "count"], [*rows, ["lower bounds above the optimum", false]]),
    )


if __name__ == "__main__":
    main()
