"""Active set: hard thresholding on the columns that matter, all columns looked at only to extend that set."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ActiveSet:
    """Run `IHT` on the support and the most promising other columns; extend and repeat while that helps.

    CHITA-CD (Benbaki et al., ICML 2023, Algorithm 4): the working set is the support and the ``extra`` share of the
    columns with the largest |w - tau gradient|; when `IHT` has converged on it, one look at all columns chooses the
    next. Never ends above the refit of its start. A round costs a look (two passes over A) and passes over the
    working set. On files (`l0quad.open_columns`) a round reads all of A four times at most (two for the choice of the
    working set, two for the look), twice more for each refit of the look, and the working set twice for each of
    its own.

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
    needs: ClassVar[Needs] = Needs(reducible=True)

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        if validation.real(self.extra, "extra") > 1:
            raise ValueError(f"extra: must be at most 1, got {self.extra}")
        if not isinstance(self.inner, IHT):
            raise TypeError(f"inner: must be IHT options, got {self.inner!r}")


def active_set(problem: CoreProblem, start: Point, options: ActiveSet, monitor: Monitor) -> Outcome:
    """Alternate between `iht` on a working set and a look at all columns."""
    point = start
    for _ in range(options.max_iter):
        columns = _working_set(problem, point, options)
        if columns.size == 0:
            return Outcome(point, Status.CONVERGED)
        local = Point(np.searchsorted(columns, point.support), point.w, point.objective, point.restricted_optimum)
        found, status, _ = iht(problem.restrict(columns), local, options.inner, SubMonitor(monitor, columns))
        before = point.objective
        point = Point(columns[found.support], found.w, found.objective, found.restricted_optimum)
        if monitor.expired():
            return Outcome(point, Status.CONVERGED)
        look = _look(problem, point, options, monitor)
        if look is None:
            return Outcome(point, status)
        if before - look.objective <= options.inner.tol * abs(look.objective):
            return Outcome(look, status)
        point = look
    return Outcome(point, Status.ITERATION_LIMIT)


def _look(problem: CoreProblem, point: Point, options: ActiveSet, monitor: Monitor) -> Point | None:
    """Return where one step on all columns leads, None where it leads nowhere better."""
    if options.inner.refit:
        return pursuit_step(problem, point, monitor)
    step = hard_thresholding_step(problem, point)
    return None if step is None else step[0]


def _working_set(problem: CoreProblem, point: Point, options: ActiveSet) -> IntArray:
    """Return the support and the best other columns by their size after a gradient step."""
    extra = int(options.extra * problem.shape[1])
    gradient = problem.matrix.rmatvec(problem.residual(point.support, point.w)) - problem.mu * problem.w0
    scores: FloatArray = np.abs(gradient)
    never = problem.constraint.never
    scores[point.support] = scores[never] = -1.0
    others = top_k(scores, min(max(extra, 1), problem.shape[1] - point.support.size - never.size))
    return problem.constraint.closed(np.sort(np.concatenate([point.support, others])))
