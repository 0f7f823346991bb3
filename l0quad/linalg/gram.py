"""The factor of a Gram matrix: H = R'R."""

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg

from l0quad.linalg.cholesky import SINGULAR
from l0quad.linalg.rounding import SLACK, gamma, norm_above
from l0quad.types import FloatArray

_EPS = float(np.finfo(np.float64).eps)


class GramFactor(NamedTuple):
    """R with H = R'R: upper triangular where H is regular, else with orthogonal rows.

    ``||H - R'R|| <= error`` in the spectral norm, H's symmetric part being meant.
    """

    R: FloatArray
    triangular: bool
    error: float

    def target(self, g: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Return (b, rest) with g = R'b + rest; ``rest`` is None where g lies in the range of H."""
        R = self.R
        if self.triangular:
            return scipy.linalg.solve_triangular(R, g, trans="T", check_finite=False), None
        squares = np.einsum("ij,ij->i", R, R)
        b = (R @ g) / np.where(squares > 0, squares, 1.0)
        rest = g - R.T @ b
        negligible = np.abs(rest).max() <= 64 * _EPS * g.size * float(np.abs(g).max())
        return b, None if negligible else rest

    def scaled(self, exponent: int) -> "GramFactor":
        """Return the factor of ``2**(2 exponent) H``."""
        return GramFactor(np.ldexp(self.R, exponent), self.triangular, math.ldexp(self.error, 2 * exponent))


def gram_factor(H: FloatArray) -> GramFactor:
    """Factor a symmetric, positive semidefinite H, by Cholesky or, where it is singular, by its eigenvalues.

    A Cholesky factor that was computed has ``|H - R'R| <= gamma(p + 1) |R'| |R|`` (Higham, Theorem 10.3), whose norm is
    at most gamma(p + 1) times the squared Frobenius norm of R.
    """
    size = float(np.abs(H).max())
    asymmetry = 0.5 * H.shape[0] * float(np.abs(H - H.T).max())
    factor, info = scipy.linalg.lapack.dpotrf(H, lower=0, clean=1)
    if info == 0 and np.all(factor.diagonal() ** 2 > SINGULAR * H.shape[0] * H.diagonal()):
        return GramFactor(factor, True, SLACK * asymmetry + gamma(H.shape[0] + 2) * norm_above(factor.ravel()) ** 2)
    values, vectors = scipy.linalg.eigh(H, check_finite=False)
    threshold = _EPS * H.shape[0] * max(size, 0.0) * 4
    if values[0] < -max(threshold, 1e-8 * size):
        raise ValueError(f"H: must be positive semidefinite, got the eigenvalue {values[0]:g}")
    kept = values > threshold
    if not kept.any():
        return GramFactor(np.zeros((1, H.shape[0])), False, norm_above(H.ravel()))
    R = np.ascontiguousarray(np.sqrt(values[kept])[:, None] * vectors[:, kept].T)
    error = norm_above((H - R.T @ R).ravel()) + gamma(H.shape[0] + 2) * norm_above(R.ravel()) ** 2
    return GramFactor(R, False, SLACK * error)
