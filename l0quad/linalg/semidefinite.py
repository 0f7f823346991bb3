"""A proof that a matrix is positive semidefinite in exact arithmetic.

Source: Rump, "Verification of positive definiteness", BIT Numer. Math. 46 (2006): a Cholesky factorization that runs
through in floating point proves its matrix to be definite but for a small diagonal. Its error by Demmel's bound, which
follows the scale of the columns: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, Theorem 10.5.
"""

import numpy as np

from l0quad.linalg.rounding import SLACK, gamma
from l0quad.types import FloatArray

# No diagonal entry is smaller, so that what underflowed in it is far below one rounding.
_SMALLEST = 2.0**-900


def is_semidefinite(H: FloatArray, subtracted: FloatArray) -> bool:
    """Return whether ``H - diag(subtracted)`` is proven to be positive semidefinite; False where it is not proven.

    H is the symmetric matrix that the lower triangle holds (p x p). With S = H - diag(subtracted + s) as computed,
    a factorization that runs through has ``S + E = LL'`` with ``|E_ij| <= g sqrt(S_ii S_jj)``, g some p roundings, so
    that ``x'Ex <= g p sum_j S_jj x_j^2``; s makes up for that, and for the rounding of its own subtraction.
    """
    diagonal = H.diagonal()
    p = diagonal.size
    if not (np.all(diagonal >= _SMALLEST) and np.all(subtracted < diagonal)):
        return False
    # By powers of two to a diagonal of about 1.
    exponents = -(np.frexp(diagonal)[1] // 2)
    shifted = np.ldexp(H, exponents)
    np.ldexp(shifted, exponents[:, None], out=shifted)
    diagonal, subtracted = shifted.diagonal().copy(), np.ldexp(subtracted, 2 * exponents)
    own = SLACK * (p * gamma(p + 8) + gamma(8)) * diagonal
    np.fill_diagonal(shifted, diagonal - (np.maximum(subtracted, 0.0) + own))
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return False
    return True
