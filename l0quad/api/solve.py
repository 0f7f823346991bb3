"""solve: start, method, final solve on the support, lower bound, Result."""

import functools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.api.checkpoint import checkpoint_of, fresh
from l0quad.api.claims import is_optimal
from l0quad.api.result import Result, as_rounded, public_certificate, relative
from l0quad.api.start import starting_point
from l0quad.bounds.bound import first_bound, lower_bound
from l0quad.bounds.dual import dual_bound_at
from l0quad.certificates import Bound
from l0quad.errors import Stopped
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.problem import Problem
from l0quad.run import debug, threads
from l0quad.run.monitor import Callback, Limits, Monitor, SolveMonitor, SubMonitor
from l0quad.run.outcome import Outcome, State, Status
from l0quad.run.progress import Progress
from l0quad.shown import gap_words
from l0quad.solvers.needs import Needs, Options, require, require_resumable
from l0quad.solvers.registry import METHODS, Method, resolve
from l0quad.types import PathLike

_LARGEST = float(np.finfo(np.float64).max)
# A problem this much taller than wide is reduced to p rows for a method that passes over A often, where p is small.
_TALL = 4
_REDUCED_COLUMNS = 256


def solve(
    problem: Problem,
    method: str | Options = "auto",
    *,
    start: ArrayLike | Result | None = None,
    bound: str = "fast",
    gap_tol: float | None = None,
    gap_tol_abs: float | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
    seed: int = 0,
    callback: Callback | None = None,
    verbose: int = 0,
    checkpoint: PathLike | None = None,
) -> Result:
    """Solve a problem and say how good the answer is.

    Parameters
    ----------
    problem : Problem
        What to solve; it is not changed.
    method : str or options object
        A name of `METHODS`, or options such as ``IHT(max_iter=50)``.
    start : array_like, Result or None
        Where to begin: a point (floats, shape (p,)), a support (integers, or a boolean mask of shape (p,)), or an
        earlier result. A point with too many nonzeros keeps its largest allowed ones. Default: the largest entries of
        w0, or of the ridge solution where w0 = 0; for methods that build a support themselves, zero.
    bound : {"fast", "none", "tight"}
        How much to spend on the lower bound: about what the solve takes; nothing (what is known without work); as much
        as the relaxations' optima take. Where it is not "none", `auto` also searches supports by a tree of counted
        size (`docs/methods.md`), which may find a better point.
    gap_tol, gap_tol_abs : float, optional
        End as CONVERGED as soon as the gap is proven to be at most this, relative to the objective or in its units.
        For methods that compute no bounds, one is computed from their best point after 1, 2, 4, ... iterations.
    time_limit : float, optional
        Seconds, after which the best point so far is returned.
    n_threads : int, optional
        Threads for BLAS and for compiled kernels; default: BLAS as it is configured, kernels all cores.
    seed : int
        For methods that draw random numbers; the same seed gives the same answer.
    callback : callable, optional
        Called with a `State` once an iteration; a true return value stops the solve.
    verbose : int
        1: `Progress` on stderr.
    checkpoint : path, optional
        A ``.npz`` file that keeps the best point and what the method needs to go on; written at most every 30 seconds,
        and when the method ends or is stopped. The same solve, called again with the same file, goes on from there and
        ends with the bytes of one that was never stopped. ``time_limit`` counts from this call; ``solve_time``,
        ``history`` and ``n_sweeps`` go on too. The file stays: once the method has ended, only what follows it is done
        anew. Where it cannot be written, a `CheckpointWarning`. Not for every method (`docs/methods.md`).

    Returns
    -------
    Result
        A limit, a callback's stop and Ctrl-C return the best feasible point, with the status that says so.

    Raises
    ------
    Unsuited
        Where the method cannot work on the problem, or not go on from a checkpoint; a ValueError.
    ValueError, TypeError
        Naming the argument, the rule and the value, before any work.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> problem = l0quad.Problem(A, A[:, 2] - 2 * A[:, 5] + 0.1 * A[:, 0], k=2)
    >>> result = l0quad.solve(problem)
    >>> result.support, result.status.name
    (array([2, 5]), 'OPTIMAL')
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: must be a Problem, got {type(problem).__name__}; minimize() takes A and b")
    chosen, options = resolve(method)
    needs = chosen.needs
    validation.choice(bound, "bound", ("none", "fast", "tight"))
    verbose = int(verbose) if isinstance(verbose, bool) else validation.integer(verbose, "verbose", 0)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: must be callable, got {callback!r}")
    begin = starting_point(problem, needs, start)
    limits = _limits(problem, time_limit, gap_tol, gap_tol_abs)
    if n_threads is not None:
        n_threads = validation.integer(n_threads, "n_threads", 1)
    seed = validation.integer(seed, "seed", 0)
    _require(options.name, needs, problem.core)
    kept = None
    if checkpoint is not None:
        require_resumable(options.name, {other: each.needs for other, each in METHODS.items()})
        problem = fresh(problem)
        kept = checkpoint_of(checkpoint, problem, options, start, seed)
    progress = Progress() if verbose else None
    monitor = SolveMonitor(
        best=problem.core.zero(),
        bound=first_bound(problem.core),
        units=problem.units,
        limits=limits,
        callback=both(progress, callback),
        n_threads=n_threads or threads.available(),
        seed=seed,
        optimum=debug.optimum_of(problem),
        matrix=problem.core.matrix,
        reading=None if progress is None else progress.reading,
        checkpoint=kept,
    )
    # Data of wildly different sizes may overflow on the way to candidates that are then not taken.
    with threads.limited(n_threads), problem.core.matrix.watched(monitor.expired), np.errstate(all="ignore"):
        try:
            try:
                problem, outcome = _outcome(problem, chosen, options, begin, monitor, bound)
            finally:
                monitor.flush()
            # Tall files, here still, have been swept in part, and a limit has come.
            bound = "none" if problem.core.in_tall_files else bound
            return result_of(problem, outcome, bound, options.name, monitor)
        finally:
            if progress is not None:
                progress.clear()


def is_tall(core: CoreProblem) -> bool:
    """Whether it pays to reduce the problem to as many rows as columns for whoever passes over A often."""
    n, p = core.shape
    return n >= _TALL * p and p <= _REDUCED_COLUMNS


def _require(name: str, needs: Needs, core: CoreProblem) -> None:
    require(name, needs, core, {other: each.needs for other, each in METHODS.items()})


def _limits(problem: Problem, seconds: float | None, gap: float | None, absolute_gap: float | None) -> Limits:
    seconds = None if seconds is None else validation.real(seconds, "time_limit")
    if gap is None and absolute_gap is None:
        return Limits(seconds)
    gap = None if gap is None else validation.real(gap, "gap_tol")
    absolute_gap = None if absolute_gap is None else validation.real(absolute_gap, "gap_tol_abs")
    return Limits(seconds, gap, absolute_gap, _bounds_of(problem.core))


def _bounds_of(core: CoreProblem) -> Callable[[Point], Bound] | None:
    return functools.partial(dual_bound_at, core) if core.has_ridge else None


def both(progress: Progress | None, callback: Callback | None) -> Callback | None:
    """Return a callback that shows progress and then asks the user's, where there are both."""
    if progress is None or callback is None:
        return progress or callback

    def both(state: State) -> object:
        progress(state)
        return callback(state)

    return both


def _outcome(
    problem: Problem,
    method: Method,
    options: Options,
    begin: Callable[[CoreProblem], Point],
    monitor: SolveMonitor,
    bound_mode: str,
) -> tuple[Problem, Outcome]:
    """Run the method, where A is in tall files on a problem with p rows, which is returned."""
    try:
        working = problem.in_memory(monitor.pause)
    except (Stopped, KeyboardInterrupt):
        monitor.stopped = monitor.stopped or Status.INTERRUPTED
        return problem, Outcome(problem.core.zero(), monitor.stopped)
    if working is not problem:
        core = working.core
        _require(options.name, method.needs, core)
        monitor.best, monitor.bound, monitor.units = core.zero(), first_bound(core), working.units
        if monitor.limits.bound_at is not None:
            monitor.limits = replace(monitor.limits, bound_at=_bounds_of(core))
    return working, _run(working, method, options, begin, monitor, bound_mode)


def _run(
    problem: Problem,
    method: Method,
    options: Options,
    begin: Callable[[CoreProblem], Point],
    monitor: SolveMonitor,
    bound_mode: str,
) -> Outcome:
    """Run the method and solve on its support; on Ctrl-C return the best point so far."""
    core, needs = problem.core, method.needs
    try:
        reduce = needs.reducible and is_tall(core)
        interruptible = replace(core, pause=monitor.pause)
        run, saved = monitor.begin()
        try:
            if saved is None:
                outcome = _found(interruptible, method, options, begin, monitor, run, reduce)
                run.save(outcome=outcome)
            else:
                outcome = saved["outcome"]
        except Stopped:
            outcome = Outcome(monitor.best, Status.CONVERGED)
        point = outcome.point
        # What is proven of a reduced problem is not proven of the one that it stands for.
        outcome = outcome._replace(bound=None) if reduce else outcome
        reduce = reduce and point.refit is None
        if reduce or (needs.final_solve and not point.restricted_optimum):
            # An objective of the reduced problem, or of a residual kept over many updates, is off by its rounding.
            point = core.evaluate(point.support, point.w) if point.refit is None else point
            if reduce and not monitor.expired():
                with suppress(Stopped):
                    refit = interruptible.restricted(begin(interruptible).support)
                    point = min(point, refit, key=lambda each: each.objective)
            if needs.final_solve and monitor.affords(*_restricted_work(core, point)):
                # Files are read again for it, and a limit may come meanwhile.
                with suppress(Stopped):
                    solved = (interruptible if core.matrix.counted else core).restricted(point.support)
                    point = min(solved, point, key=lambda each: each.objective)
        best = monitor.best
        if monitor.stopped is not None and needs.final_solve and best.objective < point.objective:
            # A part that is stopped need not hand over the best point that another has recorded.
            point = min(core.evaluate(best.support, best.w), point, key=lambda each: each.objective)
        if method.prove is not None and bound_mode != "none" and not monitor.expired():
            outcome = _proven(method.prove(interruptible, point, options, run), outcome, point)
            point = outcome.point
        # A block-diagonal model may lead where the objective overflows.
        finite = np.isfinite(problem.units.size(point.objective))
        return Outcome(point if finite else core.zero(), monitor.stopped or outcome.status, outcome.bound)
    except KeyboardInterrupt:
        monitor.stopped, best = Status.INTERRUPTED, monitor.best
        # What was recorded may carry the objective of a reduced problem, or one kept over many updates.
        return Outcome(core.evaluate(best.support, best.w) if best.refit is None else best, Status.INTERRUPTED)


def _found(
    core: CoreProblem,
    method: Method,
    options: Options,
    begin: Callable[[CoreProblem], Point],
    monitor: SolveMonitor,
    run: Monitor,
    reduce: bool,
) -> Outcome:
    """Run the method on the problem as it wants it, and bring its point back."""
    needs = method.needs
    reduced = core.reduced() if reduce else core
    working = reduced if needs.any_size else reduced.evened()
    exponents = working.exponents
    inner = SubMonitor(run, None, exponents) if reduce or exponents is not None else run
    # The start is the method's own, to let go of.
    outcome = method.solver(working, working.zero() if monitor.goes_on else begin(working), options, inner)
    point = outcome.point
    if exponents is not None:
        point = replace(point, w=np.ldexp(point.w, exponents[point.support]))
    return outcome._replace(point=point)


def _proven(tree: Outcome | None, outcome: Outcome, point: Point) -> Outcome:
    """Return the outcome with the point of a tree where that is better, and its bound."""
    if tree is None:
        return outcome._replace(point=point)
    if tree.point.objective < point.objective:
        return tree._replace(status=Status.CONVERGED)
    return outcome._replace(point=point, bound=tree.bound)


def _restricted_work(problem: CoreProblem, point: Point) -> tuple[float, float]:
    n, size = problem.shape[0], point.support.size
    return 4.0 * n * size * problem.dtype.itemsize, float(min(n, size)) ** 2 * (max(n, size) + min(n, size) / 3)


def result_of(problem: Problem, outcome: Outcome, mode: str, name: str, monitor: SolveMonitor) -> Result:
    """Round the point to A's dtype, bound the optimum and put the Result together."""
    core, units = problem.core, problem.units
    point, status = outcome.point, outcome.status
    w = problem.dense(point)
    if not np.all(np.isfinite(w)):
        raise ValueError("A: the solution overflows float64; scale A up or b down")
    point = as_rounded(problem, point, w)
    ended = monitor.seconds()
    monitor.best = point
    bound, cut_short = monitor.bound, False
    try:
        bound, cut_short = lower_bound(problem, point, mode, monitor, ascended=outcome.bound is not None)
        monitor.check(bound)
        if status is not Status.INTERRUPTED and is_optimal(problem, point, bound, monitor.affords):
            status = Status.OPTIMAL
        elif cut_short and status is Status.CONVERGED:
            status = monitor.stopped or status
    except KeyboardInterrupt:
        status, cut_short = Status.INTERRUPTED, True
    objective = units.value(core, point)
    support = np.flatnonzero(w).astype(np.int64, copy=False)
    n_sweeps, bytes_read = monitor.reads()
    lower = min(units.lower(bound.value), objective)
    gap = min(objective - lower, _LARGEST)
    relative_gap = relative(gap, objective, status)
    return Result(
        w=w,
        support=support,
        objective=objective,
        lower_bound=lower,
        gap=gap,
        relative_gap=relative_gap,
        certificate=public_certificate(bound.certificate, units),
        status=status,
        message=_message(status, gap_words(relative_gap, lower), bound, cut_short),
        n_iter=len(monitor.history),
        history=tuple(monitor.history),
        solve_time=monitor.spent(),
        bound_time=monitor.seconds() - ended,
        method=name,
        names=None if problem.names is None else tuple(problem.names[j] for j in support),
        n_sweeps=n_sweeps,
        bytes_read=bytes_read,
    )


def _message(status: Status, gap: str, bound: Bound, cut_short: bool) -> str:
    clauses = [status.value, bound.basis]
    clauses += ["cut short by a limit"] * cut_short + [gap] * (status is not Status.OPTIMAL)
    return "; ".join(clauses)
