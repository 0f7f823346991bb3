"""ADMM: the quadratic through a factorization, the budget by thresholding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.linalg.cholesky import cholesky
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray

# rho starts at max(ridge, this share of the mean squared column norm).
_FIRST_RHO = 1e-3
# The support is refitted on every so many iterations, and it counts as settled when it has not changed for as long.
_SOLVE_EVERY = 5
# A factor serves for a tau that differs by this share; corrections end when they are this small.
_CLOSE = 0.12
_EXACT = 1e-9
_MOST_CORRECTIONS = 20


@dataclass(frozen=True, slots=True)
class ADMM:
    """Split w = z, z in budget: ridge-regularised solves for w and thresholding for z, rho rising slowly.

    Boyd et al. ("Distributed optimization and statistical learning via ADMM", 2011, section 9.1); for pruning, Meng
    et al. ("ALPS", NeurIPS 2024). (A'A + (mu + rho) I)^-1 comes from a Cholesky factorization of A A' (or A'A), a
    new one whenever rho has risen by a fifth or so; an iteration is two passes over A. Every few iterations the support
    is refitted, and the best refit is returned. No guarantee beyond: never above the refit of its start. On files
    (`l0quad.open_columns`): two sweeps an iteration, two a refit, and at the start four (its refit, A A' and A'b).

    Parameters
    ----------
    max_iter : int
        The largest number of iterations.
    growth : float
        The factor by which rho rises at each.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> w0 = np.linspace(-1, 1, 12)
    >>> problem = l0quad.Problem(A, A @ w0, k=6, ridge=0.1, w0=w0)
    >>> l0quad.solve(problem, l0quad.ADMM()).support
    array([ 0,  1,  2,  8, 10, 11])
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
    rho = max(0.5 * problem.mu, _FIRST_RHO * float(problem.column_sq_norms.mean()))
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


class _ShiftedInverse:
    """(A'A + tau I)^-1 for any tau > 0, through the smaller of AA' and A'A."""

    def __init__(self, problem: CoreProblem) -> None:
        self._matrix, self._pause = problem.matrix, problem.pause
        n, p = problem.shape
        self._wide = p >= n
        self._gram = (self._matrix.outer if self._wide else self._matrix.inner)(pause=problem.pause)
        self._tau = 0.0
        self._factored: Callable[[FloatArray], FloatArray] | None = None
        self.g = problem.matrix.prepared.product(problem.b) + problem.mu * problem.w0

    def solve(self, v: FloatArray, tau: float) -> FloatArray:
        """Return the product with the inverse."""
        if not self._wide:
            return self._by_gram(v, tau)
        y = self._by_gram(self._matrix.matvec(None, v), tau)
        return np.asarray((v - self._matrix.rmatvec(y)) / tau)

    def _by_gram(self, v: FloatArray, tau: float) -> FloatArray:
        """Solve by the factor of a tau close by; each correction takes off nine tenths of the error or so."""
        if self._factored is None or abs(tau / self._tau - 1) > _CLOSE:
            self._tau = tau * (1 + _CLOSE)
            self._factored = cholesky(self._gram, self._tau, self._pause)
            # rho is at least a thousandth of the mean squared column norm.
            assert self._factored is not None
        y = self._factored(v)
        for _ in range(_MOST_CORRECTIONS):
            change = self._factored(v - self._gram @ y - tau * y)
            y += change
            if float(np.linalg.norm(change)) <= _EXACT * float(np.linalg.norm(y)):
                break
        return y
