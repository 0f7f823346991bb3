"""Whether a support is swap-optimal: every exchange, also those that the table of swaps has no digits for."""

from collections.abc import Iterator

import numpy as np

from l0quad.linalg.orthogonal import pivoted_qr, to_norm_one
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
# The least pivot, beside the largest and the larger size, at which an orthogonal solve has digits left.
_CERTAIN = 64 * float(np.finfo(np.float64).eps)
# The table has its digits where inner products are off by less than this, beside the norms of their columns.
_SHARE = 1e-10


def threshold(problem: CoreProblem, objective: float) -> float:
    """Return what an exchange must gain to count."""
    return LEAST_GAIN * abs(objective) + NOISE * problem.objective_at_zero


def settle(tableau: Tableau, point: Point, monitor: Monitor) -> tuple[Point, bool]:
    """Return the best point one exchange (or one addition) away, or the point itself where none is better.

    And whether all of them were settled: by the table, built anew, where it has the digits, else by a refit, whose
    solves are orthogonal or refined against A (`l0quad.problem.restricted`). ``tableau`` is overwritten.
    """
    problem = tableau.problem
    least = threshold(problem, point.objective)
    if least > 2 * threshold(problem, point.objective + problem.fold):
        # Beside what a linear term and a small ridge were folded to, an exchange that counts does not show.
        return point, False
    if problem.share == 0 and point.objective - problem.constant <= least:
        return point, True
    support = problem.constraint.closed(point.support)
    tableau.reset(support)
    exact = tableau.size == support.size and _is_regular(tableau)
    promised = tableau.best_change() if exact else None
    best = point
    if promised is not None and promised[1] < -least:
        best = _better(best, problem.restricted(promised[0]))
        if best.objective < point.objective - least:
            return best, False
    n, size = problem.shape[0], max(support.size, 1)
    refits = int(_REFIT_FLOPS / (2.0 * n * size * min(n, size) + _REFIT_OVERHEAD))
    certain = problem.share <= _SHARE
    for other in _doubtful(tableau, support, exact):
        refits -= 1
        if refits < 0 or monitor.expired():
            certain = False
            break
        refit = problem.restricted(other)
        best = _better(best, refit)
        doubt = problem.doubt(point) + problem.doubt(refit)
        certain = certain and refit.objective - doubt >= point.objective - least and _is_certain(problem, other)
    better = best.objective < point.objective - least
    return (best, False) if better else (point, certain)


def _better(one: Point, other: Point) -> Point:
    return other if other.objective < one.objective else one


def _is_certain(problem: CoreProblem, support: IntArray) -> bool:
    """Whether an orthogonal refit leaves out no direction, but for columns that repeat others exactly."""
    A = np.asarray(problem.matrix.take(support), dtype=np.float64)
    if problem.mu > 0:
        A = np.vstack([A, problem.mu**0.5 * np.eye(support.size)])
    A = A[:, np.any(A, axis=0)]
    if A.shape[1] == 0:
        return True
    signs = np.sign(A[np.argmax(A != 0, axis=0), np.arange(A.shape[1])])
    A = np.asfortranarray(np.unique(A * signs, axis=1))
    to_norm_one(A)
    pivots = np.abs(pivoted_qr(A, np.zeros(A.shape[0]), problem.pause).R.diagonal())
    # What is given by inner products alone has half the digits.
    least = max(_CERTAIN * max(A.shape), 4 * problem.share**0.5 * A.shape[1])
    return bool(pivots.size == A.shape[1] and pivots.min() > least * pivots[0])


def _is_regular(tableau: Tableau) -> bool:
    """Whether every column of the support is far enough from the span of the others."""
    return bool(np.all(tableau.e * tableau.curvature[tableau.slots] * _DOUBTFUL <= 1))


def _doubtful(tableau: Tableau, support: IntArray, exact: bool) -> Iterator[IntArray]:
    """Yield the neighbours that the table says nothing reliable about: all, where it is not exact on the support."""
    constraint = tableau.problem.constraint
    units = constraint.units if constraint.units is not None else np.arange(constraint.n_columns)[:, None]
    first = np.array([each[0] for each in units], dtype=np.int64)
    outside = ~np.isin(first, support)
    held = np.isin(first, support[constraint.removable(support)])
    for leaving in [None, *np.flatnonzero(held).tolist()]:
        kept = support if leaving is None else np.setdiff1d(support, units[leaving], assume_unique=True)
        joining = outside & constraint.addable(kept)[first]
        if exact and joining.any():
            joining &= tableau.pivots(None if leaving is None else first[leaving]) <= _DOUBTFUL
        for move in np.flatnonzero(joining):
            yield np.sort(np.concatenate([kept, units[move]]))
