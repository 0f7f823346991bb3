"""path: the best subsets of many sizes, for one ridge or several."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.api.criteria import CRITERIA
from l0quad.api.cross_validation import Errors, Folds, cross_validated, folds_of
from l0quad.api.path_result import Fit, PathResult
from l0quad.api.path_run import Entry, Plan, run_path
from l0quad.matrix import Matrix
from l0quad.problem.constraints.cardinality import Cardinality
from l0quad.problem.design import Design
from l0quad.problem.problem import Budget, Problem
from l0quad.run import threads
from l0quad.run.monitor import Callback
from l0quad.run.outcome import Status
from l0quad.solvers.auto import Auto
from l0quad.types import FloatArray, MatrixLike


def path(
    A: MatrixLike | Matrix,
    b: ArrayLike,
    ks: Iterable[int] = range(1, 11),
    ridges: float | Iterable[float] = 0.0,
    *,
    w0: ArrayLike | None = None,
    fit_intercept: bool = False,
    standardize: bool = False,
    weights: ArrayLike | None = None,
    constraint: Callable[[int], Budget] = Cardinality,
    effort: str = "fast",
    bound: str = "fast",
    cv: Folds | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    n_threads: int | None = None,
    callback: Callback | None = None,
) -> PathResult:
    """Solve ``minimise 1/2 ||A w - b||^2 + ridge ||w - w0||^2, ||w||_0 <= k`` for every k and every ridge.

    The largest k is solved by `Auto`; from there one walk over exact removals, additions and exchanges serves all k. No
    k has a higher objective than a smaller one. Lower bounds come from a few ascents, each of which serves every k, and
    small problems are proven by trees, as in `solve`.

    Parameters
    ----------
    A : array_like, scipy.sparse matrix or Matrix, shape (n, p)
    b : array_like, shape (n,)
    ks : iterable of int
    ridges : float or iterable of float
        Each begins from the answers of the one before. With ``standardize`` in the units of `Design`.
    w0 : array_like, shape (p,), optional
        For the columns as they are given.
    fit_intercept, standardize, weights
        As in `Design`; `Fit.coef` and `Fit.intercept` are for the columns as they are given.
    constraint : callable
        From k to a constraint, such as ``lambda k: l0quad.Cardinality(k, must=[3])``; larger ones for larger k.
    effort : {"fast", "thorough"}
        As in `Auto`.
    bound : {"fast", "none", "tight"}
        As in `solve`.
    cv : int or iterable of (train, test), optional
        Folds of cross-validation, or the rows themselves: `PathResult.best` then takes ``"cv"`` and ``"1se"``. Means
        and scales are those of the rows that are trained on. The walk of a fold begins from nothing, up and down.
    seed : int
        Of the assignment of rows to folds.
    time_limit : float, optional
        Seconds for all of it, after which what has been reached is returned.
    n_threads : int, optional
        Threads for BLAS and kernels; of cross-validation, folds side by side, with BLAS on one each, so that their
        number changes nothing.
    callback : callable, optional
        Called with a `State` at each iteration of a search; a true value ends the path.

    Returns
    -------
    PathResult
        An interrupt ends the path with what there is.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((60, 12))
    >>> found = l0quad.path(A, A[:, 3] - 2 * A[:, 8] + 0.1 * np.sin(np.arange(60)), ks=range(1, 5))
    >>> found.best("ebic").result.support
    array([3, 8])
    """
    started = time.perf_counter()
    design = _Design(A, fit_intercept=fit_intercept, standardize=standardize, weights=weights)
    p = design.matrix.shape[1]
    y = design.vector(b)
    ks, ridges = _ks(ks), _ridges(ridges)
    if not callable(constraint):
        raise TypeError(f"constraint: must be callable, from k to a constraint, got {constraint!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: must be callable, got {callback!r}")
    validation.choice(bound, "bound", ("none", "fast", "tight"))
    seconds = None if time_limit is None else validation.real(time_limit, "time_limit")
    count = threads.available() if n_threads is None else validation.integer(n_threads, "n_threads", 1)
    folds = None if cv is None else folds_of(cv, design.matrix.shape[0], validation.integer(seed, "seed", 0))
    plan = Plan(ks, ridges, constraint, Auto(effort), bound, seconds, callback, count, started)
    centre = None if w0 is None else design.own(w0)
    problem = Problem(design.matrix, design.target(y), constraint(ks[-1]), ridges[0], centre)
    with threads.limited(n_threads), np.errstate(all="ignore"):
        entries = run_path(problem, plan)
    errors: Errors = {}
    if folds is not None and plan.stopped is None:
        options = {"fit_intercept": fit_intercept, "standardize": standardize}
        errors = cross_validated(A, y, weights, w0, options, folds, plan, count)
    fits = tuple(_fit(entry, design, y, errors) for entry in entries)
    return PathResult(fits, plan.stopped or Status.CONVERGED, p, time.perf_counter() - started, design.matrix.names)


class _Design(Design):
    """A design whose errors name the arguments of `path`."""

    _names = ("A", "b", "w0")


def _fit(entry: Entry, design: Design, y: FloatArray, errors: Errors) -> Fit:
    p, size = design.matrix.shape[1], entry.result.support.size
    scores = {name: criterion(entry.rss, design.n_rows, p, size) for name, criterion in CRITERIA.items()}
    if (entry.k, entry.ridge) in errors:
        scores["cv"], scores["cv_error"] = errors[entry.k, entry.ridge]
    coef, intercept = design.coefficients(entry.result.w, y)
    return Fit(entry.k, entry.ridge, entry.result, coef, intercept, entry.rss, scores)


def _ks(ks: Iterable[int]) -> tuple[int, ...]:
    found = sorted({validation.integer(k, "ks", 0) for k in _several(ks, "ks")})
    if not found:
        raise ValueError("ks: must have at least one k")
    return tuple(found)


def _ridges(ridges: float | Iterable[float]) -> tuple[float, ...]:
    found = tuple(dict.fromkeys(validation.real(ridge, "ridges") for ridge in _several(ridges, "ridges")))
    if not found:
        raise ValueError("ridges: must have at least one ridge")
    return found


def _several(values: Any, name: str) -> list[Any]:
    """Return an iterable's values, or a lone number as the one value."""
    if np.ndim(values) == 0 and not isinstance(values, Iterable):
        return [values]
    try:
        return list(values)
    except TypeError as error:
        raise TypeError(f"{name}: must be numbers, got {values!r}") from error
