"""solve and minimize: start, method, final refit, lower bound, Result."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from l0quad import threads, validation
from l0quad.bounds import Bound, lower_bound, trivial_bound
from l0quad.constraints import Cardinality, NofM, PerBlock
from l0quad.problem import Problem
from l0quad.progress import Callback, SolveMonitor
from l0quad.result import Point, Result, Status
from l0quad.solvers.magnitude import largest_entries
from l0quad.solvers.registry import Method, resolve
from l0quad.types import FloatArray, IntArray

# A relative gap of at most this much is called optimal.
OPTIMAL = 1e-6
_TINY = float(np.finfo(np.float64).tiny)
# A problem this much taller than wide is reduced to p rows for an iterative method, where p is small enough.
_TALL = 4
_REDUCED_COLUMNS = 256


def solve(
    problem: Problem,
    method: Any = "auto",
    *,
    start: Any = None,
    bound: str = "fast",
    time_limit: float | None = None,
    n_threads: int | None = None,
    seed: int = 0,
    callback: Callback | None = None,
    verbose: int = 0,
) -> Result:
    """Solve a problem and say how good the answer is.

    Parameters
    ----------
    problem : Problem
    method : str or options object
        A name of `METHODS`, or options such as ``IHT(max_iter=50)``.
    start : array_like, Result or None
        Where to begin: a point (floats, shape (p,)), a support (integers, or a boolean mask of shape (p,)), or an
        earlier result. A point with too many nonzeros keeps its largest allowed ones. Default: the largest entries of
        w0, or of the ridge solution where w0 = 0; for methods that build a support themselves, zero.
    bound : {"fast", "none", "tight"}
        How much to spend on the lower bound: about a pass over A and a few refits; nothing (the trivial bound); as
        much as the relaxation's optimum takes.
    time_limit : float, optional
        Seconds, after which the best point so far is returned.
    n_threads : int, optional
        Threads for BLAS and for compiled kernels; default: BLAS as it is configured, kernels all cores.
    seed : int
        For methods that draw random numbers; the same seed gives the same answer.
    callback : callable, optional
        Called with a `State` once an iteration; a true return value stops the solve.
    verbose : int
        1: a line on stderr at most five times a second.

    Returns
    -------
    Result
        A limit, a callback's stop and Ctrl-C return the best feasible point, with the status that says so.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value, before any work.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: must be a Problem, got {type(problem).__name__}; minimize() takes A and b")
    chosen, options = resolve(method)
    validation.choice(bound, "bound", ("none", "fast", "tight"))
    validation.integer(verbose, "verbose", 0)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: must be callable, got {callback!r}")
    begin = _start(problem, chosen, start)
    if n_threads is not None:
        n_threads = validation.integer(n_threads, "n_threads", 1)
    monitor = SolveMonitor(
        best=_zero(problem),
        user_objective=problem.user_objective,
        time_limit=None if time_limit is None else validation.real(time_limit, "time_limit"),
        callback=callback,
        verbose=int(verbose),
        n_threads=n_threads or threads.available(),
        seed=validation.integer(seed, "seed", 0),
    )
    # Data of wildly different sizes may overflow on the way to candidates that are then not taken.
    with threads.limited(n_threads), np.errstate(all="ignore"):
        point, status = _run(problem, chosen, options, begin, monitor)
        return _result(problem, point, status, bound, options.name, monitor)


def minimize(
    A: Any,
    b: Any,
    k: int | Cardinality | PerBlock | NofM,
    *,
    ridge: float = 0.0,
    w0: Any = None,
    linear: Any = None,
    method: Any = "auto",
    **options: Any,
) -> Result:
    """Build a `Problem` and `solve` it: ``minimize(A, b, k, ridge=..., method=...)``; takes all of their arguments."""
    return solve(Problem(A, b, k, ridge, w0, linear), method, **options)


def _start(problem: Problem, method: Method, start: Any) -> Callable[[Problem], Point]:
    """Check ``start`` and return what makes a point of it, for the problem or an equivalent one."""
    if start is None:
        return _zero if method.from_zero else largest_entries
    if isinstance(start, Result):
        start = start.w
    array = validation.as_array(start, "start")
    if array.dtype.kind == "f" and array.size > 0:
        w = problem.own_w(validation.vector(array, "start", problem.shape[1], "one value for each column of A"))
        support = problem.constraint.select(np.abs(w))
        support = support[w[support] != 0]
        return functools.partial(_evaluate_start, support, w[support])
    support = validation.indices(array, "start", problem.shape[1])
    if np.any(problem.constraint.room(support) < 0):
        raise ValueError(f"start: must be a support that k allows, got {support.size} columns for {problem.k!r}")
    return lambda working: working.evaluate(support, working.w0[support])


def _zero(problem: Problem) -> Point:
    return Point(np.empty(0, dtype=np.int64), np.empty(0), problem.objective_at_zero)


def _evaluate_start(support: IntArray, w: FloatArray, working: Problem) -> Point:
    with np.errstate(over="ignore", invalid="ignore"):
        point = working.evaluate(support, w)
    if not np.isfinite(point.objective):
        raise ValueError("start: its objective overflows float64")
    return point


def _run(
    problem: Problem, method: Method, options: Any, begin: Callable[[Problem], Point], monitor: SolveMonitor
) -> tuple[Point, Status]:
    """Run the method and refit; on Ctrl-C return the best point so far."""
    try:
        n, p = problem.shape
        reduce = method.iterative and n >= _TALL * p and p <= _REDUCED_COLUMNS
        working = problem.reduced() if reduce else problem
        point, status = method.solver(working, begin(working), options, monitor)
        status = monitor.stopped or status
        if reduce or (method.refit and not point.refit):
            # An objective of the reduced problem, or of a residual kept over many updates, is off by its rounding.
            point = problem.evaluate(point.support, point.w)
            if method.refit and monitor.affords(*_refit_work(problem, point)):
                refitted = problem.refit(point.support)
                point = min(refitted, point, key=lambda each: each.objective)
        # A block-diagonal model may lead where the objective overflows.
        finite = np.isfinite(problem.user_size(point.objective))
        return (point if finite else _zero(problem)), status
    except KeyboardInterrupt:
        monitor.stopped = Status.INTERRUPTED
        # What was recorded may carry the objective of a reduced problem, or one kept over many updates.
        return problem.evaluate(monitor.best.support, monitor.best.w), Status.INTERRUPTED


def _refit_work(problem: Problem, point: Point) -> tuple[float, float]:
    n, size = problem.shape[0], point.support.size
    return 4.0 * n * size * problem.dtype.itemsize, float(min(n, size)) ** 2 * (max(n, size) + min(n, size) / 3)


def _result(problem: Problem, point: Point, status: Status, mode: str, name: str, monitor: SolveMonitor) -> Result:
    """Round the point to A's dtype, bound the optimum and put the Result together."""
    w = problem.user_w(point)
    if not np.all(np.isfinite(w)):
        raise ValueError("A: the solution overflows float64; scale A up or b down")
    support = np.flatnonzero(w).astype(np.int64)
    own = problem.own_w(w[support].astype(np.float64))
    if not (np.array_equal(support, point.support) and np.array_equal(own, point.w)):
        point = replace(problem.evaluate(support, own), dual=point.dual)
    bound = trivial_bound(problem)
    try:
        bound = lower_bound(problem, point, mode, monitor)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    gap, value = max(point.objective - bound.value, 0.0), problem.unfolded(point)
    eps = float(np.finfo(problem.dtype).eps)
    negligible = OPTIMAL * max(abs(value), eps * problem.size)
    if gap <= negligible and status is not Status.INTERRUPTED:
        status = Status.OPTIMAL
    objective, user_gap = problem.user_size(value), problem.user_size(gap)
    relative_gap = gap / max(abs(value), _TINY)
    return Result(
        w=w,
        support=support,
        objective=objective,
        lower_bound=objective - user_gap,
        gap=user_gap,
        relative_gap=relative_gap,
        status=status,
        message=_message(status, relative_gap, bound),
        n_iter=len(monitor.history),
        history=tuple(monitor.history),
        solve_time=monitor.seconds(),
        method=name,
    )


def _message(status: Status, relative_gap: float, bound: Bound) -> str:
    return f"{status.value}; {bound.basis}" + ("" if status is Status.OPTIMAL else f"; relative gap {relative_gap:.3g}")
