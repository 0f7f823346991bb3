"""A in files that the workers of a Dask cluster see: the same solves on several machines.

Needs the extra ``l0quad[dask]``. Dask launches and retries, the algorithms need nothing else of it: tasks hold no state
and are sent by ``submit`` with ``retries``; vectors of p numbers stay with the process that solves.
"""

import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import pairwise
from typing import Any, NamedTuple

import dask.config
import numpy as np
from distributed import Client, Future, KilledWorker

import l0quad

__all__ = ["sharded"]

# How often a task is tried again that raised what may pass, such as a file that one of the workers does not see.
_RETRIES = 3
# The caller's limits and interrupts are looked at so often, in seconds.
_POLL = 0.05
_ROW_BYTES = 1 << 24

Path = str | os.PathLike[str]
Pause = Callable[[], None]


def _go_on() -> None:
    """Let the work go on."""


def sharded(
    paths: Sequence[Path], client: Client, *, memory: str | int = "512MB", timeout: float = 3600.0
) -> "Sharded":
    """Return the matrix in several .npy files that each hold some columns of all rows, read by a cluster's workers.

    Every file is a shard, and the smallest unit of work: a sweep is a task a shard. The worker that gets the task opens
    the file, so every worker must see all of them under the same path, with the same time of last change. This process
    need not see them. Answers are added in the order of the files, so that the same files give the same bytes.

    A worker that dies costs the shards it was reading once more (as often as Dask's ``allowed-failures`` says). Limits
    and interrupts are looked at while shards are waited for; tasks that run by then run to their end.

    Parameters
    ----------
    paths : sequence of paths
        As for `l0quad.open_columns`.
    client : distributed.Client
        Its scheduler and workers need the same versions of l0quad and NumPy.
    memory : str or int
        The bytes that reading may take, a worker.
    timeout : float
        After so many seconds in which no shard came back, a sweep is given up.

    Raises
    ------
    ValueError
        A file does not hold what it must; a `BadFile`, also in the solve, where it has changed or has a bad value.
    OSError
        A worker cannot read a file.
    RuntimeError
        Several workers died on the same shard, or the cluster is gone.
    TimeoutError
        Nothing came back.
    """
    several = [os.fspath(each) for each in paths] if not isinstance(paths, (str, os.PathLike)) else [os.fspath(paths)]
    if not several:
        raise ValueError("paths: must name a file or more, got none")
    empty = [_Shard(os.path.abspath(path), memory, (0, 0), np.dtype(np.float32), 0, (0, 0)) for path in several]
    shards = tuple(_Cluster(client, timeout).ask(empty, [(_opened,)] * len(empty)))
    for shard in shards:
        if shard.shape[0] != shards[0].shape[0]:
            raise ValueError(
                f"paths: all files must have the same number of rows; {shards[0].path} has {shards[0].shape[0]}, "
                f"{shard.path} has {shard.shape[0]}"
            )
    return Sharded(shards, _Cluster(client, timeout))


class _Shard(NamedTuple):
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


class Sharded(l0quad.Matrix):
    """Files that hold A's columns, one range after the other, and the cluster that reads them; made by `sharded`."""

    counted = True

    def __init__(self, shards: "tuple[_Shard, ...]", cluster: "_Cluster") -> None:
        self._shards, self._cluster = shards, cluster
        self._starts = np.cumsum([0, *(each.shape[1] for each in shards)])
        self.shape = shards[0].shape[0], int(self._starts[-1])
        self.dtype = np.dtype(np.float64 if any(each.dtype == np.float64 for each in shards) else np.float32)
        self.nbytes = sum(each.nbytes for each in shards)

    @property
    def bytes_read(self) -> int:
        """All that the workers have read so far, as far as their answers came."""
        return self._cluster.nbytes

    def take(self, columns: np.ndarray) -> np.ndarray:
        """Return A_S as a Fortran-ordered array."""
        dtype = np.float64 if any(each.exponent for each in self._shards) else self.dtype
        out = np.empty((self.shape[0], columns.size), dtype=dtype, order="F")
        for place, block in self._each("take", columns, lambda _, local: (local,)):
            out[:, place] = block
        return out

    def subset(self, columns: np.ndarray) -> l0quad.Matrix:
        """Return A_S, still in the files, where the columns are in order; others are gathered."""
        if columns.size == 0 or np.any(columns[1:] < columns[:-1]):
            return l0quad.as_matrix(self.take(columns))
        parts = []
        for shard, _, local in self._within(columns):
            own = local if shard.columns is None else shard.columns[local]
            size = shard.nbytes * own.size // shard.shape[1]
            parts.append(shard._replace(columns=own, shape=(self.shape[0], own.size), nbytes=size))
        return Sharded(tuple(parts), self._cluster)

    def scaled(self, exponent: int) -> "Sharded":
        """Return ``2**exponent * A``, still in the files."""
        shards = tuple(each._replace(exponent=each.exponent + exponent) for each in self._shards)
        return Sharded(shards, self._cluster)

    def swept(self, wanted: l0quad.Wanted, pause: Pause = _go_on) -> l0quad.Swept:
        """Read A once, or what is needed of it, and do all that is wanted of its columns: a task a shard."""
        ranges = pairwise(self._starts.tolist())
        asked = [(_product, "swept", wanted.part(first, last)) for first, last in ranges]
        return l0quad.Swept.joined(self._cluster.ask(self._shards, asked, pause))

    def largest_exponent(self, name: str = "A") -> int | None:
        """Return None: values are looked at as they are read."""
        return None

    def rmatvec(self, r: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """Return A_S'r."""
        return self._by_column(columns, "rmatvec", r)

    def matvec(self, columns: np.ndarray | None, w: np.ndarray) -> np.ndarray:
        """Return A_S w."""
        parts = self._each("matvec", columns, lambda place, local: (local, w[place]))
        return sum((part for _, part in parts), start=np.zeros(self.shape[0]))

    def rmatvec_and_matvec(
        self, columns: np.ndarray | None, y: np.ndarray, w: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return t = A_S'y and A_S (w + t) from one sweep."""
        t, product = np.empty(w.size), np.zeros(self.shape[0])
        parts = self._each("rmatvec_and_matvec", columns, lambda place, local: (local, y, w[place]))
        for place, (t_part, added) in parts:
            t[place] = t_part
            product += added
        return t, product

    def outer(self, columns: np.ndarray | None = None, pause: Pause = _go_on) -> np.ndarray:
        """Return A_S A_S', n x n."""
        parts = self._each("outer", columns, lambda _, local: (local,), pause)
        return sum((part for _, part in parts), start=np.zeros((self.shape[0], self.shape[0])))

    def inner(self, columns: np.ndarray | None = None, pause: Pause = _go_on) -> np.ndarray:
        """Return A_S'A_S; of all columns, from blocks of rows."""
        if columns is not None:
            return super().inner(columns, pause)
        total = np.zeros((self.shape[1], self.shape[1]))
        for block in self.row_blocks(max(1, _ROW_BYTES // (8 * self.shape[1]))):
            pause()
            total += block.T @ block
        return total

    def cross(self, columns: np.ndarray, pause: Pause = _go_on) -> np.ndarray:
        """Return A_S'A, |S| x p: the columns are gathered here, and sent to every shard."""
        out = np.empty((columns.size, self.shape[1]))
        A_S = np.asarray(self.take(columns), dtype=np.float64)
        for number, row in enumerate(self.swept(l0quad.Wanted(rows=tuple(A_S.T)), pause).rows):
            out[number] = row
        return out

    def column_sq_norms(self) -> np.ndarray:
        """Return the squared norm of each column."""
        return self.swept(l0quad.Wanted(norms=True)).norms

    def column_quad(self, factor: np.ndarray, columns: np.ndarray | None = None, pause: Pause = _go_on) -> np.ndarray:
        """Return ||L^-1 a_j||^2 for each column j, L lower triangular (n x n)."""
        return self._by_column(columns, "column_quad", factor, pause=pause)

    def row_blocks(self, n_rows: int) -> Iterator[np.ndarray]:
        """Read A once, by rows, which come here."""
        for start in range(0, self.shape[0], n_rows):
            asked = [(_rows, start, min(start + n_rows, self.shape[0]))] * len(self._shards)
            yield np.concatenate(self._cluster.ask(self._shards, asked), axis=1)

    def descend(self, residual: np.ndarray, w: np.ndarray, w0: np.ndarray, mu: float) -> float:
        """Do one sweep of cyclic coordinate descent, shard by shard, which wait for each other."""
        fallen = 0.0
        for shard, first, last in zip(self._shards, self._starts[:-1], self._starts[1:], strict=True):
            asked = [(_descended, residual, w[first:last], w0[first:last], mu)]
            [(less, residual[:], w[first:last])] = self._cluster.ask([shard], asked)
            fallen += less
        return fallen

    def _by_column(
        self, columns: np.ndarray | None, name: str, argument: np.ndarray, pause: Pause = _go_on
    ) -> np.ndarray:
        """Return a number for each column."""
        out = np.empty(self._every(columns).size)
        for place, part in self._each(name, columns, lambda _, local: (argument, local), pause):
            out[place] = part
        return out

    def _each(
        self,
        name: str,
        columns: np.ndarray | None,
        arguments: Callable[[np.ndarray, np.ndarray], tuple[Any, ...]],
        pause: Pause = _go_on,
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield what a method gives of each shard that has some of these columns, and their places among them.

        ``arguments`` are made of these places and of where the columns are in the shard.
        """
        within = list(self._within(self._every(columns)))
        asked = [(_product, name, *arguments(place, local)) for _, place, local in within]
        answers = self._cluster.ask([shard for shard, *_ in within], asked, pause)
        yield from zip((place for _, place, _ in within), answers, strict=True)

    def _within(self, columns: np.ndarray) -> Iterator[tuple[_Shard, np.ndarray, np.ndarray]]:
        """Yield each shard that has some of these columns, their places among them, and where they are in the shard."""
        home = np.searchsorted(self._starts, columns, side="right") - 1
        for number, shard in enumerate(self._shards):
            place = np.flatnonzero(home == number)
            if place.size:
                yield shard, place, columns[place] - self._starts[number]


class _Cluster:
    """The workers, and how many bytes they have read for one matrix and what was made of it."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client, self._timeout, self.nbytes = client, timeout, 0

    def ask(self, shards: Sequence[_Shard], asked: Sequence[tuple[Any, ...]], pause: Pause = _go_on) -> list[Any]:
        """Return the answer for each shard, in their order: ``function(shard, *arguments)``, done by any worker."""
        # Which parts of p-vectors go along is known; Dask's advice about them is not for these tasks.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            futures = [
                self._client.submit(_answer, shard, *each, retries=_RETRIES, pure=False)
                for shard, each in zip(shards, asked, strict=True)
            ]
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        for future in futures:
            future.add_done_callback(done.put)
        path = {future.key: shard.path for future, shard in zip(futures, shards, strict=True)}
        answers: dict[str, Any] = {}
        since = time.monotonic()
        try:
            while len(answers) < len(futures):
                pause()
                try:
                    future = done.get(timeout=_POLL)
                except queue.Empty:
                    if time.monotonic() - since > self._timeout:
                        raise self._given_up([path[key] for key in path if key not in answers]) from None
                    continue
                answers[future.key], nbytes = _result(future, path[future.key])
                self.nbytes += nbytes
                since = time.monotonic()
        finally:
            for future in futures:
                if not future.done():
                    future.cancel()
        return [answers[future.key] for future in futures]

    def _given_up(self, paths: list[str]) -> TimeoutError:
        more = f" and {len(paths) - 1} more are" if len(paths) > 1 else " is"
        return TimeoutError(
            f"A: nothing came back within {self._timeout:g} s; {paths[0]}{more} waited for: a worker hangs, or none is "
            "running (client.processing() says who has the tasks)"
        )


def _result(future: Future, path: str) -> tuple[Any, int]:
    """Return what a task that is done brought, or raise what it says in words of files."""
    try:
        answer, nbytes = future.result()
    except KilledWorker as error:
        raise RuntimeError(
            f"A: the workers that read {path} died, one after the other; they may lack memory: {error}"
        ) from error
    except CancelledError as error:
        raise RuntimeError(f"A: the cluster is gone, or has dropped the reading of {path}") from error
    except OSError as error:
        raise type(error)(f"A: a worker cannot read {path}: {error}") from error
    if isinstance(answer, Exception):
        raise answer
    return answer, nbytes


def _answer(shard: _Shard, do: Callable[..., tuple[Any, int]], *arguments: Any) -> tuple[Any, int]:
    """Return what is asked for and the bytes read; an error that no retry mends is an answer too."""
    try:
        return do(shard, *arguments)
    except ValueError as error:
        return error, 0


def _opened(shard: _Shard) -> tuple[_Shard, int]:
    stamp = _stamp(shard.path)
    matrix = l0quad.open_columns(shard.path, shard.memory)
    return shard._replace(shape=matrix.shape, dtype=matrix.dtype, nbytes=matrix.nbytes, stamp=stamp), 0


def _product(shard: _Shard, name: str, *arguments: Any) -> tuple[Any, int]:
    matrix = shard.matrix()
    return getattr(matrix, name)(*arguments), matrix.bytes_read


def _rows(shard: _Shard, start: int, stop: int) -> tuple[np.ndarray, int]:
    """Return rows of the shard; its matrix makes sure that the file is what it was."""
    shard.matrix()
    block = np.load(shard.path, mmap_mode="r")[start:stop]
    read = block.size * block.dtype.itemsize
    rows = np.array(block if shard.columns is None else block[:, shard.columns], dtype=np.float64)
    if not np.all(np.isfinite(rows)):
        raise l0quad.BadFile(f"A: {shard.path} has a value that is not finite in rows {start} to {stop - 1}")
    return np.ldexp(rows, shard.exponent), read


def _descended(
    shard: _Shard, residual: np.ndarray, w: np.ndarray, w0: np.ndarray, mu: float
) -> tuple[tuple[float, np.ndarray, np.ndarray], int]:
    # What came over the wire is read-only.
    matrix, residual, w = shard.matrix(), residual.copy(), w.copy()
    return (matrix.descend(residual, w, w0, mu), residual, w), matrix.bytes_read


def _stamp(path: str) -> tuple[int, int]:
    """Return what changes with a file: its size, and when it was written."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
