"""A matrix with its columns multiplied by powers of two, which is exact; nothing is copied."""

from collections.abc import Iterator

import numpy as np

from l0quad.matrix.base import Matrix
from l0quad.types import FloatArray, IntArray, Pause, RealArray, go_on


class ScaledColumns(Matrix):
    """``A diag(2**exponents)``.

    Attributes
    ----------
    base : Matrix
        A.
    exponents : ndarray of int, shape (p,)
    """

    def __init__(self, base: Matrix, exponents: IntArray) -> None:
        self.base, self.exponents, self.spread = base, exponents, base.spread
        self.shape, self.dtype, self.nbytes = base.shape, np.dtype(np.float64), base.nbytes

    def take(self, columns: IntArray) -> RealArray:
        """Return the columns as a Fortran-ordered float64 array."""
        taken = np.asarray(self.base.take(columns), dtype=np.float64)
        return np.asfortranarray(np.ldexp(taken, self.exponents[columns]))

    def subset(self, columns: IntArray) -> "ScaledColumns":
        """Return the columns as a matrix of its own."""
        return ScaledColumns(self.base.subset(columns), self.exponents[columns])

    def scaled(self, exponent: int) -> "ScaledColumns":
        """Return ``2**exponent`` times the matrix."""
        return ScaledColumns(self.base, self.exponents + exponent)

    def fits(self, n_columns: int) -> bool:
        """Whether it pays, and memory allows, to gather this many columns and keep them."""
        return self.base.fits(n_columns)

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'r."""
        return np.ldexp(self.base.rmatvec(r, columns), self._of(columns))

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        """Return A_S w."""
        return self.base.matvec(columns, np.ldexp(w, self._of(columns)))

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A_S."""
        own = self._of(columns)
        return np.ldexp(self.base.inner(columns, pause), own[:, None] + own)

    def know_rows(self, columns: IntArray, rows: FloatArray) -> None:
        """Take these rows of A'A for the ones that are known; the base, which they come from, knows the same."""
        super().know_rows(columns, rows)
        self.base.know_rows(columns, np.ldexp(rows, -self.exponents[columns][:, None] - self.exponents))

    def cross(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A."""
        rows = self.base.prepared.gram_rows(columns, pause)
        return np.ldexp(rows, self.exponents[columns][:, None] + self.exponents)

    def column_sq_norms(self) -> FloatArray:
        """Return the squared norm of each column."""
        return np.ldexp(self.base.prepared.column_sq_norms, 2 * self.exponents)

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        """Yield blocks of at most this many rows."""
        for block in self.base.row_blocks(n_rows):
            yield np.ldexp(block, self.exponents)

    def descend(self, residual: FloatArray, w: FloatArray, w0: FloatArray, mu: float) -> float:
        """Do one sweep of coordinate descent without a ridge, which columns of any size take the same way."""
        own = np.ldexp(w, self.exponents)
        fallen = self.base.descend(residual, own, np.ldexp(w0, self.exponents), mu)
        w[:] = np.ldexp(own, -self.exponents)
        return fallen

    def _of(self, columns: IntArray | None) -> IntArray:
        return self.exponents if columns is None else self.exponents[columns]
