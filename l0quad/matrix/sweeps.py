"""One pass over A, a *sweep*, that does several things with the columns while they are in cache.

What is asked for is a `Wanted`, what comes back a `Swept`. `sweep_blocks` is a pure function of the columns and of what
is wanted of them, so that ranges of columns may be swept anywhere: `Wanted.part` is what is wanted of a range,
`Swept.joined` puts the answers of consecutive ranges together.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from l0quad.types import FloatArray, IntArray, Pause, RealArray, go_on

# Columns are converted to float64 so many bytes at a time; those for an outer product are gathered before it is made.
_CACHE_BYTES = 1 << 17
_GATHER_BYTES = 1 << 23
_LEAST_GATHERED = 256
_NONE: IntArray = np.empty(0, dtype=np.int64)


class Columns(NamedTuple):
    """A value for each of some columns (sorted)."""

    support: IntArray
    values: FloatArray


class Follow(NamedTuple):
    """The weights v = ``start`` + A'r on a support (sorted), r the first of `Wanted.rows`, rounded to a dtype."""

    support: IntArray
    start: FloatArray
    dtype: np.dtype[Any]


class Wanted(NamedTuple):
    """What is asked of one sweep.

    Attributes
    ----------
    rows : tuple of ndarray of shape (n,)
        A'r for each.
    weights : tuple of Columns
        A_S w for each.
    follow : Follow, optional
        Weights that come out of the same columns' A'r, and their A_S v.
    outers : tuple of ndarray of int
        A_S A_S' for each of these sets of columns (sorted).
    gather : ndarray of int, optional
        These columns themselves (sorted).
    norms : bool
        The squared norm of each column.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> wanted = l0quad.Wanted(rows=(np.array([1.0, 1.0]),), norms=True)
    >>> swept = l0quad.as_matrix([[1.0, 2.0], [3.0, 4.0]]).swept(wanted)
    >>> swept.rows[0].tolist(), swept.norms.tolist()
    ([4.0, 6.0], [10.0, 20.0])
    """

    rows: tuple[FloatArray, ...] = ()
    weights: tuple[Columns, ...] = ()
    follow: Follow | None = None
    outers: tuple[IntArray, ...] = ()
    gather: IntArray | None = None
    norms: bool = False

    def part(self, first: int, last: int) -> "Wanted":
        """Return what is wanted of the columns ``first:last``, which are counted from 0 there."""

        def within(support: IntArray) -> slice:
            return _within(support, first, last)

        follow = self.follow
        if follow is not None:
            here = within(follow.support)
            follow = Follow(follow.support[here] - first, follow.start[here], follow.dtype)
        return Wanted(
            self.rows,
            tuple(Columns(s[within(s)] - first, w[within(s)]) for s, w in self.weights),
            follow,
            tuple(s[within(s)] - first for s in self.outers),
            None if self.gather is None else self.gather[within(self.gather)] - first,
            self.norms,
        )

    @property
    def of_all(self) -> bool:
        """Whether every column is needed."""
        return bool(self.rows) or self.norms

    @property
    def columns(self) -> tuple[IntArray, ...]:
        """The sets of columns that are needed apart from that."""
        gather = () if self.gather is None else (self.gather,)
        return (*(each.support for each in self.weights), *self.outers, *gather)


class Swept(NamedTuple):
    """What a sweep brought; what was not wanted is empty, or zero.

    Attributes
    ----------
    rows : tuple of ndarray of shape (p,)
        A'r for each of `Wanted.rows`.
    products : tuple of ndarray of shape (n,)
        A_S w for each of `Wanted.weights`.
    follow, follow_product : ndarray of shape (S,), (n,)
        The weights v of `Wanted.follow`, and A_S v.
    outers : tuple of ndarray of shape (n, n)
        A_S A_S' for each of `Wanted.outers`.
    gather : ndarray of shape (n, S)
        The columns of `Wanted.gather` in Fortran order, as float64.
    norms : ndarray of shape (p,)
        The squared norms of all columns.

    Examples
    --------
    Ranges of columns may be swept anywhere, and their answers joined:

    >>> import numpy as np, l0quad
    >>> wanted = l0quad.Wanted(rows=(np.array([1.0, 1.0]),))
    >>> parts = [l0quad.as_matrix([[j], [j + 2.0]]).swept(wanted.part(j - 1, j)) for j in (1, 2)]
    >>> l0quad.Swept.joined(parts).rows[0].tolist()
    [4.0, 6.0]
    """

    rows: tuple[FloatArray, ...]
    products: tuple[FloatArray, ...]
    follow: FloatArray
    follow_product: FloatArray
    outers: tuple[FloatArray, ...]
    gather: FloatArray
    norms: FloatArray

    @staticmethod
    def joined(parts: "Sequence[Swept]") -> "Swept":
        """Return the answer for a matrix from those for consecutive ranges of its columns, added in order."""

        def added(several: Iterable[tuple[FloatArray, ...]]) -> tuple[FloatArray, ...]:
            return tuple(sum(each[1:], start=each[0]) for each in zip(*several, strict=True))

        return Swept(
            tuple(np.concatenate(each) for each in zip(*(part.rows for part in parts), strict=True)),
            added(part.products for part in parts),
            np.concatenate([part.follow for part in parts]),
            added((part.follow_product,) for part in parts)[0],
            added(part.outers for part in parts),
            np.asfortranarray(np.concatenate([part.gather for part in parts], axis=1)),
            np.concatenate([part.norms for part in parts]),
        )


def sweep_blocks(
    blocks: Iterable[tuple[int, RealArray]], shape: tuple[int, int], wanted: Wanted, pause: Pause = go_on
) -> Swept:
    """Do what is wanted with the columns of an n x p matrix, which come as (first column, n x a few), each once.

    Blocks without any column that is needed may be left out. ``pause`` is called between blocks.
    """
    answer = _Answer(shape, wanted)
    step = max(16, _CACHE_BYTES // (8 * shape[0]))
    # One buffer for all pieces: a new one each time costs a page fault every 4 KB where the allocator gives memory back
    # at once, as in Dask's workers, and doubles their CPU seconds.
    buffer = np.empty(min(step, shape[1]) * shape[0])
    for start, block in blocks:
        pause()
        for offset in range(0, block.shape[1], step):
            piece = block[:, offset : offset + step]
            first = start + offset
            if wanted.of_all or any(
                np.diff(np.searchsorted(s, [first, first + piece.shape[1]])) for s in wanted.columns
            ):
                answer.add(first, _widened(piece, buffer))
    return answer.swept()


def _widened(piece: RealArray, buffer: FloatArray) -> FloatArray:
    """Return a piece in float64, in the order that it has: itself, or on the buffer."""
    if piece.dtype == np.float64:
        return np.asarray(piece, dtype=np.float64)
    wide: FloatArray = np.ndarray(
        piece.shape, np.float64, buffer, order="F" if piece.strides[0] < piece.strides[1] else "C"
    )
    wide[...] = piece
    return wide


class _Answer:
    """What a sweep has brought so far."""

    def __init__(self, shape: tuple[int, int], wanted: Wanted) -> None:
        n, p = shape
        self._wanted = wanted
        self._follow = wanted.follow or Follow(_NONE, np.empty(0), np.dtype(np.float64))
        self._gather = _NONE if wanted.gather is None else wanted.gather
        self._rows = tuple(np.empty(p) for _ in wanted.rows)
        self._products = [np.zeros(n) for _ in wanted.weights]
        self._v, self._product = np.empty(self._follow.support.size), np.zeros(n)
        self._outers = tuple(_Outer(n) for _ in wanted.outers)
        self._taken = np.empty((n, self._gather.size), order="F")
        self._norms = np.empty(p if wanted.norms else 0)

    def add(self, first: int, B: FloatArray) -> None:
        """Do what is wanted with the columns from ``first`` on."""
        wanted, last = self._wanted, first + B.shape[1]
        if wanted.norms:
            self._norms[first:last] = np.einsum("ij,ij->j", B, B)
        for t, r in zip(self._rows, wanted.rows, strict=True):
            t[first:last] = r @ B
        follow = self._follow
        at = _within(follow.support, first, last)
        if at.stop > at.start:
            columns = follow.support[at]
            self._v[at] = (follow.start[at] + self._rows[0][columns]).astype(follow.dtype)
            self._product += B[:, columns - first] @ self._v[at]
        for number, (support, w) in enumerate(wanted.weights):
            at = _within(support, first, last)
            if at.stop > at.start:
                self._products[number] += B[:, support[at] - first] @ w[at]
        for outer, support in zip(self._outers, wanted.outers, strict=True):
            outer.add(B, support[_within(support, first, last)] - first)
        at = _within(self._gather, first, last)
        self._taken[:, at] = B[:, self._gather[at] - first]

    def swept(self) -> Swept:
        """Return all of it."""
        outers = tuple(each.total() for each in self._outers)
        return Swept(self._rows, tuple(self._products), self._v, self._product, outers, self._taken, self._norms)


class _Outer:
    """A sum of outer products of columns, which are gathered until there are enough for one fast product."""

    def __init__(self, n: int) -> None:
        self._columns = np.empty((max(_LEAST_GATHERED, _GATHER_BYTES // (8 * n)), n))
        self._filled, self._sum = 0, np.zeros((n, n))

    def add(self, B: FloatArray, columns: IntArray) -> None:
        while columns.size:
            taken = columns[: self._columns.shape[0] - self._filled]
            self._columns[self._filled : self._filled + taken.size] = B.T[taken]
            self._filled, columns = self._filled + taken.size, columns[taken.size :]
            if self._filled == self._columns.shape[0]:
                self.total()

    def total(self) -> FloatArray:
        """Return the sum with all that has been gathered."""
        if self._filled:
            waiting = self._columns[: self._filled]
            self._sum += waiting.T @ waiting
            self._filled = 0
        return self._sum


def _within(support: IntArray, first: int, last: int) -> slice:
    """Return which of these sorted columns lie in a range."""
    start, stop = np.searchsorted(support, [first, last]).tolist()
    return slice(start, stop)
