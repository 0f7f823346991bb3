"""What a constraint is: as the user states it (`Kind`), and as solvers see it over p columns (`Constraint`).

Solvers, bounds and adapters use nothing else of a constraint than the questions of `Constraint`; a new kind is a file
beside this one (docs/adding-a-constraint.md).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from l0quad import frames, validation
from l0quad.linalg.pieces import pieces
from l0quad.shown import few
from l0quad.types import BoolArray, ColumnSet, FloatArray, IntArray, SignArray

# Columns by number or by name.
Columns = Sequence[int] | Sequence[str] | IntArray


class Exchanges(NamedTuple):
    """Which columns may take whose place: j that of slot i where ``part[j] == home[i]`` or ``room[part[j]] > 0``.

    Attributes
    ----------
    leaving : ndarray
        The slots (places in the support) that may be given up at all.
    home : ndarray
        The part of each slot's column; empty where every column may take every place.
    part : ndarray of shape (p,) or (0,)
        The part of each column; empty likewise.
    room : ndarray
        How many more columns each part has room for.
    """

    leaving: IntArray
    home: IntArray
    part: IntArray
    room: IntArray


class Parts(NamedTuple):
    """A constraint as a budget of units (columns, or groups of them) for each part.

    Attributes
    ----------
    unit : ndarray of shape (p,)
        The unit of each column.
    part : ndarray
        The part of each unit.
    budgets : ndarray
        How many units of each part a support may have.
    held : ndarray of bool
        The units that have a place in every support.
    """

    unit: IntArray
    part: IntArray
    budgets: IntArray
    held: BoolArray


# The entries of a long vector on some columns, which may be computed where they are asked for.
Some = Callable[[slice | IntArray], FloatArray]


class RankOnes(NamedTuple):
    """The matrix ``sum_q weights[q] v_q v_q'``, where v_q has the ``values`` whose ``home`` is q, and 0 elsewhere."""

    values: FloatArray | SignArray
    home: IntArray
    weights: FloatArray


class Jacobian(NamedTuple):
    """A generalized Jacobian of x -> x z / (z + beta) on the columns with 0 < z < 1.

    It is ``diag(diagonal)`` (None: the identity) plus the rank-one terms.
    """

    columns: ColumnSet
    diagonal: FloatArray | None
    rank_ones: tuple[RankOnes, ...]


class Constraint(ABC):
    """Which supports are allowed, as solvers see it.

    A support stands for the columns that may have any value: with it, each of its subsets is allowed, and w is
    feasible where the support of its nonzeros is.

    Attributes
    ----------
    n_columns : int
        p.
    must : ndarray
        Columns that have a place in every support, whatever their value, sorted.
    never : ndarray
        Columns that no support has, sorted.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> constraint = l0quad.NofM(1, 2).bind(4)
    >>> isinstance(constraint, l0quad.Constraint), constraint.total
    (True, 2)
    >>> constraint.select(np.array([3.0, 5.0, 2.0, 1.0])), constraint.allows(np.array([0, 1]))
    (array([1, 2]), False)
    """

    n_columns: int
    must: IntArray
    never: IntArray

    @property
    def units(self) -> tuple[IntArray, ...] | None:
        """The sets of columns that come and go together; None where each column does so by itself."""
        return None

    @property
    @abstractmethod
    def total(self) -> int:
        """The largest allowed number of nonzeros."""

    @abstractmethod
    def select(
        self, scores: FloatArray, fixed_in: IntArray | None = None, fixed_out: IntArray | None = None
    ) -> IntArray:
        """Return the allowed support with the largest sum of scores, sorted.

        It is as large as it may be. Ties go to the larger score, then to the smaller index.

        Parameters
        ----------
        scores : ndarray of shape (p,)
            Finite values of at least 0.
        fixed_in, fixed_out : ndarray of int, optional
            Columns that must and must not be selected; what must be selected, with ``must``, is itself allowed. A
            column of ``must`` that is fixed out keeps its place empty.
        """

    @abstractmethod
    def allows(self, support: IntArray) -> bool:
        """Return whether this support, or one that contains it, is allowed."""

    @abstractmethod
    def addable(self, support: IntArray) -> BoolArray:
        """Return, for each column, whether it (with its unit) may join this allowed support as it stands."""

    @abstractmethod
    def removable(self, slots: IntArray) -> IntArray:
        """Return which places of these columns of a support may be given up."""

    @abstractmethod
    def exchanges(self, slots: IntArray) -> Exchanges:
        """Return which column may take the place of which in this support; asked only where ``units`` is None."""

    def parts(self) -> Parts | None:
        """Return the constraint as budgets of units, asked only where `never` is empty; None where it is none such."""
        return None

    @abstractmethod
    def relaxed(self, x: FloatArray, beta: float) -> FloatArray:
        """Return the z that minimises ``sum_i x_i^2 / (z_i + beta)``, z a mean of indicators of allowed supports."""

    def relaxed_in_place(self, x: FloatArray, beta: float) -> FloatArray:
        """Return the same; x may be overwritten."""
        return self.relaxed(x, beta)

    @abstractmethod
    def jacobian(self, x: Some, z: FloatArray, beta: float) -> Jacobian:
        """Return how ``x z / (z + beta)`` changes with x, for z = ``relaxed(x, beta)`` and ``beta > 0``."""

    @abstractmethod
    def restrict(self, columns: IntArray) -> "Constraint":
        """Return the same constraint over a subset of the columns (sorted), the others held at zero."""

    def closed(self, columns: IntArray) -> IntArray:
        """Return these columns with those of ``must`` and all that belong to the same units, sorted."""
        return np.union1d(columns, self.must) if self.must.size else columns

    def nearest(self, x: FloatArray, fixed_in: IntArray | None = None) -> IntArray:
        """Return the allowed support that keeps most of x: outside of it, the sum of x_i^2 is least."""
        return self.select(np.abs(x), fixed_in)

    def marked_nearest(self, x: FloatArray) -> BoolArray:
        """Return that as a mask of all columns; x may be overwritten."""
        mask = np.zeros(self.n_columns, dtype=np.bool_)
        mask[self.nearest(x)] = True
        return mask

    def marked(
        self, scores: FloatArray, fixed_in: IntArray | None = None, fixed_out: IntArray | None = None
    ) -> BoolArray:
        """Return what `select` does as a mask of all columns, which takes less memory where there are many."""
        mask = np.zeros(self.n_columns, dtype=np.bool_)
        mask[self.select(scores, fixed_in, fixed_out)] = True
        return mask

    def largest_sum(
        self, scores: FloatArray, fixed_in: IntArray | None = None, fixed_out: IntArray | None = None
    ) -> float:
        """Return the largest sum of scores over an allowed support."""
        marked = self.marked(scores, fixed_in, fixed_out)
        return float(sum(scores[here][marked[here]].sum() for here in pieces(scores.size)))

    @property
    def usable(self) -> IntArray:
        """The columns that are not in ``never``."""
        if self.never.size == 0:
            return np.arange(self.n_columns)
        return np.setdiff1d(np.arange(self.n_columns), self.never, assume_unique=True)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Kind(ABC):
    """A constraint as the user states it: what ``k`` may be beside an integer.

    Parameters
    ----------
    must : array of int, or of str
        Columns that have a place in every support; they count within the budget, and their values may be anything.
        By number or, where A's columns have names, by name.
    never : array of int, or of str
        Columns that are zero.

    Examples
    --------
    >>> import l0quad
    >>> kinds: list[l0quad.Kind] = [l0quad.Cardinality(3), l0quad.NofM(2, 4)]
    >>> [kind.bind(8).total for kind in kinds]
    [3, 4]
    """

    must: Columns = ()
    never: Columns = ()

    def __post_init__(self) -> None:
        for name in ("must", "never"):
            object.__setattr__(self, name, _different(getattr(self, name), name))
        both = set(self.must) & set(self.never)
        if both:
            raise ValueError(f"must: column {min(both)} is also in never")

    def __repr__(self) -> str:
        told = []
        for each in sorted(fields(self), key=lambda each: bool(each.kw_only)):
            value = getattr(self, each.name)
            if value is not None and np.size(value):
                told.append(f"{each.name}={few(value) if np.ndim(value) else value}")
        return f"{type(self).__name__}({', '.join(told)})"

    @abstractmethod
    def bind(self, n_columns: int) -> Constraint:
        """Return the constraint over this many columns."""

    def numbered(self, names: tuple[str, ...] | None) -> "Kind":
        """Return the constraint with numbers in place of the columns' names."""
        found = {
            name: frames.positions(names, list(value), name)
            for name, value in (("must", self.must), ("never", self.never))
            if len(value) > 0 and isinstance(value[0], str)
        }
        return replace(self, **found) if found else self

    def fixed(self, n_columns: int) -> tuple[IntArray, IntArray]:
        """Return ``must`` and ``never`` as arrays of columns, of which there are this many."""
        return (
            validation.indices(np.asarray(self.must), "must", n_columns),
            validation.indices(np.asarray(self.never), "never", n_columns),
        )


def _different(value: object, name: str) -> tuple[Any, ...]:
    """Return ``value``, different column numbers or names, as a sorted tuple."""
    listed = np.asarray(value, dtype=np.object_)
    if listed.ndim == 1 and all(isinstance(each, str) for each in listed):
        if len(set(listed)) != listed.size:
            raise ValueError(f"{name}: columns must be different, got {', '.join(sorted(listed))}")
        return tuple(sorted(listed))
    array = validation.integers(value, name)
    unique = np.unique(array)
    if int(unique[0]) < 0:
        raise ValueError(f"{name}: columns must not be negative, got {int(unique[0])}")
    if unique.size != array.size:
        raise ValueError(f"{name}: columns must be different, got {array.size - unique.size} repeated")
    return tuple(unique.tolist())
