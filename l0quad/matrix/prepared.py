"""What depends on A alone, computed once when it is first needed and shared by every problem on the same A."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from l0quad.types import FloatArray, IntArray

if TYPE_CHECKING:
    from l0quad.matrix.base import Matrix

_T = TypeVar("_T")
# What is kept of one matrix: results about all of it, rows of A'A, and the columns of the last support.
KEPT_BYTES = 1 << 28
ROWS_BYTES = 1 << 26
SUPPORT_BYTES = 1 << 27


class Gathered(NamedTuple):
    """The columns of one support, as `Matrix.view` has them, and A_S'A_S or A_S A_S', whichever is smaller."""

    support: IntArray
    matrix: "Matrix"
    columns: IntArray | None
    gram: FloatArray


class Prepared:
    """Results about one matrix, kept as far as 450 MiB allow; safe from several threads."""

    def __init__(self, matrix: "Matrix") -> None:
        self._matrix = matrix
        self._lock = threading.RLock()
        self._kept: dict[str, Any] = {}
        self._left = KEPT_BYTES
        self._rows: dict[int, FloatArray] = {}
        self._most_rows = ROWS_BYTES // (8 * matrix.shape[1])
        self._gathered: Gathered | None = None
        self._product: tuple[FloatArray, FloatArray] | None = None

    def once(self, name: str, nbytes: int, compute: "Callable[[Matrix], _T]") -> _T:
        """Return what is kept under this name, or compute it, and keep it where its ``nbytes`` fit."""
        with self._lock:
            if name in self._kept:
                return self._kept[name]
            value = compute(self._matrix)
            if nbytes <= self._left:
                self._kept[name] = value
                self._left -= nbytes
            return value

    def scaled(self, exponent: int) -> "Matrix":
        """Return ``2**exponent * A``, A itself where that is what it is."""
        if exponent == 0:
            return self._matrix
        return self.once(f"scaled by 2**{exponent}", 0, lambda matrix: matrix.scaled(exponent))

    @property
    def column_sq_norms(self) -> FloatArray:
        """The squared norms of A's columns, read-only."""
        return self.once("column_sq_norms", 0, _column_sq_norms)

    def product(self, b: FloatArray) -> FloatArray:
        """Return A'b, read-only; that of the last b, which is read-only too, is kept."""
        with self._lock:
            if self._product is None or self._product[0] is not b:
                product = self._matrix.rmatvec(b)
                product.flags.writeable = False
                self._product = b, product
            return self._product[1]

    def gathered(self, support: IntArray) -> Gathered:
        """Return the columns of a support with their Gram matrix; those of the last support are kept where they fit."""
        with self._lock:
            last = self._gathered
            if last is not None and np.array_equal(last.support, support):
                return last
            self._gathered = None
            A_S, columns = self._matrix.view(support)
            n, size = self._matrix.shape[0], support.size
            found = Gathered(support, A_S, columns, A_S.outer(columns) if size > n else A_S.inner(columns))
            own = A_S.nbytes if A_S is not self._matrix else 0
            if own + found.gram.nbytes <= SUPPORT_BYTES:
                self._gathered = found
            return found

    def known_combination(self, columns: IntArray, w: FloatArray) -> FloatArray | None:
        """Return A'A_S w where all rows of A'A that it takes are known, without a pass over A; else None."""
        with self._lock:
            rows = [self._rows.get(j) for j in columns.tolist()]
        known = [row for row in rows if row is not None]
        return np.asarray(w @ np.array(known)) if 0 < len(known) == len(rows) else None

    def gram_rows(self, columns: IntArray) -> FloatArray:
        """Return A_S'A, a copy; those rows that are not yet known come from one product."""
        with self._lock:
            known = self._rows
            new = np.array([j for j in columns.tolist() if j not in known], dtype=np.int64)
            if new.size == 1:
                fresh = {int(new[0]): self._matrix.rmatvec(self._matrix.matvec(new, np.ones(1)))}
            else:
                fresh = dict(zip(new.tolist(), self._matrix.cross(new) if new.size else (), strict=True))
            for j in new.tolist()[: max(0, self._most_rows - len(known))]:
                known[j] = fresh[j]
            return np.array([known[j] if j in known else fresh[j] for j in columns.tolist()])


def _column_sq_norms(matrix: "Matrix") -> FloatArray:
    norms = matrix.column_sq_norms()
    norms.flags.writeable = False
    return norms
