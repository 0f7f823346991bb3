"""The lower bound of an answer: which kinds are tried, and how much is spent on them."""

from typing import NamedTuple

import numpy as np

from l0quad.bounds.columns import all_columns_bound, all_columns_flops
from l0quad.bounds.dual import dual_bound
from l0quad.bounds.relaxation import Relaxation
from l0quad.bounds.trivial import trivial_bound
from l0quad.certificates import AllColumns, Bound, Certificate, Dual
from l0quad.errors import Stopped
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
_CHEAP_FLOPS = 1e10
# With a ridge it is computed too where it takes at most this many, while the gap is more than `_FAST_ENOUGH`.
_FREE_FLOPS = 2e8


class Found(NamedTuple):
    """A lower bound, and whether a limit came before all of what was asked for was done."""

    bound: Bound
    cut_short: bool = False


def first_bound(core: CoreProblem) -> Bound:
    """Return what is known before any work: the trivial bound; that of H alone where rounding leaves nothing of it."""
    bound = trivial_bound(core)
    return better(bound, all_columns_bound(core)) if core.proof is None else bound


def lower_bound(
    problem: Problem,
    point: Point,
    mode: str,
    monitor: SolveMonitor,
    nu: FloatArray | None = None,
    ascended: bool = False,
) -> Found:
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
    Found
        Its bound is never above the optimum: rounding errors are bounded and subtracted.
    """
    core = problem.core
    if mode == "none" or monitor.proven:
        return Found(monitor.bound)
    if not monitor.affords(core.matrix.nbytes, 0.0):
        return Found(monitor.bound, True)
    if core.ridge_is_lost or core.proof is None:
        return _all_columns(problem, mode, monitor)
    if mode == "fast" and ascended:
        best, cut = better(monitor.bound, dual_bound(core, core.residual(point.support, point.w))), False
    else:
        best, cut = _ascent(core, point, mode, monitor, nu)
    flops = all_columns_flops(core)
    if point.objective - best.value <= _FAST_ENOUGH * abs(point.objective) or flops > _FREE_FLOPS or cut:
        return Found(best, cut)
    return Found(better(best, all_columns_bound(core)))


def certified(core: CoreProblem, certificate: Certificate) -> Bound:
    """Return the bound that a certificate proves, computed from nothing else."""
    match certificate:
        case Dual(nu):
            return dual_bound(core, nu)
        case AllColumns():
            return all_columns_bound(core)
        case _:
            return trivial_bound(core)


def _ascent(core: CoreProblem, point: Point, mode: str, monitor: SolveMonitor, nu: FloatArray | None) -> Found:
    relaxation = Relaxation(core, point, nu)
    best = better(monitor.bound, relaxation.bound())
    size = max(abs(point.objective), np.finfo(np.float64).tiny)
    work = _newton_work(core, point)
    few = max(_FAST_STEPS, min(_TIGHT_STEPS, int(_FAST_FLOPS / work[1])))
    for _ in range(few if mode == "fast" else _TIGHT_STEPS):
        gap, gain = point.objective - best.value, relaxation.primal - best.value
        if mode == "fast" and (gap <= _FAST_ENOUGH * size or gain <= _FAST_SHARE * gap):
            break
        if mode == "tight" and (gain <= _TIGHT_TOLERANCE * abs(relaxation.primal) or relaxation.exhausted):
            break
        if gap <= best.allowance:
            # What is left of the gap is what rounding takes.
            break
        if monitor.prove(best) or not monitor.affords(*work):
            return Found(best, not monitor.proven)
        relaxation.step(best.value)
        best = better(best, relaxation.bound())
    return Found(best)


def _all_columns(problem: Problem, mode: str, monitor: SolveMonitor) -> Found:
    """Return the all-columns bound where it is affordable, with advice on the ridge that would give a better one."""
    core = problem.core
    useful = problem.units.ridge(1e-3 * float(core.column_sq_norms.mean()))
    advice = f"ridge >= {useful:.2g} would give a useful one"
    flops = all_columns_flops(core)
    known, affordable = monitor.bound, monitor.affords(0.0, flops)
    if mode == "fast" and flops > _CHEAP_FLOPS:
        basis = f"{known.basis}, because the all-columns bound is costly (bound='tight' computes it); {advice}"
        return Found(known._replace(basis=basis))
    if affordable:
        try:
            known = better(all_columns_bound(core, monitor.pause), known)
        except Stopped:
            affordable = False
    return Found(known._replace(basis=f"{known.basis}, because ridge is (next to) 0; {advice}"), not affordable)


def better(one: Bound, other: Bound) -> Bound:
    """Return the higher one; the first where they are equal, or the second is not a number."""
    return other if other.value > one.value else one


def _newton_work(problem: CoreProblem, point: Point) -> tuple[float, float]:
    """Return the bytes and flops of one Newton step."""
    n = problem.shape[0]
    return 3.0 * problem.matrix.nbytes, float(n) * min(n, 4096) * (point.support.size / 4 + n / 3)
