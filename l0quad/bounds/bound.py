"""The lower bound of an answer: which kinds are tried, and how much is spent on them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from l0quad.bounds.columns import all_columns_bound, all_columns_flops
from l0quad.bounds.counted_relaxation import relaxation_of
from l0quad.bounds.dual import dual_bound, dual_value
from l0quad.bounds.reweighting import reweighted_bound
from l0quad.bounds.separable import is_proven, ridge_bound, separable_bound
from l0quad.bounds.supports import supports_bound
from l0quad.bounds.trivial import trivial_bound
from l0quad.certificates import AllColumns, AllSupports, Bound, Certificate, Dual, Separable, Tree, Trivial
from l0quad.errors import Stopped
from l0quad.problem.core import CoreProblem, GramCore, Point
from l0quad.problem.problem import Problem
from l0quad.run.monitor import SolveMonitor
from l0quad.types import FloatArray

# "fast": a few Newton steps (more where they cost next to nothing), while what they could still gain is more than
# this share of the gap.
_FAST_STEPS = 4
_FAST_FLOPS = 1e8
_FAST_SHARE = 0.1
_FAST_ENOUGH = 1e-4
# Where the residual proves a gap of more than so many objectives, few steps lead to nothing.
_HOPELESS = 10.0
# "tight": the relative primal-dual gap of the relaxation at which it counts as solved; the steps are a safeguard.
_TIGHT_TOLERANCE = 1e-5
_TIGHT_STEPS = 500
# The all-columns bound of "fast" is computed where it takes at most this many flops.
_CHEAP_FLOPS = 1e10
# With a ridge it is computed too where it takes at most this many, while the gap is more than `_FAST_ENOUGH`.
_FREE_FLOPS = 2e8
# The separable relaxation works on p x p matrices. A flop of a matrix product takes so much less time than one of a
# pass over A, of which a solve makes some k + 20; "fast" spends as much, and moves d where that is next to nothing.
_MOST_COLUMNS = 4096
_PASSES = 20
_PRODUCT_SPEED = 15
_MOVE_FLOPS = 1e7
_TIGHT_MOVES = 10
_TIGHT_FLOPS = 1e12
_MOST_EXPONENT = 500
# A relative gap above this one is explained; the ridge that is named would bring it to about as much. It must be felt
# beside the largest squared column.
_LARGE = 0.1
_FELT = 2.0**-50
# Where rounding may have moved the optimum by more than this share of F(0), columns are called nearly dependent.
_ROUNDING = 1e-9


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
        What is there already, which costs nothing; D at the point's residual, the separable relaxation and a few ascent
        steps, where they pay; the optima of the relaxations: of that with the ridge alone to a primal-dual gap of 1e-5,
        of the separable one to 1 % of the gap.
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
    best, cut, refit = monitor.bound, False, point.refit
    if nu is None and refit is not None:
        start = _Start(point, refit.nu, refit.Atnu, ascended)
        best = better(best, refit.bound) if refit.bound is not None else best
    elif not monitor.affords(core.matrix.nbytes, 0.0):
        return Found(monitor.bound, True)
    else:
        nu = core.residual(point.support, point.w) if nu is None else nu
        start = _Start(point, nu, core.matrix.rmatvec(nu), ascended)
    if not core.ridge_is_lost and start.Atnu is not None:
        best = better(best, dual_bound(core, start.nu, start.Atnu))
    # Where passes over A are counted, what costs none is all of "fast".
    for kind in (_separable, _ascent, _all_columns) if mode == "tight" or not core.matrix.counted else ():
        if cut or _is_enough(point, best, mode):
            break
        best, cut = kind(problem, start, best, mode, monitor)
    return Found(best if cut else _explained(problem, start, best, mode), cut)


def certified(core: CoreProblem, certificate: Certificate) -> Bound:
    """Return the bound that a certificate proves, computed from nothing else."""
    match certificate:
        case Dual(nu):
            return dual_bound(core, nu)
        case Separable(w, d):
            if is_proven(core, w, d):
                return separable_bound(core, w, d)
            return Bound(-math.inf, certificate, "the diagonal is not that of this problem")
        case Tree(root):
            return certified(core, root)
        case _:
            return _OF_PROBLEM[type(certificate)](core)


# Bounds that depend on the problem alone.
_OF_PROBLEM: dict[type, Callable[[CoreProblem], Bound]] = {
    Trivial: trivial_bound,
    AllColumns: all_columns_bound,
    AllSupports: lambda core: supports_bound(core).bound,
}


class _Start(NamedTuple):
    """A feasible point, where the ascent begins, with A'nu where it is known, and whether a solver has ascended."""

    point: Point
    nu: FloatArray
    Atnu: FloatArray | None
    ascended: bool


def _is_enough(point: Point, bound: Bound, mode: str) -> bool:
    """Whether more work cannot matter: what is left of the gap is rounding, or little enough for "fast"."""
    gap = point.objective - bound.value
    return gap <= max(bound.allowance, _FAST_ENOUGH * abs(point.objective) if mode == "fast" else 0.0)


def _separable(problem: Problem, start: _Start, best: Bound, mode: str, monitor: SolveMonitor) -> Found:
    """Compute the bound of the separable relaxation, where A has full rank or may have it."""
    core = problem.core
    flops = _separable_flops(core)
    # d must be a number in the user's units too.
    if flops > _separable_budget(core, mode) or abs(problem.units.a) > _MOST_EXPONENT:
        return Found(best)
    if not monitor.affords(2.0 * core.matrix.nbytes, flops):
        return Found(best, True)
    move = 25.0 * float(core.shape[1]) ** 3
    moves = min(_TIGHT_MOVES, int(_TIGHT_FLOPS / move)) if mode == "tight" else int(move <= _MOVE_FLOPS)
    try:
        found = reweighted_bound(core, start.point, moves, monitor.pause)
    except Stopped:
        return Found(best, True)
    return Found(best if found is None else better(best, found))


def _separable_flops(core: CoreProblem) -> float:
    """Return the work of the separable relaxation without moves of d."""
    n, p = core.shape
    return (0.0 if isinstance(core, GramCore) else float(n) * p * p) + 3.0 * float(p) ** 3


def _separable_budget(core: CoreProblem, mode: str) -> float:
    n, p = core.shape
    if n < p or p > _MOST_COLUMNS:
        return 0.0
    if mode == "tight":
        return np.inf
    return max(_FAST_FLOPS, _PRODUCT_SPEED * 2.0 * n * p * (core.constraint.total + _PASSES))


def _ascent(problem: Problem, start: _Start, best: Bound, mode: str, monitor: SolveMonitor) -> Found:
    """Ascend in the dual of the relaxation with the ridge alone, where the separable one does not contain it."""
    core, point = problem.core, start.point
    contained = isinstance(best.certificate, Separable) and _contains_ridge(core, best.certificate)
    if core.ridge_is_lost or core.proof is None or contained or (mode == "fast" and start.ascended):
        return Found(best)
    if mode == "fast" and _is_hopeless(core, start):
        return Found(best)
    relaxation = relaxation_of(core, point, start.nu, start.Atnu)
    work = _newton_work(core, point)
    few = max(_FAST_STEPS, min(_TIGHT_STEPS, int(_FAST_FLOPS / work[1])))
    for _ in range(few if mode == "fast" else _TIGHT_STEPS):
        gap, gain = point.objective - best.value, relaxation.primal - best.value
        if _is_enough(point, best, mode) or (mode == "fast" and gain <= _FAST_SHARE * gap):
            break
        if mode == "tight" and (gain <= _TIGHT_TOLERANCE * abs(relaxation.primal) or relaxation.exhausted):
            break
        if monitor.prove(best) or not monitor.affords(*work):
            return Found(best, not monitor.proven)
        relaxation.step(best.value)
        best = better(best, relaxation.bound())
    return Found(best)


def _is_hopeless(core: CoreProblem, start: _Start) -> bool:
    """Whether the residual proves so little that a few steps from there lead to nothing."""
    size = max(abs(start.point.objective), np.finfo(np.float64).tiny)
    if core.ridge_is_lost or start.Atnu is None:
        return core.ridge_is_lost
    return start.point.objective - dual_value(core, start.nu, start.Atnu) > _HOPELESS * size


def _contains_ridge(core: CoreProblem, certificate: Separable) -> bool:
    """Whether d is nowhere below mu, so that the relaxation with d is tighter than that with mu."""
    return bool(np.all(certificate.d[certificate.d > 0] >= (1 - 1e-3) * core.mu))


def _all_columns(problem: Problem, start: _Start, best: Bound, mode: str, monitor: SolveMonitor) -> Found:
    """Compute the all-columns bound, with the ridge where there is one, where it is affordable."""
    core = problem.core
    flops, ridge = all_columns_flops(core), not core.ridge_is_lost
    if isinstance(best.certificate, Separable) or (ridge and core.shape[0] < core.shape[1]):
        # Contained in the relaxation's; next to nothing.
        return Found(best)
    if flops > (_FREE_FLOPS if ridge else _CHEAP_FLOPS if mode == "fast" else np.inf):
        return Found(best)
    if not monitor.affords(0.0, flops):
        return Found(best, True)
    try:
        bound = ridge_bound(core) if ridge else all_columns_bound(core, monitor.pause)
    except Stopped:
        return Found(best, True)
    return Found(better(bound, best))


def _explained(problem: Problem, start: _Start, best: Bound, mode: str) -> Bound:
    """Return the bound, its basis with the reason where it proves little, and what would prove more."""
    core, point = problem.core, start.point
    moved = problem.units.moved
    gap = point.objective - best.value + moved
    if not gap > _LARGE * abs(point.objective) or best.allowance >= gap or isinstance(best.certificate, Tree):
        return best
    if moved > gap / 2:
        reason = "the fit is as good as that"
        if moved > _ROUNDING * core.objective_at_zero:
            reason = "columns are nearly dependent; a larger ridge would help"
        return best._replace(basis=f"{best.basis}, which rounding hides, because {reason}")
    helps = []
    if mode == "fast" and (core.shape[0] >= core.shape[1] or not _is_hopeless(core, start)):
        helps.append("bound='tight'")
    if core.shape[0] < core.shape[1]:
        reason = "with fewer rows than columns the ridge alone bounds it"
        helps.append("more rows")
    elif isinstance(best.certificate, Separable):
        reason = "columns are correlated, or explain little of b"
    elif mode == "fast" and _separable_flops(core) > _separable_budget(core, mode):
        reason = "more would have cost more than the solve"
    else:
        reason = "columns are nearly dependent"
    ridge = _useful_ridge(start, core)
    least = 0.0 if core.matrix.counted else _FELT * float(core.column_sq_norms.max())
    if ridge > max(0.5 * core.mu, least):
        helps.append(f"ridge >= {problem.units.ridge(ridge):.2g}")
    advice = f"; {', '.join(helps)} would help" if helps else ""
    because = "" if "it proves little" in best.basis else f"; it proves little, because {reason}"
    return best._replace(basis=f"{best.basis}{because}{advice}")


def _useful_ridge(start: _Start, core: CoreProblem) -> float:
    """Return the ridge at which the residual of the point alone proves a gap of about `_LARGE`.

    With q = A'(A w - b), the gap of D there is (T(q^2) - the sum of q^2 over the support) / (2 mu).
    """
    if start.Atnu is None:
        return 0.0
    squares, point = start.Atnu**2, start.point
    lost = core.constraint.largest_sum(squares) - float(squares[point.support].sum())
    return lost / (4 * _LARGE * max(abs(point.objective), np.finfo(np.float64).tiny))


def better(one: Bound, other: Bound) -> Bound:
    """Return the higher one; the first where they are equal, or the second is not a number."""
    return other if other.value > one.value else one


def _newton_work(problem: CoreProblem, point: Point) -> tuple[float, float]:
    """Return the bytes and flops of one Newton step."""
    n = problem.shape[0]
    return 3.0 * problem.matrix.nbytes, float(n) * min(n, 4096) * (point.support.size / 4 + n / 3)
