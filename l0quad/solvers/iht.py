"""Iterative hard thresholding with CHITA's step size, and coordinate descent or a refit when it stalls."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.linalg.pieces import pieces
from l0quad.matrix.sweeps import union
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.checkpoint import Saved
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.coordinate_descent import CoordinateDescent, coordinate_descent
from l0quad.solvers.needs import Needs
from l0quad.types import BoolArray, FloatArray, IntArray

# Steps tried beyond the first breakpoint double until the objective rises; steps below it halve until it is found.
_MOST_HALVINGS = 30
_MOST_DOUBLINGS = 60
_BEYOND = 1.25
_POLISH_SWEEPS = 20
_SMALLEST_CURVATURE = 1e-300
# A step along the support that gains no more than this share of the objective is rounding.
_STATIONARY = 1e-12


@dataclass(frozen=True, slots=True)
class IHT:
    """Hard thresholding, w <- best allowed part of w - tau (gradient), from the refit of its start.

    Blumensath and Davies ("Iterative hard thresholding for compressed sensing", 2009) with the step size of CHITA's
    Algorithm 2 and the alternation with coordinate descent of its Algorithm 3 (Benbaki et al., ICML 2023);
    ``refit=True`` solves on every new support instead, which is hard-thresholding pursuit (Foucart, SIAM J. Numer.
    Anal. 2011). Never ends above the refit of its start; what it ends in is stationary on its support, not optimal.
    An iteration costs two passes over A (A'r and A_S d), and one more for each longer step that is tried. On files
    (`l0quad.open_columns`) the refit of the start takes two sweeps, and brings A'r; with ``refit=True`` so does each
    support that is tried, and gradients cost none.

    Parameters
    ----------
    max_iter : int
        The largest number of hard-thresholding steps.
    tol : float
        Steps that lower the objective by at most ``tol`` times itself count as stalled.
    refit : bool
        Solve exactly on every new support (HTP).

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2, method=l0quad.IHT(refit=True)).support
    array([2, 5])
    """

    max_iter: int = 300
    tol: float = 1e-6
    refit: bool = False
    name: ClassVar[str] = "iht"
    needs: ClassVar[Needs] = Needs(solves_start=True, reducible=True, resumes=True)

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        validation.real(self.tol, "tol")
        if not isinstance(self.refit, bool):
            raise TypeError(f"refit: must be True or False, got {self.refit!r}")


def iht(problem: CoreProblem, start: Point, options: IHT, monitor: Monitor) -> Outcome:
    """Run hard-thresholding steps from the refit of the start."""
    monitor, saved = monitor.begin()
    if saved is None:
        point = problem.optimised(start)
        del start
        if monitor.record(point):
            return Outcome(point, Status.CONVERGED)
        saved = {"point": point, "residual": None, "settled": point.objective, "done": 0}
        monitor.save(**saved)
        del point
    return (_pursue if options.refit else _threshold)(problem, saved, options, monitor)


def _threshold(problem: CoreProblem, saved: Saved, options: IHT, monitor: Monitor) -> Outcome:
    """Step until the steps stall, then minimise on the support; end when that changes nothing."""
    point: Point = saved.pop("point")
    residual: FloatArray | None = saved["residual"]
    settled: float = saved["settled"]
    for done in range(saved["done"], options.max_iter):
        step = hard_thresholding_step(problem, point, residual)
        if step is None and point.restricted_optimum:
            return Outcome(point, Status.CONVERGED)
        before = point.objective
        if step is not None:
            point, residual = step
            if monitor.record(point):
                return Outcome(point, Status.CONVERGED)
        if before - point.objective <= options.tol * abs(point.objective):
            polish = CoordinateDescent(_POLISH_SWEEPS, options.tol)
            point, residual = coordinate_descent(problem, point, polish, monitor).point, None
            if monitor.expired() or settled - point.objective <= options.tol * abs(point.objective):
                return Outcome(point, Status.CONVERGED)
            settled = point.objective
        monitor.save(point=point, residual=residual, settled=settled, done=done + 1)
    return Outcome(point, Status.ITERATION_LIMIT)


def _pursue(problem: CoreProblem, saved: Saved, options: IHT, monitor: Monitor) -> Outcome:
    """Refit on the support of each gradient step, until none is better."""
    point: Point = saved.pop("point")
    for done in range(saved["done"], options.max_iter):
        better = pursuit_step(problem, point, monitor)
        if better is None:
            return Outcome(point, Status.CONVERGED)
        gain, point = point.objective - better.objective, better
        if monitor.record(point) or gain <= options.tol * abs(point.objective):
            return Outcome(point, Status.CONVERGED)
        monitor.save(point=point, done=done + 1)
    return Outcome(point, Status.ITERATION_LIMIT)


def pursuit_step(problem: CoreProblem, point: Point, monitor: Monitor) -> Point | None:
    """Return the first refit better than ``point`` as the gradient step halves from 1 / mean(H_jj); None without."""
    tau = 1 / max(float(problem.column_sq_norms.mean()) + problem.mu, _SMALLEST_CURVATURE)
    data = _data_gradient(problem, point)
    for _ in range(_MOST_HALVINGS):
        moved = _moved(point, _gradient(problem, point, data), tau)
        support = np.flatnonzero(problem.constraint.marked_nearest(moved))
        del moved
        if np.array_equal(support, point.support) or monitor.expired():
            return None
        found = problem.restricted(support)
        if found.objective < point.objective:
            return found
        del found
        tau /= 2
    return None


def hard_thresholding_step(
    problem: CoreProblem, point: Point, residual: FloatArray | None = None
) -> tuple[Point, FloatArray] | None:
    """Return the point and residual after one step with CHITA's Algorithm 2, None where no step lowers the objective.

    Along w - tau gradient the kept set is constant up to a first breakpoint and the objective a quadratic there. If
    its minimum comes before the breakpoint, that is the step; else longer steps are tried, doubling while the
    objective falls, and the longest step before the breakpoint stands by.
    """
    residual = problem.residual_at(point) if residual is None else residual
    ray = _Ray(problem, point, _gradient(problem, point, problem.data_gradient(point, residual)), residual)
    tau = ray.minimiser(point.objective)
    if tau > 0 and ray.keeps(tau):
        return ray.better(tau)
    longer = _longer_steps(ray, tau, point.objective)
    if longer is not None:
        return longer
    for _ in range(_MOST_HALVINGS if tau > 0 else 0):
        tau /= 2
        if ray.keeps(tau):
            return ray.better(tau)
    return None


class _Ray:
    """The thresholded points w - tau gradient; one pass over A for all of them, and columns that come or go."""

    def __init__(self, problem: CoreProblem, point: Point, gradient: FloatArray, residual: FloatArray) -> None:
        self.problem, self.point, self.gradient, self.residual = problem, point, gradient, residual
        nonzero = point.w != 0
        support = point.support if nonzero.all() else point.support[nonzero]
        self.smallest = float(np.abs(point.w[nonzero]).min(initial=np.inf))
        if support.size < problem.constraint.total:
            # Where there is room, an infinitesimal step also keeps the steepest other columns.
            support = problem.constraint.nearest(gradient, fixed_in=support)
            self.smallest = self.smallest if support.size == np.count_nonzero(nonzero) else 0.0
        self.kept: IntArray = support
        self.product = problem.matrix.matvec(support, gradient[support])

    def minimiser(self, objective: float) -> float:
        """Return the tau that minimises the quadratic of the kept set, 0 where that gains no more than rounding."""
        slope = float(self.gradient[self.kept] @ self.gradient[self.kept])
        curvature = float(self.product @ self.product) + self.problem.mu * slope
        tau = slope / curvature if curvature > 0 else 0.0
        return tau if np.isfinite(tau) and tau * slope > _STATIONARY * abs(objective) else 0.0

    def keeps(self, tau: float) -> bool:
        """Whether the point at tau has the kept set for its support."""
        inside = self.problem.constraint.marked_nearest(_moved(self.point, self.gradient, tau))
        return np.count_nonzero(inside) == self.kept.size and bool(inside[self.kept].all())

    def reached(self, tau: float) -> tuple[BoolArray, FloatArray]:
        """Return the support of the point at tau, as a mask, and its residual."""
        inside = self.problem.constraint.marked_nearest(_moved(self.point, self.gradient, tau))
        residual = self.residual - tau * self.product
        changed = np.flatnonzero(inside ^ union((self.kept,), inside.size))
        if changed.size:
            joined = np.where(inside[changed], 1.0, -1.0)
            joined *= _moved(self.point, self.gradient, tau)[changed]
            residual += self.problem.matrix.matvec(changed, joined)
        return inside, residual

    def at(self, tau: float, inside: BoolArray, residual: FloatArray) -> tuple[Point, FloatArray]:
        """Return the point at tau and its residual, from its support."""
        support = np.flatnonzero(inside)
        values = _moved(self.point, self.gradient, tau)[support]
        return self.problem.evaluate(support, values, residual), residual

    def better(self, tau: float) -> tuple[Point, FloatArray] | None:
        """Return the same where it is better than where the ray begins."""
        best = self.at(tau, *self.reached(tau))
        return best if best[0].objective < self.point.objective else None


def _longer_steps(ray: _Ray, first: float, below: float) -> tuple[Point, FloatArray] | None:
    """Return the best of the steps beyond the breakpoint, None where none is better than ``below``."""
    outside = np.abs(ray.gradient)
    outside[ray.kept] = 0.0
    largest = float(outside.max())
    del outside
    if largest == 0 or ray.kept.size == 0:
        return None
    # Where the gradient vanishes on the support, the shortest step worth a try is the first breakpoint, passed by
    # enough that rounding does not decide which column it keeps.
    tau = max(first, _BEYOND * ray.smallest / largest)
    # Not the point itself, whose values are as many as the support has.
    best: tuple[float, BoolArray, FloatArray] | None = None
    for _ in range(_MOST_DOUBLINGS if 0 < tau < np.inf else 0):
        if not ray.keeps(tau):
            trial = tau, *ray.reached(tau)
            objective = ray.at(*trial)[0].objective
            if not objective < below:
                break
            best, below = trial, objective
        tau *= 2
    return None if best is None else ray.at(*best)


def _data_gradient(problem: CoreProblem, point: Point) -> FloatArray:
    """Return A'(A w - b), from rows of A'A where earlier solves on this A have left all that it takes."""
    prepared = problem.matrix.prepared
    if point.refit is not None:
        return problem.data_gradient(point)
    if point.support.size == 0:
        return -prepared.product(problem.b)
    known = prepared.known_combination(point.support, point.w)
    return problem.data_gradient(point) if known is None else known - prepared.product(problem.b)


def _gradient(problem: CoreProblem, point: Point, data: FloatArray) -> FloatArray:
    """Return the gradient at a point from that of the data term."""
    gradient = -problem.w0
    _add(gradient, point)
    gradient *= problem.mu
    gradient += data
    return gradient


def _moved(point: Point, gradient: FloatArray, tau: float) -> FloatArray:
    """Return w - tau gradient."""
    moved = -tau * gradient
    _add(moved, point)
    return moved


def _add(dense: FloatArray, point: Point) -> None:
    """Add w."""
    for here in pieces(point.support.size):
        dense[point.support[here]] += point.w[here]
