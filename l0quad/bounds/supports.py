"""The bound of all supports, one by one, where they are few: the optimum itself, up to rounding.

About w = 0 the objective is ``F(0) - h'w + 1/2 w'Hw``, so that a support S attains ``F(0) - 1/2 h_S' H_S^-1 h_S``. H
is off by E and h by s at most (`l0quad.bounds.diagonal`, `expansion`), and elimination, L D L' = H_S + Delta, by
``|Delta_ij| <= gamma (H_ii H_jj)^1/2``. Beside the diagonal of H_S, with eta the norm of E and Delta and sigma^2 the
least eigenvalue of L D L',

    (h_S + s)'(H_S - E)^-1 (h_S + s)  <=  ((h_S' (L D L')^-1 h_S)^1/2 + ||s|| / sigma)^2 / (1 - eta / sigma^2).

The product of the pivots beside that diagonal is a determinant, which bounds sigma from below without more work; where
that leaves too much, ``1 / ||R^-1||`` does, R'R = L D L'.
Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed. 2002, theorems 8.5 and 10.3; Furnival and
Wilson, "Regressions by leaps and bounds", Technometrics 16 (1974), for the walk.
"""

import math
from typing import NamedTuple

import numpy as np

from l0quad.bounds.columns import distinct_columns
from l0quad.bounds.diagonal import curvature
from l0quad.bounds.separable import adds_nothing, expansion
from l0quad.certificates import AllSupports, Bound
from l0quad.linalg.rounding import SLACK, down, gamma, least_singular_value, norm_above
from l0quad.problem.constraints.base import Parts
from l0quad.problem.core import CoreProblem, GramCore, Point
from l0quad.types import FloatArray, IntArray, Pause, go_on

_BASIS = "the bound is the least of all supports, each tried"
_NOTHING = "nothing is proven: columns of a support depend on each other up to rounding"
# A product of matrices does so many flops in the time of one of the walk, and a support costs so many beside.
_PRODUCT_SPEED = 25
_SUPPORT_FLOPS = 25.0
# The walk pauses after so many.
_SLICE_FLOPS = 1e7
# Of smaller squares, with the largest near 1, and of products of them, underflow could take digits.
_SMALLEST_SQUARE = 2.0**-800
_MOST_KEPT = 64
# H takes this many bytes at most.
_MOST_BYTES = 1 << 26


class Tried(NamedTuple):
    """What trying all supports has proven, and a point that is about the best of all."""

    bound: Bound
    point: Point


class _Walk(NamedTuple):
    """The places of a support: the columns in order, where units begin, and which units each place may take."""

    order: IntArray
    starts: IntArray
    lowest: IntArray
    highest: IntArray
    part: IntArray

    @classmethod
    def over(cls, parts: Parts) -> "_Walk":
        """Return the walk over these parts; a unit that is held is a part by itself, and comes first."""
        budgets = parts.budgets - np.bincount(parts.part[parts.held], minlength=parts.budgets.size)
        own = np.where(parts.held, -1, parts.part)
        units = np.argsort(own, kind="stable")
        place = np.empty(units.size, dtype=np.int64)
        place[units] = np.arange(units.size)
        order = np.argsort(place[parts.unit], kind="stable")
        starts = np.searchsorted(place[parts.unit[order]], np.arange(units.size + 1))
        held = int(np.count_nonzero(parts.held))
        lowest, highest, part = list(range(held)), list(range(1, held + 1)), [-1] * held
        for q in range(budgets.size):
            first, last = np.searchsorted(own[units], [q, q + 1]).tolist()
            budget = min(int(budgets[q]), last - first)
            lowest += range(first, first + budget)
            highest += range(last - budget + 1, last + 1)
            part += [q] * budget
        return cls(order, starts, *(np.array(each, dtype=np.int64) for each in (lowest, highest, part)))

    @property
    def most_columns(self) -> int:
        """The most columns that a support has."""
        sizes = np.diff(self.starts)
        return sum(int(sizes[a:b].max()) for a, b in zip(self.lowest, self.highest, strict=True))


def few_supports(problem: CoreProblem, most_flops: float) -> bool:
    """Whether `supports_bound` can be computed within so much work, in flops of its walk."""
    (n, p), constraint = problem.shape, problem.constraint
    flops = 4.0 * n * p
    if problem.matrix.counted or flops > most_flops or not 0 < constraint.total <= _MOST_KEPT:
        return False
    parts = (constraint.restrict(constraint.usable) if constraint.never.size else constraint).parts()
    if parts is None:
        return False
    walk = _Walk.over(parts)
    columns, size = walk.most_columns, float(np.diff(walk.starts).max())
    if columns > 1:
        flops = np.inf if 8.0 * p * p > _MOST_BYTES else flops + 2.0 * n * p * p / _PRODUCT_SPEED
    before = within = 1.0
    taken = 0
    for d in range(walk.lowest.size):
        taken = taken + 1 if d and walk.part[d] == walk.part[d - 1] else 1
        if taken == 1:
            before, within = before * within, 1.0
        # So many choices of the first d + 1 units, each of which changes what is left of later columns.
        within *= (walk.highest[d] - walk.lowest[d] + taken - 1) / taken
        later = size if d + 1 == walk.lowest.size else p / 2
        flops += before * within * (_SUPPORT_FLOPS + (columns > 1) * size * later * (d + 3))
        if flops > most_flops:
            return False
    return bool(flops + before * within * columns**3 / 6 <= most_flops)


def supports_bound(problem: CoreProblem, pause: Pause = go_on) -> Tried:
    """Return the least of the optima of all supports, lowered by a bound on the rounding error; see `few_supports`.

    -inf where the columns of a support depend on each other up to rounding.
    """
    own, columns = _of_columns_that_count(problem)
    parts = own.constraint.parts()
    assert parts is not None
    walk = _Walk.over(parts)
    value, h, lost, slope = expansion(own, np.zeros(columns.size))
    gain, second, chosen = _largest_gains(own, walk, h, slope, pause)
    units = np.zeros(walk.starts.size - 1, dtype=np.bool_)
    units[chosen] = True
    support = np.sort(walk.order[np.repeat(units, np.diff(walk.starts))])
    point = problem.restricted(np.union1d(columns[support], problem.constraint.must))
    off = SLACK * (lost + gamma(16) * (abs(value) + gain))
    if not math.isfinite(off):
        return Tried(Bound(-math.inf, AllSupports(), _NOTHING), point)
    # Of the best support more is known from its own optimum: there the slope is next to nothing.
    least, lost = _least_on(own, support)
    if least < value - gain - off:
        least, lost = down(value - gain - off), off
    if second > 0 and value - second - off < least:
        least, lost = down(value - second - off), off
    return Tried(Bound(least, AllSupports(), _BASIS, lost), point)


def _least_on(problem: CoreProblem, support: IntArray) -> tuple[float, float]:
    """Return a bound on the optimum on a support from below, and by how much rounding has lowered it."""
    if support.size == 0:
        value, _, lost, _ = expansion(problem, np.zeros(problem.shape[1]))
        return down(value - lost), lost
    alone = problem.restrict(support)
    point = alone.restricted(np.arange(support.size))
    value, q, lost, slope = expansion(alone, point.w)
    H, error = curvature(alone)
    root, m = np.sqrt(H.diagonal()), support.size
    try:
        R = np.asarray(np.linalg.cholesky(np.tril(H) / root / root[:, None]).T, dtype=np.float64)
    except np.linalg.LinAlgError:
        return -math.inf, math.inf
    eta = SLACK * (m * gamma(m + 8) + float(np.max(error / root**2)))
    least = least_singular_value(R) ** 2 / SLACK - eta
    if not least > 0:
        return -math.inf, math.inf
    size = norm_above((np.abs(q) + slope) / root)
    lost = SLACK * (lost + 0.5 * size * size / least)
    return down(value - lost), lost


def _of_columns_that_count(problem: CoreProblem) -> tuple[CoreProblem, IntArray]:
    """Return the problem over its usable columns; without a ridge, without those that are zero or repeat others."""
    columns = problem.constraint.usable
    own = problem if columns.size == problem.shape[1] else problem.restrict(columns)
    if problem.mu > 0 or isinstance(problem, GramCore):
        return own, columns
    kept: IntArray = np.arange(columns.size)
    parts = own.constraint.parts()
    if own.constraint.units is None and parts is not None and parts.budgets.size == 1:
        kept = distinct_columns(own)
    empty = kept[own.column_sq_norms[kept] == 0]
    kept = np.setdiff1d(kept, [j for j in empty.tolist() if adds_nothing(own, np.array([j]))])
    return (own, columns) if kept.size in (0, columns.size) else (own.restrict(kept), columns[kept])


def _largest_gains(
    problem: CoreProblem, walk: _Walk, h: FloatArray, slope: FloatArray, pause: Pause
) -> tuple[float, float, IntArray]:
    """Return bounds on the two largest gains over w = 0 of a support, and the units of the first.

    Of one support alone, the second is 0.
    """
    from l0quad.kernels.supports import largest_gain

    m, p, places = walk.most_columns, h.size, walk.lowest.size
    if places == 0:
        return 0.0, 0.0, walk.lowest
    H, squares, error = _ordered(problem, walk.order, m > 1, pause)
    if not np.all(squares > _SMALLEST_SQUARE):
        return math.inf, 0.0, walk.lowest
    off, wrong = float(np.max(error / squares)), float(np.max(slope[walk.order] / np.sqrt(squares)))
    rounding = SLACK * np.array([off + m * gamma(m + 4), m**0.5 * wrong, 2 * m**0.5 * gamma(m + 4)])
    rows, left, slopes, path = np.empty((m, p)), np.empty((m + 1, p)), np.empty((m + 1, p)), np.zeros((4, m + 1))
    # In columns of about norm 1 nothing underflows.
    exponents = -(np.frexp(squares)[1] // 2)
    if m > 1:
        np.ldexp(np.ldexp(H, exponents, out=H), exponents[:, None], out=H)
    squares = np.ldexp(squares, 2 * exponents)
    left[0], slopes[0], path[1, 0] = squares, np.ldexp(h[walk.order], exponents), 1.0
    levels, columns = np.zeros(places, dtype=np.int64), np.zeros(m, dtype=np.int64)
    following, chosen = walk.lowest.copy(), walk.lowest.copy()
    best, depth = np.zeros(2), 0
    while depth >= 0:
        pause()
        depth = largest_gain(
            H, squares, walk.starts, walk.lowest, walk.highest, rounding, rows, left, slopes, path, levels, columns,
            following, depth, _SLICE_FLOPS, best, chosen,
        )  # fmt: skip
    return (float(best[0]) if depth == -1 else math.inf), float(best[1]), chosen


def _ordered(
    problem: CoreProblem, order: IntArray, whole: bool, pause: Pause
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return H, its diagonal and what rounding has done to that, in this order; where not ``whole`` without H."""
    if not whole:
        squares = problem.column_sq_norms
        error = gamma(problem.shape[0] + 8) * problem.matrix.spread**2 * squares
        squares = squares + problem.mu
        return np.empty((0, 0)), squares[order], SLACK * (error + gamma(2) * squares)[order]
    H, error = curvature(problem, pause)
    H = np.tril(H) + np.tril(H, -1).T
    return H[np.ix_(order, order)], H.diagonal()[order], error[order]
