"""bound: a certificate for any point."""

from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.api.result import Result, own_certificate, public_certificate
from l0quad.api.start import starting_point
from l0quad.bounds.bound import first_bound, lower_bound
from l0quad.certificates import Certificate, Dual
from l0quad.errors import Stopped
from l0quad.problem.problem import Problem
from l0quad.run import threads
from l0quad.run.monitor import Limits, SolveMonitor
from l0quad.solvers.needs import Needs


@dataclass(frozen=True, slots=True)
class LowerBound:
    """A lower bound on the optimum and what proves it.

    Attributes
    ----------
    value : float
        No feasible point has a smaller objective.
    certificate : Trivial, AllColumns, Dual or Separable
        What proves ``value``, for every point.
    basis : str
        What it rests on, in words.
    seconds : float
        What it took.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> problem = l0quad.Problem(A, A[:, 2] - 2 * A[:, 5] + 0.1 * A[:, 0], k=2)
    >>> found = l0quad.bound(problem)
    >>> found.basis, found.value <= problem.objective(A[0])
    ("the bound is the separable relaxation's", True)
    """

    value: float
    certificate: Certificate = field(repr=False)
    basis: str
    seconds: float


def bound(
    problem: Problem,
    start: ArrayLike | Result | None = None,
    mode: str = "tight",
    *,
    time_limit: float | None = None,
    n_threads: int | None = None,
) -> LowerBound:
    """Bound the optimum from below, with a certificate that holds for every point.

    Parameters
    ----------
    problem : Problem
        What is to be bounded; it need not have been solved.
    start : array_like, Result or None
        A good point makes a good bound sooner. As in `solve`; of a result, the certificate is gone on from too.
        Default: the largest entries of w0, or of the ridge solution where w0 = 0.
    mode : {"tight", "fast"}
        How much to spend, as in `solve`.
    time_limit : float, optional
        Seconds, after which the best bound so far is returned.
    n_threads : int, optional
        As in `solve`.

    Returns
    -------
    LowerBound
        The largest of the bounds that were computed, rounded down.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.

    Examples
    --------
    >>> import l0quad
    >>> problem = l0quad.Problem([[1.0, 0.2], [0.3, 1.0]], [1.0, 0.5], k=1, ridge=0.1)
    >>> found = l0quad.bound(problem, start=[0])
    >>> found.value <= l0quad.solve(problem).objective
    True
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: must be a Problem, got {type(problem).__name__}")
    validation.choice(mode, "mode", ("tight", "fast"))
    begin = starting_point(problem, Needs(solves_start=True), start)
    seconds = None if time_limit is None else validation.real(time_limit, "time_limit")
    if n_threads is not None:
        n_threads = validation.integer(n_threads, "n_threads", 1)
    core, units = problem.core, problem.units
    monitor = SolveMonitor(core.zero(), first_bound(core), units, Limits(seconds), matrix=core.matrix)
    found = monitor.bound
    with threads.limited(n_threads), core.matrix.watched(monitor.expired), np.errstate(all="ignore"), suppress(Stopped):
        problem = problem.in_memory(monitor.pause)
        core, units = problem.core, problem.units
        monitor.best, monitor.bound, monitor.units = core.zero(), first_bound(core), units
        point = core.optimised(begin(core))
        monitor.best = point
        given = own_certificate(start.certificate, units) if isinstance(start, Result) else None
        nu = given.nu if isinstance(given, Dual) and given.nu.size == core.shape[0] else None
        found = lower_bound(problem, point, mode, monitor, nu).bound
    value = units.lower(found.value)
    return LowerBound(value, public_certificate(found.certificate, units), found.basis, monitor.seconds())
