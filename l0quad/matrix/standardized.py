"""Matrices whose rows are weighted and whose columns are centred and scaled; what they stand on is not copied."""

from collections.abc import Iterator

import numpy as np

from l0quad.matrix.base import Matrix
from l0quad.types import FloatArray, IntArray, Pause, RealArray, go_on

# Of fewer columns than this share of all, products gather the columns in place of reading every row.
_FEW = 0.25
# Blocks of rows that are centred on the way stay in the second cache.
_BLOCK_BYTES = 1 << 19


class _Over(Matrix):
    """A matrix whose values are those of ``base``, changed as they are read."""

    base: Matrix

    @property
    def in_files(self) -> bool:
        """Whether every pass reads A from files, here or on other machines."""
        return self.base.in_files

    @property
    def bytes_read(self) -> int:
        """All that has been read so far, where passes are counted; else 0."""
        return self.base.bytes_read

    def fits(self, n_columns: int) -> bool:
        """Whether it pays, and memory allows, to gather this many columns and keep them."""
        return self.base.fits(n_columns)


class Centred(_Over):
    """``(X - u mean') diag(scale)``: products are those with X and a correction of rank one.

    They lose the digits by which a column's norm exceeds its centred norm: rounding is at most ``spread`` times that of
    a stored column where ``||u|| |mean_j|`` is at most ``far`` times the centred norm.

    Attributes
    ----------
    base : Matrix
        X.
    u, mean, scale : ndarray of shape (n,), (p,) and (p,)
    """

    def __init__(self, base: Matrix, u: FloatArray, mean: FloatArray, scale: FloatArray, far: float = 1.0) -> None:
        self.base, self.u, self.mean, self.scale, self._far = base, u, mean, scale, far
        # Of X; of u'r and of the means' own rounding, ``far`` each; of weights and scales.
        self.spread = (1 + far * far) ** 0.5 + 2 * far + 0.5
        self.shape, self.dtype, self.nbytes = base.shape, np.dtype(np.float64), base.nbytes
        # (X - u mean')'(X - u mean') = X'X - mean tilt' - tilt mean', which is symmetric whatever the rounding.
        self._tilt = base.rmatvec(u) - 0.5 * float(u @ u) * mean

    def take(self, columns: IntArray) -> RealArray:
        """Return the columns as a Fortran-ordered float64 array."""
        taken = np.array(self.base.take(columns), dtype=np.float64, order="F")
        taken -= np.multiply.outer(self.u, self.mean[columns])
        taken *= self.scale[columns]
        return taken

    def subset(self, columns: IntArray) -> "Centred":
        """Return the columns as a matrix of its own."""
        return Centred(self.base.subset(columns), self.u, self.mean[columns], self.scale[columns], self._far)

    def scaled(self, exponent: int) -> "Centred":
        """Return ``2**exponent`` times the matrix."""
        return Centred(self.base, self.u, self.mean, np.ldexp(self.scale, exponent), self._far)

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        """Yield blocks of at most this many rows."""
        start = 0
        for block in self.base.row_blocks(n_rows):
            stop = start + block.shape[0]
            yield (block - np.multiply.outer(self.u[start:stop], self.mean)) * self.scale
            start = stop

    def largest_exponent(self, name: str = "A") -> int | None:
        """Return the exponent of the largest column's norm; X has been looked at."""
        return _largest_norm(self)

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'r."""
        product = self.base.rmatvec(r, columns) - float(self.u @ r) * _of(self.mean, columns)
        return product * _of(self.scale, columns)

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        """Return A_S w."""
        own = _of(self.scale, columns) * w
        return self.base.matvec(columns, own) - float(_of(self.mean, columns) @ own) * self.u

    def rmatvec_and_matvec(
        self, columns: IntArray | None, y: FloatArray, w: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return t = A_S'y and A_S (w + t)."""
        t = self.rmatvec(y, columns)
        return t, self.matvec(columns, w + t)

    def outer(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S A_S'."""
        squares = _of(self.scale, columns) ** 2
        base, mean = self.base, _of(self.mean, columns)
        if np.unique(squares).size != 1:
            return super().outer(columns, pause)
        lean = base.matvec(columns, mean) - 0.5 * float(mean @ mean) * self.u
        correction = np.multiply.outer(self.u, lean)
        return float(squares[0]) * (base.outer(columns, pause) - correction - correction.T)

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A_S."""
        scale = _of(self.scale, columns)
        correction = np.multiply.outer(_of(self.mean, columns), _of(self._tilt, columns))
        return (self.base.inner(columns, pause) - correction - correction.T) * scale[:, None] * scale

    def cross(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A."""
        product = self.base.cross(columns, pause)
        product -= np.multiply.outer(self.mean[columns], self._tilt)
        product -= np.multiply.outer(self._tilt[columns], self.mean)
        product *= self.scale[columns, None]
        product *= self.scale
        return product

    def column_sq_norms(self) -> FloatArray:
        """Return the squared norm of each column."""
        squares = self.base.prepared.column_sq_norms - 2 * self.mean * self._tilt
        return np.maximum(squares, 0.0) * self.scale**2


class WeightedRows(_Over):
    """``diag(rows) X``: products are those with X.

    Attributes
    ----------
    base : Matrix
        X.
    rows : ndarray of shape (n,)
    """

    def __init__(self, base: Matrix, rows: FloatArray) -> None:
        self.base, self.rows = base, rows
        self.shape, self.dtype, self.nbytes = base.shape, np.dtype(np.float64), base.nbytes

    def take(self, columns: IntArray) -> RealArray:
        """Return the columns as a Fortran-ordered float64 array."""
        return np.multiply(self.base.take(columns), self.rows[:, None], order="F")

    def subset(self, columns: IntArray) -> "WeightedRows":
        """Return the columns as a matrix of its own."""
        return WeightedRows(self.base.subset(columns), self.rows)

    def scaled(self, exponent: int) -> "WeightedRows":
        """Return ``2**exponent`` times the matrix."""
        return WeightedRows(self.base.scaled(exponent), self.rows)

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        """Yield blocks of at most this many rows."""
        start = 0
        for block in self.base.row_blocks(n_rows):
            yield block * self.rows[start : start + block.shape[0], None]
            start += block.shape[0]

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'r."""
        return self.base.rmatvec(self.rows * r, columns)

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        """Return A_S w."""
        return self.base.matvec(columns, w) * self.rows

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A_S."""
        if columns is not None:
            return self.subset(columns).inner(None, pause)
        total = np.zeros((self.shape[1], self.shape[1]))
        for _, block in _cached_blocks(self):
            pause()
            total += block.T @ block
        return total

    def column_sq_norms(self) -> FloatArray:
        """Return the squared norm of each column."""
        return np.asarray(np.sum([np.einsum("ij,ij->j", block, block) for _, block in _cached_blocks(self)], axis=0))


class StandardizedRows(_Over):
    """``diag(rows) (X - 1 mean') diag(scale)``, by blocks of rows that are centred before anything is summed.

    No digits are lost, whatever the means; a pass takes a little longer than one over X.

    Attributes
    ----------
    base : Matrix
        X.
    rows, mean, scale : ndarray of shape (n,), (p,) and (p,); ``rows`` may be None
    """

    def __init__(self, base: Matrix, rows: FloatArray | None, mean: FloatArray, scale: FloatArray) -> None:
        self.base, self.rows, self.mean, self.scale = base, rows, mean, scale
        self.shape, self.dtype, self.nbytes = base.shape, np.dtype(np.float64), base.nbytes

    def take(self, columns: IntArray) -> RealArray:
        """Return the columns as a Fortran-ordered float64 array."""
        taken = np.array(self.base.take(columns), dtype=np.float64, order="F")
        taken -= self.mean[columns]
        if self.rows is not None:
            taken *= self.rows[:, None]
        taken *= self.scale[columns]
        return taken

    def subset(self, columns: IntArray) -> "StandardizedRows":
        """Return the columns as a matrix of its own."""
        return StandardizedRows(self.base.subset(columns), self.rows, self.mean[columns], self.scale[columns])

    def scaled(self, exponent: int) -> "StandardizedRows":
        """Return ``2**exponent`` times the matrix."""
        return StandardizedRows(self.base, self.rows, self.mean, np.ldexp(self.scale, exponent))

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        """Yield blocks of at most this many rows."""
        start = 0
        for block in self.base.row_blocks(n_rows):
            own = block - self.mean
            own *= self.scale
            if self.rows is not None:
                own *= self.rows[start : start + block.shape[0], None]
            yield own
            start += block.shape[0]

    def largest_exponent(self, name: str = "A") -> int | None:
        """Return the exponent of the largest column's norm; X has been looked at."""
        return _largest_norm(self)

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'r."""
        if self._few(columns):
            return super().rmatvec(r, columns)
        return _of(np.sum([block.T @ r[rows] for rows, block in _cached_blocks(self)], axis=0), columns)

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        """Return A_S w."""
        if self._few(columns):
            return super().matvec(columns, w)
        full = np.zeros(self.shape[1])
        full[self._every(columns)] = w
        return np.concatenate([block @ full for _, block in _cached_blocks(self)])

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A_S."""
        total = np.zeros((self._every(columns).size,) * 2)
        for _, block in _cached_blocks(self):
            pause()
            own = block if columns is None else block[:, columns]
            total += own.T @ own
        return total

    def cross(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A."""
        total = np.zeros((columns.size, self.shape[1]))
        for _, block in _cached_blocks(self):
            pause()
            total += block[:, columns].T @ block
        return total

    def column_sq_norms(self) -> FloatArray:
        """Return the squared norm of each column."""
        return np.asarray(np.sum([np.einsum("ij,ij->j", block, block) for _, block in _cached_blocks(self)], axis=0))

    def _few(self, columns: IntArray | None) -> bool:
        return columns is not None and columns.size < _FEW * self.shape[1]


def _cached_blocks(matrix: Matrix) -> Iterator[tuple[slice, FloatArray]]:
    """Yield the rows of a matrix, and which they are, in blocks that stay in the cache."""
    start = 0
    for block in matrix.row_blocks(max(1, _BLOCK_BYTES // (8 * max(1, matrix.shape[1])))):
        yield slice(start, start + block.shape[0]), block
        start += block.shape[0]


def _of(vector: FloatArray, columns: IntArray | None) -> FloatArray:
    return vector if columns is None else vector[columns]


def _largest_norm(matrix: Matrix) -> int | None:
    """Return the exponent of the largest column's norm."""
    largest = float(matrix.prepared.column_sq_norms.max()) ** 0.5
    return int(np.frexp(largest)[1]) if largest > 0 else None
