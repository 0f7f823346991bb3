"""Cholesky factorizations that say when they have lost their digits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import scipy.linalg

from l0quad.linalg.symmetric import block_rows, mirror, set_lower, upper_product
from l0quad.types import FloatArray, Pause, RealArray, go_on

# A pivot that has lost this share of its diagonal entry (times the order) is left to an orthogonal method.
SINGULAR = 16 * float(np.finfo(np.float64).eps)

# A matrix up to this order is factored in one piece, a larger one by blocks of columns.
_AT_ONCE = 4096


def cholesky(
    gram: FloatArray, shift: float | FloatArray, pause: Pause = go_on
) -> Callable[[FloatArray], FloatArray] | None:
    """Factor as `cholesky_factor` does; return the solve, or None where the matrix is singular."""
    factor = cholesky_factor(gram, shift, pause)
    return None if factor is None else _solver(factor)


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
    return None if _lost(factor.diagonal(), diagonal) else np.asarray(factor, dtype=np.float64)


class InPlace(NamedTuple):
    """``solve(rhs)`` with a shifted matrix that is factored in its own place, and ``product(x)`` with it unshifted."""

    solve: Callable[[FloatArray], FloatArray]
    product: Callable[[FloatArray], FloatArray]


@contextmanager
def factored_in_place(gram: FloatArray, shift: float, pause: Pause = go_on) -> Iterator[InPlace | None]:
    """Factor ``gram + shift I`` as `cholesky_factor` does, without a second matrix of its size.

    While this lasts the factor lies below the diagonal of ``gram``, whose own values above it are copied there after.
    """
    own = gram.diagonal().copy()
    try:
        np.fill_diagonal(gram, own + shift)
        pivots = _pivots(gram, pause)

        def product(x: FloatArray) -> FloatArray:
            np.fill_diagonal(gram, own)
            found = upper_product(gram, x)
            np.fill_diagonal(gram, pivots)
            return found

        yield None if pivots is None or _lost(pivots, own + shift) else InPlace(_solver(gram), product)
    finally:
        np.fill_diagonal(gram, own)
        mirror(gram)


def _pivots(gram: FloatArray, pause: Pause) -> FloatArray | None:
    try:
        _factor(gram, pause)
    except np.linalg.LinAlgError:
        return None
    return gram.diagonal().copy()


def inverse_of(factor: FloatArray) -> FloatArray:
    """Return (LL')^-1, L as `cholesky_factor` returns it."""
    if not factor.size:
        # LAPACK prints a complaint of order 0.
        return np.zeros((0, 0))
    half = np.asarray(scipy.linalg.lapack.dpotri(factor.T, lower=0)[0])
    whole = half + half.T
    np.fill_diagonal(whole, half.diagonal())
    return whole


def _by_blocks(gram: FloatArray, pause: Pause) -> FloatArray:
    L = gram.copy()
    _factor(L, pause)
    return np.tril(L)


def _factor(L: FloatArray, pause: Pause) -> None:
    """Replace the lower triangle by its factor, by blocks of columns, the rest brought up to date after each."""
    step = block_rows(L.shape[0])
    for first in range(0, L.shape[0], step):
        last = first + step
        pause()
        D = np.linalg.cholesky(L[first:last, first:last])
        set_lower(L[first:last, first:last], D)
        if last >= L.shape[0]:
            break
        panel = L[last:, first:last] = np.linalg.solve(D, L[last:, first:last].T).T
        for start in range(0, panel.shape[0], step):
            pause()
            rows, below = panel[start : start + step], panel[start + step :]
            i, j = last + start, last + start + rows.shape[0]
            set_lower(L[i:j, i:j], L[i:j, i:j] - rows @ rows.T)
            L[j:, i:j] -= below @ rows.T


def _lost(pivots: RealArray, diagonal: FloatArray) -> bool:
    return bool(np.any(pivots**2 <= SINGULAR * diagonal.size * diagonal))


def _solver(L: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return the solve with a factor, which lies on and below the diagonal."""
    return lambda rhs: np.asarray(scipy.linalg.lapack.dpotrs(L.T, rhs, lower=0)[0])
