"""A budget for each part of a partition of the columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.problem.constraints.base import Columns, Kind
from l0quad.problem.constraints.partition import Partition
from l0quad.types import IntArray


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class PerBlock(Kind):
    """A budget for each part of a partition of the columns.

    Parameters
    ----------
    labels : array of int, shape (p,)
        The part of each column, numbered from 0. For contiguous blocks: ``np.repeat(np.arange(m), sizes)``.
    budgets : array of int, shape (m,)
        The largest number of nonzeros in each part.
    must, never : array of int, optional
        Columns that have a place within the budget of their part whatever their value, and columns that are zero.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; of another number of labels than A has columns, where it meets A.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> labels = np.arange(12) // 6
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 8] + A[:, 9], k=l0quad.PerBlock(labels, [1, 1])).support
    array([2, 8])
    """

    labels: IntArray
    budgets: IntArray

    def __init__(self, labels: ArrayLike, budgets: ArrayLike, *, must: Columns = (), never: Columns = ()) -> None:
        Kind.__init__(self, must=must, never=never)
        object.__setattr__(self, "labels", numbers(labels, "labels"))
        object.__setattr__(self, "budgets", numbers(budgets, "budgets"))
        if int(self.labels.max()) >= self.budgets.size:
            raise ValueError(
                f"labels: must be below the number of budgets ({self.budgets.size}), got {int(self.labels.max())}"
            )

    def bind(self, n_columns: int) -> Partition:
        """Return the constraint over this many columns."""
        if self.labels.size != n_columns:
            raise ValueError(f"k: PerBlock labels {self.labels.size} columns, but A has {n_columns}")
        return Partition.build(self.labels, self.budgets, n_columns, *self.fixed(n_columns))


def numbers(value: object, name: str) -> IntArray:
    """Return integers of at least 0 as an array of their own, read-only; its sum does not overflow."""
    array = validation.integers(value, name)
    if array.size == 0:
        raise ValueError(f"{name}: must not be empty")
    if int(array.min()) < 0:
        raise ValueError(f"{name}: must not be negative, got {int(array.min())}")
    own = np.minimum(array.astype(np.uint64), np.iinfo(np.int64).max // array.size).astype(np.int64)
    own.flags.writeable = False
    return own
