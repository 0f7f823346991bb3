"""Restricted solves: the best w on a given support."""

from collections.abc import Callable, Iterator

import numpy as np

from l0quad.linalg.cholesky import cholesky, factored_in_place
from l0quad.linalg.orthogonal import minimum_norm, pivoted_qr, shortest
from l0quad.linalg.tall import triangle
from l0quad.matrix import Matrix
from l0quad.types import FloatArray, IntArray, Pause, go_on

_EPS = float(np.finfo(np.float64).eps)
# Beyond this order a dense factorization (2 GB) gives way to an iterative solve; from a lower one on where A takes less
# memory by far than the factor would.
DIRECT_LIMIT = 16384
_SMALL_ORDER = 4096
# So few columns are also solved stacked on the ridge, which counts where it is better by this share.
_STACKED = 1024
_BETTER = 1e-9
_FILL = 8
# Refinement ends when a correction is this small beside the solution: it is then as exact as its residual.
_CONTRACTED = 1e-10
_MOST_REFINEMENTS = 4
# The share of the dual solution's digits that may cancel in A_S'y.
_CANCELLED = 1e-8
# From a w0 whose residual is this many times that of w = 0, digits are lost on the way back.
_FAR = 1e3


def restricted_solve(
    matrix: Matrix, b: FloatArray, w0: FloatArray, mu: float, support: IntArray, pause: Pause = go_on
) -> tuple[FloatArray, FloatArray]:
    """Return the w on the support S that minimises ``1/2 ||A_S w - b||^2 + mu/2 ||w - w0||^2``, and A_S w - b.

    With v = w - w0_S and r = b - A_S w0_S, it minimises ``1/2 ||A_S v - r||^2 + mu/2 ||v||^2``. For
    |S| <= n by Cholesky of A_S'A_S + mu I (|S| x |S|), refined against A; else in the dual form v = A_S'y,
    (A_S A_S' + mu I) y = r (n x n, Woodbury's identity; CHITA, ICML 2023, Algorithm 5), refined against that matrix,
    in three sweeps over A_S. Where the matrix is numerically singular the factorization gives way to an orthogonal one,
    and of several minimisers the one nearest to w0 is returned (the limit mu -> 0). Beyond `DIRECT_LIMIT` in both
    sizes, and where a sparse A takes much less memory than a factorization: LSMR. ``pause`` is called between slices of
    long work.
    """
    if support.size == 0:
        return np.empty(0), -b
    w0, rows = w0[support], matrix.shape[0]
    order = min(rows, support.size)
    if order > DIRECT_LIMIT or (order > _SMALL_ORDER and 8 * order * order > _FILL * matrix.nbytes):
        A_S, columns = matrix.view(support)
        v = _iterative(A_S, columns, _target(A_S, columns, b, w0), mu, pause)
    else:
        A_S, columns, gram = matrix.prepared.gathered(support, pause)
        r = _target(A_S, columns, b, w0)
        if support.size > rows:
            dual = _dual(A_S, columns, r, w0, mu, gram, pause)
            if dual is not None:
                return dual[0], dual[1] - b
        elif float(np.linalg.norm(r)) > _FAR * float(np.linalg.norm(b)):
            # So far from w0 (where a small ridge and a linear term may have put it) w0 + v cancels: w itself is found.
            near = _primal(A_S, columns, b, mu, gram, pause, mu * w0)
            if near is not None:
                return near, A_S.matvec(columns, near) - b
        primal = _primal(A_S, columns, r, mu, gram, pause) if support.size <= rows else None
        v = orthogonal_solve(A_S, columns, r, mu, pause) if primal is None else primal
    w = w0 + v
    return w, A_S.matvec(columns, w) - b


def orthogonal_solve(
    A_S: Matrix, columns: IntArray | None, r: FloatArray, mu: float, pause: Pause = go_on
) -> FloatArray:
    """Minimise ``1/2 ||A_S v - r||^2 + mu/2 ||v||^2`` whatever the rank; the shortest v where there are several.

    Of more columns than rows, and than `_STACKED`, no copy is made: a QR of A_S' by blocks shows which rows are
    independent.
    """
    n, every = A_S.shape[0], np.arange(A_S.shape[1]) if columns is None else columns
    if every.size > n:
        wide = _wide(A_S, columns, every, r, mu, pause)
        if mu == 0 or every.size > _STACKED:
            return wide
    stacked = minimum_norm(np.array(A_S.take(every), dtype=np.float64, order="F"), r, mu, pause)
    if every.size <= n:
        return stacked

    def value(v: FloatArray) -> float:
        left = A_S.matvec(columns, v) - r
        return float(left @ left) + mu * float(v @ v)

    # Stacked, columns of very different sizes keep their digits; by rows, rows that repeat each other do.
    return stacked if value(stacked) < (1 - _BETTER) * value(wide) else wide


def _wide(A_S: Matrix, columns: IntArray | None, every: IntArray, r: FloatArray, mu: float, pause: Pause) -> FloatArray:
    """Do that of more columns than rows by a QR of A_S' by blocks, which shows the rows that are independent."""
    n = A_S.shape[0]
    # Without a ridge, columns of about the same size, so that small ones count for the rank.
    exponents: IntArray = np.zeros(every.size, dtype=np.int64)
    if mu == 0:
        exponents = np.frexp(A_S.prepared.column_sq_norms[every] ** 0.5)[1]

    def blocks(rows: IntArray | slice, exponents: IntArray) -> Iterator[FloatArray]:
        # A QR makes copies.
        for piece in A_S.pieces(every, n, copies=4):
            pause()
            yield np.ldexp(A_S.take(every[piece])[rows].T, -exponents[piece, None], dtype=np.float64)

    found = pivoted_qr(np.asfortranarray(triangle(blocks(slice(None), exponents), n)), np.zeros(n), pause)
    rank = found.c.size
    if rank == 0:
        return np.zeros(every.size)
    # What A_S v of the solution is: with A_S = R'W', W orthonormal, the fit of R'u to r, ||u|| = ||v||.
    rows, basis = found.order[:rank], np.linalg.qr(np.vstack([found.R.T, mu**0.5 * np.eye(rank)]))[0][:n]
    fit = basis @ (basis.T @ r[found.order])

    def at_all(y: FloatArray) -> FloatArray:
        spread = np.zeros(n)
        spread[rows] = y
        return A_S.rmatvec(spread, columns)

    T = triangle(blocks(rows, np.zeros_like(exponents)), rank)
    return shortest(T, fit[:rank], lambda v: A_S.matvec(columns, v)[rows], at_all)


def _target(A_S: Matrix, columns: IntArray | None, b: FloatArray, w0: FloatArray) -> FloatArray:
    return b - A_S.matvec(columns, w0) if w0.any() else b


def _primal(
    A_S: Matrix,
    columns: IntArray | None,
    r: FloatArray,
    mu: float,
    gram: FloatArray,
    pause: Pause,
    pull: FloatArray | float = 0.0,
) -> FloatArray | None:
    """Minimise ``1/2 ||A_S v - r||^2 + mu/2 ||v||^2 - pull'v``."""
    solve = cholesky(gram, mu, pause)
    if solve is None:
        return None
    first = solve(A_S.rmatvec(r, columns) + pull)
    return _refined(solve, first, lambda v: A_S.rmatvec(r - A_S.matvec(columns, v), columns) + (pull - mu * v))


def _dual(
    A_S: Matrix, columns: IntArray | None, r: FloatArray, w0: FloatArray, mu: float, gram: FloatArray, pause: Pause
) -> tuple[FloatArray, FloatArray] | None:
    """Return w and A_S w."""
    y = dual_solution(gram, r, mu, pause)
    if y is None:
        return None
    v, product = A_S.rmatvec_and_matvec(columns, y, w0)
    if not keeps_digits(gram, y, float(np.linalg.norm(v))):
        return None
    v += w0
    return v, product


def dual_solution(gram: FloatArray, r: FloatArray, mu: float, pause: Pause = go_on) -> FloatArray | None:
    """Return y with ``(A_S A_S' + mu I) y = r``, refined against that matrix; None where it is numerically singular."""
    with factored_in_place(gram, mu, pause) as factored:
        if factored is None:
            return None
        solve, product = factored
        return _refined(solve, solve(r), lambda y: r - product(y) - mu * y)


def keeps_digits(gram: FloatArray, y: FloatArray, norm: float) -> bool:
    """Whether A_S'y, of this norm, has its digits: where rows depend on each other and mu is tiny, y should cancel."""
    lost = _EPS * (y.size * float(gram.diagonal().max())) ** 0.5 * float(np.linalg.norm(y))
    return lost <= _CANCELLED * norm


def _refined(
    solve: Callable[[FloatArray], FloatArray], x: FloatArray, residual: Callable[[FloatArray], FloatArray]
) -> FloatArray | None:
    """Refine a first solution; None where the factorization is too inaccurate for that to converge."""
    for _ in range(_MOST_REFINEMENTS):
        correction = solve(residual(x))
        x += correction
        if float(np.linalg.norm(correction)) <= _CONTRACTED * float(np.linalg.norm(x)):
            return x
    return None


def _iterative(A_S: Matrix, columns: IntArray | None, r: FloatArray, mu: float, pause: Pause) -> FloatArray:
    from scipy.sparse.linalg import LinearOperator, lsmr

    def product(v: np.ndarray) -> FloatArray:
        pause()
        return A_S.matvec(columns, v.ravel())

    operator = LinearOperator(
        (r.size, A_S.shape[1] if columns is None else columns.size),
        matvec=product,
        rmatvec=lambda u: A_S.rmatvec(np.asarray(u).ravel(), columns),
        dtype=np.float64,
    )
    return np.asarray(lsmr(operator, r, damp=mu**0.5, atol=1e-12, btol=1e-12, maxiter=1000)[0])
