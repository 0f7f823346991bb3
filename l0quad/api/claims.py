"""When an answer is called optimal."""

from collections.abc import Callable

import numpy as np

from l0quad.certificates import Bound
from l0quad.linalg.pieces import pieces
from l0quad.linalg.rounding import SLACK, gamma
from l0quad.problem.core import CoreProblem, GramCore, Point, squared_distance
from l0quad.problem.problem import Problem
from l0quad.types import FloatArray

# A gap of at most this share of F - F_inf, F_inf the least value over all w, is called optimal.
OPTIMAL = 1e-6
# How far above the least value an answer is at least is found by so many steps of conjugate gradients.
_STEPS = 8
_SAFE = 0.99


def is_optimal(problem: Problem, point: Point, bound: Bound, affords: Callable[[float, float], bool]) -> bool:
    """Whether the gap is at most `OPTIMAL` of F - F_inf, or is what rounding leaves of none.

    F - F_inf, with F_inf the least value over all w, does not change with a constant, or with an offset in b that no
    column can follow; what a few steps of descent over all columns find to be below F is used in its place, and is no
    larger. Rounding is that of the objective at the answer, and the bound's own allowance as far as that is small
    beside the squares at w = 0; all of it is small beside what the answer gains over w = 0, or a few units in the last
    place.
    """
    core, units = problem.core, problem.units
    if core.constraint.total == 0 or (point.support.size == 0 and not core.w0.any() and _is_zero(core)):
        return True
    value = units.unfolded(core, point)
    lower = bound.value + units.fold - units.fold_error - units.moved
    gap = value - lower
    # An offset in b that no column can follow adds to the rounding, but not to what has been gained over w = 0.
    gained = max(core.objective_at_zero - point.objective, 0.0)
    slight = max(OPTIMAL * gained, gamma(16) * abs(value))
    small = OPTIMAL * (point.objective - core.constant)
    # Most gaps are too large whatever rounding is, which takes a product with A to know.
    if not gap <= max(slight, small):
        return False
    error = rounding_error(problem, point)
    # Not of the folded w0, which a linear term and a small ridge make as large as they like.
    allowed = min(2 * bound.allowance, 16 * gamma(sum(core.shape) + 8) * core.matrix.spread * problem.size)
    # Of reduced rows the bound is off by as much as the objective.
    allowed += units.moved
    if gap <= min(error + allowed, slight):
        return True
    gap = gap + error
    if not gap <= small:
        return False
    if not affords(2.0 * _STEPS * core.matrix.nbytes, 0.0):
        return False
    return gap <= OPTIMAL * descent(core, point, gap / OPTIMAL)


def _is_zero(core: CoreProblem) -> bool:
    """Whether A is zero; False where only a sweep could tell."""
    known = core.matrix.prepared.knows_norms or not core.matrix.counted
    return known and not core.column_sq_norms.any()


def rounding_error(problem: Problem, point: Point) -> float:
    """Return a bound on the rounding error of the objective at a point, in own units, a constant offset apart.

    The residual is off by d = gamma (|A| |w| + |b|), so its half square by ``||r|| ||d|| + ||d||^2 / 2``.
    """
    core, units = problem.core, problem.units
    n, p = core.shape
    ridge = 0.5 * core.mu * squared_distance(point.support, point.w, units.w0)
    linear = 0.0 if units.linear is None else _sizes(units.linear, point)
    rest = gamma(p + 8) * (ridge + linear)
    if isinstance(core, GramCore):
        H, w = np.abs(core.matrix.inner(point.support)), np.abs(point.w)
        data = gamma(2 * w.size + 8) * (0.5 * float(w @ (H @ w)) + float(np.abs(core.g[point.support]) @ w))
    else:
        r = core.residual_at(point)
        size = float(np.linalg.norm(r))
        lengths = float(np.linalg.norm(core.b))
        lengths += core.matrix.spread * _sizes(core.column_sq_norms, point, np.sqrt) if point.w.size else 0.0
        d = gamma(point.w.size + 8) * lengths
        data = size * d + 0.5 * d * d + gamma(n + 8) * 0.5 * size * size
    return 4 * SLACK * (data + rest) + units.moved


def _sizes(factors: FloatArray, point: Point, of: Callable[[FloatArray], FloatArray] = np.abs) -> float:
    """Return ``sum_i of(factors_i) |w_i|`` over a point's support, without a vector as long as that."""
    parts = (of(factors[point.support[here]]) @ np.abs(point.w[here]) for here in pieces(point.w.size))
    return float(sum(parts))


def descent(core: CoreProblem, point: Point, enough: float) -> float:
    """Return how far a few steps of preconditioned conjugate gradients over all columns descend from a point.

    They end as soon as that is ``enough``. Of a given H on itself: its factor may have a direction that H lacks.
    """
    w = np.zeros(core.shape[1])
    w[point.support] = point.w
    if isinstance(core, GramCore):
        H = core.matrix.inner()
        slope: FloatArray = H @ w - core.g
    else:
        H, slope = None, core.matrix.rmatvec(core.residual_at(point))

    def curved(direction: FloatArray) -> tuple[FloatArray, float]:
        """Return A'A times a direction, and its form."""
        if H is not None:
            product: FloatArray = H @ direction
            return product, float(direction @ product)
        image = core.matrix.matvec(None, direction)
        return core.matrix.rmatvec(image), float(image @ image)

    downhill = -slope - core.mu * (w - core.w0)
    curvature = core.column_sq_norms + core.mu
    scale = 1 / np.where(curvature > 0, curvature, 1.0)
    direction = scale * downhill
    size, fallen = float(downhill @ direction), 0.0
    for _ in range(_STEPS):
        product, bend = curved(direction)
        bend += core.mu * float(direction @ direction)
        if not (bend > 0 and size > 0):
            break
        step = size / bend
        fallen += 0.5 * step * size
        if _SAFE * fallen >= enough:
            break
        downhill = downhill - step * (product + core.mu * direction)
        preconditioned = scale * downhill
        size, before = float(downhill @ preconditioned), size
        direction = preconditioned + (size / before) * direction
    return _SAFE * fallen if np.isfinite(fallen) else 0.0
