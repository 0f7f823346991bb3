"""At most k whole groups of columns."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.problem.constraints.base import Columns, Constraint, Exchanges, Jacobian, Kind, Parts, RankOnes, Some
from l0quad.problem.constraints.per_block import numbers
from l0quad.problem.constraints.ranking import top_k
from l0quad.problem.constraints.shares import clipped_ratio, thresholds
from l0quad.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Groups(Kind):
    """At most ``k`` groups of columns have nonzeros; within these, every column may have one.

    Parameters
    ----------
    labels : array of int, shape (p,)
        The group of each column, any numbers of at least 0.
    k : int
        The largest number of groups.
    must, never : array of int, optional
        Columns whose groups have a place among the k whatever their values, and columns that are zero.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; of another number of labels than A has columns, where it meets A.

    Examples
    --------
    >>> import numpy as np
    >>> import l0quad
    >>> A = np.random.default_rng(0).standard_normal((50, 12))
    >>> k = l0quad.Groups(np.repeat([0, 1, 2, 3], 3), 2)
    >>> l0quad.minimize(A, A[:, 3] - 2 * A[:, 5] + A[:, 10], k, ridge=0.01).support
    array([ 3,  4,  5,  9, 10, 11])
    """

    labels: IntArray
    k: int

    def __init__(self, labels: ArrayLike, k: int, *, must: Columns = (), never: Columns = ()) -> None:
        Kind.__init__(self, must=must, never=never)
        object.__setattr__(self, "labels", numbers(labels, "labels"))
        validation.integer(k, "k", 0)
        object.__setattr__(self, "k", k)

    def bind(self, n_columns: int) -> "GroupBudget":
        """Return the constraint over this many columns."""
        if self.labels.size != n_columns:
            raise ValueError(f"k: Groups labels {self.labels.size} columns, but A has {n_columns}")
        must, never = self.fixed(n_columns)
        group = np.unique(self.labels, return_inverse=True)[1].astype(np.int64)
        held = np.unique(group[must])
        if held.size > self.k:
            raise ValueError(f"must: its columns are in {held.size} groups, more than k={self.k}")
        return GroupBudget(group, min(int(self.k), n_columns), must, never)


class GroupBudget(Constraint):
    """At most k groups, as solvers see it.

    Attributes
    ----------
    group : ndarray of shape (p,)
        The group of each column, numbered from 0 on.
    k : int
        The largest number of groups, those of ``must`` among them.
    """

    def __init__(self, group: IntArray, k: int, must: IntArray, never: IntArray) -> None:
        self.n_columns = group.size
        self.group, self.must, self.never = group, must, never
        self.n_groups = int(group.max(initial=-1)) + 1
        self._usable = np.ones(group.size, dtype=np.bool_)
        self._usable[never] = False
        self.sizes = np.bincount(group[self._usable], minlength=self.n_groups)
        self._held = np.zeros(self.n_groups, dtype=np.bool_)
        self._held[group[must]] = True
        # Groups without a column that may be used are in no support.
        self.k = min(k, int(np.count_nonzero(self.sizes)))

    @cached_property
    def units(self) -> tuple[IntArray, ...]:
        """The usable columns of each group that has any."""
        usable = self.usable
        order = usable[np.argsort(self.group[usable], kind="stable")]
        edges = np.concatenate([[0], np.cumsum(self.sizes[self.sizes > 0])]).tolist()
        return tuple(order[first:last] for first, last in pairwise(edges))

    @property
    def total(self) -> int:
        """The largest allowed number of nonzeros."""
        return int(self.sizes[self._best(np.array(self.sizes, dtype=np.float64))].sum())

    def select(
        self, scores: FloatArray, fixed_in: IntArray | None = None, fixed_out: IntArray | None = None
    ) -> IntArray:
        """Return the columns of the groups with the largest sums of scores, sorted."""
        free = self._usable
        if fixed_out is not None:
            free = free.copy()
            free[fixed_out] = False
        sums = np.bincount(self.group[free], weights=scores[free], minlength=self.n_groups).astype(np.float64)
        sums[sums == np.inf] = np.finfo(np.float64).max
        if fixed_in is not None:
            sums[self.group[fixed_in]] = np.inf
        return np.flatnonzero(self._columns(self._best(sums)) & free)

    def _best(self, sums: FloatArray) -> IntArray:
        """Return the k groups of largest sums, those of ``must`` among them."""
        sums[self.sizes == 0] = -np.inf
        sums[self._held] = np.inf
        return top_k(sums, self.k)

    def _columns(self, groups: IntArray) -> BoolArray:
        """Return which columns may be used where these groups are."""
        chosen = np.zeros(self.n_groups, dtype=np.bool_)
        chosen[groups] = True
        return chosen[self.group] & self._usable

    def _taken(self, support: IntArray) -> BoolArray:
        """Return which groups have a place beside this support's."""
        taken = self._held.copy()
        taken[self.group[support]] = True
        return taken

    def allows(self, support: IntArray) -> bool:
        """Return whether the support lies within k groups."""
        return bool(self._usable[support].all()) and int(self._taken(support).sum()) <= self.k

    def closed(self, columns: IntArray) -> IntArray:
        """Return all usable columns of the groups of these columns and of ``must``."""
        return np.flatnonzero(self._columns(np.flatnonzero(self._taken(columns))))

    def addable(self, support: IntArray) -> BoolArray:
        """Return which columns' groups are there already or have room."""
        taken = self._taken(support)
        return self._usable & (taken[self.group] | (int(taken.sum()) < self.k))

    def removable(self, slots: IntArray) -> IntArray:
        """Return which places of these columns may be given up: all but those of the groups of ``must``."""
        return np.flatnonzero(~self._held[self.group[slots]])

    def exchanges(self, slots: IntArray) -> Exchanges:
        """Not asked for: columns come and go with their groups."""
        raise NotImplementedError("the columns of a group come and go together")

    def parts(self) -> Parts:
        """Return one part, whose units are the groups."""
        return Parts(self.group, np.zeros(self.n_groups, dtype=np.int64), np.array([self.k]), self._held)

    def nearest(self, x: FloatArray, fixed_in: IntArray | None = None) -> IntArray:
        """Return the allowed support that keeps most of x."""
        largest = float(np.abs(x).max())
        return self.select((x / largest) ** 2 if largest > 0 else np.zeros(x.size), fixed_in)

    def _norms(self, x: FloatArray) -> FloatArray:
        """Return the norm of each group's usable entries."""
        size = max(float(np.abs(x).max()), np.finfo(np.float64).tiny)
        squares = (x[self._usable] / size) ** 2
        return size * np.sqrt(np.bincount(self.group[self._usable], weights=squares, minlength=self.n_groups))

    def relaxed(self, x: FloatArray, beta: float) -> FloatArray:
        """Return the z of the relaxation.

        In each group z = clip(||x_g|| / c - beta, 0, 1), with the c at which the groups' z add up to k.
        """
        norms = self._norms(x)
        norms[self._held] = 0.0
        free = np.array([self.k - np.count_nonzero(self._held)])
        c = thresholds(norms, np.array([0, self.n_groups]), free, beta)
        z = clipped_ratio(norms, np.full(self.n_groups, c[0]), beta)
        z[self._held] = 1.0
        return np.where(self._usable, z[self.group], 0.0)

    def jacobian(self, x: Some, z: FloatArray, beta: float) -> Jacobian:
        """Return the Jacobian on the groups in between.

        With u_g = x_g / ||x_g|| and f_g = z_g / (z_g + beta), it is f_g I + (1 - f_g) u_g u_g' on each group, and
        -gamma u u' for all of them together, because c moves with them; gamma as for a budget of columns.
        """
        between = np.flatnonzero((z > 0) & (z < 1))
        groups, home = np.unique(self.group[between], return_inverse=True)
        u = x(between) / self._norms(x(slice(None)))[groups][home]
        factor = z[between] / (z[between] + beta)
        share = np.zeros(groups.size)
        share[home] = z[between]
        own = RankOnes(u, home.astype(np.int64), beta / (share + beta))
        gamma = np.array([beta / (share.sum() + beta * groups.size)] if groups.size else [])
        return Jacobian(between, factor, (own, RankOnes(u, np.zeros(between.size, dtype=np.int64), -gamma)))

    def restrict(self, columns: IntArray) -> "GroupBudget":
        """Return the constraint over a subset of the columns; places of ``must`` elsewhere stay taken."""
        usable = self._usable[columns]
        # A group of ``must`` is held by any of its columns that is left.
        must = np.flatnonzero(usable & self._held[self.group[columns]])
        outside = int(self._held.sum()) - np.unique(self.group[columns[must]]).size
        group = np.unique(self.group[columns], return_inverse=True)[1].astype(np.int64)
        return GroupBudget(group, self.k - outside, must, np.flatnonzero(~usable))
