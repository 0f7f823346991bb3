"""One pass over A, a *sweep*, that does several things with the columns while they are in cache.

What is asked for is a `Wanted`, what comes back a `Swept`. `sweep_blocks` is a pure function of the columns and of what
is wanted of them, so that ranges of columns may be swept anywhere: `Wanted.part` is what is wanted of a range,
`Swept.joined` puts the answers of consecutive ranges together.

A set of columns is an array of their numbers, sorted, or a mask of all columns: however large it is, that takes an
eighth of a vector as long as w0.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from l0quad.linalg.pieces import pieces
from l0quad.linalg.symmetric import add_outer, mirror, subtract_outer
from l0quad.types import BoolArray, ColumnSet, FloatArray, IntArray, Pause, RealArray, SignArray, go_on

# Columns are converted to float64 so many bytes at a time; those for an outer product are gathered before it is made.
_CACHE_BYTES = 1 << 17
_GATHER_BYTES = 1 << 22
_LEAST_GATHERED = 256
_NONE: IntArray = np.empty(0, dtype=np.int64)


class Columns(NamedTuple):
    """Values on a set of columns: one for each of its numbers; beside a mask one for each column, others unused."""

    support: ColumnSet
    values: FloatArray | SignArray


class Follow(NamedTuple):
    """The weights v = ``start`` + A'r on a set of columns, r the first of `Wanted.rows`, rounded to a dtype.

    ``start`` is as the values of `Columns`.
    """

    support: ColumnSet
    start: FloatArray
    dtype: np.dtype[Any]


class Outer(NamedTuple):
    """A_S A_S' for the columns S that are ``added``, less that for those that are ``removed``.

    ``onto`` is a symmetric n x n array that it is added to, and that comes back in its place.
    """

    added: ColumnSet
    removed: ColumnSet = _NONE
    onto: FloatArray | None = None


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
    outers : tuple of Outer
        A_S A_S' for each of these sets of columns, or the difference of two.
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
    outers: tuple[Outer, ...] = ()
    gather: IntArray | None = None
    norms: bool = False

    def part(self, first: int, last: int) -> "Wanted":
        """Return what is wanted of the columns ``first:last``, which are counted from 0 there; onto nothing."""

        def part(columns: ColumnSet) -> ColumnSet:
            here = columns[_within(columns, first, last)]
            return compact(here.astype(np.bool_, copy=False)) if here.dtype == np.bool_ else here - first

        def on(columns: ColumnSet, values: Any) -> tuple[ColumnSet, Any]:
            here, own = part(columns), values[_within(columns, first, last)]
            # Of a mask that has become numbers, the values on these.
            return here, own[here] if here.dtype != columns.dtype else own

        follow = self.follow
        if follow is not None:
            follow = Follow(*on(follow.support, follow.start), follow.dtype)
        return Wanted(
            self.rows,
            tuple(Columns(*on(*each)) for each in self.weights),
            follow,
            tuple(Outer(part(each.added), part(each.removed)) for each in self.outers),
            None if self.gather is None else self.gather[_within(self.gather, first, last)] - first,
            self.norms,
        )

    @property
    def of_all(self) -> bool:
        """Whether every column is needed."""
        return bool(self.rows) or self.norms

    @property
    def columns(self) -> tuple[ColumnSet, ...]:
        """The sets of columns that are needed apart from that."""
        gather = () if self.gather is None else (self.gather,)
        outers = (columns for each in self.outers for columns in each[:2])
        return (*(each.support for each in self.weights), *outers, *gather)


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
        The product, or the difference of two, for each of `Wanted.outers`.
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
    >>> l0quad.Swept.joined(parts, wanted, (2, 2)).rows[0].tolist()
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
    def joined(parts: "Iterable[Swept]", wanted: Wanted, shape: tuple[int, int]) -> "Swept":
        """Return the answer for a matrix from those for consecutive ranges of its columns, added in order.

        Each is taken in before the next is asked for.
        """
        answer = _Answer(shape, wanted)
        for part in parts:
            answer.join(part)
            del part
        return answer.swept()


def sweep_blocks(
    blocks: Iterable[tuple[int, RealArray]], shape: tuple[int, int], wanted: Wanted, pause: Pause = go_on
) -> Swept:
    """Do what is wanted with the columns of an n x p matrix, which come as (first column, n x a few), in order.

    Blocks without any column that is needed may be left out. ``pause`` is called between blocks.
    """
    answer = _Answer(shape, wanted)
    step = max(16, _CACHE_BYTES // (8 * shape[0]))
    for start, block in blocks:
        pause()
        for offset in range(0, block.shape[1], step):
            piece = block[:, offset : offset + step]
            first = start + offset
            if wanted.of_all or any(has_any(s, first, first + piece.shape[1]) for s in wanted.columns):
                answer.add(first, np.asarray(piece, dtype=np.float64))
    return answer.swept()


class _Answer:
    """What a sweep has brought so far."""

    def __init__(self, shape: tuple[int, int], wanted: Wanted) -> None:
        n, p = shape
        self._wanted = wanted
        self._follow = wanted.follow or Follow(_NONE, np.empty(0), np.dtype(np.float64))
        self._gather = _NONE if wanted.gather is None else wanted.gather
        self._rows = tuple(np.empty(p) for _ in wanted.rows)
        self._products = [np.zeros(n) for _ in wanted.weights]
        self._v, self._product, self._followed = np.empty(size_of(self._follow.support)), np.zeros(n), 0
        self._outers = tuple(_OuterSum(n, each.onto) for each in wanted.outers)
        self._taken = np.empty((n, self._gather.size), order="F")
        self._norms = np.empty(p if wanted.norms else 0)
        self._joined, self._gathered = 0, 0

    def add(self, first: int, B: FloatArray) -> None:
        """Do what is wanted with the columns from ``first`` on."""
        wanted, last = self._wanted, first + B.shape[1]
        if wanted.norms:
            self._norms[first:last] = np.einsum("ij,ij->j", B, B)
        for t, r in zip(self._rows, wanted.rows, strict=True):
            t[first:last] = r @ B
        columns, start = _values(self._follow.support, self._follow.start, first, last)
        if columns.size:
            v = (start + self._rows[0][first:last][columns]).astype(self._follow.dtype).astype(np.float64)
            self._v[self._followed : self._followed + v.size] = v
            self._followed += v.size
            self._product += B[:, columns] @ v
        for number, (support, w) in enumerate(wanted.weights):
            columns, values = _values(support, w, first, last)
            if columns.size:
                self._products[number] += B[:, columns] @ values
        for total, outer in zip(self._outers, wanted.outers, strict=True):
            total.add(B, numbers_of(outer.added, first, last), numbers_of(outer.removed, first, last))
        at = _within(self._gather, first, last)
        self._taken[:, at] = B[:, self._gather[at] - first]

    def join(self, part: Swept) -> None:
        """Take in what the next range of columns has brought."""
        for t, own in zip(self._rows, part.rows, strict=True):
            t[self._joined : self._joined + own.size] = own
        self._norms[self._joined : self._joined + part.norms.size] = part.norms
        self._joined += part.norms.size or (part.rows[0].size if part.rows else 0)
        self._v[self._followed : self._followed + part.follow.size] = part.follow
        self._followed += part.follow.size
        self._taken[:, self._gathered : self._gathered + part.gather.shape[1]] = part.gather
        self._gathered += part.gather.shape[1]
        self._product += part.follow_product
        for number, own in enumerate(part.products):
            self._products[number] += own
        for total, own in zip(self._outers, part.outers, strict=True):
            total.join(own)

    def swept(self) -> Swept:
        """Return all of it."""
        outers = tuple(each.total() for each in self._outers)
        return Swept(self._rows, tuple(self._products), self._v, self._product, outers, self._taken, self._norms)


class _OuterSum:
    """A sum of outer products of columns, of some less those of others; on and above the diagonal until the end."""

    def __init__(self, n: int, onto: FloatArray | None) -> None:
        self._sum = np.zeros((n, n)) if onto is None else onto
        self._added, self._removed = _Gathered(n), _Gathered(n)

    def add(self, B: FloatArray, added: IntArray, removed: IntArray) -> None:
        for block in self._added.blocks(B, added):
            add_outer(self._sum, block)
        for block in self._removed.blocks(B, removed):
            subtract_outer(self._sum, block)

    def join(self, found: FloatArray) -> None:
        """Add what has been summed elsewhere."""
        self._sum += found

    def total(self) -> FloatArray:
        """Return the sum with all that has been gathered."""
        add_outer(self._sum, self._added.rest())
        subtract_outer(self._sum, self._removed.rest())
        mirror(self._sum)
        return self._sum


class _Gathered:
    """Columns that wait until there are enough of them for one fast product."""

    def __init__(self, n: int) -> None:
        self._most = max(_LEAST_GATHERED, _GATHER_BYTES // (8 * n))
        self._columns, self._filled = np.empty((0, n)), 0

    def blocks(self, B: FloatArray, columns: IntArray) -> Iterator[FloatArray]:
        """Take these columns in; yield them, with those that wait, as often as there are enough."""
        if columns.size and not self._columns.size:
            self._columns = np.empty((self._most, B.shape[0]))
        while columns.size:
            taken = columns[: self._most - self._filled]
            self._columns[self._filled : self._filled + taken.size] = B.T[taken]
            self._filled, columns = self._filled + taken.size, columns[taken.size :]
            if self._filled == self._most:
                yield self._columns.T
                self._filled = 0

    def rest(self) -> FloatArray:
        """Return those that wait."""
        return self._columns[: self._filled].T


def compact(mask: BoolArray) -> ColumnSet:
    """Return a set of columns that is given as a mask in the form that takes less memory."""
    return np.flatnonzero(mask) if 8 * np.count_nonzero(mask) < mask.size else mask


def union(sets: Iterable[ColumnSet], n_columns: int) -> BoolArray:
    """Return the mask of all columns that are in one of the sets."""
    mask = np.zeros(n_columns, dtype=np.bool_)
    for each in sets:
        mask[each] = True
    return mask


def norm_on(columns: ColumnSet, t: FloatArray) -> float:
    """Return the norm of t over a set of columns, without a vector as long as that."""
    mask = columns.dtype == np.bool_
    parts = (t[here][columns[here]] if mask else t[columns[here]] for here in pieces(columns.size))
    return float(sum(float(v @ v) for v in parts)) ** 0.5


def has_any(columns: ColumnSet, first: int, last: int) -> bool:
    """Return whether any of the columns ``first:last`` are in a set."""
    here = _within(columns, first, last)
    return bool(columns[here].any()) if columns.dtype == np.bool_ else here.stop > here.start


def _within(columns: ColumnSet, first: int, last: int) -> slice:
    """Return where a set, and values on it, tell of the columns ``first:last``."""
    if columns.dtype == np.bool_:
        return slice(first, last)
    start, stop = np.searchsorted(columns, [first, last]).tolist()
    return slice(start, stop)


def numbers_of(columns: ColumnSet, first: int, last: int) -> IntArray:
    """Return which of the columns ``first:last`` are in a set, counted from the first."""
    here = columns[_within(columns, first, last)]
    return np.flatnonzero(here) if here.dtype == np.bool_ else here - first


def _values(columns: ColumnSet, values: FloatArray | SignArray, first: int, last: int) -> tuple[IntArray, FloatArray]:
    """Return the same, and the values on them."""
    numbers, here = numbers_of(columns, first, last), values[_within(columns, first, last)]
    return numbers, (here[numbers] if columns.dtype == np.bool_ else here).astype(np.float64, copy=False)


def as_numbers(columns: ColumnSet) -> IntArray:
    """Return the numbers of the columns in a set."""
    return np.flatnonzero(columns) if columns.dtype == np.bool_ else columns.astype(np.int64, copy=False)


def size_of(columns: ColumnSet) -> int:
    """Return how many columns are in a set."""
    return int(np.count_nonzero(columns)) if columns.dtype == np.bool_ else columns.size
