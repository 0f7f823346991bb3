"""What a layer may keep: budgets as the user states them, and as methods and bounds see them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.problem.constraints.n_of_m import NofM
from l0quad.problem.constraints.partition import Partition
from l0quad.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class PerColumn:
    """At most k nonzeros in each column of W (d x m), that is, for each output or target.

    Parameters
    ----------
    k : int or array of int, shape (m,)
        One number for all columns, or one for each.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> rng = np.random.default_rng(0)
    >>> W0, X = rng.standard_normal((6, 3)), rng.standard_normal((20, 6))
    >>> l0quad.Layer(W0, X=X, k=l0quad.PerColumn([1, 2, 3])).solve().mask.sum(axis=0)
    array([1, 2, 3])
    """

    k: int | ArrayLike


@dataclass(frozen=True, slots=True)
class SharedSupport:
    """At most k rows of W (d x m) that are not zero: the same inputs serve every output.

    Parameters
    ----------
    k : int
        The largest number of rows.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> rng = np.random.default_rng(0)
    >>> W0, X = rng.standard_normal((6, 3)), rng.standard_normal((20, 6))
    >>> l0quad.Layer(W0, X=X, k=l0quad.SharedSupport(2)).solve().mask.any(axis=1).nonzero()
    (array([3, 4]),)
    """

    k: int


LayerBudget = int | PerColumn | SharedSupport | NofM


class Pattern(NamedTuple):
    """A budget over the m x d entries of a layer, a row an output.

    Attributes
    ----------
    partition : Partition
        Over the entries row by row; where ``shared``, over the d inputs.
    shape : (m, d)
    shared : bool
        Whether one support serves all outputs.
    separate : bool
        Whether each output has a budget of its own, so that outputs are problems of their own.
    group : int
        An entry may take the place of one in its own group of so many consecutive inputs only.
    """

    partition: Partition
    shape: tuple[int, int]
    shared: bool
    separate: bool
    group: int

    def select(self, scores: FloatArray) -> BoolArray:
        """Return the allowed mask with the largest sum of scores (m x d, at least 0), as full as it may be."""
        chosen = np.zeros(self.partition.n_columns, dtype=np.bool_)
        chosen[self.partition.select(scores.sum(axis=0) if self.shared else scores.ravel())] = True
        return np.repeat(chosen[None, :], self.shape[0], axis=0) if self.shared else chosen.reshape(self.shape)

    def relaxed(self, Y: FloatArray, beta: float) -> FloatArray:
        """Return the z (m x d, or 1 x d) that minimises ``sum Y^2 / (z + beta)``, z a mean of allowed masks."""
        x = np.sqrt(np.einsum("ij,ij->j", Y, Y)) if self.shared else Y.ravel()
        z = self.partition.relaxed(x, beta)
        return z[None, :] if self.shared else z.reshape(self.shape)

    def largest_sums(self, scores: FloatArray) -> FloatArray:
        """Return the largest sum of scores over an allowed mask: of each output if ``separate``, else of all."""
        kept = np.where(self.select(scores), scores, 0.0)
        return kept.sum(axis=1) if self.separate else kept.sum(keepdims=True).ravel()

    def allows(self, mask: BoolArray) -> bool:
        """Return whether a mask (m x d) is within the budget."""
        return self.partition.allows(np.flatnonzero(mask.any(axis=0) if self.shared else mask))

    def movable(self) -> BoolArray:
        """Return which entries (m x d, or 1 x d) may be given up: all but those that must stay."""
        return self._without(self.partition.must)

    def enterable(self) -> BoolArray:
        """Return which entries (m x d, or 1 x d) may be kept at all."""
        return self._without(self.partition.never)

    def _without(self, entries: IntArray) -> BoolArray:
        free = np.ones(self.partition.n_columns, dtype=np.bool_)
        free[entries] = False
        return free.reshape(-1, self.shape[1])


def pattern(k: LayerBudget, shape: tuple[int, int], must: BoolArray, never: BoolArray) -> Pattern:
    """Bind a budget to a layer; ``must`` and ``never`` (m x d, or 1 x d) are entries that stay, and zeros that stay."""
    m, d = shape
    part: IntArray | None = None
    group = d
    kept, zero = np.flatnonzero(must), np.flatnonzero(never)
    if isinstance(k, SharedSupport):
        budgets = np.array([validation.integer(k.k, "k", 0)])
        kept, zero = np.flatnonzero(must.any(axis=0)), np.flatnonzero(never.all(axis=0))
    elif isinstance(k, PerColumn):
        budgets, part = _per_column(k.k, m), np.repeat(np.arange(m), d)
    elif isinstance(k, NofM):
        if k.order is not None or len(k.must) or len(k.never):
            raise ValueError("k: a layer's NofM runs along the inputs; give must and never to Layer, and no order")
        group = min(int(k.m), d)
        within, count = np.arange(d) // group, -(-d // group)
        part = (within[None, :] + count * np.arange(m)[:, None]).ravel()
        budgets = np.full(count * m, min(int(k.n), group))
    else:
        budgets = np.array([validation.integer(k, "k", 0)])
    shared = isinstance(k, SharedSupport)
    entries = d if shared else m * d
    partition = Partition.build(part, np.minimum(budgets, entries), entries, kept, zero)
    return Pattern(partition, shape, shared, part is not None, group)


def _per_column(k: int | ArrayLike, m: int) -> IntArray:
    array = np.asarray(k)
    if array.ndim == 0:
        return np.full(m, validation.integer(k, "k", 0))
    budgets = validation.integers(k, "k").astype(np.int64)
    if budgets.shape != (m,) or budgets.min() < 0:
        raise ValueError(f"k: must be one integer of at least 0 for each of {m} columns, got shape {budgets.shape}")
    return budgets
