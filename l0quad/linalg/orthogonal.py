"""Orthogonal methods for dense matrices: singular values and pivoted QR."""

import numpy as np
import scipy.linalg

from l0quad.types import FloatArray, IntArray

_EPS = float(np.finfo(np.float64).eps)
# A column this much smaller than the largest counts as zero: its square would underflow.
_NOTHING = 2.0**-500


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


def _column_norms(A: FloatArray) -> FloatArray:
    """Return the norms of the columns, 1 for zero columns, without overflow or underflow on the way."""
    largest = np.abs(A).max(axis=0)
    largest[largest == 0] = 1.0
    norms = largest * np.linalg.norm(A / largest, axis=0)
    norms[norms == 0] = 1.0
    return norms
