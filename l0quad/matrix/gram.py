"""A known by H = A'A alone."""

import numpy as np

from l0quad.linalg.gram import GramFactor, gram_factor
from l0quad.matrix.dense import DenseMatrix
from l0quad.types import FloatArray, IntArray


class GramMatrix(DenseMatrix):
    """H = A'A, positive semidefinite, p x p: what needs only inner products of columns takes them from H itself.

    What lives in R^n is done with a factor, H = R'R (`l0quad.linalg.gram`), in place of A.

    Raises
    ------
    ValueError
        Where H has a negative eigenvalue.
    """

    def __init__(self, H: FloatArray, factor: GramFactor | None = None) -> None:
        self.factor = gram_factor(H) if factor is None else factor
        super().__init__(self.factor.R)
        self.H = H

    def subset(self, columns: IntArray) -> "GramMatrix":
        R = np.asfortranarray(self.take(columns), dtype=np.float64)
        return GramMatrix(self.inner(columns), GramFactor(R, False, self.factor.error))

    def scaled(self, exponent: int) -> "GramMatrix":
        return GramMatrix(np.ldexp(self.H, 2 * exponent), self.factor.scaled(exponent))

    def inner(self, columns: IntArray | None = None) -> FloatArray:
        return self.H.copy() if columns is None else self.H[np.ix_(columns, columns)]

    def cross(self, columns: IntArray) -> FloatArray:
        return self.H[columns]

    def column_sq_norms(self) -> FloatArray:
        return self.H.diagonal().copy()
