"""Bounds on rounding errors.

Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed. 2002, chapters 3 and 8; Rump, "Verification
methods", Acta Numerica 2010.
"""

import math

import numpy as np
import scipy.linalg

from l0quad.types import FloatArray

UNIT = 2.0**-53
# What a few further roundings, those of the error bound itself, may take from it.
SLACK = 1 + 2.0**-47


def gamma(n: int) -> float:
    """Return a bound on the relative error of a sum of n products, in whatever order it is summed."""
    return SLACK * n * UNIT / (1 - n * UNIT)


def down(value: float) -> float:
    """Return the next number below."""
    return math.nextafter(value, -math.inf)


def norm_above(vector: FloatArray) -> float:
    """Return the Euclidean norm, rounded up."""
    return float(np.linalg.norm(vector)) * (1 + gamma(vector.size + 8))


def least_singular_value(R: FloatArray) -> float:
    """Return a number that the least singular value of an upper triangular R is not below; 0 where none is found.

    With X an approximate inverse and ``||I - R X|| <= e < 1``, the inverse of R is at most ``||X|| / (1 - e)``.
    """
    p = R.shape[0]
    if p == 0 or not np.all(R.diagonal() != 0):
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        X = np.asarray(scipy.linalg.solve_triangular(R, np.eye(p), check_finite=False))
        residual = float(np.linalg.norm(R @ X - np.eye(p))) * (1 + gamma(p * p + 8))
        error = SLACK * (residual + gamma(p + 2) * float(np.linalg.norm(np.abs(R) @ np.abs(X))))
        # Both bound the spectral norm; the second is sharp where columns are nearly orthogonal.
        sums = float(np.linalg.norm(X, 1)) * float(np.linalg.norm(X, np.inf))
        size = min(float(np.linalg.norm(X)), sums**0.5) * (1 + gamma(p * p + 8))
    if not (error < 1 and math.isfinite(size)):
        return 0.0
    return (1 - error) / size / SLACK
