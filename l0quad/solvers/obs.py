"""Optimal brain surgeon: backward elimination in batches by the exact saliency."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.solvers.swap import saliency
from l0quad.types import IntArray


@dataclass(frozen=True, slots=True)
class OBS:
    """Remove the columns with the least w_i^2 / (2 E_ii), E = H_SS^-1, refit, repeat until the budget is met.

    Hassibi and Stork ("Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992). One batch is
    WoodFisher's one-shot rule (Singh and Alistarh, NeurIPS 2020; M-FAC computes the same matrix-free). Begins with all
    columns and ends within the budget; ``start`` only stands by. Needs ridge > 0, for the factorizations are n x n.

    Parameters
    ----------
    batches : int
        Over how many refits the removal is spread, the kept number falling geometrically.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> w0 = np.linspace(-1, 1, 12)
    >>> problem = l0quad.Problem(A, A @ w0, k=6, ridge=0.1, w0=w0)
    >>> l0quad.solve(problem, l0quad.OBS(batches=1)).support
    array([ 0,  1,  2,  9, 10, 11])
    """

    batches: int = 8
    name: ClassVar[str] = "obs"
    needs: ClassVar[Needs] = Needs(
        in_memory=True, ridge=True, most_rows=8192, single_columns=True, solves_start=True, resumes=True
    )

    def __post_init__(self) -> None:
        validation.integer(self.batches, "batches", 1)


def obs(problem: CoreProblem, start: Point, options: OBS, monitor: Monitor) -> Outcome:
    """Eliminate from all columns downwards; return the better of the end and the refit of the start."""
    monitor, saved = monitor.begin()
    standby = saved["standby"] if saved else problem.optimised(start)
    if saved is None and monitor.record(standby):
        return Outcome(standby, Status.CONVERGED)
    usable = problem.constraint.usable
    if usable.size == 0:
        return Outcome(standby, Status.CONVERGED)
    support: IntArray = saved["support"] if saved else usable
    share = (max(problem.constraint.total, 1) / usable.size) ** (1 / options.batches)
    for batch in range(saved["done"] if saved else 0, options.batches):
        point = problem.restricted(support)
        costs = saliency(problem, point)
        if costs is None or monitor.expired():
            return Outcome(standby, Status.CONVERGED)
        values = np.zeros(problem.shape[1])
        values[support] = costs
        last = batch == options.batches - 1
        support = _keep(problem, values, support, problem.constraint.total if last else int(support.size * share))
        monitor.save(standby=standby, support=support, done=batch + 1)
    point = problem.restricted(support)
    best = min(point, standby, key=lambda each: each.objective)
    monitor.record(best)
    return Outcome(best, Status.CONVERGED)


def _keep(problem: CoreProblem, values: np.ndarray, support: IntArray, size: int) -> IntArray:
    """Return the most valuable columns: an allowed support at the end, and one that contains an allowed one before."""
    outside = np.setdiff1d(np.arange(values.size), support, assume_unique=True)
    allowed = problem.constraint.select(values, fixed_out=outside)
    if size <= allowed.size:
        return allowed
    scores = values.copy()
    scores[outside], scores[allowed] = -np.inf, np.inf
    return np.sort(np.argsort(-scores, kind="stable")[:size])
