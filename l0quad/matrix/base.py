"""How solvers see A: a few products, whatever A is stored in.

Every product is accumulated in float64, whatever A's dtype. Columns are named by an index array; None means all of
them.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from l0quad import validation
from l0quad.matrix.prepared import Prepared
from l0quad.types import FloatArray, IntArray, RealArray

# The memory budget of one pass over A: gathered or converted columns are handled in pieces of at most this size.
CHUNK_BYTES = 1 << 23


class Matrix(ABC):
    """An n x p matrix of real numbers; `Problem` takes any of them for A.

    A subclass sets the attributes and defines the abstract methods; all else is derived from these, and overridden
    where its way of storing A has a faster one. A matrix never changes.

    Attributes
    ----------
    shape : (n, p)
    dtype : float32 or float64
    nbytes : int
        What one pass over A reads.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    nbytes: int

    @abstractmethod
    def take(self, columns: IntArray) -> RealArray:
        """Return A_S as a Fortran-ordered array."""

    @abstractmethod
    def subset(self, columns: IntArray) -> "Matrix":
        """Return A_S as a matrix of its own."""

    @abstractmethod
    def scaled(self, exponent: int) -> "Matrix":
        """Return ``2**exponent * A``."""

    def fits(self, n_columns: int) -> bool:
        """Whether it pays, and memory allows, to gather this many columns and keep them."""
        return False

    def sweep(self, columns: IntArray | None = None) -> Iterator[tuple[slice, FloatArray]]:
        """Read A_S once: yield slices of ``columns`` with their columns as float64, n x a few, together all of them.

        Whoever needs several products of A_S makes them from one sweep.
        """
        every = self._every(columns)
        for piece in self.pieces(every):
            yield piece, np.asarray(self.take(every[piece]), dtype=np.float64)

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        """Read A once: yield blocks of at most this many rows, all columns, as dense float64."""
        A = self.take(np.arange(self.shape[1]))
        for start in range(0, self.shape[0], n_rows):
            yield np.asarray(A[start : start + n_rows], dtype=np.float64)

    @functools.cached_property
    def prepared(self) -> Prepared:
        """What has been computed about this matrix, shared by all problems on it."""
        return Prepared(self)

    def largest_exponent(self) -> int | None:
        """Return e with max|A| in [2^(e-1), 2^e), None where A is zero; a value that is not finite is a ValueError."""
        exponents = [validation.largest_exponent(block, "A") for _, block in self.sweep()]
        return max((each for each in exponents if each is not None), default=None)

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'r."""
        return np.concatenate([np.empty(0), *(block.T @ r for _, block in self.sweep(columns))])

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        """Return A_S w."""
        total = np.zeros(self.shape[0])
        for piece, block in self.sweep(columns):
            total += block @ w[piece]
        return total

    def outer(self, columns: IntArray | None = None) -> FloatArray:
        """Return A_S A_S', n x n."""
        total = np.zeros((self.shape[0], self.shape[0]))
        for _, block in self.sweep(columns):
            total += block @ block.T
        return total

    def outer_and_matvec(self, columns: IntArray | None, w: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return A_S A_S' and A_S w from one sweep."""
        total, product = np.zeros((self.shape[0], self.shape[0])), np.zeros(self.shape[0])
        for piece, block in self.sweep(columns):
            total += block @ block.T
            product += block @ w[piece]
        return total, product

    def rmatvec_and_matvec(
        self, columns: IntArray | None, y: FloatArray, w: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return t = A_S'y and A_S (w + t) from one sweep."""
        t, product = np.empty(w.size), np.zeros(self.shape[0])
        for piece, block in self.sweep(columns):
            t[piece] = block.T @ y
            product += block @ (w[piece] + t[piece])
        return t, product

    def inner(self, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'A_S, |S| x |S|."""
        every = self._every(columns)
        return self.cross(every)[:, every]

    def cross(self, columns: IntArray) -> FloatArray:
        """Return A_S'A, |S| x p."""
        A_S = np.asarray(self.take(columns), dtype=np.float64)
        out = np.empty((columns.size, self.shape[1]))
        for piece, block in self.sweep():
            out[:, piece] = A_S.T @ block
        return out

    def column_sq_norms(self) -> FloatArray:
        """Return the squared norm of each column."""
        return np.concatenate([np.einsum("ij,ij->j", block, block) for _, block in self.sweep()])

    def column_quad(self, factor: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return ||L^-1 a_j||^2 for each column j, L lower triangular (n x n)."""
        quad = np.empty(self._every(columns).size)
        for piece, block in self.sweep(columns):
            solved = scipy.linalg.blas.dtrsm(
                1.0, factor.T, np.array(block, order="F"), lower=0, trans_a=1, overwrite_b=1
            )
            quad[piece] = np.einsum("ij,ij->j", solved, solved)
        return quad

    def descend(self, residual: FloatArray, w: FloatArray, w0: FloatArray, mu: float) -> float:
        """Do one sweep of cyclic coordinate descent over all columns, for 1/2 ||residual||^2 + mu/2 ||w - w0||^2.

        Changes ``w`` and ``residual = A w - b``; returns by how much the objective fell.
        """
        from l0quad.kernels.descent import descend_dense

        return float(descend_dense(self.take(np.arange(self.shape[1])).T, residual, w, w0, mu))

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

    def _every(self, columns: IntArray | None) -> IntArray:
        return np.arange(self.shape[1]) if columns is None else columns
