"""The factor of a Gram matrix: H = R'R."""

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg

from l0quad.linalg.cholesky import SINGULAR
from l0quad.linalg.rounding import SLACK, gamma, norm_above
from l0quad.types import FloatArray, IntArray

_EPS = float(np.finfo(np.float64).eps)
# An eigenvalue this far below zero, beside the largest entry, is more than rounding.
_NEGATIVE = 1e-8
_LEAST = float(np.finfo(np.float64).tiny)


class GramFactor(NamedTuple):
    """R with H = R'R: upper triangular where H is regular, else with orthogonal rows once its columns are evened.

    ``||H - R'R|| <= error`` in the spectral norm, H's symmetric part being meant, and an entry differs by at most
    ``share`` of the norms of its two columns (of a column without one, of the largest). The columns are evened by
    ``2**exponents``, where these are not None.
    """

    R: FloatArray
    triangular: bool
    error: float
    share: float
    exponents: IntArray | None = None

    def target(self, g: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Return (b, rest) with g = R'b + rest; ``rest`` is None where g lies in the range of H."""
        if self.triangular:
            return scipy.linalg.solve_triangular(self.R, g, trans="T", check_finite=False), None
        evened = self.R, g
        if self.exponents is not None:
            evened = np.ldexp(self.R, self.exponents), np.ldexp(g, self.exponents)
        b, rest = _projected(*evened)
        if np.abs(rest).max() <= 64 * _EPS * g.size * float(np.abs(evened[1]).max()):
            return b, None
        if self.exponents is not None:
            # The least rest, which is what a ridge can make least of.
            b = np.asarray(scipy.linalg.lstsq(self.R.T, g, check_finite=False)[0])
            rest = g - self.R.T @ b
        return b, rest

    def scaled(self, exponent: int) -> "GramFactor":
        """Return the factor of ``2**(2 exponent) H``."""
        own = None if self.exponents is None else self.exponents - exponent
        R, error = np.ldexp(self.R, exponent), math.ldexp(self.error, 2 * exponent)
        return GramFactor(R, self.triangular, error, self.share, own)

    def subset(self, columns: IntArray) -> "GramFactor":
        """Return that of these columns' block of H; its rows are neither triangular nor orthogonal."""
        return GramFactor(np.asfortranarray(self.R[:, columns]), False, self.error, self.share)


def gram_factor(H: FloatArray) -> GramFactor:
    """Factor a symmetric, positive semidefinite H, by Cholesky or, where it is singular, by its eigenvalues.

    A Cholesky factor that was computed has ``|H - R'R| <= gamma(p + 1) |R'| |R|`` (Higham, Theorem 10.3), whose norm is
    at most gamma(p + 1) times the squared Frobenius norm of R.
    """
    asymmetry = 0.5 * H.shape[0] * float(np.abs(H - H.T).max())
    factor, info = scipy.linalg.lapack.dpotrf(H, lower=0, clean=1)
    if info == 0 and np.all(factor.diagonal() ** 2 > SINGULAR * H.shape[0] * H.diagonal()):
        error = SLACK * asymmetry + gamma(H.shape[0] + 2) * norm_above(factor.ravel()) ** 2
        return GramFactor(factor, True, error, gamma(H.shape[0] + 2) + (_share(H, H.T) / 2 if asymmetry > 0 else 0.0))
    # Small columns would be lost beside large ones; but what they hold may be rounding, which is not semidefinite.
    own = _evening(H)
    R = None if own is None else _eigen_factor(np.ldexp(H, own[:, None] + own))
    if own is None or R is None:
        own, R = None, _eigen_factor(H)
    if R is None:
        least = scipy.linalg.eigvalsh(H, check_finite=False)[0]
        raise ValueError(f"H: must be positive semidefinite, got the eigenvalue {least:g}")
    R = np.ascontiguousarray(R if own is None else np.ldexp(R, -own))
    product, rounding = R.T @ R, gamma(H.shape[0] + 2)
    error = norm_above((H - product).ravel()) + rounding * norm_above(R.ravel()) ** 2
    return GramFactor(R, False, SLACK * error, _share(H, product) + rounding, own)


def _share(H: FloatArray, other: FloatArray) -> float:
    """Return the largest difference beside the norms of the two columns."""
    squares = H.diagonal()
    norms = np.sqrt(np.where(squares > 0, squares, max(float(squares.max()), _LEAST)))
    return float((np.abs(H - other) / norms / norms[:, None]).max())


def _eigen_factor(H: FloatArray) -> FloatArray | None:
    """Return R with H = R'R from the eigenvalues that are more than rounding; None where one is negative."""
    size = float(np.abs(H).max())
    if not math.isfinite(size):
        return None
    values, vectors = scipy.linalg.eigh(H, check_finite=False)
    threshold = _EPS * H.shape[0] * size * 4
    if values[0] < -max(threshold, _NEGATIVE * size):
        return None
    kept = values > threshold
    if not kept.any():
        return np.zeros((1, H.shape[0]))
    R: FloatArray = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
    return R


def _projected(R: FloatArray, g: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return b and the rest of g = R'b + rest that R's rows, which are orthogonal, do not reach."""
    squares = np.einsum("ij,ij->i", R, R)
    b: FloatArray = (R @ g) / np.where(squares > 0, squares, 1.0)
    return b, g - R.T @ b


def _evening(H: FloatArray) -> IntArray | None:
    """Return by which powers of two columns come to norm 1 or so; None where they are of about one size.

    Columns of norm zero, or less, are taken along with the largest.
    """
    squares = H.diagonal()
    exponents = -(np.frexp(squares)[1] // 2)
    exponents = np.where(squares > 0, exponents, -(int(np.frexp(squares.max())[1]) // 2)).astype(np.int64)
    return exponents if int(np.ptp(exponents)) > 1 else None
