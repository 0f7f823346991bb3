"""A partition of the columns with a budget for each part: what `Cardinality`, `PerBlock` and `NofM` bind to."""

from dataclasses import dataclass

import numpy as np

from l0quad.linalg.pieces import pieces
from l0quad.problem.constraints.base import Constraint, Exchanges, Jacobian, Parts, RankOnes, Some
from l0quad.problem.constraints.ranking import marked_top_k, top_k
from l0quad.problem.constraints.shares import clipped_ratio, thresholds
from l0quad.types import BoolArray, FloatArray, IntArray

_NONE: IntArray = np.empty(0, dtype=np.int64)
_NONE.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class Partition(Constraint):
    """A partition of p columns with budgets; `build` makes one.

    Attributes
    ----------
    part : ndarray of shape (p,) or None
        The part of each column; None when there is one part only.
    budgets : ndarray
        How many columns of each part may be used, those of ``must`` among them.
    free : ndarray
        What ``must`` leaves of the budgets.
    order, starts : ndarray or None
        The columns sorted by part, and where each part begins in that order (with p at the end).
    """

    part: IntArray | None
    budgets: IntArray
    free: IntArray
    n_columns: int
    must: IntArray
    never: IntArray
    order: IntArray | None
    starts: IntArray

    @classmethod
    def build(
        cls, part: IntArray | None, budgets: IntArray, n_columns: int, must: IntArray = _NONE, never: IntArray = _NONE
    ) -> "Partition":
        """Return the constraint with these parts; budgets are cut to what their parts have to use."""
        if part is None or budgets.size == 1:
            part, order = None, None
            sizes = np.array([n_columns])
        else:
            sizes = np.bincount(part, minlength=budgets.size)
            order = None if np.all(part[1:] >= part[:-1]) else np.argsort(part, kind="stable")
        held = _counts(part, must, budgets.size)
        over = np.flatnonzero(held > budgets)
        if over.size:
            where = "" if part is None else f" in part {over[0]}"
            raise ValueError(f"must: has {held[over[0]]} column(s){where}, where the budget is {budgets[over[0]]}")
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        own = np.minimum(budgets, sizes - _counts(part, never, budgets.size)) if never.size else sizes
        budgets = np.minimum(budgets, own)
        return cls(part, budgets, budgets - held, n_columns, must, never, order, starts)

    @property
    def total(self) -> int:
        """The largest allowed number of nonzeros."""
        return int(self.budgets.sum())

    def select(
        self, scores: FloatArray, fixed_in: IntArray | None = None, fixed_out: IntArray | None = None
    ) -> IntArray:
        """Return the allowed support with the largest sum of scores, sorted."""
        if fixed_in is None and fixed_out is None and self._plain:
            return self._best(scores)
        scores = scores.copy()
        for columns, value in ((fixed_out, -np.inf), (self.never, -np.inf), (fixed_in, np.inf), (self.must, np.inf)):
            if columns is not None:
                scores[columns] = value
        chosen = self._best(scores)
        if fixed_out is None:
            return chosen
        if self.must.size:
            scores[fixed_out] = -np.inf
        return chosen[scores[chosen] > -np.inf]

    def marked(
        self, scores: FloatArray, fixed_in: IntArray | None = None, fixed_out: IntArray | None = None
    ) -> BoolArray:
        """Return that as a mask."""
        if self._plain and self.part is None and fixed_in is None and fixed_out is None:
            return marked_top_k(scores, self.total)
        # There is no super() in a dataclass with slots.
        return Constraint.marked(self, scores, fixed_in, fixed_out)

    def marked_nearest(self, x: FloatArray) -> BoolArray:
        """Return the allowed support that keeps most of x as a mask; x is overwritten."""
        return self.marked(np.abs(x, out=x))

    @property
    def _plain(self) -> bool:
        """Whether no column has a place of its own, or none."""
        return not self.must.size and not self.never.size

    def _best(self, scores: FloatArray) -> IntArray:
        if self.part is None:
            return top_k(scores, self.total)
        from l0quad.kernels.selection import select_parts

        chosen = np.zeros(self.n_columns, dtype=np.bool_)
        ordered = scores if self.order is None else scores[self.order]
        select_parts(np.ascontiguousarray(ordered), self.starts, self.budgets, chosen)
        if self.order is not None:
            return np.sort(self.order[chosen])
        return np.flatnonzero(chosen)

    def room(self, support: IntArray) -> IntArray:
        """Return, for each part, how many columns may still join this support; the places of ``must`` are taken."""
        if self.must.size:
            support = np.union1d(support, self.must)
        return self.budgets - _counts(self.part, support, self.budgets.size)

    def allows(self, support: IntArray) -> bool:
        """Return whether this support is within the budgets."""
        if self.never.size and np.isin(support, self.never).any():
            return False
        return bool(np.all(self.room(support) >= 0))

    def addable(self, support: IntArray) -> BoolArray:
        """Return which columns there is room for."""
        room = self.room(support) > 0
        free = np.full(self.n_columns, room[0]) if self.part is None else room[self.part]
        if self.must.size or self.never.size:
            free[self.must] = True
            free[self.never] = False
        return free

    def removable(self, slots: IntArray) -> IntArray:
        """Return which places of these columns may be given up: all but those of ``must``."""
        if self.must.size:
            return np.flatnonzero(~np.isin(slots, self.must))
        return np.arange(slots.size)

    def exchanges(self, slots: IntArray) -> Exchanges:
        """Return which column may take the place of which."""
        leaving, room = self.removable(slots), self.room(slots)
        if self.part is None:
            return Exchanges(leaving, _NONE, _NONE, room)
        return Exchanges(leaving, self.part[slots], self.part, room)

    def parts(self) -> Parts:
        """Return the partition itself: every column is a unit."""
        part = np.zeros(self.n_columns, dtype=np.int64) if self.part is None else self.part
        held = np.zeros(self.n_columns, dtype=np.bool_)
        held[self.must] = True
        return Parts(np.arange(self.n_columns), part, self.budgets, held)

    def relaxed(self, x: FloatArray, beta: float) -> FloatArray:
        """Return the z of the relaxation.

        In each part z_i = clip(|x_i| / c - beta, 0, 1) with the c at which they add up to the budget
        (`l0quad.bounds.relaxation`).
        """
        return self._shares(np.abs(x), beta)

    def relaxed_in_place(self, x: FloatArray, beta: float) -> FloatArray:
        """Return the same, written over x."""
        return self._shares(np.abs(x, out=x), beta)

    def _shares(self, magnitudes: FloatArray, beta: float) -> FloatArray:
        """Return it from the magnitudes, in their place."""
        magnitudes[self.must] = magnitudes[self.never] = 0.0
        found = thresholds(magnitudes if self.order is None else magnitudes[self.order], self.starts, self.free, beta)
        c = float(found[0]) if self.part is None else found.astype(magnitudes.dtype)[self.part]
        z = clipped_ratio(magnitudes, c, beta)
        z[self.must] = 1.0
        return z

    def jacobian(self, x: Some, z: FloatArray, beta: float) -> Jacobian:
        """Return the Jacobian in between: in each part I - gamma s s', s the signs, because c moves with them.

        gamma = beta / (budget - #ones + beta m) where there are m in between, which add up to what the ones leave.
        """
        between = np.flatnonzero((z > 0) & (z < 1))
        signs = np.empty(between.size, dtype=np.int8)
        # Where many are in between, each vector over them counts.
        for here in pieces(between.size):
            signs[here] = np.sign(x(between[here]))
        if self.part is None:
            home, share = np.broadcast_to(np.int64(0), between.size), 0.0
            for here in pieces(between.size):
                share = float(np.cumsum(np.append(share, z[between[here]]))[-1])
            counts, shares = np.bincount(home[:1]) * between.size, np.full(min(between.size, 1), share)
        else:
            home = np.unique(self.part[between], return_inverse=True)[1].astype(np.int64)
            counts, shares = np.bincount(home), np.bincount(home, weights=z[between])
        gamma = beta / (shares + beta * counts)
        return Jacobian(between, None, (RankOnes(signs, home, -gamma),))

    def restrict(self, columns: IntArray) -> "Partition":
        """Return the budgets over a subset of the columns; places of ``must`` elsewhere stay taken."""
        part = None if self.part is None else self.part[columns]
        outside = np.setdiff1d(self.must, columns, assume_unique=True)
        budgets = self.budgets - _counts(self.part, outside, self.budgets.size)
        must, never = (
            np.flatnonzero(np.isin(columns, each)) if each.size else _NONE for each in (self.must, self.never)
        )
        return Partition.build(part, budgets, columns.size, must, never)


def _counts(part: IntArray | None, columns: IntArray, n_parts: int) -> IntArray:
    """Return how many of these columns are in each part."""
    if part is None:
        return np.array([columns.size])
    return np.bincount(part[columns], minlength=n_parts)
