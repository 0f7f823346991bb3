"""A sparse matrix in canonical CSC form."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from l0quad import validation
from l0quad.matrix.base import Matrix
from l0quad.types import FloatArray, IntArray, Pause, RealArray, go_on


class SparseMatrix(Matrix):
    """A canonical CSC array."""

    def __init__(self, array: sp.csc_array) -> None:
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = array.dtype
        self._A = array
        self.nbytes = array.data.nbytes + array.indices.nbytes + array.indptr.nbytes

    def take(self, columns: IntArray) -> RealArray:
        return np.asarray(self._A[:, columns].toarray(order="F"))

    def subset(self, columns: IntArray) -> "SparseMatrix":
        return SparseMatrix(self._A[:, columns])

    def scaled(self, exponent: int) -> "SparseMatrix":
        data = np.ldexp(self._A.data, exponent, dtype=np.float64)
        return SparseMatrix(sp.csc_array((data, self._A.indices, self._A.indptr), self.shape))

    def weighted(self, rows: FloatArray) -> "SparseMatrix":
        """Return ``diag(rows) A``."""
        data = self._A.data * rows[self._A.indices]
        return SparseMatrix(sp.csc_array((data, self._A.indices, self._A.indptr), self.shape))

    def replaced(self, columns: IntArray, by: FloatArray) -> "SparseMatrix":
        """Return the matrix with these columns, sorted, replaced by the dense ones of ``by``."""
        kept = np.setdiff1d(np.arange(self.shape[1]), columns)
        joined = sp.hstack([self._A[:, kept], sp.csc_array(by)], format="csc")
        return SparseMatrix(sp.csc_array(joined[:, np.argsort(np.concatenate([kept, columns]))]))

    def fits(self, n_columns: int) -> bool:
        return True

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        by_rows = self._A.tocsr()
        for start in range(0, self.shape[0], n_rows):
            yield np.asarray(by_rows[start : start + n_rows].toarray(), dtype=np.float64)

    def largest_exponent(self, name: str = "A") -> int | None:
        def place(entry: int) -> str:
            column = int(np.searchsorted(self._A.indptr, entry, side="right")) - 1
            return self.place(int(self._A.indices[entry]), column)

        return validation.largest_exponent(self._A.data, name, place)

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        return np.asarray((self._A if columns is None else self._A[:, columns]).T @ r)

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        return np.asarray((self._A if columns is None else self._A[:, columns]) @ w)

    def block_matvec(self, first: int, last: int, w: FloatArray) -> FloatArray:
        return np.asarray(self._A[:, first:last] @ w)

    def outer(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        pause()
        A_S = self._float64(columns)
        return np.asarray((A_S @ A_S.T).toarray())

    def rmatvec_and_matvec(
        self, columns: IntArray | None, y: FloatArray, w: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        t = self.rmatvec(y, columns)
        return t, self.matvec(columns, w + t)

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        pause()
        A_S = self._float64(columns)
        return np.asarray((A_S.T @ A_S).toarray())

    def cross(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        pause()
        return np.asarray((self._float64(columns).T @ self._float64(None)).toarray())

    def column_sq_norms(self) -> FloatArray:
        squares = sp.csc_array((self._A.data.astype(np.float64) ** 2, self._A.indices, self._A.indptr), self.shape)
        return np.asarray(squares.sum(axis=0)).ravel()

    def descend(self, residual: FloatArray, w: FloatArray, w0: FloatArray, mu: float) -> float:
        from l0quad.kernels.descent import descend_sparse

        indices, indptr = (each.astype(np.int64, copy=False) for each in (self._A.indices, self._A.indptr))
        return float(descend_sparse(self._A.data, indices, indptr, residual, w, w0, mu))

    def _float64(self, columns: IntArray | None) -> sp.csc_array:
        return (self._A if columns is None else self._A[:, columns]).astype(np.float64, copy=False)
