"""Cyclic coordinate descent on a fixed support, the residual kept."""

from dataclasses import dataclass
from typing import ClassVar

from l0quad import validation
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray

# A kernel call works on at most this many matrix entries (some 50 ms), so that limits and interrupts are honoured.
_SLICE_ENTRIES = 1 << 25


@dataclass(frozen=True, slots=True)
class CoordinateDescent:
    """Minimise over the values on the start's support, one coordinate at a time, in index order.

    The support never grows. Each sweep costs 4 n |S| flops. Converges linearly to the restricted optimum for
    ridge > 0 (Luo and Tseng, "On the convergence of the coordinate descent method for convex differentiable
    minimization", 1992); as a step of CHITA's Algorithm 3 (Benbaki et al., ICML 2023).

    Parameters
    ----------
    max_iter : int
        The largest number of sweeps.
    tol : float
        Stop when a sweep lowers the objective by at most ``tol`` times itself.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2, method=l0quad.CoordinateDescent(), start=[2, 5]).support
    array([2, 5])
    """

    max_iter: int = 200
    tol: float = 1e-10
    name: ClassVar[str] = "coordinate_descent"
    needs: ClassVar[Needs] = Needs(resumes=True)

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        validation.real(self.tol, "tol")


def coordinate_descent(problem: CoreProblem, start: Point, options: CoordinateDescent, monitor: Monitor) -> Outcome:
    """Sweep over the support of ``start`` until the objective stalls."""
    monitor, saved = monitor.begin()
    if saved is None and (start.support.size == 0 or monitor.record(start)):
        return Outcome(start, Status.CONVERGED)
    point = saved["point"] if saved else start
    sweep = _Sweep(problem, point, saved["residual"] if saved else None)
    for done in range(saved["done"] if saved else 0, options.max_iter):
        decrease = sweep.run(monitor)
        point = problem.evaluate(point.support, sweep.w.copy(), sweep.residual)
        if monitor.record(point) or decrease <= options.tol * abs(point.objective):
            return Outcome(point, Status.CONVERGED)
        if monitor.due():
            monitor.save(point=point, residual=sweep.residual.copy(), done=done + 1)
    return Outcome(point, Status.ITERATION_LIMIT)


class _Sweep:
    """The columns of one support in slices, with the residual A w - b of the current w."""

    def __init__(self, problem: CoreProblem, start: Point, residual: FloatArray | None) -> None:
        self.mu, self.support = problem.mu, start.support
        self.w, self.w0 = start.w.copy(), problem.w0[start.support]
        self.residual = problem.residual(start.support, start.w) if residual is None else residual.copy()
        self._matrix = problem.matrix
        step = max(1, _SLICE_ENTRIES // problem.shape[0])
        self._slices = [slice(i, i + step) for i in range(0, self.support.size, step)]
        keep = problem.matrix.fits(self.support.size)
        self._columns = [problem.matrix.subset(self.support[part]) for part in self._slices] if keep else None

    def run(self, monitor: Monitor) -> float:
        """Do one sweep, or as much of it as the time allows; return by how much the objective fell."""
        decrease = 0.0
        for q, part in enumerate(self._slices):
            columns = self._matrix.subset(self.support[part]) if self._columns is None else self._columns[q]
            decrease += columns.descend(self.residual, self.w[part], self.w0[part], self.mu)
            if monitor.expired():
                break
        return decrease
