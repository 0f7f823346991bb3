"""Solving a layer: method, bound, limits, result."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.api.layer_exact import exact_outputs, suitable
from l0quad.api.layer_result import LayerResult, Stated, largest_bounds, lower_bound, trivial_bounds
from l0quad.api.solve import both
from l0quad.certificates import Bound, Separable, Trivial
from l0quad.errors import Stopped
from l0quad.layers import conjugate
from l0quad.layers.admm import admm
from l0quad.layers.bound import LayerBound, certified
from l0quad.layers.magnitude import magnitude
from l0quad.layers.quadratic import Quadratic, refit, refit_shared
from l0quad.layers.relaxation import relaxed_point
from l0quad.layers.shared_swaps import shared_swaps
from l0quad.layers.sparsegpt import sparsegpt
from l0quad.layers.swaps import swaps
from l0quad.layers.wanda import wanda
from l0quad.problem.core import Point
from l0quad.problem.units import Units
from l0quad.run import debug, threads
from l0quad.run.monitor import Callback, Limits, SolveMonitor
from l0quad.run.outcome import Status
from l0quad.run.progress import Progress
from l0quad.shown import gap_words
from l0quad.types import BoolArray, FloatArray

METHODS = ("auto", "admm", "magnitude", "wanda", "sparsegpt", "exact")
# Iterations of the relaxation, and the rise of the bound that ends it.
_WORK = {"none": (0, 0.0), "fast": (25, 1e-4), "tight": (200, 0.0)}
# An eigendecomposition of order d takes about so many flops times d^3, the bound with its diagonal so many.
_EIGEN_FLOPS = 12.0
_BOUND_FLOPS = 60.0
_OPTIMAL = 1e-6
_LARGEST = float(np.finfo(np.float64).max)
_EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)


@dataclass
class Found:
    """What a method hands over.

    Attributes
    ----------
    W : ndarray of shape (m, d)
    status : Status
    bounds : ndarray or None
        Where the method proves bounds itself, those of the outputs.
    """

    W: FloatArray
    status: Status
    bounds: FloatArray | None = None


def solve_layer(
    layer: Stated,
    method: str,
    start: ArrayLike | LayerResult | None,
    bound: str,
    gap_tol: float | None,
    time_limit: float | None,
    n_threads: int | None,
    seed: int,
    callback: Callback | None,
    verbose: int,
    xp: ModuleType,
) -> LayerResult:
    """Check the arguments of `Layer.solve`, run the method, bound the optimum."""
    validation.choice(bound, "bound", tuple(_WORK))
    verbose = int(verbose) if isinstance(verbose, bool) else validation.integer(verbose, "verbose", 0)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: must be callable, got {callback!r}")
    if start is not None and method != "auto":
        raise ValueError(f"start: is for the method 'auto', got {method!r}")
    limits = Limits(
        None if time_limit is None else validation.real(time_limit, "time_limit"),
        None if gap_tol is None else validation.real(gap_tol, "gap_tol"),
    )
    n_threads = threads.available() if n_threads is None else validation.integer(n_threads, "n_threads", 1)
    quadratic = layer.quadratic
    mask = None if start is None else _starting_mask(quadratic, start)
    nothing = np.empty(0, dtype=np.int64)
    progress = Progress() if verbose else None
    monitor = SolveMonitor(
        best=Point(nothing, np.empty(0), float(quadratic.at_zero.sum())),
        bound=Bound(float(trivial_bounds(quadratic).sum()), Trivial(), ""),
        units=Units(0, 0, np.empty(0), None),
        limits=limits,
        callback=both(progress, callback),
        n_threads=n_threads,
        seed=validation.integer(seed, "seed", 0),
        optimum=debug.optimum_of(layer),
    )
    run = _Run(layer, monitor, _WORK[bound], xp)
    # BLAS on one thread: its sums depend on their number, and the answer must not.
    with threads.limited(1), np.errstate(all="ignore"):
        try:
            return run.result(run.solve(method, mask), method)
        finally:
            if progress is not None:
                progress.clear()


class _Run:
    """One solve of a layer."""

    def __init__(self, layer: Stated, monitor: SolveMonitor, work: tuple[int, float], xp: ModuleType) -> None:
        self.layer, self.quadratic, self.monitor = layer, layer.quadratic, monitor
        self.work, self.xp = work, xp
        self.bound: LayerBound | None = None

    def solve(self, method: str, mask: BoolArray | None) -> Found:
        """Run a method; where a limit or a Ctrl-C ends it, return the best point so far."""
        try:
            found = self._method(method, mask)
        except Stopped:
            found = Found(self._best(), Status.CONVERGED)
        except KeyboardInterrupt:
            self.monitor.stopped = Status.INTERRUPTED
            found = Found(self._best(), Status.INTERRUPTED)
        found.status = self.monitor.stopped or found.status
        return found

    def _method(self, method: str, mask: BoolArray | None) -> Found:
        quadratic, monitor = self.quadratic, self.monitor
        if method == "exact":
            suitable(self.layer)
            start = wanda(quadratic)
            if not self._record_point(start):
                start = self._refit(start != 0)
                self._record_point(start)
            bounds, status = exact_outputs(self.layer, monitor, start, self._record_point)
            return Found(self._best(), status, bounds)
        if method in ("magnitude", "wanda"):
            W = magnitude(quadratic) if method == "magnitude" else wanda(quadratic)
        elif method == "sparsegpt":
            W = sparsegpt(quadratic, monitor.pause)
        elif method == "admm":
            split = self._split()
            if split is None:
                monitor.stopped = Status.TIME_LIMIT
                raise Stopped
            W = self._refit(split)
        else:
            return self._exchanged(mask)
        self._record_point(W)
        return Found(W, Status.CONVERGED)

    def _exchanged(self, mask: BoolArray | None) -> Found:
        quadratic, monitor = self.quadratic, self.monitor
        if mask is not None:
            # A limit may come before the first refit.
            self._record_point(quadratic.W0 * mask)
        elif (mask := self._split()) is None:
            mask = self._best() != 0
        if monitor.limits.gap is not None:
            W = self._refit(mask)
            if self._record(W, mask, quadratic.objectives(W)) or self._prove():
                return Found(W, Status.CONVERGED)
        if quadratic.pattern.shared:
            W, status = shared_swaps(quadratic, mask[0], self._record)
        else:
            W, status = swaps(quadratic, mask, monitor.n_threads, monitor.expired, self._record)
        return Found(self._best(), Status.CONVERGED) if status is None else Found(W, status)

    def _split(self) -> BoolArray | None:
        """Return ADMM's mask, None where its eigendecomposition would not fit the time limit.

        Wanda's rule is the best point until then.
        """
        quadratic, monitor = self.quadratic, self.monitor
        self._record_point(wanda(quadratic))
        fits = monitor.affords(0.0, _EIGEN_FLOPS * float(quadratic.Q.shape[0]) ** 3)
        return admm(quadratic, monitor.pause, self.xp) if fits else None

    def _refit(self, mask: BoolArray) -> FloatArray:
        quadratic, pause = self.quadratic, self.monitor.pause
        if quadratic.pattern.shared:
            return refit_shared(quadratic.regular, quadratic.targets, mask[0])
        if self.xp is np:
            return refit(quadratic.regular, quadratic.targets, mask, pause)
        return conjugate.refit(quadratic.regular, quadratic.targets, mask, pause, self.xp)

    def _record_point(self, W: FloatArray) -> bool:
        return self._record(W, W != 0, self.quadratic.objectives(W))

    def _record(self, W: FloatArray, mask: BoolArray, values: FloatArray) -> bool:
        support = np.flatnonzero(mask)
        return self.monitor.record(Point(support, W.ravel()[support], float(values.sum())))

    def _best(self) -> FloatArray:
        W = np.zeros(self.quadratic.W0.size)
        W[self.monitor.best.support] = self.monitor.best.w
        return W.reshape(self.quadratic.W0.shape)

    def _prove(self) -> bool:
        """Bound the optimum; True where the solve must end. What a limit cuts short is a bound all the same."""
        monitor, quadratic = self.monitor, self.quadratic
        if not monitor.affords(0.0, _BOUND_FLOPS * float(quadratic.Q.shape[0]) ** 3):
            return monitor.expired()
        d = self.layer.diagonal(monitor.pause)
        if d is None:
            return monitor.expired()
        point = relaxed_point(quadratic, d, *self.work, monitor.pause, self.xp)
        self.bound = certified(quadratic, point, d)
        return monitor.prove(Bound(float(self.bound.values.sum()), Trivial(), ""))

    def result(self, found: Found, method: str) -> LayerResult:
        """Round to the dtype of W0, bound the optimum and put the result together."""
        quadratic, monitor = self.quadratic, self.monitor
        W, mode = found.W.T.astype(self.layer.W0.dtype), self.work[0]
        own = np.ascontiguousarray(W.T, dtype=np.float64)
        values = quadratic.objectives(own)
        objective = float(values.sum())
        ended = monitor.seconds()
        empty = quadratic.pattern.partition.total == 0
        if mode and not empty and found.bounds is None and self.bound is None:
            try:
                self._prove()
            except Stopped:
                pass
            except KeyboardInterrupt:
                found.status = Status.INTERRUPTED
        certificate: Separable | Trivial | None = Trivial()
        bounds = trivial_bounds(quadratic)
        if found.bounds is not None:
            bounds, certificate = found.bounds, None
        elif self.bound is not None and not empty:
            certificate = Separable(self.bound.point.T, self.bound.diagonal)
            bounds = largest_bounds(quadratic, self.bound.values)
        lower = lower_bound(bounds, objective)
        debug.check(lower, monitor.optimum)
        gap = min(objective - lower, _LARGEST)
        relative_gap = min(gap / max(abs(objective), _TINY), _LARGEST)
        spread = objective - float(quadratic.constant.sum())
        at_zero = float(quadratic.at_zero.sum())
        # Beside the least F over all W, so that a constant decides nothing, or lost beside F at zero.
        closed = gap <= max(_OPTIMAL * spread, _EPS * (at_zero - objective + spread))
        if found.status is not Status.INTERRUPTED and (closed or empty):
            found.status = Status.OPTIMAL
            # What is left of it is rounding, or of the size of an objective that decides nothing.
            relative_gap = min(relative_gap, _OPTIMAL)
        return LayerResult(
            W=W,
            mask=W != 0,
            objective=objective,
            relative_error=objective / at_zero if at_zero > 0 else 0.0,
            lower_bound=lower,
            gap=gap,
            relative_gap=relative_gap,
            column_objectives=values,
            column_bounds=np.clip(bounds, -_LARGEST, values) if quadratic.pattern.separate else None,
            certificate=certificate,
            status=found.status,
            message=_message(found.status, certificate, gap_words(relative_gap, lower), empty),
            n_iter=len(monitor.history),
            history=tuple(monitor.history),
            solve_time=monitor.seconds(),
            bound_time=monitor.seconds() - ended,
            method=method,
        )


def _message(status: Status, certificate: Separable | Trivial | None, gap: str, empty: bool) -> str:
    basis = "the bound is that of branch and bound"
    if empty:
        basis = "W = 0 is the only point within the budget"
    elif isinstance(certificate, Separable):
        basis = "the bound is the separable relaxation's"
    elif certificate is not None:
        basis = "no bound was found but that H is semidefinite"
    return f"{status.value}; {basis}; {gap}"


def _starting_mask(quadratic: Quadratic, start: ArrayLike | LayerResult | None) -> BoolArray:
    """Return the allowed mask that keeps most of a start, filled up with the largest entries of the centre."""
    m, d = quadratic.W0.shape
    array = validation.as_array(start.W if isinstance(start, LayerResult) else start, "start")
    if array.shape != (d, m) or array.dtype.kind not in "bf":
        raise ValueError(
            f"start: must be a mask (bool) or weights of shape ({d}, {m}), got {array.dtype}, shape {array.shape}"
        )
    W = np.ascontiguousarray(array.T)
    if W.dtype != np.bool_:
        validation.largest_exponent(W.astype(np.float64), "start")
    scale = quadratic.Q.diagonal()
    given = (W.astype(np.float64) ** 2 if W.dtype != np.bool_ else quadratic.W0**2) * scale
    scores = quadratic.W0**2 * scale
    most = max(float(given.max()), float(scores.max())) or 1.0
    return quadratic.pattern.select(np.where(W != 0, given / most + 2.0, scores / most))
