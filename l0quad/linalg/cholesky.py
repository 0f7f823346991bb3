"""Cholesky factorizations that say when they have lost their digits."""

from collections.abc import Callable

import numpy as np
import scipy.linalg

from l0quad.types import FloatArray

# A pivot that has lost this share of its diagonal entry (times the order) is left to an orthogonal method.
SINGULAR = 16 * float(np.finfo(np.float64).eps)


def cholesky(gram: FloatArray, shift: float) -> Callable[[FloatArray], FloatArray] | None:
    """Factor ``gram + shift I`` as `cholesky_factor` does; return its solve, or None where it is singular."""
    factor = cholesky_factor(gram, shift)
    if factor is None:
        return None
    return lambda rhs: np.asarray(scipy.linalg.lapack.dpotrs(factor.T, rhs, lower=0)[0])


def cholesky_factor(gram: FloatArray, shift: float) -> FloatArray | None:
    """Return the lower Cholesky factor of ``gram + shift I``; None where it is numerically singular.

    ``gram`` is worked on, so that no thread may share it, and comes out as it went in.
    """
    unshifted = gram.diagonal().copy()
    diagonal = unshifted + shift
    np.fill_diagonal(gram, diagonal)
    # NumPy's LAPACK, because the products come from NumPy's BLAS: SciPy brings a second one, whose threads would
    # compete with those of the first, still spinning.
    try:
        factor = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    finally:
        np.fill_diagonal(gram, unshifted)
    lost = np.any(factor.diagonal() ** 2 <= SINGULAR * diagonal.size * diagonal)
    return None if lost else np.asarray(factor, dtype=np.float64)
