"""A budget for all columns together."""

from dataclasses import dataclass

import numpy as np

from l0quad import validation
from l0quad.problem.constraints.base import Kind
from l0quad.problem.constraints.partition import Partition


@dataclass(frozen=True, slots=True, repr=False)
class Cardinality(Kind):
    """At most ``k`` nonzeros in all; what an integer ``k`` means.

    Parameters
    ----------
    k : int
    must, never : array of int, optional
        Columns that have a place among the k whatever their value, and columns that are zero.

    Raises
    ------
    ValueError, TypeError
        Of ``k`` below 0, of more columns in ``must`` than k, of a column in both or there twice.

    Examples
    --------
    >>> import numpy as np
    >>> import l0quad
    >>> A = np.random.default_rng(0).standard_normal((50, 20))
    >>> k = l0quad.Cardinality(3, must=[5], never=[3])
    >>> l0quad.minimize(A, A[:, 3] + A[:, 4] - A[:, 11], k).support
    array([ 4,  5, 11])
    """

    k: int

    def __post_init__(self) -> None:
        Kind.__post_init__(self)
        validation.integer(self.k, "k", 0)
        if len(self.must) > self.k:
            raise ValueError(f"must: has {len(self.must)} column(s), more than k={self.k}")

    def bind(self, n_columns: int) -> Partition:
        """Return the constraint over this many columns."""
        budgets = np.array([min(int(self.k), n_columns)], dtype=np.int64)
        return Partition.build(None, budgets, n_columns, *self.fixed(n_columns))
