"""Which supports are allowed: a partition of the columns, with a budget for each part.

Solvers ask of a constraint which is the best allowed support (`select`), whether there is room (`room`), and what its
relaxation is (`thresholds`).
"""

from dataclasses import dataclass

import numpy as np

from l0quad import validation
from l0quad.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """A partition of p columns with budgets, as solvers see it.

    Attributes
    ----------
    part : ndarray of shape (p,) or None
        The part of each column; None when there is one part only.
    budgets : ndarray
        How many columns of each part may be used.
    n_columns : int
        p.
    order, starts : ndarray or None
        The columns sorted by part, and where each part begins in that order (with p at the end).
    """

    part: IntArray | None
    budgets: IntArray
    n_columns: int
    order: IntArray | None = None
    starts: IntArray | None = None

    @classmethod
    def build(cls, part: IntArray | None, budgets: IntArray, n_columns: int) -> "Constraint":
        """Return the constraint with these parts; budgets are cut to the sizes of their parts."""
        if part is None or budgets.size == 1:
            return cls(None, np.minimum(budgets, n_columns), n_columns)
        sizes = np.bincount(part, minlength=budgets.size)
        order = None if np.all(part[1:] >= part[:-1]) else np.argsort(part, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(part, np.minimum(budgets, sizes), n_columns, order, starts)

    @property
    def total(self) -> int:
        """The largest allowed number of nonzeros."""
        return int(self.budgets.sum())

    def select(
        self, scores: FloatArray, fixed_in: IntArray | None = None, fixed_out: IntArray | None = None
    ) -> IntArray:
        """Return the allowed support with the largest sum of scores, sorted.

        Every budget is used up as far as ``fixed_out`` leaves columns for it. Ties go to the larger score, then to
        the smaller index. ``fixed_in`` must itself be allowed.

        Parameters
        ----------
        scores : ndarray of shape (p,)
            Finite values of at least 0.
        fixed_in, fixed_out : ndarray of int, optional
            Columns that must and must not be selected.
        """
        if fixed_in is not None or fixed_out is not None:
            scores = scores.copy()
            if fixed_out is not None:
                scores[fixed_out] = -np.inf
            if fixed_in is not None:
                scores[fixed_in] = np.inf
        chosen = top_k(scores, self.total) if self.part is None else self._select_by_part(scores)
        return chosen[scores[chosen] > -np.inf] if fixed_out is not None else chosen

    def _select_by_part(self, scores: FloatArray) -> IntArray:
        from l0quad.kernels.selection import select_parts

        assert self.starts is not None
        chosen = np.zeros(self.n_columns, dtype=np.bool_)
        ordered = scores if self.order is None else scores[self.order]
        select_parts(np.ascontiguousarray(ordered), self.starts, self.budgets, chosen)
        if self.order is not None:
            return np.sort(self.order[chosen])
        return np.flatnonzero(chosen)

    def thresholds(self, magnitudes: FloatArray, beta: float) -> FloatArray:
        """Return, for each column i, the c of its part with ``sum_i clip(magnitudes_i / c - beta, 0, 1) = budget``.

        The equation behind the relaxation of the budget (`l0quad.relaxation`); 0 and inf where it has no solution.
        """
        from l0quad.kernels.perspective import part_thresholds

        starts = np.array([0, self.n_columns]) if self.starts is None else self.starts
        found = np.empty(self.budgets.size)
        ordered = magnitudes if self.order is None else magnitudes[self.order]
        part_thresholds(np.ascontiguousarray(ordered), starts, self.budgets, float(beta), found)
        return np.full(self.n_columns, found[0]) if self.part is None else found[self.part]

    def room(self, support: IntArray) -> IntArray:
        """Return, for each part, how many columns may still join this support."""
        if self.part is None:
            return self.budgets - support.size
        return self.budgets - np.bincount(self.part[support], minlength=self.budgets.size)

    def allows(self, support: IntArray) -> bool:
        """Return whether this support is within the budgets."""
        return bool(np.all(self.room(support) >= 0))

    def restrict(self, columns: IntArray) -> "Constraint":
        """Return the same budgets over a subset of the columns."""
        part = None if self.part is None else self.part[columns]
        return Constraint.build(part, self.budgets, columns.size)


@dataclass(frozen=True, slots=True)
class Cardinality:
    """At most ``k`` nonzeros in all; what an integer ``k`` means."""

    k: int

    def __post_init__(self) -> None:
        validation.integer(self.k, "k", 0)

    def bind(self, n_columns: int) -> Constraint:
        """Return the constraint over this many columns."""
        return Constraint.build(None, np.array([min(int(self.k), n_columns)], dtype=np.int64), n_columns)


@dataclass(frozen=True, slots=True, eq=False)
class PerBlock:
    """A budget for each part of a partition of the columns.

    Parameters
    ----------
    labels : array of int, shape (p,)
        The part of each column, numbered from 0. For contiguous blocks: ``np.repeat(np.arange(m), sizes)``.
    budgets : array of int, shape (m,)
        The largest number of nonzeros in each part.
    """

    labels: IntArray
    budgets: IntArray

    def __post_init__(self) -> None:
        for name in ("labels", "budgets"):
            array = validation.integers(getattr(self, name), name)
            if array.size == 0:
                raise ValueError(f"{name}: must not be empty")
            if int(array.min()) < 0:
                raise ValueError(f"{name}: must not be negative, got {int(array.min())}")
            own = np.minimum(array.astype(np.uint64), np.iinfo(np.int64).max // array.size).astype(np.int64)
            own.flags.writeable = False
            object.__setattr__(self, name, own)
        if int(self.labels.max()) >= self.budgets.size:
            raise ValueError(
                f"labels: must be below the number of budgets ({self.budgets.size}), got {int(self.labels.max())}"
            )

    def bind(self, n_columns: int) -> Constraint:
        """Return the constraint over this many columns."""
        if self.labels.size != n_columns:
            raise ValueError(f"k: PerBlock labels {self.labels.size} columns, but A has {n_columns}")
        return Constraint.build(self.labels, self.budgets, n_columns)


@dataclass(frozen=True, slots=True)
class NofM:
    """At most ``n`` nonzeros in each group of ``m`` consecutive columns (the last group may be smaller)."""

    n: int
    m: int

    def __post_init__(self) -> None:
        validation.integer(self.n, "n", 0)
        validation.integer(self.m, "m", 1)

    def bind(self, n_columns: int) -> Constraint:
        """Return the constraint over this many columns."""
        width = min(int(self.m), n_columns)
        part = np.arange(n_columns, dtype=np.int64) // width
        return Constraint.build(part, np.full(part[-1] + 1, min(int(self.n), width)), n_columns)


def top_k(scores: FloatArray, k: int) -> IntArray:
    """Return the sorted indices of the k largest scores; ties go to the smaller index, on every CPU."""
    if k >= scores.size:
        return np.arange(scores.size)
    if k == 0:
        return np.empty(0, dtype=np.int64)
    # The k-th largest value is well defined, the order in which a partition leaves its indices is not.
    threshold = np.partition(scores, scores.size - k)[scores.size - k]
    above = np.flatnonzero(scores > threshold)
    ties = np.flatnonzero(scores == threshold)[: k - above.size]
    return np.sort(np.concatenate([above, ties]))
