"""The matrix that shards are: products are asked of the workers, a task a shard; a small one comes here as a whole."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import numpy as np
from distributed import Client

import l0quad
from l0quad_adapters.dask.cluster import Cluster, Patience, Pause, go_on
from l0quad_adapters.dask.shard import Shard, descended, opened, product, rows

# A matrix that takes no more as float64 comes here at the first product that is no sweep: most methods make many.
_SMALL_BYTES = 1 << 27
_ROW_BYTES = 1 << 24

Path = str | os.PathLike[str]


def sharded(
    paths: Sequence[Path], client: Client, *, memory: str | int = "512MB", timeout: float = 3600.0, grace: float = 30.0
) -> "Shards":
    """Return the matrix in several .npy files that each hold some columns of all rows, read by a cluster's workers.

    Every file is a shard, and the smallest unit of work: a sweep is a task a shard. The worker that gets the task opens
    the file, so every worker must see all of them under the same path, with the same time of last change. This process
    need not see them. Answers are added in the order of the files, so that the same files give the same bytes.

    A worker that dies costs the shards it was reading once more (as often as Dask's ``allowed-failures`` says). Limits
    and interrupts are looked at while shards are waited for; tasks that run by then run to their end.

    A matrix of at most 128 MB as float64 comes to this process at the first product that is no sweep, and stays.

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
    grace : float
        The same once a solve's limit has come, or Ctrl-C, for what is still asked of its best point.

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
    empty = [Shard(os.path.abspath(path), memory, (0, 0), np.dtype(np.float32), 0, (0, 0)) for path in several]
    patience = Patience(timeout, grace)
    shards = tuple(Cluster(client, patience).ask(empty, [(opened,)] * len(empty)))
    for shard in shards:
        if shard.shape[0] != shards[0].shape[0]:
            raise ValueError(
                f"paths: all files must have the same number of rows; {shards[0].path} has {shards[0].shape[0]}, "
                f"{shard.path} has {shard.shape[0]}"
            )
    return _of(shards, Cluster(client, patience))


def _of(shards: tuple[Shard, ...], cluster: Cluster) -> "Shards":
    small = 8 * shards[0].shape[0] * sum(each.shape[1] for each in shards) <= _SMALL_BYTES
    return (Small if small else Sharded)(shards, cluster)


class Shards(l0quad.Matrix):
    """Files that hold A's columns, one range after the other, and the cluster that reads them; made by `sharded`."""

    counted = True

    def __init__(self, shards: tuple[Shard, ...], cluster: Cluster) -> None:
        self._shards, self._cluster = shards, cluster
        self._starts = np.cumsum([0, *(each.shape[1] for each in shards)])
        self.shape = shards[0].shape[0], int(self._starts[-1])
        self.dtype = np.dtype(np.float64 if any(each.dtype == np.float64 for each in shards) else np.float32)
        self.nbytes = sum(each.nbytes for each in shards)

    @property
    def bytes_read(self) -> int:
        """All that the workers have read so far, as far as their answers came."""
        return self._cluster.nbytes

    def watched(self, expired: Callable[[], bool]) -> AbstractContextManager[None]:
        """Ask whether the limit of a solve has come while shards are waited for."""
        return self._cluster.watched(expired)

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
        return _of(tuple(parts), self._cluster)

    def scaled(self, exponent: int) -> "Shards":
        """Return ``2**exponent * A``, still in the files."""
        shards = tuple(each._replace(exponent=each.exponent + exponent) for each in self._shards)
        return _of(shards, self._cluster)

    def swept(self, wanted: l0quad.Wanted, pause: Pause = go_on) -> l0quad.Swept:
        """Read A once, or what is needed of it, and do all that is wanted of its columns: a task a shard."""
        ranges = pairwise(self._starts.tolist())
        asked = [(product, "swept", wanted.part(first, last)) for first, last in ranges]
        return l0quad.Swept.joined(self._cluster.ask(self._shards, asked, pause), wanted, self.shape)

    def largest_exponent(self, name: str = "A") -> int | None:
        """Return None: values are looked at as they are read."""
        return None

    def _each(
        self,
        name: str,
        columns: np.ndarray | None,
        arguments: Callable[[np.ndarray, np.ndarray], tuple[Any, ...]],
        pause: Pause = go_on,
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield what a method gives of each shard that has some of these columns, and their places among them.

        ``arguments`` are made of these places and of where the columns are in the shard.
        """
        within = list(self._within(self._every(columns)))
        asked = [(product, name, *arguments(place, local)) for _, place, local in within]
        answers = self._cluster.ask([shard for shard, *_ in within], asked, pause)
        yield from zip((place for _, place, _ in within), answers, strict=True)

    def _within(self, columns: np.ndarray) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Yield each shard that has some of these columns, their places among them, and where they are in the shard."""
        home = np.searchsorted(self._starts, columns, side="right") - 1
        for number, shard in enumerate(self._shards):
            place = np.flatnonzero(home == number)
            if place.size:
                yield shard, place, columns[place] - self._starts[number]


class Small(Shards):
    """Shards that together take little memory: all of A comes here before the first product that is no sweep."""

    _here: np.ndarray | None = None

    def take(self, columns: np.ndarray) -> np.ndarray:
        """Return A_S as a Fortran-ordered array."""
        if self._here is None:
            self._here = super().take(np.arange(self.shape[1]))
        return np.asfortranarray(self._here[:, columns])

    def subset(self, columns: np.ndarray) -> l0quad.Matrix:
        """Return A_S, in memory."""
        return l0quad.as_matrix(self.take(columns))

    def swept(self, wanted: l0quad.Wanted, pause: Pause = go_on) -> l0quad.Swept:
        """Do all that is wanted of A's columns: in the workers as long as A is there alone."""
        return super().swept(wanted, pause) if self._here is None else l0quad.Matrix.swept(self, wanted, pause)


class Sharded(Shards):
    """Shards of which each product is a round trip to the cluster."""

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

    def outer(self, columns: np.ndarray | None = None, pause: Pause = go_on) -> np.ndarray:
        """Return A_S A_S', n x n."""
        parts = self._each("outer", columns, lambda _, local: (local,), pause)
        return sum((part for _, part in parts), start=np.zeros((self.shape[0], self.shape[0])))

    def inner(self, columns: np.ndarray | None = None, pause: Pause = go_on) -> np.ndarray:
        """Return A_S'A_S; of all columns, from blocks of rows."""
        if columns is not None:
            return super().inner(columns, pause)
        total = np.zeros((self.shape[1], self.shape[1]))
        for block in self.row_blocks(max(1, _ROW_BYTES // (8 * self.shape[1]))):
            pause()
            total += block.T @ block
        return total

    def cross(self, columns: np.ndarray, pause: Pause = go_on) -> np.ndarray:
        """Return A_S'A, |S| x p: the columns are gathered here, and sent to every shard."""
        out = np.empty((columns.size, self.shape[1]))
        A_S = np.asarray(self.take(columns), dtype=np.float64)
        for number, row in enumerate(self.swept(l0quad.Wanted(rows=tuple(A_S.T)), pause).rows):
            out[number] = row
        return out

    def column_sq_norms(self) -> np.ndarray:
        """Return the squared norm of each column."""
        return self.swept(l0quad.Wanted(norms=True)).norms

    def column_quad(self, factor: np.ndarray, columns: np.ndarray | None = None, pause: Pause = go_on) -> np.ndarray:
        """Return ||L^-1 a_j||^2 for each column j, L lower triangular (n x n)."""
        return self._by_column(columns, "column_quad", factor, pause=pause)

    def row_blocks(self, n_rows: int) -> Iterator[np.ndarray]:
        """Read A once, by rows, which come here."""
        for start in range(0, self.shape[0], n_rows):
            asked = [(rows, start, min(start + n_rows, self.shape[0]))] * len(self._shards)
            yield np.concatenate(list(self._cluster.ask(self._shards, asked)), axis=1)

    def descend(self, residual: np.ndarray, w: np.ndarray, w0: np.ndarray, mu: float) -> float:
        """Do one sweep of cyclic coordinate descent, shard by shard, which wait for each other."""
        fallen = 0.0
        for shard, first, last in zip(self._shards, self._starts[:-1], self._starts[1:], strict=True):
            asked = [(descended, residual, w[first:last], w0[first:last], mu)]
            [(less, residual[:], w[first:last])] = self._cluster.ask([shard], asked)
            fallen += less
        return fallen

    def _by_column(
        self, columns: np.ndarray | None, name: str, argument: np.ndarray, pause: Pause = go_on
    ) -> np.ndarray:
        """Return a number for each column."""
        out = np.empty(self._every(columns).size)
        for place, part in self._each(name, columns, lambda _, local: (argument, local), pause):
            out[place] = part
        return out
