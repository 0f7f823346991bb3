"""A dense array, in memory or a memory-mapped file."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from l0quad import validation
from l0quad.matrix.base import CHUNK_BYTES, Matrix
from l0quad.types import FloatArray, IntArray, Pause, RealArray, go_on

# A subset larger than this of a memory-mapped A is gathered anew in each pass instead of being kept.
SUBSET_BYTES = 1 << 26
# Above this share of the columns, one BLAS product with all of A beats a product with the gathered ones.
_GATHER_SHARE = 0.05
# A product of so many flops is made in one piece, a larger one in slices.
_AT_ONCE_FLOPS = 4e9


class DenseMatrix(Matrix):
    """An array in memory or a memory-mapped file, stored by rows or by columns.

    It may stand for ``2**exponent`` times the array, without a copy being made.
    """

    def __init__(self, array: RealArray, exponent: int = 0) -> None:
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = array.dtype
        self.nbytes = array.nbytes
        self._array, self._exponent = array, exponent
        self._lay_out()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_X"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lay_out()

    def _lay_out(self) -> None:
        """Look at how the array is stored."""
        array = self._array
        self._mapped = _is_mapped(array)
        # X is A or its transpose, whichever is stored by rows; read-only, so that kernels see one type.
        self._by_columns = abs(array.strides[0]) < abs(array.strides[1]) or not _rows_contiguous(array)
        X = array.T if self._by_columns else array
        self._X: Any = X.view(np.ndarray)
        self._X.flags.writeable = False
        self._blas = self.dtype == np.float64

    def take(self, columns: IntArray) -> RealArray:
        if self._by_columns:
            gathered = self._X[columns]
        else:
            from l0quad.kernels.products import gather_columns

            gathered = np.empty((columns.size, self.shape[0]), dtype=self.dtype)
            gather_columns(self._X, columns, gathered)
        return np.ldexp(gathered, self._exponent, dtype=np.float64).T if self._exponent else gathered.T

    def subset(self, columns: IntArray) -> "DenseMatrix":
        return DenseMatrix(self.take(columns))

    def scaled(self, exponent: int) -> "DenseMatrix":
        return DenseMatrix(self._array, self._exponent + exponent)

    def fits(self, n_columns: int) -> bool:
        if self._mapped:
            return n_columns * self.shape[0] * self.dtype.itemsize <= SUBSET_BYTES
        return not self._by_columns

    def sweep(self, columns: IntArray | None = None) -> Iterator[tuple[slice, FloatArray]]:
        if columns is not None or not self._blas or self._exponent:
            yield from super().sweep(columns)
            return
        for piece in self.pieces(np.arange(self.shape[1])):
            yield piece, self._X[piece].T if self._by_columns else self._X[:, piece]

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        for start in range(0, self.shape[0], n_rows):
            block = np.array(self._array[start : start + n_rows], dtype=np.float64)
            yield np.ldexp(block, self._exponent, out=block) if self._exponent else block

    def largest_exponent(self, name: str = "A") -> int | None:
        exponent = validation.largest_exponent(self._array, name, self.place)
        return None if exponent is None else exponent + self._exponent

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        return self._scaled(lambda r: self._raw_rmatvec(r, columns), r)

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        return self._scaled(lambda w: self._raw_matvec(columns, w), w)

    def block_matvec(self, first: int, last: int, w: FloatArray) -> FloatArray:
        block = self._X[first:last].T if self._by_columns else self._X[:, first:last]
        if self._blas:
            return self._scaled(lambda w: block @ w, w)
        return DenseMatrix(block, self._exponent).matvec(None, w)

    def outer(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        if columns is None and self._at_once(1.0 * self.shape[0] ** 2 * self.shape[1]):
            return self._X.T @ self._X if self._by_columns else self._X @ self._X.T
        return super().outer(columns, pause)

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        if columns is None and self._at_once(1.0 * self.shape[0] * self.shape[1] ** 2):
            return self._X @ self._X.T if self._by_columns else self._X.T @ self._X
        every = self._every(columns)
        if 8 * every.size * self.shape[0] <= CHUNK_BYTES:
            A_S = self._take64(every)
            return A_S.T @ A_S
        total = np.zeros((every.size, every.size))
        step = max(1, CHUNK_BYTES // (8 * every.size))
        for start in range(0, self.shape[0], step):
            pause()
            rows = slice(start, start + step)
            if columns is None:
                part = self._X[:, rows] if self._by_columns else self._X[rows].T
            else:
                part = self._X[every, rows] if self._by_columns else self._X[rows][:, every].T
            if not self._blas or self._exponent:
                part = np.ldexp(part, self._exponent, dtype=np.float64)
            total += part @ part.T
        return total

    def cross(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        if self._at_once(2.0 * self.shape[0] * self.shape[1] * columns.size):
            A_S = self._take64(columns)
            return (self._X @ A_S).T if self._by_columns else A_S.T @ self._X
        return super().cross(columns, pause)

    def column_sq_norms(self) -> FloatArray:
        if self._by_columns:
            return super().column_sq_norms()
        total = np.zeros(self.shape[1])
        step = max(1, CHUNK_BYTES // (8 * self.shape[1]))
        for start in range(0, self.shape[0], step):
            part = self._X[start : start + step]
            if not self._blas or self._exponent:
                part = np.ldexp(part, self._exponent, dtype=np.float64)
            total += np.einsum("ij,ij->j", part, part)
        return total

    def descend(self, residual: FloatArray, w: FloatArray, w0: FloatArray, mu: float) -> float:
        if not self._by_columns or self._exponent:
            return super().descend(residual, w, w0, mu)
        from l0quad.kernels.descent import descend_dense

        return float(descend_dense(self._X, residual, w, w0, mu))

    def _raw_rmatvec(self, r: FloatArray, columns: IntArray | None) -> FloatArray:
        if self._by_columns:
            if columns is None and self._blas:
                return self._X @ r
            return self._kernel_rows(self._every(columns), r)
        full = r @ self._X if self._blas else self._kernel_combination(np.arange(self.shape[0]), r)
        return full if columns is None else full[columns]

    def _raw_matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        if self._by_columns:
            if columns is None and self._blas:
                return w @ self._X
            return self._kernel_combination(self._every(columns), w)
        if columns is not None and columns.size <= _GATHER_SHARE * self.shape[1]:
            from l0quad.kernels.products import column_products

            out = np.empty(self.shape[0])
            column_products(self._X, columns, w, out)
            return out
        if columns is not None:
            full = np.zeros(self.shape[1])
            full[columns] = w
            w = full
        return self._X @ w if self._blas else self._kernel_rows(np.arange(self.shape[0]), w)

    def _at_once(self, flops: float) -> bool:
        """Whether a product with all columns is one call of BLAS that takes no long time."""
        return self._blas and not self._exponent and flops <= _AT_ONCE_FLOPS

    def _take64(self, columns: IntArray) -> FloatArray:
        return np.asarray(self.take(columns), dtype=np.float64)

    def _scaled(self, product: Callable[[FloatArray], FloatArray], vector: FloatArray) -> FloatArray:
        """Return the product with A scaled, half of the scaling before and half after, so that neither overflows."""
        if not self._exponent:
            return product(vector)
        half = self._exponent // 2
        return np.ldexp(product(np.ldexp(vector, half)), self._exponent - half)

    def _kernel_rows(self, rows: IntArray, v: FloatArray) -> FloatArray:
        from l0quad.kernels.products import row_products

        out = np.empty(rows.size)
        row_products(self._X, rows, np.ascontiguousarray(v), out)
        return out

    def _kernel_combination(self, rows: IntArray, u: FloatArray) -> FloatArray:
        from l0quad.kernels.products import combine_rows

        out = np.empty(self._X.shape[1])
        combine_rows(self._X, rows, np.ascontiguousarray(u), out)
        return out


def _rows_contiguous(array: RealArray) -> bool:
    return array.strides[1] == array.itemsize or array.shape[1] == 1


def _is_mapped(array: Any) -> bool:
    """Whether the array's memory is a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
