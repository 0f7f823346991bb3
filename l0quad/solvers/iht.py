"""Iterative hard thresholding with CHITA's step size, and coordinate descent or a refit when it stalls."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.problem import Problem
from l0quad.progress import Monitor
from l0quad.result import Point, Status
from l0quad.solvers.coordinate_descent import CoordinateDescent, coordinate_descent
from l0quad.types import FloatArray, IntArray

# Steps tried beyond the first breakpoint double until the objective rises; steps below it halve until it is found.
_MOST_HALVINGS = 30
_MOST_DOUBLINGS = 60
_POLISH_SWEEPS = 20


@dataclass(frozen=True, slots=True)
class IHT:
    """Hard thresholding, w <- best allowed part of w - tau (gradient), from the refit of its start.

    Blumensath and Davies ("Iterative hard thresholding for compressed sensing", 2009) with the step size of CHITA's
    Algorithm 2 and the alternation with coordinate descent of its Algorithm 3 (Benbaki et al., ICML 2023);
    ``refit=True`` solves on every new support instead, which is hard-thresholding pursuit (Foucart, SIAM J. Numer.
    Anal. 2011). Never ends above the refit of its start; what it ends in is stationary on its support, not optimal.
    An iteration costs two passes over A (A'r and A_S d), and one more for each longer step that is tried.

    Parameters
    ----------
    max_iter : int
        The largest number of hard-thresholding steps.
    tol : float
        Steps that lower the objective by at most ``tol`` times itself count as stalled.
    refit : bool
        Solve exactly on every new support (HTP).
    """

    max_iter: int = 300
    tol: float = 1e-6
    refit: bool = False
    name: ClassVar[str] = "iht"

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        validation.real(self.tol, "tol")
        if not isinstance(self.refit, bool):
            raise TypeError(f"refit: must be True or False, got {self.refit!r}")


def iht(problem: Problem, start: Point, options: IHT, monitor: Monitor) -> tuple[Point, Status]:
    """Run hard-thresholding steps; where they stall, minimise on the support, and end when that changes nothing."""
    point = problem.refit(start.support)
    if point.objective > start.objective:
        point = start
    if monitor.record(point):
        return point, Status.CONVERGED
    residual = problem.residual(point.support, point.w)
    settled = point
    for _ in range(options.max_iter):
        step = hard_thresholding_step(problem, point, residual)
        if step is None and point.refit:
            return point, Status.CONVERGED
        if step is None or point.objective - step[0].objective <= options.tol * abs(point.objective):
            point = _polish(problem, point if step is None else step[0], options, monitor)
            residual = problem.residual(point.support, point.w)
            if monitor.expired() or settled.objective - point.objective <= options.tol * abs(point.objective):
                return point, Status.CONVERGED
            settled = point
            continue
        point, residual = step
        if options.refit:
            point = min(problem.refit(point.support), point, key=lambda each: each.objective)
            residual = problem.residual(point.support, point.w)
        if monitor.record(point):
            return point, Status.CONVERGED
    return point, Status.ITERATION_LIMIT


def hard_thresholding_step(problem: Problem, point: Point, residual: FloatArray) -> tuple[Point, FloatArray] | None:
    """Return the point and residual after one step with CHITA's Algorithm 2, None where no step lowers the objective.

    Along w - tau gradient the kept set is constant up to a first breakpoint and the objective a quadratic there. If
    its minimum comes before the breakpoint, that is the step; else longer steps are tried, doubling while the
    objective falls, and the longest step before the breakpoint stands by.
    """
    w = np.zeros(problem.shape[1])
    w[point.support] = point.w
    gradient = problem.matrix.rmatvec(residual) + problem.mu * (w - problem.w0)
    kept = _kept_at_first(problem, w, gradient)
    direction = gradient[kept]
    product = problem.matrix.matvec(kept, direction)
    slope = float(direction @ direction)
    curvature = float(product @ product) + problem.mu * slope
    first = slope / curvature if curvature > 0 else 0.0

    def within(tau: float) -> tuple[Point, FloatArray]:
        moved = residual - tau * product
        return problem.evaluate(kept, w[kept] - tau * direction, moved), moved

    if first > 0 and np.array_equal(_kept_after(problem, w, gradient, first), kept):
        best = within(first)
        return best if best[0].objective < point.objective else None
    longer = _longer_steps(problem, w, gradient, kept, first, point.objective)
    if longer is not None:
        return longer
    for _ in range(_MOST_HALVINGS if first > 0 else 0):
        first /= 2
        if np.array_equal(_kept_after(problem, w, gradient, first), kept):
            best = within(first)
            return best if best[0].objective < point.objective else None
    return None


def _kept_at_first(problem: Problem, w: FloatArray, gradient: FloatArray) -> IntArray:
    """Return the support that an infinitesimal step keeps: that of w, and where there is room the steepest others."""
    support = np.flatnonzero(w)
    if support.size >= problem.constraint.total:
        return support
    return problem.constraint.select(np.abs(gradient), fixed_in=support)


def _kept_after(problem: Problem, w: FloatArray, gradient: FloatArray, tau: float) -> IntArray:
    return problem.constraint.select(np.abs(w - tau * gradient))


def _longer_steps(
    problem: Problem, w: FloatArray, gradient: FloatArray, kept: IntArray, first: float, below: float
) -> tuple[Point, FloatArray] | None:
    """Return the best of the steps beyond the breakpoint, None where none is better than ``below``."""
    outside = gradient.copy()
    outside[kept] = 0.0
    largest = float(np.abs(outside).max())
    if largest == 0 or kept.size == 0:
        return None
    # Where the gradient vanishes on the support, the first breakpoint itself is the shortest step worth a try.
    tau = max(first, float(np.abs(w[kept]).min()) / largest)
    best = None
    for _ in range(_MOST_DOUBLINGS if tau > 0 else 0):
        moved = w - tau * gradient
        support = problem.constraint.select(np.abs(moved))
        residual = problem.residual(support, moved[support])
        point = problem.evaluate(support, moved[support], residual)
        if not point.objective < below:
            break
        best, below = (point, residual), point.objective
        tau *= 2
    return best


def _polish(problem: Problem, point: Point, options: IHT, monitor: Monitor) -> Point:
    """Minimise on the support of ``point``: exactly for hard-thresholding pursuit, else by coordinate descent."""
    if not options.refit:
        return coordinate_descent(problem, point, CoordinateDescent(_POLISH_SWEEPS, options.tol), monitor)[0]
    refitted = problem.refit(point.support)
    monitor.record(refitted)
    return refitted
