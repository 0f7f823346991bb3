"""Active set: hard thresholding on the columns that matter, all columns looked at only to extend that set."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.problem.constraints.ranking import top_k
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor, SubMonitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.iht import IHT, hard_thresholding_step, iht, pursuit_step
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray, IntArray

# Of large files a working set of more than this share of the columns has too much beside it that is as long.
_LARGEST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class ActiveSet:
    """Run `IHT` on the support and the most promising other columns; extend and repeat while that helps.

    CHITA-CD (Benbaki et al., ICML 2023, Algorithm 4): the working set is the support and the ``extra`` share of the
    columns with the largest |w - tau gradient|; when `IHT` has converged on it, one look at all columns chooses the
    next. Begins with the refit of its start, and never ends above it. A round costs a look (a pass over A for A'r, and
    the step's own) and passes over the working set. On files (`l0quad.open_columns`) the refit of the start takes two
    sweeps, a round one and two for each refit of the look, and two of the working set for each refit there; where the
    working set would be more than a quarter of the columns of large files, ``inner`` runs on all of them.

    Parameters
    ----------
    max_iter : int
        The largest number of looks at all columns.
    extra : float
        Columns beyond the support in the working set, as a share of p; bounds the extra memory.
    inner : IHT
        The options of the runs on the working set.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2, method=l0quad.ActiveSet()).support
    array([2, 5])
    """

    max_iter: int = 50
    extra: float = 0.02
    inner: IHT = IHT(refit=True)
    name: ClassVar[str] = "active_set"
    needs: ClassVar[Needs] = Needs(solves_start=True, reducible=True, resumes=True)

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        if validation.real(self.extra, "extra") > 1:
            raise ValueError(f"extra: must be at most 1, got {self.extra}")
        if not isinstance(self.inner, IHT):
            raise TypeError(f"inner: must be IHT options, got {self.inner!r}")


def active_set(problem: CoreProblem, start: Point, options: ActiveSet, monitor: Monitor) -> Outcome:
    """Alternate between `iht` on a working set and a look at all columns."""
    extra = int(options.extra * problem.shape[1])
    # Not of the start: a solve that goes on from a checkpoint has none.
    if problem.in_large_files and problem.constraint.total + extra > _LARGEST_SHARE * problem.shape[1]:
        return iht(problem, start, options.inner, monitor)
    monitor, saved = monitor.begin()
    point: Point = saved["point"] if saved else problem.optimised(start)
    del start
    if saved is None and monitor.record(point):
        return Outcome(point, Status.CONVERGED)
    first, seen = (saved["done"], saved["seen"]) if saved else (0, False)
    for done in range(first, options.max_iter):
        columns, before = _working_set(problem, point, options), point.objective
        if columns.size == 0:
            return Outcome(point, Status.CONVERGED)
        better, status = _pursued(problem, columns, point, options.inner, monitor)
        del columns
        point, seen = (point, seen) if better is None else (better, False)
        if monitor.expired():
            return Outcome(point, Status.CONVERGED)
        # A look at all columns from the same point would lead nowhere again.
        look = None if seen else _look(problem, point, options, monitor)
        point, seen = (point, True) if look is None else (look, False)
        # Points that are left behind are as long as the support.
        del better, look
        if before - point.objective <= options.inner.tol * abs(point.objective):
            return Outcome(point, status)
        monitor.save(point=point, seen=seen, done=done + 1)
    return Outcome(point, Status.ITERATION_LIMIT)


def _pursued(
    problem: CoreProblem, columns: IntArray, point: Point, inner: IHT, monitor: Monitor
) -> tuple[Point | None, Status]:
    """Run `iht` on the columns of a working set; return its point where that is better, and how it ended."""
    own = SubMonitor(monitor, columns)
    found, status, _ = iht(problem.restrict(columns), _within(columns, point), inner, own)
    return (_outside(problem, columns, found) if found.objective < point.objective else None), status


def _within(columns: IntArray, point: Point) -> Point:
    """Return a point as one of the problem over these columns, with what its refit has brought of them."""
    refit = point.refit
    if refit is not None:
        refit = refit._replace(Atnu=None if refit.Atnu is None else refit.Atnu[columns], bound=None)
    return replace(point, support=np.searchsorted(columns, point.support), refit=refit)


def _outside(problem: CoreProblem, columns: IntArray, found: Point) -> Point:
    """Return a point of the problem over these columns as one of the whole; where it is a refit, with A'r."""
    support, refit = columns[found.support], found.refit
    if refit is not None:
        refit = refit._replace(nu=refit.residual, Atnu=problem.matrix.rmatvec(refit.residual), bound=None)
    return replace(found, support=support, refit=refit)


def _look(problem: CoreProblem, point: Point, options: ActiveSet, monitor: Monitor) -> Point | None:
    """Return where one step on all columns leads, None where it leads nowhere better."""
    if options.inner.refit:
        return pursuit_step(problem, point, monitor)
    step = hard_thresholding_step(problem, point)
    return None if step is None else step[0]


def _working_set(problem: CoreProblem, point: Point, options: ActiveSet) -> IntArray:
    """Return the support and the best other columns by their size after a gradient step."""
    extra = int(options.extra * problem.shape[1])
    scores: FloatArray = problem.data_gradient(point) - problem.mu * problem.w0
    np.abs(scores, out=scores)
    never = problem.constraint.never
    scores[point.support] = scores[never] = -1.0
    others = top_k(scores, min(max(extra, 1), problem.shape[1] - point.support.size - never.size))
    return problem.constraint.closed(np.sort(np.concatenate([point.support, others])))
