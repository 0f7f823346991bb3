"""Magnitude: the largest entries of the dense solution. The default start, and the baseline."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Magnitude:
    """Keep the best allowed support by |w0|, or by |ridge solution| where w0 = 0; then refit.

    The rule of Hanson and Pratt ("Comparing biases for minimal network construction with back-propagation", 1988),
    followed by an exact solve on the support. No guarantee beyond that. On files (`l0quad.open_columns`) the solve
    takes two sweeps, and the ridge solution two more.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> w0 = np.linspace(-1, 1, 12)
    >>> problem = l0quad.Problem(A, A @ w0, k=6, ridge=0.1, w0=w0)
    >>> l0quad.solve(problem, l0quad.Magnitude()).support  # the largest of w0, values solved for
    array([ 0,  1,  2,  9, 10, 11])
    """

    name: ClassVar[str] = "magnitude"
    needs: ClassVar[Needs] = Needs(solves_start=True)


def largest_entries(problem: CoreProblem) -> tuple[IntArray, FloatArray]:
    """Return the largest entries of w0, or of the ridge solution where w0 = 0: their support and their values."""
    dense = problem.w0
    if not dense.any():
        usable = problem.constraint.usable
        dense = np.zeros(problem.shape[1])
        dense[usable] = problem.restricted(usable).w
    support = problem.constraint.nearest(dense)
    return support, dense[support]


def magnitude(problem: CoreProblem, start: Point, options: Magnitude, monitor: Monitor) -> Outcome:
    """Return the best point on the support of its start, which by default is that of `largest_entries`."""
    best = problem.optimised(start)
    monitor.record(best)
    return Outcome(best, Status.CONVERGED)
