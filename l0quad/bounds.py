"""Lower bounds on the optimum: the dual of the perspective relaxation, the all-columns bound and the trivial one.

For every nu in R^n, with mu = 2 ridge, v = w0 - A'nu/mu and T(s) the largest sum of s over an allowed support,

    D(nu) = -1/2 ||nu||^2 - b'nu + mu/2 (||w0||^2 - T(v^2))  <=  F*.

D is concave; its maximum is the value of the perspective relaxation (`l0quad.relaxation`). nu = A w - b is a good
choice already where w is a good point. Source: Pilanci, Wainwright and El Ghaoui, "Sparse learning via Boolean
relaxations", Math. Program. 2015; Bertsimas and Van Parys, "Sparse high-dimensional regression", Ann. Stat. 2020.
"""

from typing import NamedTuple

import numpy as np

from l0quad.linalg import least_squares_value
from l0quad.problem import Problem
from l0quad.progress import SolveMonitor
from l0quad.relaxation import Relaxation
from l0quad.result import Point
from l0quad.types import FloatArray

_EPS = float(np.finfo(np.float64).eps)
# Below this share of A's largest squared column norm the ridge term, and D with it, is lost in rounding.
_SMALLEST_MU = 2.0**-60
# "fast": a few Newton steps (more where they cost next to nothing), while what they could still gain is more than
# this share of the gap.
_FAST_STEPS = 4
_FAST_FLOPS = 1e8
_FAST_SHARE = 0.1
_FAST_ENOUGH = 1e-4
# "tight": the relative primal-dual gap of the relaxation at which it counts as solved; the steps are a safeguard.
_TIGHT_TOLERANCE = 1e-5
_TIGHT_STEPS = 500
# The all-columns bound of "fast" is computed where it takes at most this many flops.
_CHEAP_FLOPS = 2e9


class Bound(NamedTuple):
    """A lower bound in the problem's units, and what it rests on in words."""

    value: float
    basis: str


def lower_bound(problem: Problem, point: Point, mode: str, monitor: SolveMonitor) -> Bound:
    """Return the best lower bound that ``mode`` pays for.

    Parameters
    ----------
    point : Point
        A feasible point; the better it is, the better the bound.
    mode : {"none", "fast", "tight"}
        The trivial bound, which costs nothing; D at the point's residual and a few ascent steps while they pay; the
        ascent to the optimum of the relaxation (primal-dual gap 1e-5).

    Returns
    -------
    Bound
        Never above the optimum: rounding errors of D are bounded and subtracted.
    """
    best = trivial_bound(problem)
    if mode == "none" or not monitor.affords(problem.matrix.nbytes, 0.0):
        return best
    if ridge_is_lost(problem):
        return _better(best, _all_columns(problem, mode, monitor))
    return _better(best, _ascent(problem, point, mode, monitor))


def ridge_is_lost(problem: Problem) -> bool:
    """Whether the ridge is 0 or so small beside A that the relaxation is useless."""
    return problem.mu <= _SMALLEST_MU * float(problem.column_sq_norms.max())


def trivial_bound(problem: Problem) -> Bound:
    """Return the bound from the ridge term alone: w differs from w0 at least outside of the best support."""
    outside = problem.w0.copy()
    outside[problem.constraint.select(problem.w0**2)] = 0.0
    value = 0.5 * problem.mu * float(outside @ outside) * (1 - 2 * outside.size * _EPS)
    return Bound(value + problem.constant, "the bound is the trivial one")


def dual_bound(problem: Problem, nu: FloatArray, Atnu: FloatArray) -> float:
    """Return D(nu), lowered by a bound on its rounding error.

    A'nu in float64 is off by at most (n + 4) eps ||a_j|| ||nu|| in entry j, and the sums by eps times their length
    times the sum of their terms' sizes.
    """
    mu, w0 = problem.mu, problem.w0
    v = w0 - Atnu / mu
    support = problem.constraint.select(v * v)
    inside = float(v[support] @ v[support])
    square, product, ridge = float(nu @ nu), float(problem.b @ nu), float(w0 @ w0)
    value = -0.5 * square - product + 0.5 * mu * (ridge - inside)
    norms = problem.column_sq_norms
    largest = float(norms[problem.constraint.select(norms)].sum())
    off = (nu.size + 4) * _EPS * (largest * square) ** 0.5 / mu + 2 * _EPS * (inside**0.5 + ridge**0.5)
    sizes = 0.5 * square + float(np.abs(problem.b) @ np.abs(nu)) + 0.5 * mu * (ridge + inside)
    rounding = 2 * (nu.size + v.size + 8) * _EPS * sizes + 0.5 * mu * (2 * inside**0.5 * off + off * off)
    return value - rounding + problem.constant


def _ascent(problem: Problem, point: Point, mode: str, monitor: SolveMonitor) -> Bound:
    basis = "the bound is the perspective relaxation's"
    relaxation = Relaxation(problem, point)
    best = dual_bound(problem, relaxation.nu, relaxation.Atnu)
    if point.dual is not None:
        best = max(best, dual_bound(problem, point.dual, problem.matrix.rmatvec(point.dual)))
        if mode == "fast":
            # The solver has ascended already.
            return Bound(best, basis)
    size = max(abs(point.objective), np.finfo(np.float64).tiny)
    work = _newton_work(problem, point)
    few = max(_FAST_STEPS, min(_TIGHT_STEPS, int(_FAST_FLOPS / work[1])))
    for _ in range(few if mode == "fast" else _TIGHT_STEPS):
        gap, gain = point.objective - best, relaxation.primal - best
        if mode == "fast" and (gap <= _FAST_ENOUGH * size or gain <= _FAST_SHARE * gap):
            break
        if mode == "tight" and (gain <= _TIGHT_TOLERANCE * abs(relaxation.primal) or relaxation.exhausted):
            break
        if monitor.expired() or not monitor.affords(*work):
            break
        relaxation.step(best)
        best = max(best, dual_bound(problem, relaxation.nu, relaxation.Atnu))
    return Bound(best, basis)


def _all_columns(problem: Problem, mode: str, monitor: SolveMonitor) -> Bound:
    """Return the least value over all w, dense ones too."""
    n, p = problem.shape
    advice = f"ridge >= {problem.user_ridge(1e-3 * float(problem.column_sq_norms.mean())):.2g} would give a useful one"
    basis = f"the bound is the all-columns bound, because ridge is (next to) 0; {advice}"
    flops = 4.0 * n * p * min(n, p)
    if (flops > _CHEAP_FLOPS and (mode == "fast" or p > n)) or not monitor.affords(0.0, flops):
        return Bound(problem.constant, basis)
    A = np.asarray(problem.matrix.take_dense(np.arange(p)), dtype=np.float64)
    return Bound(least_squares_value(A, problem.b) + problem.constant, basis)


def _better(one: Bound, other: Bound) -> Bound:
    return Bound(max(one.value, other.value), other.basis)


def _newton_work(problem: Problem, point: Point) -> tuple[float, float]:
    """Return the bytes and flops of one Newton step."""
    n = problem.shape[0]
    return 3.0 * problem.matrix.nbytes, float(n) * min(n, 4096) * (point.support.size / 4 + n / 3)
