"""The lower bound of an answer: which kinds are tried, and how much is spent on them."""

import numpy as np

from l0quad.bounds.columns import all_columns_bound, all_columns_flops
from l0quad.bounds.dual import dual_bound
from l0quad.bounds.relaxation import Relaxation
from l0quad.bounds.trivial import trivial_bound
from l0quad.certificates import AllColumns, Bound, Certificate, Dual
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.problem import Problem
from l0quad.run.monitor import SolveMonitor
from l0quad.types import FloatArray

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


def lower_bound(
    problem: Problem,
    point: Point,
    mode: str,
    monitor: SolveMonitor,
    nu: FloatArray | None = None,
    ascended: bool = False,
) -> Bound:
    """Return the best lower bound that ``mode`` pays for, never below what the monitor holds.

    Parameters
    ----------
    point : Point
        A feasible point; the better it is, the better the bound.
    mode : {"none", "fast", "tight"}
        What is there already, which costs nothing; D at the point's residual and a few ascent steps while they pay;
        the ascent to the optimum of the relaxation (primal-dual gap 1e-5).
    nu : ndarray of shape (n,), optional
        Where to begin the ascent, in own units; by default the residual of the point.
    ascended : bool
        Whether the solver that found the point has ascended already, which is enough for "fast".

    Returns
    -------
    Bound
        Never above the optimum: rounding errors of D are bounded and subtracted.
    """
    core = problem.core
    if mode == "none" or monitor.proven or not monitor.affords(core.matrix.nbytes, 0.0):
        return monitor.bound
    if core.ridge_is_lost:
        return _better(monitor.bound, _all_columns(problem, mode, monitor))
    if mode == "fast" and ascended:
        return _better(monitor.bound, dual_bound(core, core.residual(point.support, point.w)))
    return _ascent(core, point, mode, monitor, nu)


def certified(core: CoreProblem, certificate: Certificate) -> Bound:
    """Return the bound that a certificate proves, computed from nothing else."""
    match certificate:
        case Dual(nu):
            return dual_bound(core, nu)
        case AllColumns():
            return all_columns_bound(core)
        case _:
            return trivial_bound(core)


def _ascent(core: CoreProblem, point: Point, mode: str, monitor: SolveMonitor, nu: FloatArray | None) -> Bound:
    relaxation = Relaxation(core, point, nu)
    best = _better(monitor.bound, dual_bound(core, relaxation.nu, relaxation.Atnu))
    size = max(abs(point.objective), np.finfo(np.float64).tiny)
    work = _newton_work(core, point)
    few = max(_FAST_STEPS, min(_TIGHT_STEPS, int(_FAST_FLOPS / work[1])))
    for _ in range(few if mode == "fast" else _TIGHT_STEPS):
        gap, gain = point.objective - best.value, relaxation.primal - best.value
        if mode == "fast" and (gap <= _FAST_ENOUGH * size or gain <= _FAST_SHARE * gap):
            break
        if mode == "tight" and (gain <= _TIGHT_TOLERANCE * abs(relaxation.primal) or relaxation.exhausted):
            break
        if monitor.prove(best) or not monitor.affords(*work):
            break
        relaxation.step(best.value)
        best = _better(best, dual_bound(core, relaxation.nu, relaxation.Atnu))
    return best


def _all_columns(problem: Problem, mode: str, monitor: SolveMonitor) -> Bound:
    """Return the all-columns bound where it is affordable, with advice on the ridge that would give a better one."""
    core = problem.core
    n, p = core.shape
    useful = problem.units.ridge(1e-3 * float(core.column_sq_norms.mean()))
    advice = f"ridge >= {useful:.2g} would give a useful one"
    flops = all_columns_flops(core)
    if (flops > _CHEAP_FLOPS and (mode == "fast" or p > n)) or not monitor.affords(0.0, flops):
        return monitor.bound._replace(basis=f"{monitor.bound.basis}, because ridge is (next to) 0; {advice}")
    bound = all_columns_bound(core)
    return bound._replace(basis=f"{bound.basis}; {advice}")


def _better(one: Bound, other: Bound) -> Bound:
    return one if one.value > other.value else other


def _newton_work(problem: CoreProblem, point: Point) -> tuple[float, float]:
    """Return the bytes and flops of one Newton step."""
    n = problem.shape[0]
    return 3.0 * problem.matrix.nbytes, float(n) * min(n, 4096) * (point.support.size / 4 + n / 3)
