"""What depends on A alone, computed once when it is first needed and shared by every problem on the same A."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from l0quad.types import FloatArray, IntArray

if TYPE_CHECKING:
    from l0quad.matrix.base import Matrix

_T = TypeVar("_T")
# What is kept of one matrix, rows of A'A apart; these take up to a quarter as much beside it.
KEPT_BYTES = 1 << 28
ROWS_BYTES = 1 << 26


class Prepared:
    """Results about one matrix, kept as far as 320 MiB allow; safe from several threads."""

    def __init__(self, matrix: "Matrix") -> None:
        self._matrix = matrix
        self._lock = threading.RLock()
        self._kept: dict[str, Any] = {}
        self._left = KEPT_BYTES
        self._rows: dict[int, FloatArray] = {}
        self._most_rows = ROWS_BYTES // (8 * matrix.shape[1])

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
