"""Whether a support is swap-optimal: every exchange of one column, also those that the table has no digits for."""

from collections.abc import Iterator

import numpy as np

from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.solvers.tableau import Tableau
from l0quad.types import IntArray

# An exchange must gain this share of the objective, and this share of that of w = 0, so that rounding cannot cycle.
LEAST_GAIN = 1e-9
NOISE = 1e-15
# Where a column keeps less than this share of its squared length outside the span of the others, the table, which comes
# from inner products, has less than ten digits: a refit decides.
_DOUBTFUL = 1e-6
# Refits are done as long as they take at most this many flops all together.
_REFIT_FLOPS = 1e9
_REFIT_OVERHEAD = 2e5
# The least singular value, beside the largest and the larger size, at which an orthogonal solve has digits left.
_CERTAIN = 64 * float(np.finfo(np.float64).eps)


def threshold(problem: CoreProblem, objective: float) -> float:
    """Return what an exchange must gain to count."""
    return LEAST_GAIN * abs(objective) + NOISE * problem.objective_at_zero


def settle(tableau: Tableau, point: Point, monitor: Monitor) -> tuple[Point, bool]:
    """Return the best point one exchange (or one further column) away, or the point itself where none is better.

    And whether all of them were settled: by the table, built anew, where it has the digits, else by a refit, whose
    solves are orthogonal or refined against A (`l0quad.problem.restricted`). ``tableau`` is overwritten.
    """
    problem, support = tableau.problem, point.support
    least = threshold(problem, point.objective)
    if least > 2 * (LEAST_GAIN * abs(point.objective + problem.fold) + NOISE * problem.objective_at_zero):
        # Beside what a linear term and a small ridge were folded to, an exchange that counts does not show.
        return point, False
    if point.objective - problem.constant <= least:
        return point, True
    tableau.reset(support)
    best = point
    exact = tableau.size == support.size and _is_regular(tableau)
    if exact:
        slot, j, change = tableau.best_swap()
        if slot >= 0 and change < -least:
            other = np.sort(np.append(np.delete(tableau.slots, slot), j))
            best = min(best, problem.restricted(other), key=lambda each: each.objective)
            if best.objective < point.objective - least:
                return best, False
    n, size = problem.shape[0], max(support.size, 1)
    refits = int(_REFIT_FLOPS / (2.0 * n * size * min(n, size) + _REFIT_OVERHEAD))
    certain = True
    for other in _doubtful(tableau, support, exact):
        if not problem.constraint.allows(other):
            continue
        refits -= 1
        if refits < 0 or monitor.expired():
            return _better(best, point, least), False
        best = min(best, problem.restricted(other), key=lambda each: each.objective)
        certain = certain and _is_certain(problem, other)
    found = _better(best, point, least)
    return found, found is point and certain


def _better(best: Point, point: Point, least: float) -> Point:
    return best if best.objective < point.objective - least else point


def _is_certain(problem: CoreProblem, support: IntArray) -> bool:
    """Whether an orthogonal refit leaves out no direction, but for columns that repeat others exactly."""
    A = np.asarray(problem.matrix.take(support), dtype=np.float64)
    if problem.mu > 0:
        A = np.vstack([A, problem.mu**0.5 * np.eye(support.size)])
    A = A[:, np.any(A, axis=0)]
    if A.shape[1] == 0:
        return True
    signs = np.sign(A[np.argmax(A != 0, axis=0), np.arange(A.shape[1])])
    A = np.unique(A * signs, axis=1)
    if A.shape[1] > A.shape[0]:
        return False
    values = np.linalg.svd(A / np.linalg.norm(A, axis=0), compute_uv=False)
    return bool(values[-1] > _CERTAIN * max(A.shape) * values[0])


def _is_regular(tableau: Tableau) -> bool:
    """Whether every column of the support is far enough from the span of the others."""
    return bool(np.all(tableau.e * tableau.curvature[tableau.slots] * _DOUBTFUL <= 1))


def _doubtful(tableau: Tableau, support: IntArray, exact: bool) -> Iterator[IntArray]:
    """Yield the supports that the table says nothing reliable about: all, where it is not exact on the support."""
    outside = np.setdiff1d(np.arange(tableau.problem.shape[1]), support, assume_unique=True)
    floor = _DOUBTFUL * tableau.curvature[outside]
    if support.size < tableau.problem.constraint.total:
        for j in outside[(tableau.s[outside] <= floor) | (not exact)]:
            yield np.sort(np.append(support, j))
    for slot, i in enumerate(tableau.slots.tolist() if exact else support.tolist()):
        kept = np.setdiff1d(support, [i], assume_unique=True)
        for j in outside[tableau.distances(slot)[outside] <= floor] if exact else outside:
            yield np.sort(np.append(kept, j))
