"""Rounding the perspective relaxation: the supports that its ascent passes through."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.bounds.counted_relaxation import CountedRelaxation, relaxation_of
from l0quad.bounds.dual import with_bound
from l0quad.bounds.relaxation import Relaxation
from l0quad.bounds.reweighting import SeparableRelaxation
from l0quad.matrix.sweeps import compact, union
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.counted import Refit
from l0quad.run.checkpoint import Saved
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import ColumnSet

# The relaxation counts as solved at this relative primal-dual gap.
_SOLVED = 1e-4
# A refit costs about as much as a Newton step, and the supports of neighbouring steps differ little.
_REFIT_EVERY = 3
# Up to so many columns the separable relaxation is looked at.
_MOST_COLUMNS = 4096


@dataclass(frozen=True, slots=True)
class Rounding:
    """Solve the relaxation of the bound, and refit on the largest entries of each of its points.

    The relaxation and its Newton steps are those of `l0quad.relaxation`; rounding is what Bertsimas and Van Parys
    ("Sparse high-dimensional regression", Ann. Stat. 2020) do with its dual. On pruning-shaped problems (k > n) the
    relaxation is nearly tight and its support nearly optimal; with more rows than columns the separable relaxation
    takes its place where that is tighter. Needs ridge > 0. Never above the refit of its start.

    On files (`l0quad.open_columns`) a step takes two sweeps, with which it refits; the refits of the start and of the
    last support, and the exact solve of the answer, take two each: 6 + 2 a step at most, where k is one budget.

    Parameters
    ----------
    max_iter : int
        The largest number of Newton steps, each an n x n factorization, three passes over A and a refit.
    tol : float
        End as soon as the relative gap of the best point is proven to be at most this.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> w0 = np.linspace(-1, 1, 12)
    >>> problem = l0quad.Problem(A, A @ w0, k=6, ridge=0.1, w0=w0)
    >>> l0quad.solve(problem, l0quad.Rounding()).support
    array([ 0,  1,  2,  9, 10, 11])
    """

    max_iter: int = 30
    tol: float = 0.0
    name: ClassVar[str] = "rounding"
    needs: ClassVar[Needs] = Needs(ridge=True, solves_start=True, resumes=True)

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        validation.real(self.tol, "tol")


def rounding(problem: CoreProblem, start: Point, options: Rounding, monitor: Monitor) -> Outcome:
    """Ascend from the best point on the start's support, solving on the rounded support every few steps."""
    monitor, saved = monitor.begin()
    best: Point = saved["best"] if saved else problem.optimised(start)
    # Its values are as many as the support has.
    del start
    refit = best.refit
    # From here on the relaxation alone has A'r, which is as long as w0.
    best = with_bound(problem, best, overwrite=False)
    if saved is None and (monitor.record(best) or problem.ridge_is_lost):
        return Outcome(best, Status.CONVERGED)
    # Where it goes on, the separable relaxation begins anew from the same point.
    begun: Point | None = saved["begun"] if saved else replace(best, refit=None)
    tighter = None if begun is None else _tighter(problem, begun)
    relaxation = tighter or _begun(problem, best, refit, saved)
    begun = None if tighter is None else begun
    del refit
    last: ColumnSet
    if saved is None:
        bound, last, first = relaxation.bound(), best.support, 0
    else:
        relaxation.restore(saved["relaxation"])
        bound, last, first = saved["bound"], saved["last"], saved["done"]
    for iteration in range(first, options.max_iter):
        if isinstance(relaxation, CountedRelaxation):
            last, best = _with(problem, relaxation.step_and_refit(bound.value, last), last, best)
        else:
            relaxation.step(bound.value)
        found = relaxation.bound()
        if found.value > bound.value:
            bound = found
            monitor.prove(bound)
        solved = relaxation.primal - bound.value <= _SOLVED * abs(relaxation.primal)
        close = relaxation.primal - bound.value <= options.tol * abs(relaxation.primal)
        due = close if problem.matrix.counted else (iteration + 1) % _REFIT_EVERY == 0
        ends = solved or iteration == options.max_iter - 1
        if ends or due:
            inside = problem.constraint.marked_nearest(relaxation.point())
            if ends:
                # The refit needs room.
                del relaxation
            if not np.array_equal(inside, union((last,), inside.size)):
                last = np.flatnonzero(inside)
                monitor.keep(best)
                last, best = _with(problem, with_bound(problem, problem.restricted(last)), last, best)
            del inside
        proven = monitor.relative_gap(best, bound) <= options.tol
        if monitor.record(best) or solved or proven:
            return Outcome(best, Status.CONVERGED, bound)
        if not ends and monitor.due():
            state = relaxation.state()
            monitor.save(begun=begun, relaxation=state, best=best, bound=bound, last=last, done=iteration + 1)
    return Outcome(best, Status.ITERATION_LIMIT, bound)


def _begun(problem: CoreProblem, point: Point, refit: Refit | None, saved: Saved | None) -> Relaxation:
    """Return the ascent from a point, its dual point the one that is known: no pass over A then."""
    if saved is not None:
        return relaxation_of(problem, point, saved["relaxation"]["nu"], saved["relaxation"]["Atnu"])
    return relaxation_of(problem, point) if refit is None else relaxation_of(problem, point, refit.nu, refit.Atnu)


def _with(problem: CoreProblem, candidate: Point | None, last: ColumnSet, best: Point) -> tuple[ColumnSet, Point]:
    """Return the support that was refitted last, and the best point, with a new candidate, if there is one."""
    if candidate is None:
        return last, best
    if candidate.objective <= best.objective:
        return candidate.support, candidate
    return compact(union((candidate.support,), problem.shape[1])), best


def _tighter(problem: CoreProblem, point: Point) -> SeparableRelaxation | None:
    """Return the separable relaxation, in p dimensions, where it is the tighter one."""
    n, p = problem.shape
    if n < p or p > _MOST_COLUMNS:
        return None
    return SeparableRelaxation.begun(problem, point, problem.pause)
