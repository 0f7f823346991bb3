"""Cholesky factorizations that say when they have lost their digits."""

from collections.abc import Callable

import numpy as np
import scipy.linalg

from l0quad.types import FloatArray, Pause, go_on

# A pivot that has lost this share of its diagonal entry (times the order) is left to an orthogonal method.
SINGULAR = 16 * float(np.finfo(np.float64).eps)

# A matrix up to this order is factored in one piece, a larger one by blocks of columns.
_AT_ONCE = 4096
_BLOCK = 512


def cholesky(
    gram: FloatArray, shift: float | FloatArray, pause: Pause = go_on
) -> Callable[[FloatArray], FloatArray] | None:
    """Factor as `cholesky_factor` does; return the solve, or None where the matrix is singular."""
    factor = cholesky_factor(gram, shift, pause)
    if factor is None:
        return None
    return lambda rhs: np.asarray(scipy.linalg.lapack.dpotrs(factor.T, rhs, lower=0)[0])


def cholesky_factor(gram: FloatArray, shift: float | FloatArray, pause: Pause = go_on) -> FloatArray | None:
    """Return the lower Cholesky factor of ``gram + shift I``, or ``+ diag(shift)``; None where it is singular.

    ``gram`` is worked on, so that no thread may share it, and comes out as it went in. ``pause`` is called
    between the slices of a large one.
    """
    unshifted = gram.diagonal().copy()
    diagonal = unshifted + shift
    np.fill_diagonal(gram, diagonal)
    # NumPy's LAPACK, because the products come from NumPy's BLAS: SciPy brings a second one, whose threads would
    # compete with those of the first, still spinning.
    try:
        factor = np.linalg.cholesky(gram) if diagonal.size <= _AT_ONCE else _by_blocks(gram, pause)
    except np.linalg.LinAlgError:
        return None
    finally:
        np.fill_diagonal(gram, unshifted)
    lost = np.any(factor.diagonal() ** 2 <= SINGULAR * diagonal.size * diagonal)
    return None if lost else np.asarray(factor, dtype=np.float64)


def inverse_of(factor: FloatArray) -> FloatArray:
    """Return (LL')^-1, L as `cholesky_factor` returns it."""
    half = np.asarray(scipy.linalg.lapack.dpotri(factor.T, lower=0)[0])
    whole = half + half.T
    np.fill_diagonal(whole, half.diagonal())
    return whole


def _by_blocks(gram: FloatArray, pause: Pause) -> FloatArray:
    """Factor by blocks of columns, the rest brought up to date after each (right-looking)."""
    L = np.tril(gram)
    for first in range(0, L.shape[0], _BLOCK):
        last = first + _BLOCK
        pause()
        D = L[first:last, first:last] = np.linalg.cholesky(L[first:last, first:last])
        panel = L[last:, first:last] = np.linalg.solve(D, L[last:, first:last].T).T
        for start in range(0, panel.shape[0], _BLOCK):
            pause()
            L[last + start :, last + start : last + start + _BLOCK] -= panel[start:] @ panel[start : start + _BLOCK].T
    return np.tril(L)
