"""The Gram matrix of a layer's inputs, summed up chunk by chunk."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.files.atomic import check_writable, write_atomically
from l0quad.files.limits import naming
from l0quad.types import FloatArray

# So many rows are in float64 at a time.
_ROWS = 4096


class GramAccumulator:
    """X'X in float64 over chunks of rows X (n x d), in any number of processes or sessions.

    Attributes
    ----------
    H : ndarray of shape (d, d) or None
        The sum; None before the first chunk.
    count : int
        The rows so far.

    Examples
    --------
    >>> import numpy as np
    >>> import l0quad
    >>> X = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    >>> first, second = l0quad.GramAccumulator(), l0quad.GramAccumulator()
    >>> first.update(X[:60])
    >>> second.update(X[60:])
    >>> first.merge(second)
    >>> first.count, first.H.shape
    (100, (8, 8))
    """

    H: FloatArray | None
    count: int

    def __init__(self) -> None:
        self.H, self.count = None, 0

    def update(self, X: ArrayLike) -> None:
        """Add a chunk.

        Parameters
        ----------
        X : array_like of shape (..., d)
            Any real dtype; all axes but the last are rows.

        Raises
        ------
        ValueError, TypeError
            Other columns than before, or values that are not finite; the sum is as it was.
        """
        array = validation.numeric(X, "X")
        if array.ndim < 2 or array.shape[-1] < 1:
            raise ValueError(f"X: must have shape (..., d), got shape {array.shape}")
        rows = array.reshape(-1, array.shape[-1])
        self._require_width(rows.shape[1], "X")
        total = np.zeros((rows.shape[1], rows.shape[1]))
        for first in range(0, rows.shape[0], _ROWS):
            chunk = np.asarray(rows[first : first + _ROWS], dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                total += chunk.T @ chunk
        # A sum of squares is finite only where all of X is.
        if not np.all(np.isfinite(total.diagonal())):
            raise ValueError("X: all values must be finite, and their squares too")
        self.H = total if self.H is None else self.H + total
        self.count += rows.shape[0]

    def merge(self, other: "GramAccumulator") -> None:
        """Add what another one has summed up.

        Raises
        ------
        ValueError, TypeError
            It has other columns, or is none.
        """
        if not isinstance(other, GramAccumulator):
            raise TypeError(f"other: must be a GramAccumulator, got {type(other).__name__}")
        if other.H is not None:
            self._require_width(other.H.shape[0], "other")
            self.H = other.H.copy() if self.H is None else self.H + other.H
            self.count += other.count

    def save(self, path: str | Path) -> None:
        """Write to an .npz file, whole or not at all."""
        path = Path(path)
        check_writable(path, (".npz",))
        H = np.zeros((0, 0)) if self.H is None else self.H
        write_atomically(path, lambda file: np.savez(file, H=H, count=np.int64(self.count)))

    @classmethod
    def load(cls, path: str | Path) -> "GramAccumulator":
        """Read what `save` has written."""
        path, accumulator = Path(path), cls()
        with naming(path), zipfile.ZipFile(path):  # or NumPy would take a pickle for what it is not
            with np.load(path, allow_pickle=False) as stored:
                H, count = np.asarray(stored["H"]), int(stored["count"])
            if H.size:
                accumulator.H, accumulator.count = validation.symmetric(H, "H"), validation.integer(count, "count", 0)
        return accumulator

    def _require_width(self, width: int, name: str) -> None:
        if self.H is not None and self.H.shape[0] != width:
            raise ValueError(f"{name}: must have {self.H.shape[0]} columns as before, got {width}")
