"""How solvers see A: a few products, whatever A is stored in.

Every product is accumulated in float64, whatever A's dtype. Columns are named by an index array; None means all of
them. A matrix may stand for ``2**exponent * A``: all methods then speak of that, without a copy being made.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from l0quad.types import FloatArray, IntArray, RealArray

# The memory budget of one pass over A: gathered or converted columns are handled in pieces of at most this size, and
# a subset larger than SUBSET_BYTES of a memory-mapped A is gathered anew in each pass instead of being kept.
CHUNK_BYTES = 1 << 23
SUBSET_BYTES = 1 << 28
# Above this share of the columns, one BLAS product with all of A beats a product with the gathered ones.
_GATHER_SHARE = 0.05


class Matrix(ABC):
    """An n x p matrix as solvers see it."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    nbytes: int

    @abstractmethod
    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'r."""

    @abstractmethod
    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        """Return A_S w."""

    @abstractmethod
    def block_matvec(self, first: int, last: int, w: FloatArray) -> FloatArray:
        """Return A[:, first:last] w."""

    @abstractmethod
    def outer(self, columns: IntArray | None = None) -> FloatArray:
        """Return A_S A_S', n x n."""

    @abstractmethod
    def inner(self, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'A_S, |S| x |S|."""

    @abstractmethod
    def cross(self, columns: IntArray) -> FloatArray:
        """Return A_S'A, |S| x p."""

    def column_quad(self, factor: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return ||L^-1 a_j||^2 for each column j, L lower triangular (n x n)."""
        every = np.arange(self.shape[1]) if columns is None else columns
        quad = np.empty(every.size)
        for piece in self.pieces(every):
            part = np.asfortranarray(self.take_dense(every[piece]), dtype=np.float64)
            solved = scipy.linalg.blas.dtrsm(1.0, factor.T, part, lower=0, trans_a=1, overwrite_b=1)
            quad[piece] = np.einsum("ij,ij->j", solved, solved)
        return quad

    @abstractmethod
    def column_sq_norms(self) -> FloatArray:
        """Return the squared norm of each column."""

    @abstractmethod
    def take(self, columns: IntArray) -> Any:
        """Return A_S in A's own kind and dtype (float64 where scaled): a Fortran-ordered array, or a CSC array."""

    @abstractmethod
    def take_dense(self, columns: IntArray) -> RealArray:
        """Return A_S as a Fortran-ordered array."""

    @abstractmethod
    def subset(self, columns: IntArray) -> "Matrix":
        """Return A_S as a matrix of its own."""

    @abstractmethod
    def fits(self, n_columns: int) -> bool:
        """Whether it pays, and memory allows, to gather this many columns and keep them."""

    def view(self, columns: IntArray) -> "tuple[Matrix, IntArray | None]":
        """Return (M, c) with M's columns c being A_S: gathered once where memory allows, else A itself."""
        if columns.size == self.shape[1]:
            return self, None
        return (self.subset(columns), None) if self.fits(columns.size) else (self, columns)

    def pieces(self, columns: IntArray) -> Iterator[slice]:
        """Yield slices of ``columns`` whose columns, as dense float64, fit the memory budget of one pass."""
        step = max(1, CHUNK_BYTES // (8 * self.shape[0]))
        for start in range(0, columns.size, step):
            yield slice(start, min(start + step, columns.size))


class DenseMatrix(Matrix):
    """An array in memory or a memory-mapped file, stored by rows or by columns."""

    def __init__(self, array: RealArray, exponent: int = 0) -> None:
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = array.dtype
        self.nbytes = array.nbytes
        self._exponent = exponent
        self._mapped = _is_mapped(array)
        # X is A or its transpose, whichever is stored by rows; read-only, so that kernels see one type.
        self._by_columns = abs(array.strides[0]) < abs(array.strides[1]) or not _rows_contiguous(array)
        X = array.T if self._by_columns else array
        self._X: Any = X.view(np.ndarray)
        self._X.flags.writeable = False
        self._blas = self.dtype == np.float64

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        return self._scaled(lambda r: self._raw_rmatvec(r, columns), r)

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        return self._scaled(lambda w: self._raw_matvec(columns, w), w)

    def block_matvec(self, first: int, last: int, w: FloatArray) -> FloatArray:
        block = self._X[first:last].T if self._by_columns else self._X[:, first:last]
        if self._blas:
            return self._scaled(lambda w: block @ w, w)
        return DenseMatrix(block, self._exponent).matvec(None, w)

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

    def outer(self, columns: IntArray | None = None) -> FloatArray:
        if columns is None and self._blas and not self._exponent:
            return self._X.T @ self._X if self._by_columns else self._X @ self._X.T
        every = self._every(columns)
        total = np.zeros((self.shape[0], self.shape[0]))
        for piece in self.pieces(every):
            A_S = self._take64(every[piece])
            total += A_S @ A_S.T
        return total

    def inner(self, columns: IntArray | None = None) -> FloatArray:
        if columns is None and self._blas and not self._exponent:
            return self._X @ self._X.T if self._by_columns else self._X.T @ self._X
        every = self._every(columns)
        if 8 * every.size * self.shape[0] <= CHUNK_BYTES:
            A_S = self._take64(every)
            return A_S.T @ A_S
        total = np.zeros((every.size, every.size))
        step = max(1, CHUNK_BYTES // (8 * every.size))
        for start in range(0, self.shape[0], step):
            rows = slice(start, start + step)
            part = self._X[every, rows] if self._by_columns else self._X[rows][:, every].T
            part = np.ldexp(part, self._exponent, dtype=np.float64)
            total += part @ part.T
        return total

    def cross(self, columns: IntArray) -> FloatArray:
        A_S = self._take64(columns)
        if self._blas and not self._exponent:
            return (self._X @ A_S).T if self._by_columns else A_S.T @ self._X
        every = self._every(None)
        return np.concatenate([A_S.T @ self._take64(every[piece]) for piece in self.pieces(every)], axis=1)

    def column_sq_norms(self) -> FloatArray:
        every = self._every(None)
        parts = (self._take64(every[piece]) for piece in self.pieces(every))
        return np.concatenate([np.einsum("ij,ij->j", part, part) for part in parts])

    def take(self, columns: IntArray) -> RealArray:
        if self._by_columns:
            gathered = self._X[columns]
        else:
            from l0quad.kernels.products import gather_columns

            gathered = np.empty((columns.size, self.shape[0]), dtype=self.dtype)
            gather_columns(self._X, columns, gathered)
        return np.ldexp(gathered, self._exponent, dtype=np.float64).T if self._exponent else gathered.T

    take_dense = take

    def subset(self, columns: IntArray) -> "DenseMatrix":
        return DenseMatrix(self.take(columns))

    def fits(self, n_columns: int) -> bool:
        if self._mapped:
            return n_columns * self.shape[0] * self.dtype.itemsize <= SUBSET_BYTES
        return not self._by_columns

    def _take64(self, columns: IntArray) -> FloatArray:
        return np.asarray(self.take(columns), dtype=np.float64)

    def _every(self, columns: IntArray | None) -> IntArray:
        return np.arange(self.shape[1]) if columns is None else columns

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


class SparseMatrix(Matrix):
    """A canonical CSC array."""

    def __init__(self, array: sp.csc_array, exponent: int = 0) -> None:
        self.shape = (array.shape[0], array.shape[1])
        self.dtype = array.dtype
        if exponent:
            data = np.ldexp(array.data, exponent, dtype=np.float64)
            array = sp.csc_array((data, array.indices, array.indptr), array.shape)
        self._A = array
        self.nbytes = array.data.nbytes + array.indices.nbytes + array.indptr.nbytes

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        return np.asarray((self._A if columns is None else self._A[:, columns]).T @ r)

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        return np.asarray((self._A if columns is None else self._A[:, columns]) @ w)

    def block_matvec(self, first: int, last: int, w: FloatArray) -> FloatArray:
        return np.asarray(self._A[:, first:last] @ w)

    def outer(self, columns: IntArray | None = None) -> FloatArray:
        A_S = self._float64(columns)
        return np.asarray((A_S @ A_S.T).toarray())

    def inner(self, columns: IntArray | None = None) -> FloatArray:
        A_S = self._float64(columns)
        return np.asarray((A_S.T @ A_S).toarray())

    def cross(self, columns: IntArray) -> FloatArray:
        return np.asarray((self._float64(columns).T @ self._float64(None)).toarray())

    def column_sq_norms(self) -> FloatArray:
        squares = sp.csc_array((self._A.data.astype(np.float64) ** 2, self._A.indices, self._A.indptr), self.shape)
        return np.asarray(squares.sum(axis=0)).ravel()

    def take(self, columns: IntArray) -> sp.csc_array:
        return self._A[:, columns]

    def take_dense(self, columns: IntArray) -> RealArray:
        return np.asarray(self._A[:, columns].toarray(order="F"))

    def subset(self, columns: IntArray) -> "SparseMatrix":
        return SparseMatrix(self.take(columns))

    def fits(self, n_columns: int) -> bool:
        return True

    def _float64(self, columns: IntArray | None) -> sp.csc_array:
        return (self._A if columns is None else self._A[:, columns]).astype(np.float64, copy=False)


def as_matrix(array: Any, exponent: int = 0) -> Matrix:
    """Return a validated array (dense or CSC) as a matrix that stands for ``2**exponent`` times it."""
    kind: Any = SparseMatrix if sp.issparse(array) else DenseMatrix
    return kind(array, exponent)


def _rows_contiguous(array: RealArray) -> bool:
    return array.strides[1] == array.itemsize or array.shape[1] == 1


def _is_mapped(array: Any) -> bool:
    """Whether the array's memory is a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
