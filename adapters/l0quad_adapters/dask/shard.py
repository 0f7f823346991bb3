"""A shard, and what a worker does with it: functions of the file alone, which hold no state."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import l0quad


class Shard(NamedTuple):
    """A file as it was when opened, and what of it is taken: some columns (None: all), times ``2**exponent``."""

    path: str
    memory: str | int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    nbytes: int
    stamp: tuple[int, int]
    columns: np.ndarray | None = None
    exponent: int = 0

    def matrix(self) -> l0quad.Matrix:
        """Return it as a matrix; in a worker."""
        if _stamp(self.path) != self.stamp:
            raise l0quad.BadFile(f"A: {self.path} has changed since it was opened")
        matrix: l0quad.Matrix = l0quad.open_columns(self.path, self.memory)
        matrix = matrix if self.columns is None else matrix.subset(self.columns)
        return matrix.scaled(self.exponent) if self.exponent else matrix


class Refused(NamedTuple):
    """An error that no retry mends, in place of an answer: a type of its own, which is known before it is here."""

    error: ValueError


def answer(shard: Shard, do: Callable[..., tuple[Any, int]], *arguments: Any) -> tuple[Any, int] | Refused:
    """Return what is asked for and the bytes read."""
    try:
        return do(shard, *aligned(arguments))
    except ValueError as error:
        return Refused(error)


def aligned(value: Any) -> Any:
    """Return arrays, also within tuples, where a processor wants them.

    What came over the wire lies anywhere in a message, and NumPy copies such an array as a whole at each search in it.
    """
    if isinstance(value, np.ndarray):
        return np.require(value, requirements="A")
    if isinstance(value, tuple):
        parts = [aligned(each) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def opened(shard: Shard) -> tuple[Shard, int]:
    """Return the shard of which no more than the path was known."""
    stamp = _stamp(shard.path)
    matrix = l0quad.open_columns(shard.path, shard.memory)
    return shard._replace(shape=matrix.shape, dtype=matrix.dtype, nbytes=matrix.nbytes, stamp=stamp), 0


def product(shard: Shard, name: str, *arguments: Any) -> tuple[Any, int]:
    """Return what the method of this name gives of the shard's matrix."""
    matrix = shard.matrix()
    return getattr(matrix, name)(*arguments), matrix.bytes_read


def rows(shard: Shard, start: int, stop: int) -> tuple[np.ndarray, int]:
    """Return rows of the shard; its matrix makes sure that the file is what it was."""
    shard.matrix()
    block = np.load(shard.path, mmap_mode="r")[start:stop]
    read = block.size * block.dtype.itemsize
    rows = np.array(block if shard.columns is None else block[:, shard.columns], dtype=np.float64)
    if not np.all(np.isfinite(rows)):
        raise l0quad.BadFile(f"A: {shard.path} has a value that is not finite in rows {start} to {stop - 1}")
    return np.ldexp(rows, shard.exponent), read


def descended(
    shard: Shard, residual: np.ndarray, w: np.ndarray, w0: np.ndarray, mu: float
) -> tuple[tuple[float, np.ndarray, np.ndarray], int]:
    """Return what a sweep of coordinate descent over the shard makes of the residual and of its w."""
    # What came over the wire is read-only.
    matrix, residual, w = shard.matrix(), residual.copy(), w.copy()
    return (matrix.descend(residual, w, w0, mu), residual, w), matrix.bytes_read


def _stamp(path: str) -> tuple[int, int]:
    """Return what changes with a file: its size, and when it was written."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
