"""A in files, larger than memory: read by ranges of columns, a thread reading ahead of the products."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from l0quad.errors import BadFile
from l0quad.matrix.base import Matrix
from l0quad.matrix.sweeps import Swept, Wanted, has_any, numbers_of, sweep_blocks, union
from l0quad.types import ColumnSet, FloatArray, IntArray, Pause, RealArray, go_on

# Two chunks are in memory, of at most so many bytes and this share of the memory that reading may take.
_CHUNK_BYTES = 1 << 24
_CHUNK_SHARE = 8
# Where columns are contiguous, those that are not wanted are read too, unless so many bytes of them are between: as
# much is read in the time that a disk takes to begin elsewhere.
_GAP_BYTES = 1 << 16
# Values beyond are refused: their squares would overflow.
_LARGEST = 2.0**120


class Stored(NamedTuple):
    """Where a file has an n x p array: after ``offset`` bytes, by columns or by rows; and what it was when opened."""

    path: Path
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    by_columns: bool
    stamp: tuple[int, int]


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes with a file: its size, and when it was written."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


@dataclass
class _Reading:
    """What all matrices on the same files share: the bytes read, and which columns have been looked at."""

    seen: np.ndarray
    nbytes: int = 0


class _Task(NamedTuple):
    """What is read at a time: columns ``first:last`` of a file, of which those at ``local`` are wanted (None: all).

    ``start`` is A's column at ``first``.
    """

    home: int
    start: int
    first: int
    last: int
    local: IntArray | None


class ColumnFile(Matrix):
    """Files that hold A's columns, one range after the other; made by `l0quad.open_columns`.

    It may stand for some of the columns only, and for ``2**exponent`` times the values.

    Parameters
    ----------
    files : tuple of Stored
        With the same number of rows.
    memory : int
        The bytes that reading may take.
    """

    counted = True

    def __init__(self, files: tuple[Stored, ...], memory: int) -> None:
        starts = np.cumsum([0, *(each.shape[1] for each in files)])
        itemsize = max(each.dtype.itemsize for each in files)
        self._files, self._memory, self._starts = files, memory, starts
        self._columns: IntArray | None = None
        self._exponent = 0
        self._reading = _Reading(np.zeros(int(starts[-1]), dtype=np.bool_))
        self.shape = files[0].shape[0], int(starts[-1])
        self.dtype = np.dtype(np.float64 if itemsize == 8 else np.float32)
        self.nbytes = sum(each.shape[0] * each.shape[1] * each.dtype.itemsize for each in files)
        self._step = max(1, min(_CHUNK_BYTES, memory // _CHUNK_SHARE) // (self.shape[0] * itemsize))

    @property
    def bytes_read(self) -> int:
        """All that has been read so far."""
        return self._reading.nbytes

    def take(self, columns: IntArray) -> RealArray:
        """Return A_S as a Fortran-ordered array."""
        dtype = np.dtype(np.float64) if self._exponent else self.dtype
        out = np.empty((columns.size, self.shape[0]), dtype=dtype)
        wanted = self._of_file(columns)
        order = np.argsort(wanted, kind="stable")
        for place, block in self._chunks(wanted[order]):
            out[order[place]] = block.T
        return out.T

    def subset(self, columns: IntArray) -> "ColumnFile":
        """Return A_S, still in the files."""
        return self._like(self._of_file(columns), self._exponent)

    def scaled(self, exponent: int) -> "ColumnFile":
        """Return ``2**exponent * A``, still in the files."""
        return self._like(self._columns, self._exponent + exponent)

    def sweep(self, columns: IntArray | None = None) -> Iterator[tuple[slice, FloatArray]]:
        """Read A_S once, in the order of the files where that is the order of ``columns``."""
        wanted = self._columns if columns is None else self._of_file(columns)
        if wanted is not None and np.any(wanted[1:] < wanted[:-1]):
            yield from super().sweep(columns)
            return
        for place, block in self._chunks(wanted):
            yield place, np.array(block, dtype=np.float64)

    def swept(self, wanted: Wanted, pause: Pause = go_on) -> Swept:
        """Read A once, or what is needed of it, and do all that is wanted of its columns."""
        if self._columns is not None:
            return super().swept(wanted, pause)
        needed = None if wanted.of_all else union(wanted.columns, self.shape[1])
        blocks = ((task.start, block) for task, block in self._blocks(needed))
        return sweep_blocks(blocks, self.shape, wanted, pause)

    def row_blocks(self, n_rows: int) -> Iterator[FloatArray]:
        """Read A once, by rows; of files by columns that is many small reads."""
        for start in range(0, self.shape[0], n_rows):
            rows = slice(start, min(start + n_rows, self.shape[0]))
            whole = np.concatenate([self._rows(home, rows) for home in range(len(self._files))], axis=1)
            yield np.ldexp(whole if self._columns is None else whole[:, self._columns], self._exponent)

    def inner(self, columns: IntArray | None = None, pause: Pause = go_on) -> FloatArray:
        """Return A_S'A_S; of all columns, from blocks of rows."""
        if columns is not None:
            return super().inner(columns, pause)
        total = np.zeros((self.shape[1], self.shape[1]))
        for block in self.row_blocks(max(1, _CHUNK_BYTES // (8 * self.shape[1]))):
            pause()
            total += block.T @ block
        return total

    def largest_exponent(self, name: str = "A") -> int | None:
        """Return None: values are looked at as they are first read."""
        return None

    def descend(self, residual: FloatArray, w: FloatArray, w0: FloatArray, mu: float) -> float:
        """Do one sweep of cyclic coordinate descent, chunk by chunk."""
        from l0quad.kernels.descent import descend_dense

        fallen = 0.0
        for piece, block in self.sweep():
            fallen += float(descend_dense(np.array(block.T, order="C"), residual, w[piece], w0[piece], mu))
        return fallen

    def _like(self, columns: IntArray | None, exponent: int) -> "ColumnFile":
        other = ColumnFile(self._files, self._memory)
        other._reading, other._columns, other._exponent = self._reading, columns, exponent
        if columns is not None:
            other.shape, other.nbytes = (self.shape[0], columns.size), self.nbytes * columns.size // self.shape[1]
        return other

    def _of_file(self, columns: IntArray) -> IntArray:
        return columns if self._columns is None else self._columns[columns]

    def _chunks(self, columns: IntArray | None) -> Iterator[tuple[slice, RealArray]]:
        """Yield these columns (sorted; None: all), a few at a time, with their places among those asked for."""
        done = 0
        for task, block in self._blocks(columns):
            wanted = block if task.local is None else block[:, task.local]
            yield slice(done, done + wanted.shape[1]), wanted
            done += wanted.shape[1]

    def _blocks(self, columns: ColumnSet | None) -> Iterator[tuple[_Task, RealArray]]:
        """Yield ranges of columns as they lie in the files, as far as they hold what is wanted (None: all).

        What else such a block holds is not defined, and it may be used until the next one is asked for: a thread reads
        that one meanwhile, and two buffers serve all. Files are looked at before and after: are they what they were?
        """
        tasks = list(self._tasks(columns))
        homes = {each.home for each in tasks}
        self._require_unchanged(homes)
        item = max(each.dtype.itemsize for each in self._files)
        buffers = [bytearray(self._step * self.shape[0] * item) for _ in range(min(2, len(tasks)))]
        with ExitStack() as stack:
            handles = {h: stack.enter_context(open(self._files[h].path, "rb", buffering=0)) for h in homes}
            pool = stack.enter_context(ThreadPoolExecutor(1))

            def read(number: int) -> "tuple[_Task, Future[tuple[RealArray, int]]]":
                task = tasks[number]
                if columns is not None:
                    task = task._replace(local=numbers_of(columns, task.start, task.start + task.last - task.first))
                handle, file = handles[task.home], self._files[task.home]
                return task, pool.submit(_read, handle, file, task, buffers[number % 2])

            coming = read(0) if tasks else None
            for number in range(1, len(tasks) + 1):
                assert coming is not None
                task, reading = coming
                block, nbytes = reading.result()
                coming = read(number) if number < len(tasks) else None
                self._reading.nbytes += nbytes
                self._look(task, block)
                yield task, np.ldexp(block, self._exponent, dtype=np.float64) if self._exponent else block
        self._require_unchanged(homes)

    def _tasks(self, columns: ColumnSet | None) -> Iterator[_Task]:
        """Yield the ranges that hold what is wanted; which columns that is is found out when their turn comes."""
        for home, (start, stop) in enumerate(pairwise(self._starts.tolist())):
            for first in range(start, stop, self._step):
                last = min(first + self._step, stop)
                if columns is None or has_any(columns, first, last):
                    yield _Task(home, first, first - start, last - start, None)

    def _look(self, task: _Task, block: RealArray) -> None:
        """Check values that are read for the first time."""
        seen = self._reading.seen[task.start : task.start + task.last - task.first]
        if seen.all():
            return
        columns = np.arange(seen.size) if task.local is None else task.local
        values = block if task.local is None else block[:, columns]
        if not max(float(values.max()), -float(values.min())) <= _LARGEST:
            row, column = np.argwhere(~(np.abs(values) <= _LARGEST))[0].tolist()
            raise _bad_value(self._files[task.home], float(values[row, column]), row, task.first + int(columns[column]))
        seen[columns] = True

    def _rows(self, home: int, rows: slice) -> FloatArray:
        """Return these rows of a file."""
        file = self._files[home]
        self._require_unchanged({home})
        mapped = np.memmap(file.path, file.dtype, "r", file.offset, file.shape, "F" if file.by_columns else "C")
        block = np.array(mapped[rows], dtype=np.float64)
        self._reading.nbytes += block.size * file.dtype.itemsize
        if not np.all(np.abs(block) <= _LARGEST):
            row, column = np.argwhere(~(np.abs(block) <= _LARGEST))[0].tolist()
            raise _bad_value(file, block[row, column], rows.start + row, column)
        return block

    def _require_unchanged(self, homes: set[int]) -> None:
        for home in homes:
            file = self._files[home]
            if stamp(file.path) != file.stamp:
                raise BadFile(f"A: {file.path} has changed since it was opened")


def _read(handle: BinaryIO, file: Stored, task: _Task, buffer: bytearray) -> tuple[RealArray, int]:
    """Return the range of a task as an array on the buffer, and the bytes read: all of it, or few wanted columns."""
    (n, p), item = file.shape, file.dtype.itemsize
    width = task.last - task.first
    if file.by_columns and task.local is not None:
        far = np.flatnonzero((np.diff(task.local) - 1) * n * item > _GAP_BYTES)
        starts, ends = task.local[np.append(0, far + 1)], task.local[np.append(far, task.local.size - 1)] + 1
        parts = [
            ((task.first + start) * n, start * n, (end - start) * n)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
    elif file.by_columns:
        parts = [(task.first * n, 0, width * n)]
    else:
        parts = [(row * p + task.first, row * width, width) for row in range(n)]
    for position, place, count in parts:
        _fill(handle, file, position * item, buffer, place * item, count * item)
    block: RealArray = np.ndarray((n, width), file.dtype, buffer, order="F" if file.by_columns else "C")
    return block, item * sum(count for *_, count in parts)


def _fill(handle: BinaryIO, file: Stored, position: int, buffer: bytearray, start: int, count: int) -> None:
    """Read so many bytes of the array."""
    handle.seek(file.offset + position)
    left = memoryview(buffer)[start : start + count]
    while left:
        got = handle.readinto(left)  # type: ignore[attr-defined]
        if not got:
            raise BadFile(f"A: {file.path} ends before its last value: it has been cut off since it was opened")
        left = left[got:]


def _bad_value(file: Stored, value: float, row: int, column: int) -> BadFile:
    return BadFile(
        f"A: all values must be finite and at most 2**120, got {value} in row {row}, column {column} of {file.path}"
    )
