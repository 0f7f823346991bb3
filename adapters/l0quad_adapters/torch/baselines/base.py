"""What the baselines share: a checked task, and passes over A in pieces.

All of them see what l0quad sees: gradients A (n x p, a row a sample or a mini-batch), the weights w0 of the trained
network, and the quadratic ``1/2 (w - w0)'F (w - w0)`` with the damped empirical Fisher matrix ``F = A'A/n + l2 I``,
which is l0quad's objective over n with b = A w0 and ridge = n l2 / 2.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import l0quad
from l0quad_adapters.torch.budgets import Budget
from l0quad_adapters.torch.checks import real, vector

FloatArray = NDArray[np.float64]
RealArray = NDArray[np.floating[Any]]

# The memory of a pass over A, whose pieces become float64: 8 MiB. The baselines' peaks and seconds with it stand in
# docs/benchmarks/results/pruning-mlpnet.md.
_PIECE_BYTES = 1 << 23


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be pruned, checked; ``w`` is zero where no weight is allowed.

    ``edges``: where each layer begins, 0 first, and p at the end.
    """

    A: RealArray
    w: FloatArray
    k: Budget
    constraint: l0quad.Constraint
    l2: float
    allowed: NDArray[np.bool_]
    edges: tuple[int, ...]

    def select(self, scores: FloatArray) -> NDArray[np.int64]:
        """Return the best allowed support."""
        return self.constraint.select(scores, fixed_out=np.flatnonzero(~self.allowed))

    def pieces(self, first: int, last: int) -> Iterator[tuple[slice, FloatArray]]:
        """Yield columns of A in float64, those that are not allowed as zeros."""
        step = max(1, _PIECE_BYTES // (8 * self.A.shape[0]))
        for start in range(first, last, step):
            columns = slice(start, min(start + step, last))
            piece = self.A[:, columns].astype(np.float64)
            piece *= self.allowed[columns]
            yield columns, piece

    def rows_in_pieces(self, first: int, last: int) -> Iterator[FloatArray]:
        """Yield rows of these columns of A in float64, those that are not allowed as zeros."""
        step = max(1, _PIECE_BYTES // (8 * (last - first)))
        for start in range(0, self.A.shape[0], step):
            rows = self.A[start : start + step, first:last].astype(np.float64)
            rows *= self.allowed[first:last]
            yield rows

    def product(self, v: FloatArray) -> FloatArray:
        """Return A v."""
        total = np.zeros(self.A.shape[0])
        for columns, piece in self.pieces(0, v.size):
            total += piece @ v[columns]
        return total


def task_of(
    A: RealArray,
    w0: RealArray,
    k: int | Budget,
    l2: float,
    allowed: NDArray[np.bool_] | None,
    layers: Sequence[int] | NDArray[np.int64] | None,
) -> Task:
    """Return the task of these arguments of `registry.pruned`, checked."""
    if not isinstance(A, np.ndarray) or A.dtype not in (np.float32, np.float64):
        got = A.dtype if isinstance(A, np.ndarray) else type(A).__name__
        raise TypeError(f"A: must be a float32 or float64 array, got {got}")
    if A.ndim != 2 or A.size == 0:
        raise ValueError(f"A: must be 2-D with rows and columns, got shape {A.shape}")
    p = A.shape[1]
    w = vector(w0, "w0", p, "one value for each column of A")
    # By its ends, without an array of booleans as large as A.
    if not (np.isfinite(A.min()) and np.isfinite(A.max())):
        raise ValueError("A: all values must be finite, got NaN or infinite ones")
    if real(l2, "l2") == 0:
        raise ValueError(f"l2: must be positive, or F might have no inverse, got {l2!r}")
    may = np.ones(p, dtype=np.bool_) if allowed is None else np.asarray(allowed)
    if may.dtype != np.bool_:
        raise TypeError(f"allowed: must be a bool array, got {may.dtype}")
    if may.shape != (p,):
        raise ValueError(f"allowed: must have shape ({p},), got {may.shape}")
    edges = (0, p) if layers is None else tuple(int(edge) for edge in layers)
    if edges[:1] != (0,) or edges[-1] != p or any(b <= a for a, b in itertools.pairwise(edges)):
        raise ValueError(f"layers: must increase from 0 to the number of weights ({p}), got {list(edges)}")
    budget = k if isinstance(k, Budget) else l0quad.Cardinality(k)
    constraint = budget.bind(p)
    may = may.copy()
    may[constraint.never] = False
    w[~may] = 0.0
    return Task(A, w, budget, constraint, float(l2), may, edges)


def restricted(w: FloatArray, support: NDArray[np.int64]) -> FloatArray:
    """Return w with zeros outside of a support."""
    out = np.zeros(w.size)
    out[support] = w[support]
    return out
