"""A budget for each group of m columns: the pattern that sparse hardware multiplies fast."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.problem.constraints.base import Columns, Kind
from l0quad.problem.constraints.partition import Partition
from l0quad.types import IntArray


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class NofM(Kind):
    """At most ``n`` nonzeros in each group of ``m`` consecutive columns (the last group may be smaller).

    Parameters
    ----------
    n, m : int
    order : array of int, shape (p,), optional
        The columns in the order along which the groups run, a permutation; by default as they stand. For groups down
        the columns of a matrix W whose entries are the variables row by row: ``np.arange(W.size).reshape(W.shape).T``,
        flattened.
    must, never : array of int, optional
        Columns that have a place in their group whatever their value, and columns that are zero.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; of an ``order`` of another length than A has columns, where it meets A.

    Examples
    --------
    >>> import numpy as np
    >>> import l0quad
    >>> down = np.arange(8).reshape(4, 2).T.ravel()
    >>> l0quad.NofM(1, 4, order=down).bind(8).select(np.array([1.0, 2, 9, 3, 4, 8, 5, 6]))
    array([2, 5])
    """

    n: int
    m: int
    order: IntArray | None

    def __init__(
        self, n: int, m: int, order: ArrayLike | None = None, *, must: Columns = (), never: Columns = ()
    ) -> None:
        Kind.__init__(self, must=must, never=never)
        validation.integer(n, "n", 0)
        validation.integer(m, "m", 1)
        own = None if order is None else _permutation(order)
        for name, value in (("n", n), ("m", m), ("order", own)):
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NofM):
            return NotImplemented
        plain = (self.n, self.m, self.must, self.never) == (other.n, other.m, other.must, other.never)
        if self.order is None or other.order is None:
            return plain and self.order is other.order
        return plain and np.array_equal(self.order, other.order)

    def __hash__(self) -> int:
        return hash((self.n, self.m, self.must, self.never))

    def bind(self, n_columns: int) -> Partition:
        """Return the constraint over this many columns."""
        width = min(int(self.m), n_columns)
        part = np.arange(n_columns, dtype=np.int64) // width
        budgets = np.full(part[-1] + 1, min(int(self.n), width))
        if self.order is not None:
            if self.order.size != n_columns:
                raise ValueError(f"order: has {self.order.size} columns, but A has {n_columns}")
            along, part = part, np.empty_like(part)
            part[self.order] = along
        return Partition.build(part, budgets, n_columns, *self.fixed(n_columns))


def _permutation(value: ArrayLike) -> IntArray:
    """Return ``value``, each of 0 to p - 1 once, as an array of its own, read-only."""
    order = validation.integers(value, "order")
    if not np.array_equal(np.sort(order), np.arange(order.size)):
        raise ValueError(f"order: must hold each of 0 to {order.size - 1} once")
    own = order.astype(np.int64)
    own.flags.writeable = False
    return own
