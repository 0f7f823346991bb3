"""ADMM: the quadratic through one eigendecomposition, the budget by thresholding."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.matrix import Matrix
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray

# rho starts at max(ridge, this share of the mean squared column norm).
_FIRST_RHO = 1e-3
# The support is refitted on every so many iterations, and it counts as settled when it has not changed for as long.
_SOLVE_EVERY = 5


@dataclass(frozen=True, slots=True)
class ADMM:
    """Split w = z, z in budget: ridge-regularised solves for w and thresholding for z, rho rising slowly.

    Boyd et al. ("Distributed optimization and statistical learning via ADMM", 2011, section 9.1); for pruning, Meng
    et al. ("ALPS", NeurIPS 2024). (A'A + (mu + rho) I)^-1 comes from one eigendecomposition of A A' (or A'A), so a
    rising rho costs nothing; an iteration is two passes over A. Every few iterations the support is refitted, and the
    best refit is returned. No guarantee beyond: never above the refit of its start.

    Parameters
    ----------
    max_iter : int
        The largest number of iterations.
    growth : float
        The factor by which rho rises at each.
    """

    max_iter: int = 100
    growth: float = 1.05
    name: ClassVar[str] = "admm"
    needs: ClassVar[Needs] = Needs(most_order=8192, solves_start=True, reducible=True)

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        validation.real(self.growth, "growth", minimum=1.0)


def admm(problem: CoreProblem, start: Point, options: ADMM, monitor: Monitor) -> Outcome:
    """Iterate from the dense centre w0 until the support has settled."""
    best = problem.optimised(start)
    if monitor.record(best):
        return Outcome(best, Status.CONVERGED)
    shifted = _ShiftedInverse(problem)
    rho = max(0.5 * problem.mu, _FIRST_RHO * shifted.trace / problem.shape[1])
    if rho == 0:
        return Outcome(best, Status.CONVERGED)
    z, u = np.zeros(problem.shape[1]), np.zeros(problem.shape[1])
    z[best.support] = best.w
    support, settled, solved_on = best.support, 0, best.support
    for iteration in range(options.max_iter):
        x = shifted.solve(shifted.g + rho * (z - u), problem.mu + rho) + u
        previous, support = support, problem.constraint.nearest(x)
        settled = settled + 1 if np.array_equal(previous, support) else 0
        z = np.zeros(x.size)
        z[support] = x[support]
        u = (x - z) / options.growth
        rho *= options.growth
        done = settled >= _SOLVE_EVERY
        if (done or (iteration + 1) % _SOLVE_EVERY == 0) and not np.array_equal(support, solved_on):
            solved_on, candidate = support, problem.restricted(support)
            best = min(candidate, best, key=lambda each: each.objective)
        if monitor.record(best) or done:
            return Outcome(best, Status.CONVERGED)
    return Outcome(best, Status.ITERATION_LIMIT)


def _eigen(matrix: Matrix) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues and eigenvectors of the smaller of AA' and A'A."""
    n, p = matrix.shape
    values, vectors = np.linalg.eigh(matrix.outer() if p >= n else matrix.inner())
    return values, vectors


class _ShiftedInverse:
    """(A'A + tau I)^-1 for any tau > 0."""

    def __init__(self, problem: CoreProblem) -> None:
        self._matrix = problem.matrix
        n, p = problem.shape
        self._wide = p >= n
        values, self._U = problem.matrix.prepared.once("eigen", 8 * min(n, p) ** 2, _eigen)
        self._values = np.maximum(values, 0.0)
        self.trace = float(self._values.sum())
        self.g = problem.matrix.prepared.product(problem.b) + problem.mu * problem.w0

    def solve(self, v: FloatArray, tau: float) -> FloatArray:
        if not self._wide:
            return np.asarray(self._U @ ((self._U.T @ v) / (self._values + tau)))
        Av = self._matrix.matvec(None, v)
        y = self._U @ ((self._U.T @ Av) / (self._values + tau))
        return np.asarray((v - self._matrix.rmatvec(y)) / tau)
