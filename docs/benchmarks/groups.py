"""400 small instances under `Groups`: how often `auto` finds the optimum, and local search alone.

p is 6 to 14, in groups of 1 to 4 columns, of which up to half are kept; AR(1) columns, a truth on k of the groups and
noise. Every second instance has a ridge and a Gaussian w0. The optimum is that of all choices of groups.
"""

import itertools

import numpy as np
from measure import machine, report, table

import l0quad

INSTANCES = 400


def instance(seed: int) -> l0quad.Problem:
    """Return one of the instances."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(6, 15))
    sizes: list[int] = []
    while sum(sizes) < p:
        sizes.append(min(int(rng.integers(1, 5)), p - sum(sizes)))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n, k = int(rng.integers(p + 2, 60)), int(rng.integers(1, max(2, len(sizes) // 2 + 1)))
    rho = float(rng.choice([0.0, 0.5, 0.9, 0.95]))
    A = rng.standard_normal((n, p))
    for j in range(1, p):
        A[:, j] = rho * A[:, j - 1] + np.sqrt(1 - rho**2) * A[:, j]
    truth = np.where(np.isin(labels, rng.choice(len(sizes), k, replace=False)), rng.choice([-1.0, 1.0], p), 0.0)
    signal = A @ (truth * rng.uniform(0.5, 1.5, p))
    b = signal + rng.standard_normal(n) * np.sqrt(np.mean(signal**2) / rng.choice([0.2, 1.0, 5.0]))
    ridge, w0 = (0.3, rng.standard_normal(p)) if seed % 2 else (0.0, None)
    return l0quad.Problem(A, b, l0quad.Groups(labels, k), ridge, w0)


def optimum(problem: l0quad.Problem) -> float:
    """Return the least objective over all choices of k groups, by least squares on each."""
    assert isinstance(problem.k, l0quad.Groups)
    A, labels, ridge = problem.matrix.take(np.arange(problem.shape[1])), problem.k.labels, problem.ridge
    best = np.inf
    for chosen in itertools.combinations(np.unique(labels), problem.k.k):
        S = np.flatnonzero(np.isin(labels, chosen))
        system = np.vstack([A[:, S], np.sqrt(2 * ridge) * np.eye(S.size)])
        target = np.concatenate([problem.b, np.sqrt(2 * ridge) * problem.w0[S]])
        w = np.zeros(problem.shape[1])
        w[S] = np.linalg.lstsq(system, target, rcond=None)[0]
        best = min(best, problem.objective(w))
    return best


def share(method: l0quad.Options, seeds: range) -> float:
    """Return for which share of the instances the optimum is found."""
    problems = [instance(seed) for seed in seeds]
    return float(np.mean([l0quad.solve(each, method).objective <= optimum(each) * (1 + 1e-9) for each in problems]))


METHODS: dict[str, l0quad.Options] = {
    "auto": l0quad.Auto(),
    'auto, effort="thorough"': l0quad.Auto("thorough"),
    "forward": l0quad.Forward(),
    "forward, width 8": l0quad.Forward(8),
    "swap": l0quad.Swap(),
    "swap, 10 kicks": l0quad.Swap(kicks=10),
    "iht, refit": l0quad.IHT(refit=True),
}


def main() -> None:
    rows = []
    for name, method in METHODS.items():
        found = share(method, range(INSTANCES))
        rows.append([name, f"{100 * found:.2f}"])
    report(
        "groups",
        "The optimum under Groups",
        f"{INSTANCES} small instances (docs/benchmarks/groups.py): in how many per cent of them the optimum over all "
        f"choices of groups is found. {machine(1)}.",
        table(["method", "optimum found, %"], rows),
    )


if __name__ == "__main__":
    main()
