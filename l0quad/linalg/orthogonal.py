"""Least squares by orthogonal transformations: a QR factorization with column pivoting, in slices.

Which columns come next, a random sketch of what is left decides, a panel at a time; a panel is factored by LAPACK, and
the rest is brought up to date by matrix products, a few columns a slice. Sources: Duersch and Gu, "Randomized QR with
column pivoting", SIAM J. Sci. Comput. 39 (2017), Algorithm 3 with a new sketch a panel; Bjorck, "Numerical Methods for
Least Squares Problems", 1996, sections 2.7 (rank-deficient problems) and 6.6 (corrected semi-normal equations).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg

from l0quad.linalg.tall import triangle
from l0quad.types import FloatArray, IntArray, Pause, go_on

_EPS = float(np.finfo(np.float64).eps)
# A column this much smaller than the largest counts as zero: its square would underflow.
_NOTHING = 2.0**-500
_PANEL = 64
_OVERSAMPLING = 8
# A slice of an update takes about so many flops.
_SLICE_FLOPS = 1e9


class PivotedQR(NamedTuple):
    """``A[:, order] = Q R`` up to what counts as dependent; R (rank x m) is upper trapezoidal, ``c = Q'r``."""

    R: FloatArray
    order: IntArray
    c: FloatArray


def pivoted_qr(A: FloatArray, r: FloatArray, pause: Pause = go_on) -> PivotedQR:
    """Factor A (n x m, Fortran-ordered float64), which is overwritten, as far as its columns are independent.

    A column is independent when what is left of it is more than ``eps max(n, m)`` of the largest pivot.
    """
    n, m = A.shape
    order, c = np.arange(m), r.copy()
    rng = np.random.default_rng(0)
    rank, largest = 0, 0.0
    while rank < min(n, m):
        pause()
        width = min(_PANEL, n - rank, m - rank)
        if m - rank > width:
            sketch = rng.standard_normal((width + _OVERSAMPLING, n - rank)) @ A[rank:, rank:]
            _bring_forward(A, order, rank, _pivots(sketch)[:width])
        last = rank + width
        panel = np.array(A[rank:, rank:last], order="F")
        factored, places, tau, _, _ = scipy.linalg.lapack.dgeqp3(panel, overwrite_a=True)
        A[:rank, rank:last], order[rank:last] = A[:rank, rank:last][:, places - 1], order[rank:last][places - 1]
        A[rank:, rank:last] = 0.0
        A[rank:last, rank:last] = np.triu(factored[:width])
        diagonal = np.abs(factored.diagonal())
        largest = largest or float(diagonal[0])
        independent = int(np.argmin(np.append(diagonal > _EPS * max(n, m) * largest, False)))
        c[rank:] = _apply(factored, tau, c[rank:, None])[:, 0]
        step = max(1, int(_SLICE_FLOPS / (4 * (n - rank) * width)))
        for first in range(last, m, step):
            pause()
            A[rank:, first : first + step] = _apply(factored, tau, A[rank:, first : first + step])
        rank += independent
        if independent < width:
            break
    return PivotedQR(A[:rank], order, c[:rank])


def minimum_norm(A: FloatArray, r: FloatArray, mu: float, pause: Pause = go_on) -> FloatArray:
    """Minimise ``1/2 ||A v - r||^2 + mu/2 ||v||^2``; the shortest v where there are several.

    A (n x m, m <= n without a ridge, Fortran-ordered) is overwritten. The columns are brought to norm 1 first, so that
    small ones do not pass for dependent ones.
    """
    n, m = A.shape
    if mu > 0:
        A, r = np.asfortranarray(np.vstack([A, mu**0.5 * np.eye(m)])), np.concatenate([r, np.zeros(m)])
    norms = to_norm_one(A)
    R, order, c = pivoted_qr(A, r, pause)
    v, rank = np.zeros(m), c.size
    if rank == m:
        v[order] = scipy.linalg.solve_triangular(R, c, check_finite=False)
        v /= norms
    elif rank:
        M = R * norms[order]
        T = triangle((M[:, first : first + n].T for first in range(0, m, n)), rank)
        v[order] = shortest(T, c, lambda v: M @ v, lambda y: M.T @ y)
    return v


def shortest(
    T: FloatArray,
    c: FloatArray,
    matvec: Callable[[FloatArray], FloatArray],
    rmatvec: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    """Return the shortest v with ``M v = c``, for M of full row rank, from the triangular factor T of M'.

    By the semi-normal equations ``T'T y = c``, ``v = M'y``, corrected as long as the residual falls.
    """
    # Powers of two bring rows of very different sizes to the same one.
    size = np.ldexp(1.0, -np.frexp(np.abs(T).max(axis=0))[1])
    T, left, size_left = T * size, size * c, math.inf
    v = np.zeros_like(rmatvec(c))
    while (now := float(np.linalg.norm(left))) < 0.5 * size_left:
        size_left = now
        change = scipy.linalg.cho_solve((T, False), left, check_finite=False)
        # Added up, because M'y would lose the digits that cancel in it.
        v = v + rmatvec(size * change)
        left = size * (c - matvec(v))
    return v


def independent_columns(A: np.ndarray, pause: Pause = go_on) -> IntArray:
    """Return as many linearly independent columns as A has, sorted: those that a pivoted QR takes first."""
    scaled = np.array(A, dtype=np.float64, order="F")
    to_norm_one(scaled)
    found = pivoted_qr(scaled, np.zeros(A.shape[0]), pause)
    return np.sort(found.order[: found.c.size])


def _pivots(sketch: FloatArray) -> IntArray:
    return np.asarray(scipy.linalg.lapack.dgeqp3(np.asfortranarray(sketch), overwrite_a=True)[1], dtype=np.int64) - 1


def _bring_forward(A: FloatArray, order: IntArray, rank: int, chosen: IntArray) -> None:
    """Move the columns at these places, counted from ``rank``, there; those that were there take their places."""
    width = chosen.size
    target = rank + np.concatenate([np.arange(width), chosen[chosen >= width]])
    source = rank + np.concatenate([chosen, np.setdiff1d(np.arange(width), chosen)])
    A[:, target], order[target] = A[:, source], order[source]


def _apply(factored: FloatArray, tau: FloatArray, block: FloatArray) -> FloatArray:
    """Return Q'block."""
    block = np.asfortranarray(block)
    work = scipy.linalg.lapack.dormqr("L", "T", factored, tau, block, -1)[1]
    return np.asarray(scipy.linalg.lapack.dormqr("L", "T", factored, tau, block, int(work[0]))[0])


def to_norm_one(A: FloatArray) -> FloatArray:
    """Divide the columns by their norms, which are returned, without overflow or underflow on the way.

    Of columns that are next to nothing beside the largest, nothing is left.
    """
    largest = np.maximum(A.max(axis=0), -A.min(axis=0))
    exponents = np.frexp(largest)[1]
    np.ldexp(A, -exponents, out=A)
    A[:, largest <= _NOTHING * largest.max()] = 0.0
    norms = np.sqrt(np.einsum("ij,ij->j", A, A))
    norms[norms == 0] = 1.0
    A /= norms
    return np.ldexp(norms, exponents)
