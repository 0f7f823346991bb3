"""A known by H = A'A alone."""

import numpy as np
from numpy.typing import ArrayLike

from l0quad import frames, validation
from l0quad.linalg.gram import GramFactor, gram_factor
from l0quad.matrix.dense import DenseMatrix
from l0quad.types import FloatArray, IntArray, Pause, go_on


class GramMatrix(DenseMatrix):
    """H = A'A, positive semidefinite, p x p: what needs only inner products of columns takes them from H itself.

    What lives in R^n is done with a factor, H = R'R (`l0quad.linalg.gram`), in place of A.

    Parameters
    ----------
    H : array_like, shape (p, p)
    factor : GramFactor, optional
        Of a valid H, where it is known already.

    Raises
    ------
    ValueError, TypeError
        Where H is not symmetric, not finite, or has a negative eigenvalue.

    Examples
    --------
    >>> import l0quad
    >>> H = l0quad.GramMatrix([[2.0, 1.0], [1.0, 2.0]])
    >>> [l0quad.solve(l0quad.Problem.from_gram(H, g, k=1)).support.tolist() for g in ([1.0, 3.0], [3.0, 1.0])]
    [[1], [0]]
    """

    def __init__(self, H: ArrayLike, factor: GramFactor | None = None) -> None:
        self.names = frames.names_of(H)
        self.H = validation.symmetric(H, "H") if factor is None else np.asarray(H)
        self.factor = gram_factor(self.H) if factor is None else factor
        super().__init__(self.factor.R)

    def subset(self, columns: IntArray) -> "GramMatrix":
        return GramMatrix(self.inner(columns), self.factor.subset(columns))

    def scaled(self, exponent: int) -> "GramMatrix":
        return GramMatrix(np.ldexp(self.H, 2 * exponent), self.factor.scaled(exponent))

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        return self.H.copy() if columns is None else self.H[np.ix_(columns, columns)]

    def cross(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        return self.H[columns]

    def column_sq_norms(self) -> FloatArray:
        return self.H.diagonal().copy()
