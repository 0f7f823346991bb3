"""How solvers see A: a few products, whatever A is stored in.

Every product is accumulated in float64, whatever A's dtype. Columns are named by an index array; None means all of
them.
"""

import functools
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.linalg

from l0quad import validation
from l0quad.linalg.symmetric import add_outer, mirror
from l0quad.matrix.sweeps import Swept, Wanted, sweep_blocks
from l0quad.types import FloatArray, IntArray, Pause, RealArray, go_on

# The memory budget of one pass over A: gathered or converted columns are handled in pieces of at most this size.
CHUNK_BYTES = 1 << 23
# What is kept of one matrix: results about all of it, rows of A'A, and the columns of the last support, of which a
# matrix that one problem alone uses keeps less.
KEPT_BYTES = 1 << 28
ROWS_BYTES = 1 << 26
SUPPORT_BYTES = 1 << 27
SINGLE_SUPPORT_BYTES = 1 << 24

_T = TypeVar("_T")


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
    names : tuple of str, or None
        The names of the columns, where they have any.
    index
        The labels of the rows as pandas has them, or None.
    spread : float
        By how many times the rounding of products may exceed that of products with stored columns of the same norms.
    counted : bool
        Whether A lies where a pass costs so much that passes are counted: solvers make as few sweeps (`swept`) as they
        can, and keep to little memory. A's values are then looked at as they are first read, not before, and must be
        of ordinary size (up to 2**120).

    Examples
    --------
    `as_matrix` makes one of an array; the page *Adding a matrix* defines a new kind.

    >>> import numpy as np, l0quad
    >>> matrix = l0quad.as_matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> isinstance(matrix, l0quad.Matrix), matrix.rmatvec(np.array([1.0, 1.0])).tolist()
    (True, [4.0, 6.0])
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    nbytes: int
    names: tuple[str, ...] | None = None
    index: Any = None
    spread: float = 1.0
    counted: bool = False

    @property
    def in_files(self) -> bool:
        """Whether every pass reads A from files, here or on other machines."""
        return self.counted

    @property
    def bytes_read(self) -> int:
        """All that has been read so far, where passes are counted; else 0."""
        return 0

    def watched(self, expired: Callable[[], bool]) -> AbstractContextManager[None]:
        """Let products that may wait for others ask, while they do, whether the limit of a solve has come."""
        return nullcontext()

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
        """Read A_S once: yield slices of ``columns`` with their columns as float64, n x a few, together all of them."""
        every = self._every(columns)
        for piece in self.pieces(every):
            yield piece, np.asarray(self.take(every[piece]), dtype=np.float64)

    def swept(self, wanted: Wanted, pause: Pause = go_on) -> Swept:
        """Read A once and do all that is wanted of its columns; ``pause`` is called between pieces."""
        blocks = ((piece.start, block) for piece, block in self.sweep())
        return sweep_blocks(blocks, self.shape, wanted, pause)

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        """Read A once: yield blocks of at most this many rows, all columns, as dense float64."""
        A = self.take(np.arange(self.shape[1]))
        for start in range(0, self.shape[0], n_rows):
            yield np.asarray(A[start : start + n_rows], dtype=np.float64)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle takes along: not what has been computed."""
        return {name: value for name, value in self.__dict__.items() if name != "prepared"}

    @functools.cached_property
    def prepared(self) -> "Prepared":
        """What has been computed about this matrix, shared by all problems on it."""
        return Prepared(self)

    def know_rows(self, columns: IntArray, rows: FloatArray) -> None:
        """Take these rows of A'A, which `Prepared.known_rows` has given, for the ones that are known."""
        self.prepared.know_rows(columns, rows)

    def largest_exponent(self, name: str = "A") -> int | None:
        """Return e with max|A| in [2^(e-1), 2^e), None where A is zero; a value that is not finite is a ValueError."""
        exponents = [
            validation.largest_exponent(block, name, lambda i, j, first=piece.start: self.place(i, first + j))
            for piece, block in self.sweep()
        ]
        return max((each for each in exponents if each is not None), default=None)

    def place(self, row: int, column: int) -> str:
        """Say where an entry stands, for errors."""
        named = "" if self.names is None else f" ({self.names[column]!r})"
        return validation.place(row, column) + named

    def rmatvec(self, r: FloatArray, columns: IntArray | None = None) -> FloatArray:
        """Return A_S'r."""
        t = np.empty(self.shape[1] if columns is None else columns.size)
        for piece, block in self.sweep(columns):
            t[piece] = block.T @ r
        return t

    def matvec(self, columns: IntArray | None, w: FloatArray) -> FloatArray:
        """Return A_S w."""
        total = np.zeros(self.shape[0])
        for piece, block in self.sweep(columns):
            total += block @ w[piece]
        return total

    def block_matvec(self, first: int, last: int, w: FloatArray) -> FloatArray:
        """Return A[:, first:last] w."""
        return self.matvec(np.arange(first, last), w)

    def outer(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S A_S', n x n.

        ``pause`` is called between slices (once, where there is one), as in `inner` and `cross`.
        """
        total = np.zeros((self.shape[0], self.shape[0]))
        for _, block in self.sweep(columns):
            pause()
            add_outer(total, block)
        mirror(total)
        return total

    def rmatvec_and_matvec(
        self, columns: IntArray | None, y: FloatArray, w: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return t = A_S'y and A_S (w + t) from one sweep."""
        t, product = np.empty(w.size), np.zeros(self.shape[0])
        for piece, block in self.sweep(columns):
            t[piece] = block.T @ y
            product += block @ (w[piece] + t[piece])
        return t, product

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A_S, |S| x |S|."""
        every = self._every(columns)
        return self.cross(every, pause)[:, every]

    def cross(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A, |S| x p."""
        A_S = np.asarray(self.take(columns), dtype=np.float64)
        out = np.empty((columns.size, self.shape[1]))
        for piece, block in self.sweep():
            pause()
            out[:, piece] = A_S.T @ block
        return out

    def column_sq_norms(self) -> FloatArray:
        """Return the squared norm of each column."""
        return np.concatenate([np.einsum("ij,ij->j", block, block) for _, block in self.sweep()])

    def column_quad(self, factor: FloatArray, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return ||L^-1 a_j||^2 for each column j, L lower triangular (n x n)."""
        quad = np.empty(self._every(columns).size)
        for piece, block in self.sweep(columns):
            pause()
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

    def pieces(self, columns: IntArray, least: int = 1, copies: int = 1) -> Iterator[slice]:
        """Yield slices of ``columns`` of which so many copies, as dense float64, fit the memory budget of one pass.

        At least ``least`` columns are in a slice.
        """
        step = max(least, CHUNK_BYTES // (8 * copies * self.shape[0]))
        for start in range(0, columns.size, step):
            yield slice(start, min(start + step, columns.size))

    def _every(self, columns: IntArray | None) -> IntArray:
        return np.arange(self.shape[1]) if columns is None else columns


class Gathered(NamedTuple):
    """The columns of one support, as `Matrix.view` has them, and A_S'A_S or A_S A_S', whichever is smaller.

    The Gram matrix is the caller's own, to work on.
    """

    matrix: Matrix
    columns: IntArray | None
    gram: FloatArray


class Prepared:
    """Results about one matrix, kept as far as 450 MiB allow; safe from several threads.

    Attributes
    ----------
    problems : int
        How many problems have been made on the matrix.
    """

    problems: int

    def __init__(self, matrix: Matrix) -> None:
        # Not in a circle with its matrix, which would keep A in memory until the next collection.
        self._of = weakref.ref(matrix)
        self._lock = threading.RLock()
        self.problems = 0
        self._kept: dict[str, Any] = {}
        self._left = KEPT_BYTES
        self._rows: dict[int, FloatArray] = {}
        self._most_rows = ROWS_BYTES // (8 * matrix.shape[1])
        self._gathered: tuple[IntArray, Matrix | None, IntArray | None, FloatArray] | None = None
        self._of_target: dict[str, tuple[FloatArray, Any]] = {}
        self._scaled: tuple[int, Matrix] | None = None

    @property
    def _matrix(self) -> Matrix:
        matrix = self._of()
        if matrix is None:
            raise ReferenceError("the matrix is gone; what is prepared of it belongs to it")
        return matrix

    def once(self, name: str, nbytes: int, compute: Callable[[Matrix], _T]) -> _T:
        """Return what is kept under this name, or compute it, and keep it where its ``nbytes`` fit."""
        with self._lock:
            if name in self._kept:
                return self._kept[name]
            value = compute(self._matrix)
            if nbytes <= self._left:
                self._kept[name] = value
                self._left -= nbytes
            return value

    def scaled(self, exponent: int) -> Matrix:
        """Return ``2**exponent * A``, A itself where that is what it is; of others the last one is kept."""
        if exponent == 0:
            return self._matrix
        with self._lock:
            if self._scaled is None or self._scaled[0] != exponent:
                self._scaled = exponent, self._matrix.scaled(exponent)
            return self._scaled[1]

    @property
    def column_sq_norms(self) -> FloatArray:
        """The squared norms of A's columns, read-only."""

        def norms(matrix: Matrix) -> FloatArray:
            # The same bytes as from `learn_norms`, where a sweep brings them.
            return matrix.swept(Wanted(norms=True)).norms if matrix.counted else matrix.column_sq_norms()

        return self.once("column_sq_norms", 0, lambda matrix: _read_only(norms(matrix)))

    @property
    def knows_norms(self) -> bool:
        """Whether these are known."""
        return "column_sq_norms" in self._kept

    def learn_norms(self, norms: FloatArray) -> None:
        """Keep the squared norms, which a sweep has brought."""
        self.once("column_sq_norms", 0, lambda _: _read_only(norms))

    def gram(self, pause: Pause = go_on) -> FloatArray:
        """Return A'A, a copy; it is kept where it is small or several problems share the matrix."""
        nbytes = 8 * self._matrix.shape[1] ** 2
        if nbytes > (SUPPORT_BYTES if self.problems > 1 else SINGLE_SUPPORT_BYTES):
            return self._matrix.inner(None, pause)
        return self.once("gram", nbytes, lambda matrix: matrix.inner(None, pause)).copy()

    def product(self, b: FloatArray) -> FloatArray:
        """Return A'b, read-only; that of the last b is kept."""
        return self.of_target("product", b, lambda matrix: _read_only(matrix.rmatvec(b)))

    def of_target(self, name: str, b: FloatArray, compute: Callable[[Matrix], _T]) -> _T:
        """Return what is kept under this name of the last b, which is read-only, or compute it anew."""
        with self._lock:
            kept = self._of_target.get(name)
            if kept is None or not (kept[0] is b or np.array_equal(kept[0], b)):
                kept = self._of_target[name] = b, compute(self._matrix)
            return kept[1]

    def gathered(self, support: IntArray, pause: Pause = go_on) -> Gathered:
        """Return the columns of a support with their Gram matrix; those of the last support are kept where they fit."""
        with self._lock:
            matrix = self._matrix
            if self._gathered is not None and np.array_equal(self._gathered[0], support):
                _, own, columns, gram = self._gathered
                return Gathered(matrix if own is None else own, columns, gram.copy())
            # Not two at a time.
            self._gathered = None
            A_S, columns = matrix.view(support)
            gram = A_S.outer(columns, pause) if support.size > matrix.shape[0] else A_S.inner(columns, pause)
            own = None if A_S is matrix else A_S
            nbytes = gram.nbytes + (0 if own is None else own.nbytes)
            if nbytes <= (SUPPORT_BYTES if self.problems > 1 else SINGLE_SUPPORT_BYTES):
                self._gathered = support, own, columns, gram.copy()
            return Gathered(A_S, columns, gram)

    def known_combination(self, columns: IntArray, w: FloatArray) -> FloatArray | None:
        """Return A'A_S w where all rows of A'A that it takes are known, without a pass over A; else None."""
        with self._lock:
            rows = [self._rows.get(j) for j in columns.tolist()]
        known = [row for row in rows if row is not None]
        return np.asarray(w @ np.array(known)) if 0 < len(known) == len(rows) else None

    def known_rows(self) -> tuple[IntArray, FloatArray]:
        """Return the columns whose rows of A'A are known, and these rows."""
        with self._lock:
            columns = np.fromiter(self._rows, np.int64, len(self._rows))
            return columns, np.array(list(self._rows.values())).reshape(columns.size, self._matrix.shape[1])

    def know_rows(self, columns: IntArray, rows: FloatArray) -> None:
        """Let these rows of A'A be the ones that are known."""
        with self._lock:
            self._rows = dict(zip(columns.tolist(), rows, strict=True))

    def gram_rows(self, columns: IntArray, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A, a copy; those rows that are not yet known come from one product."""
        with self._lock:
            known = self._rows
            if columns.size == 1 and (row := known.get(int(columns[0]))) is not None:
                return row[None].copy()
            new = np.array([j for j in columns.tolist() if j not in known], dtype=np.int64)
            if new.size == 1:
                fresh = {int(new[0]): self._matrix.rmatvec(self._matrix.matvec(new, np.ones(1)))}
            else:
                fresh = dict(zip(new.tolist(), self._matrix.cross(new, pause) if new.size else (), strict=True))
            for j in new.tolist()[: max(0, self._most_rows - len(known))]:
                known[j] = fresh[j]
            return np.array([known[j] if j in known else fresh[j] for j in columns.tolist()])


def _read_only(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array
