"""K-fold cross-validation of a path: nothing of the rows left out enters what is fitted to the others."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from l0quad import frames, validation
from l0quad.api.path_run import Plan, points_of
from l0quad.matrix import Matrix, as_matrix
from l0quad.matrix.sparse_input import sparse_matrix
from l0quad.problem.design import Design
from l0quad.problem.problem import Problem
from l0quad.run import threads
from l0quad.run.outcome import Status
from l0quad.types import FloatArray, IntArray, MatrixLike

Folds = int | Iterable[tuple[ArrayLike, ArrayLike]]
Fold = tuple[IntArray, IntArray]
Errors = dict[tuple[int, float], tuple[float, float]]


def folds_of(cv: Folds, n: int, seed: int) -> list[Fold]:
    """Return the rows to train on and to test on of each fold; an int deals the rows out evenly, at random."""
    if isinstance(cv, Iterable):
        folds = [(validation.indices(train, "cv", n), validation.indices(test, "cv", n)) for train, test in cv]
        if len(folds) < 2 or any(train.size == 0 or test.size == 0 for train, test in folds):
            raise ValueError("cv: must have at least two folds, none of them empty")
        return folds
    count = validation.integer(cv, "cv", 2)
    if count > n:
        raise ValueError(f"cv: must be at most the number of rows, {n}, got {count}")
    order = np.random.default_rng(seed).permutation(n)
    parts = [np.sort(part) for part in np.array_split(order, count)]
    return [(np.setdiff1d(np.arange(n), part), part) for part in parts]


def cross_validated(
    A: MatrixLike | Matrix,
    y: FloatArray,
    weights: ArrayLike | None,
    w0: ArrayLike | None,
    options: dict[str, bool],
    folds: Sequence[Fold],
    plan: Plan,
    n_threads: int,
) -> Errors:
    """Return the (weighted) mean squared error of each (k, ridge) over the folds and its standard error.

    A fold's error is a mean over its rows; of the folds, the mean, and their standard deviation over the root of their
    number. Empty where a limit has come before the last fold was done.
    """
    X, names = _rows_of(A), A.names if isinstance(A, Matrix) else frames.names_of(A)
    row_weights = None if weights is None else validation.vector(weights, "weights", y.size, "one value for each row")
    # From nothing: the parts of `Auto` would take most of a fold's time. Without bounds.
    plans = [replace(plan, effort=None, n_threads=1) for _ in folds]
    errors: list[dict[tuple[int, float], float]] = [{} for _ in folds]

    def work(index: int) -> None:
        train, test = folds[index]
        own = None if row_weights is None else row_weights[train]
        design = Design(as_matrix(X[train], names=names), weights=own, **options)
        target = y[train]
        centre = None if w0 is None else design.own(w0)
        first = Problem(design.matrix, design.target(target), plan.kind(max(plan.ks)), plan.ridges[0], centre)
        # NumPy's warnings are set in each thread by itself.
        with np.errstate(all="ignore"):
            for problems, points in points_of(first, plans[index]):
                for k, point in points.items():
                    coef, intercept = design.coefficients(problems[k].dense(point), target)
                    squares = (X[test] @ coef + intercept - y[test]) ** 2
                    error = np.average(squares, weights=None if row_weights is None else row_weights[test])
                    errors[index][k, problems[k].ridge] = float(error)

    def stopped() -> bool:
        return any(each.stopped is not None for each in plans)

    try:
        threads.run((functools.partial(work, index) for index in range(len(folds))), n_threads, stopped)
    except KeyboardInterrupt:
        plan.stopped = Status.INTERRUPTED
        return {}
    if stopped():
        plan.stopped = next(each.stopped for each in plans if each.stopped is not None)
        return {}
    table = np.array([list(each.values()) for each in errors])
    means, deviations = table.mean(axis=0), table.std(axis=0, ddof=1) / len(folds) ** 0.5
    return dict(zip(errors[0], zip(means.tolist(), deviations.tolist(), strict=True), strict=True))


def _rows_of(A: MatrixLike | Matrix) -> Any:
    """Return A in a form that gives rows: an array, or a sparse matrix by rows."""
    if sp.issparse(A):
        return sparse_matrix(A, "A").tocsr()
    matrix = as_matrix(A)
    return next(iter(matrix.row_blocks(matrix.shape[0])))
