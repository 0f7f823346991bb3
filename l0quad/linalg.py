"""Restricted solves: the best w on a given support, and the factorization of Gram matrices."""

from collections.abc import Callable

import numpy as np
import scipy.linalg

from l0quad.matrix import Matrix
from l0quad.types import FloatArray, IntArray

_EPS = float(np.finfo(np.float64).eps)
# Beyond this order a dense factorization (2 GB) gives way to an iterative solve.
DIRECT_LIMIT = 16384
# Refinement ends when a correction is this small beside the solution: it is then as exact as its residual.
_CONTRACTED = 1e-10
_MOST_REFINEMENTS = 4
# A column this much smaller than the largest counts as zero: its square would underflow.
_NOTHING = 2.0**-500
# The share of the dual solution's digits that may cancel in A_S'y.
_CANCELLED = 1e-8
# A pivot that has lost this share of its diagonal entry (times the order) is left to the orthogonal solve.
_SINGULAR = 16 * _EPS


def restricted_solve(
    matrix: Matrix, b: FloatArray, w0: FloatArray, mu: float, support: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return the w on the support S that minimises ``1/2 ||A_S w - b||^2 + mu/2 ||w - w0_S||^2``, and A_S w - b.

    With v = w - w0_S and r = b - A_S w0_S, it minimises ``1/2 ||A_S v - r||^2 + mu/2 ||v||^2``. For
    |S| <= n by Cholesky of A_S'A_S + mu I (|S| x |S|), else in the dual form v = A_S'y, (A_S A_S' + mu I) y = r
    (n x n, Woodbury's identity; CHITA, ICML 2023, Algorithm 5), each refined iteratively. Where the
    matrix is numerically singular the factorization gives way to an orthogonal one, and of several minimisers the one
    nearest to w0 is returned (the limit mu -> 0). Beyond `DIRECT_LIMIT` in both sizes: LSMR.
    """
    if support.size == 0:
        return np.empty(0), -b
    A_S, columns = matrix.view(support)
    w0 = w0[support]
    r = b - A_S.matvec(columns, w0) if w0.any() else b
    rows = matrix.shape[0]
    if min(rows, support.size) > DIRECT_LIMIT:
        v = _iterative(A_S, columns, r, mu)
    else:
        solve = _primal if support.size <= rows else _dual
        direct = solve(A_S, columns, r, mu)
        v = minimum_norm(matrix.take_dense(support), r, mu) if direct is None else direct
    w = w0 + v
    return w, A_S.matvec(columns, w) - b


def _primal(A_S: Matrix, columns: IntArray | None, r: FloatArray, mu: float) -> FloatArray | None:
    solve = cholesky(A_S.inner(columns), mu)
    if solve is None:
        return None
    return _refined(solve, lambda v: A_S.rmatvec(r - A_S.matvec(columns, v), columns) - mu * v, _count(A_S, columns))


def _dual(A_S: Matrix, columns: IntArray | None, r: FloatArray, mu: float) -> FloatArray | None:
    M = A_S.outer(columns)
    size = float(M.diagonal().max())
    solve = cholesky(M, mu)
    y = solve and _refined(solve, lambda y: r - A_S.matvec(columns, A_S.rmatvec(y, columns)) - mu * y, r.size)
    if y is None:
        return None
    v = A_S.rmatvec(y, columns)
    # Where rows depend on each other and mu is tiny, y is large in a direction that A_S' should cancel.
    lost = _EPS * (r.size * size) ** 0.5 * float(np.linalg.norm(y))
    return v if lost <= _CANCELLED * float(np.linalg.norm(v)) else None


def _refined(
    solve: Callable[[FloatArray], FloatArray], residual: Callable[[FloatArray], FloatArray], size: int
) -> FloatArray | None:
    """Solve with iterative refinement from 0; None where the factorization is too inaccurate for it to converge."""
    x = solve(residual(np.zeros(size)))
    for _ in range(_MOST_REFINEMENTS):
        correction = solve(residual(x))
        x += correction
        if float(np.linalg.norm(correction)) <= _CONTRACTED * float(np.linalg.norm(x)):
            return x
    return None


def minimum_norm(A_S: np.ndarray, r: FloatArray, mu: float) -> FloatArray:
    """Minimise ``1/2 ||A_S v - r||^2 + mu/2 ||v||^2`` by singular values; the shortest v where there are several.

    The columns are brought to norm 1 first, so that small ones do not pass for dependent ones.
    """
    A = np.asarray(A_S, dtype=np.float64)
    n, m = A.shape
    if mu > 0 and m <= n:
        A, r, mu = np.vstack([A, mu**0.5 * np.eye(m)]), np.concatenate([r, np.zeros(m)]), 0.0
    norms = _column_norms(A) if mu == 0 else np.ones(m)
    A = np.where(norms > _NOTHING * norms.max(), A, 0.0)
    U, s, Vt = scipy.linalg.svd(A / norms, full_matrices=False, check_finite=False, lapack_driver="gesvd")
    kept = s > _EPS * max(A.shape) * s[0] if s[0] > 0 else np.zeros(s.size, dtype=bool)
    U, s, Vt = U[:, kept], s[kept], Vt[kept]
    v = ((U.T @ r) / (s if mu == 0 else s + mu / s)) @ Vt / norms
    if mu > 0 or s.size in (m, 0):
        return np.asarray(v)
    # Of all solutions, the shortest lies in the span of A_S's rows.
    Q = scipy.linalg.qr(norms[:, None] * Vt.T, mode="economic", check_finite=False)[0]
    return np.asarray(Q @ (Q.T @ v))


def independent_columns(A: np.ndarray) -> IntArray:
    """Return as many linearly independent columns as A has, sorted: those that a pivoted QR takes first."""
    scaled = np.asarray(A, dtype=np.float64) / _column_norms(A)
    R, pivots = scipy.linalg.qr(scaled, mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(R.diagonal())
    return np.sort(pivots[: diagonal.size][diagonal > _EPS * max(A.shape) * diagonal[0]]).astype(np.int64)


def least_squares_value(A: np.ndarray, b: FloatArray) -> float:
    """Return ``min_w 1/2 ||A w - b||^2`` from an orthogonal basis of A's columns, each first brought to norm 1.

    Columns that are dependent to working precision count as dependent. Lowered by the rounding error of the projection:
    a basis vector that comes from a remainder of length d is off by some eps / d.
    """
    Q, R, _ = scipy.linalg.qr(A / _column_norms(A), mode="economic", pivoting=True, check_finite=False)
    diagonal = np.abs(R.diagonal())
    kept = diagonal > 8 * _EPS * max(A.shape)
    basis = Q[:, kept]
    outside = b - basis @ (basis.T @ b)
    off = 8 * _EPS * max(A.shape) * (1 + float(np.linalg.norm(1 / diagonal[kept]))) * float(np.linalg.norm(b))
    return 0.5 * max(float(np.linalg.norm(outside)) - off, 0.0) ** 2


def _iterative(A_S: Matrix, columns: IntArray | None, r: FloatArray, mu: float) -> FloatArray:
    from scipy.sparse.linalg import LinearOperator, lsmr

    operator = LinearOperator(
        (r.size, _count(A_S, columns)),
        matvec=lambda v: A_S.matvec(columns, np.asarray(v).ravel()),
        rmatvec=lambda u: A_S.rmatvec(np.asarray(u).ravel(), columns),
        dtype=np.float64,
    )
    return np.asarray(lsmr(operator, r, damp=mu**0.5, atol=1e-12, btol=1e-12, maxiter=1000)[0])


def _column_norms(A: FloatArray) -> FloatArray:
    """Return the norms of the columns, 1 for zero columns, without overflow or underflow on the way."""
    largest = np.abs(A).max(axis=0)
    largest[largest == 0] = 1.0
    norms = largest * np.linalg.norm(A / largest, axis=0)
    norms[norms == 0] = 1.0
    return norms


def _count(A_S: Matrix, columns: IntArray | None) -> int:
    return A_S.shape[1] if columns is None else columns.size


def cholesky(gram: FloatArray, shift: float) -> Callable[[FloatArray], FloatArray] | None:
    """Factor ``gram + shift I``, overwriting it; return its solve, or None where it is numerically singular."""
    factor = cholesky_factor(gram, shift)
    if factor is None:
        return None
    return lambda rhs: np.asarray(scipy.linalg.lapack.dpotrs(factor.T, rhs, lower=0)[0])


def cholesky_factor(gram: FloatArray, shift: float) -> FloatArray | None:
    """Return the lower Cholesky factor of ``gram + shift I``, which it overwrites; None where it is singular."""
    diagonal = gram.diagonal() + shift
    np.fill_diagonal(gram, diagonal)
    # NumPy's LAPACK, because the products come from NumPy's BLAS: SciPy brings a second one, whose threads would
    # compete with those of the first, still spinning.
    try:
        factor = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    lost = np.any(factor.diagonal() ** 2 <= _SINGULAR * diagonal.size * diagonal)
    return None if lost else np.asarray(factor, dtype=np.float64)


def factor_gram(H: FloatArray, g: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Return (R, b, rest) with H = R'R and g = R'b + rest; ``rest`` is None where g lies in the range of H."""
    size = float(np.abs(H).max())
    factor, info = scipy.linalg.lapack.dpotrf(H, lower=0, clean=1)
    if info == 0 and np.all(factor.diagonal() ** 2 > _SINGULAR * H.shape[0] * H.diagonal()):
        return factor, scipy.linalg.solve_triangular(factor, g, trans="T", check_finite=False), None
    values, vectors = scipy.linalg.eigh(H, check_finite=False)
    threshold = _EPS * H.shape[0] * max(size, 0.0) * 4
    if values[0] < -max(threshold, 1e-8 * size):
        raise ValueError(f"H: must be positive semidefinite, got the eigenvalue {values[0]:g}")
    kept = values > threshold
    if not kept.any():
        R, b = np.zeros((1, H.shape[0])), np.zeros(1)
    else:
        roots = np.sqrt(values[kept])
        R, b = roots[:, None] * vectors[:, kept].T, (vectors[:, kept].T @ g) / roots
    rest = g - R.T @ b
    negligible = np.abs(rest).max() <= 64 * _EPS * g.size * float(np.abs(g).max())
    return np.ascontiguousarray(R), b, None if negligible else rest
