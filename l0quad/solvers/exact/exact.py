"""Branch and bound to a proven optimum."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.errors import Stopped
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.enumeration import proven_by_all
from l0quad.solvers.exact.screening import screened, screens
from l0quad.solvers.exact.search import NODE_FLOPS, Search
from l0quad.solvers.forward import Forward, forward
from l0quad.solvers.needs import Needs
from l0quad.solvers.swap import Swap, swap
from l0quad.types import IntArray

# The curvature of so many columns is held: three matrices of this order while the tree begins, 1.5 GB.
_MOST_COLUMNS = 8192
# A tree is begun where it may have so many nodes.
_FEWEST_NODES = 50
# A tree of limited size is not grown where its root leaves a larger gap beside the objective.
_HOPELESS = 0.5
# Where a tree proves nothing, all supports are tried if that takes at most so many flops.
_ENUMERATION_FLOPS = 3e7
_OPEN = 1e-6
# Nor with a larger budget: a node then takes milliseconds, and the gap stays.
_MOST_KEPT = 40


@dataclass(frozen=True, slots=True)
class Exact:
    """Search the supports by branch and bound until the best point is proven optimal.

    At each node the perspective relaxation is solved with the largest diagonal that the curvature A'A + 2 ridge I can
    give up, so that it is of use without a ridge too. Best node first; deterministic.

    Parameters
    ----------
    node_limit : int, optional
        End after so many nodes, with the least open bound. By default only the limits of `solve` end the search.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> result = l0quad.minimize(A, A[:, 2] - 2 * A[:, 5] + 0.1 * A[:, 0], k=2, method=l0quad.Exact())
    >>> result.support, result.status.name
    (array([2, 5]), 'OPTIMAL')
    """

    node_limit: int | None = None
    name: ClassVar[str] = "exact"
    needs: ClassVar[Needs] = Needs(
        in_memory=True,
        from_zero=True,
        solves_start=True,
        parts=True,
        any_size=True,
        most_columns=_MOST_COLUMNS,
        unless=screens,
        resumes=True,
    )

    def __post_init__(self) -> None:
        if self.node_limit is not None:
            validation.integer(self.node_limit, "node_limit", 0)


def exact(problem: CoreProblem, start: Point, options: Exact, monitor: Monitor) -> Outcome:
    """Find a good point by local search, then close the gap."""
    monitor, saved = monitor.begin()
    if saved is None:
        best = _searched(problem, start, monitor)
        if monitor.expired():
            return Outcome(best, Status.CONVERGED)
        monitor.save(best=best)
    else:
        best = saved["best"]
    limit = np.inf if options.node_limit is None else options.node_limit
    found = close(problem, best, limit, monitor)
    bound = found.bound
    if bound is not None and not monitor.expired() and monitor.relative_gap(found.point, bound) > _OPEN:
        # Of columns that depend on each other, the tree has proven nothing.
        return proven_by_all(problem, found.point, _ENUMERATION_FLOPS, monitor) or found
    return found


def _searched(problem: CoreProblem, start: Point, monitor: Monitor) -> Point:
    """Return the best point that local search finds from the start and from forward selection."""
    best = problem.optimised(start)
    if monitor.record(best):
        return best
    starts = [best]
    if Forward.needs.lacking(problem) is None:
        starts.append(forward(problem, problem.zero(), Forward(), monitor).point)
    for begin in starts:
        if monitor.expired():
            return best
        improved = begin
        if Swap.needs.lacking(problem) is None:
            improved = swap(problem, begin, Swap(), monitor).point
        best = min(best, improved, key=lambda each: each.objective)
    return best


def within(problem: CoreProblem, best: Point, flops: float, monitor: Monitor) -> Outcome | None:
    """Search the supports as far as about so many flops go, counted and not timed; None where they do not go far."""
    n, p = problem.shape
    if (n < p and problem.ridge_is_lost) or problem.constraint.total > _MOST_KEPT:
        # Of the former, nothing is proven before many columns are out.
        return None
    begin = float(n) * p * p + 3.0 * float(p) ** 3
    active = problem.constraint.total + 20.0
    node = NODE_FLOPS + 100.0 * p * active + 30.0 * active**3
    limit = int((flops - begin) / node)
    if limit < _FEWEST_NODES or Exact.needs.lacking(problem) is not None or monitor.expired():
        return None
    # Of nearly dependent columns a node takes many more rounds.
    return close(problem, best, limit, monitor, _HOPELESS, flops - begin)


def close(
    problem: CoreProblem,
    best: Point,
    node_limit: float,
    monitor: Monitor,
    hopeless: float = np.inf,
    most_flops: float = np.inf,
) -> Outcome:
    """Search all supports from a good point, unless the root leaves more than ``hopeless`` of the objective."""
    monitor, saved = monitor.begin()
    columns = columns_that_count(problem)
    if columns.size == 0 or problem.constraint.total == 0:
        return Outcome(best, Status.CONVERGED)
    try:
        if saved is not None:
            best, search = saved["begun"], Search.restored(problem, monitor, saved)
        elif screens(problem):
            columns, root, best, excluded = screened(problem, columns, best, monitor)
            if columns.size > _MOST_COLUMNS or monitor.expired():
                basis = f"{root.basis}; screening has left {columns.size} columns, too many to branch on"
                return Outcome(best, Status.CONVERGED, root._replace(basis=basis))
            if best.objective - root.value > hopeless * abs(best.objective):
                return Outcome(best, Status.CONVERGED, root)
            search = Search(problem, columns, best, monitor, root, excluded)
        else:
            search = Search(problem, columns, best, monitor)
    except Stopped:
        return Outcome(best, Status.CONVERGED)
    few = min(node_limit, 2)
    closed = search.run(few)
    bound = search.bound()
    if not closed and (search.nodes > few or best.objective - bound.value <= hopeless * abs(best.objective)):
        closed = search.run(node_limit, most_flops)
        bound = search.bound()
    monitor.prove(bound)
    monitor.record(search.best, (search.nodes, len(search.queue)))
    limited = not closed and (search.nodes >= node_limit or search.flops > most_flops)
    return Outcome(search.best, Status.ITERATION_LIMIT if limited else Status.CONVERGED, bound)


def columns_that_count(problem: CoreProblem) -> IntArray:
    """Return the columns that may be used, without a ridge only those that are not zero."""
    columns = problem.constraint.usable
    if problem.mu > 0:
        return columns
    empty = columns[problem.column_sq_norms[columns] == 0]
    zero = [j for j in empty.tolist() if not np.any(problem.matrix.take(np.array([j])))]
    return np.setdiff1d(columns, zero, assume_unique=True)
