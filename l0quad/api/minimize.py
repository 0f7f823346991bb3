"""minimize: a problem built and solved in one call."""

from numpy.typing import ArrayLike

from l0quad.api.result import Result
from l0quad.api.solve import solve
from l0quad.matrix import Matrix
from l0quad.problem.problem import Budget, Problem
from l0quad.run.monitor import Callback
from l0quad.solvers.needs import Options
from l0quad.types import MatrixLike, PathLike


def minimize(
    A: MatrixLike | Matrix,
    b: ArrayLike,
    k: Budget,
    *,
    ridge: float = 0.0,
    w0: ArrayLike | None = None,
    linear: ArrayLike | None = None,
    method: str | Options = "auto",
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
    """Build a `Problem` and `solve` it.

    Parameters
    ----------
    A, b, k, ridge, w0, linear
        As in `Problem`.
    method, start, bound, gap_tol, gap_tol_abs, time_limit, n_threads, seed, callback, verbose, checkpoint
        As in `solve`.

    Returns
    -------
    Result
        As from `solve`.

    Raises
    ------
    Unsuited, ValueError, TypeError
        As from `Problem` and `solve`.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2).w.round(6).tolist()[:6]
    [0.0, 0.0, 1.0, 0.0, 0.0, -2.0]
    """
    return solve(
        Problem(A, b, k, ridge, w0, linear),
        method,
        start=start,
        bound=bound,
        gap_tol=gap_tol,
        gap_tol_abs=gap_tol_abs,
        time_limit=time_limit,
        n_threads=n_threads,
        seed=seed,
        callback=callback,
        verbose=verbose,
        checkpoint=checkpoint,
    )
