"""Tiny instances on which rounding decides, and what is claimed of them beside the exact optimum."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import reference
from narrowed import some
from rational import Exact, NotSemidefinite

from l0quad import METHODS, NofM, PerBlock, Problem, Status, Unsuited, solve

# A claim of optimality means: no better than by this share of F - F_inf, or by rounding of what the objective is of.
OPTIMAL = 1e-6
_ROUNDING = 2.0**-40
# An exchange must gain this share of the objective to count.
SWAP = 1e-8
# A refit beside a ridge that is nearly lost and a linear term is this exact.
START = 1e-6


class Case(NamedTuple):
    """The arguments of a problem and of solve; ``gram`` has H, g and const, or is None."""

    A: np.ndarray
    b: np.ndarray
    k: Any
    ridge: float
    w0: np.ndarray | None
    linear: np.ndarray | None
    gram: tuple[np.ndarray, np.ndarray, float] | None
    method: str
    options: dict[str, Any]

    def problem(self) -> Problem:
        if self.gram is None:
            return Problem(self.A, self.b, self.k, self.ridge, self.w0, self.linear)
        H, g, const = self.gram
        return Problem.from_gram(H, g, self.k, const, ridge=self.ridge, w0=self.w0)

    def exact(self) -> Exact:
        if self.gram is None:
            return Exact.of(self.A, self.b, self.k, self.ridge, self.w0, self.linear)
        H, g, const = self.gram
        return Exact.of_gram(H, g, self.k, const, self.ridge, self.w0)

    def size(self, w) -> float:
        """The size of the terms whose sum is the objective, at w and at w = 0."""
        w, w0 = np.abs(np.asarray(w, dtype=float)), np.abs(np.zeros(w.size) if self.w0 is None else self.w0)
        pull = w + w0
        size = self.ridge * float(pull @ pull)
        if self.linear is not None:
            size += float(np.abs(self.linear) @ w)
        if self.gram is not None:
            H, g, _ = self.gram
            return size + 0.5 * float(w @ (np.abs(H) @ w)) + 2 * float(np.abs(g) @ w) + self.decrease()
        A, b = np.abs(np.asarray(self.A, dtype=float)), np.abs(self.b)
        r = np.abs(np.asarray(self.A, dtype=float) @ np.asarray(w, dtype=float) - self.b)
        return size + float(r @ (A @ w + b)) + 0.5 * float(b @ b) + float(np.sum((A @ w + b) ** 2)) * _ROUNDING

    def condition(self, support) -> float:
        """The condition of the columns, each brought to norm 1: beyond what float64 holds, a refit is not exact."""
        if self.gram is not None:
            return float(np.linalg.cond(self.gram[0])) ** 0.5 * 1e5
        A = np.asarray(self.A, dtype=float)[:, support]
        A = np.vstack([A, np.sqrt(2 * self.ridge) * np.eye(len(support))])
        return float(np.linalg.cond(A / np.linalg.norm(A, axis=0))) if len(support) else 1.0

    def decrease(self) -> float:
        H, g, _ = some(self.gram)
        return float(np.abs(g) @ np.abs(np.linalg.lstsq(H, g, rcond=None)[0]))


def case(seed: int) -> Case:
    """An instance of every kind that can be drawn, from a seed."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(1, 9)), int(rng.integers(1, 6))
    integers = rng.random() < 0.3
    A = rng.integers(-3, 4, (n, p)).astype(float) if integers else rng.standard_normal((n, p))
    if p > 1 and rng.random() < 0.5:
        # A column again, exactly or next to it.
        apart = rng.choice([0.0, 0.0, 1e-15, 1e-13, 1e-10, 1e-8, 1e-6, 1e-3])
        A[:, 0] = A[:, -1] + apart * rng.standard_normal(n)
    if p > 2 and rng.random() < 0.15:
        A[:, 1] = A[:, 0] + A[:, 2]
    if rng.random() < 0.3:
        A *= 10.0 ** rng.integers(-12, 13, p)
    w0 = rng.standard_normal(p) * 10.0 ** rng.integers(-3, 4) if rng.random() < 0.4 else None
    truth = np.where(rng.random(p) < 0.5, rng.standard_normal(p), 0.0) if w0 is None else w0
    b = A @ truth + rng.choice([0.0, 1e-9, 0.1, 1.0]) * rng.standard_normal(n)
    b = (
        b + rng.choice([0.0, 0.0, 0.0, 1e5])
        if rng.random() < 0.8
        else 10.0 ** rng.integers(-6, 7) * rng.standard_normal(n)
    )
    if rng.random() < 0.2:
        A = A.astype(np.float32)
    ridge = float(rng.choice([0.0, 0.0, 0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1, 1.0, 1e3, 1e12]))
    linear = rng.standard_normal(p) * 10.0 ** rng.integers(-3, 4) if ridge and rng.random() < 0.4 else None
    kind = rng.integers(0, 5)
    k: Any = int(rng.integers(0, p + 2))
    if kind == 0:
        k = NofM(int(rng.integers(0, 3)), int(rng.integers(1, 4)))
    elif kind == 1:
        k = PerBlock(rng.integers(0, 2, p), rng.integers(0, 3, 2))
    gram = None
    if rng.random() < 0.25:
        if rng.random() < 0.5 and p > 1:
            # Of a given condition.
            Q, R = (np.linalg.qr(rng.standard_normal((p, p)))[0] for _ in range(2))
            A = (Q * np.geomspace(1, 10.0 ** -rng.uniform(0, 7), p)) @ R
            b = rng.standard_normal(p)
        A, linear = np.asarray(A, dtype=float), None
        gram = (A.T @ A, A.T @ b, float(rng.choice([0.0, 0.5 * b @ b, 1e9])))
    return Case(A, b, k, ridge, w0, linear, gram, str(rng.choice(list(METHODS))), _options(rng, p))


def _options(rng: np.random.Generator, p: int) -> dict[str, Any]:
    options: dict[str, Any] = {"bound": str(rng.choice(["fast", "fast", "tight", "none"]))}
    if rng.random() < 0.3:
        options["start"] = rng.standard_normal(p) * 10.0 ** rng.integers(-3, 9)
    if rng.random() < 0.1:
        options["time_limit"] = float(rng.choice([0.0, 1e-4, 1e-2]))
    if rng.random() < 0.1:
        options["gap_tol"] = float(rng.choice([0.0, 1e-3, 0.5]))
    return options


class Verdict(NamedTuple):
    """What was found false, and by how much the bound is above the optimum, beside the size of the terms."""

    faults: tuple[str, ...]
    overshoot: float
    optimal: bool


def judge(each: Case) -> Verdict | None:
    """Solve a case and judge the claims; None where it has no optimum or does not suit the method."""
    try:
        exact = each.exact()
        optimum = exact.optimum()
        problem = each.problem()
        result = solve(problem, each.method, **each.options)
    except (NotSemidefinite, Unsuited):
        return None
    except ValueError as error:
        if str(error).startswith(("start: its objective", "g: leaves the range", "linear:")):
            return None
        raise
    size = each.size(result.w)
    above = Fraction(result.lower_bound) - optimum
    faults = [f"the bound is above the optimum by {float(above):.3g}, size {size:.3g}"] if above > 0 else []
    if not (problem.constraint.allows(result.support) and np.array_equal(np.flatnonzero(result.w), result.support)):
        faults.append("the budget is broken")
    objective = exact.objective(result.w)
    off = abs(float(Fraction(result.objective) - objective))
    if not off <= _ROUNDING * (size + (0.0 if each.gram is None else abs(each.gram[2]))):
        faults.append(f"the objective is off by {off:.3g}, size {size:.3g}")
    if not np.isfinite([result.objective, result.lower_bound, result.gap, result.relative_gap]).all():
        faults.append("not finite")
    optimal = result.status is Status.OPTIMAL
    if optimal:
        faults += _false_optimal(exact, result, float(objective - optimum), objective, _ROUNDING * size)
    faults += _false_ends(each, problem, exact, result, objective, _ROUNDING * size)
    return Verdict(tuple(faults), max(float(above), 0.0) / max(size, 1e-300), optimal)


def _false_optimal(exact: Exact, result: Any, above: float, objective: Fraction, slack: float) -> Iterator[str]:
    try:
        allowed = OPTIMAL * float(objective - exact.unconstrained()) + slack
    except NotSemidefinite:
        allowed = np.inf
    if not above <= allowed:
        yield f"optimal, but {above:.3g} above, allowed {allowed:.3g}"
    if not result.relative_gap <= OPTIMAL:
        yield f"optimal beside a relative gap of {result.relative_gap:.3g}"


def _false_ends(
    each: Case, problem: Problem, exact: Exact, result: Any, objective: Fraction, slack: float
) -> Iterator[str]:
    """Yield an exchange that gains where the answer is called swap-optimal, and a start that is better."""
    slack += SWAP * abs(float(objective))
    if result.status is Status.SWAP_OPTIMAL:
        others = [other for *_, other in reference.swaps(result.support, each.k, exact.p)]
        gain = max((float(objective - exact.least(other)) for other in others), default=0.0)
        if gain > slack:
            yield f"swap-optimal, but an exchange gains {gain:.3g} of {float(objective):.3g}"
    free = each.method != "block_backsolve" and not {"time_limit", "gap_tol"} & set(each.options)
    if "start" in each.options and free:
        begin = problem.constraint.select(np.abs(each.options["start"]))
        lost = float(objective - exact.least(begin))
        if lost > slack + START * abs(float(objective)) and each.condition(begin) < 1e12:
            yield f"worse than its start by {lost:.3g} of {float(objective):.3g}"
