"""Published pruning baselines on a matrix of gradients, in NumPy alone.

All of them see what l0quad sees: gradients A (n x p, a row a sample or a mini-batch), the weights w0 of the trained
network, and the quadratic ``1/2 (w - w0)'F (w - w0)`` with the damped empirical Fisher matrix ``F = A'A/n + l2 I``,
which is l0quad's objective over n with b = A w0 and ridge = n l2 / 2.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

import l0quad

FloatArray = NDArray[np.float64]
RealArray = NDArray[np.floating[Any]]
Budget = int | l0quad.Cardinality | l0quad.PerBlock | l0quad.NofM

# The memory budget of a pass over A: columns are converted to float64 in pieces of at most this size.
_PIECE_BYTES = 1 << 23
# Gains below this share of the objective may be rounding, and swaps could go round in circles.
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class MagnitudePruning:
    """Keep the largest ``|w0|`` as they are."""

    name: ClassVar[str] = "magnitude"


@dataclass(frozen=True, slots=True)
class WoodFisher:
    """Remove the weights of least saliency ``w_q^2 / (2 [F^-1]_qq)`` and add up their updates, F cut to blocks.

    Singh and Alistarh ("WoodFisher: efficient second-order approximation for neural network compression", NeurIPS
    2020): one optimal-brain-surgeon step (their equation 10) for all removed weights at once,
    ``w0 - sum_q w_q / [F^-1]_qq F^-1 e_q``, in which the removed weights are then set to zero.

    Parameters
    ----------
    block_size : int
        F is replaced by its diagonal blocks of this many consecutive weights. Beyond n it no longer adds to the cost.
    """

    block_size: int = 2000
    name: ClassVar[str] = "woodfisher"

    def __post_init__(self) -> None:
        _require_positive(self.block_size, "block_size")


@dataclass(frozen=True, slots=True)
class MFAC:
    """WoodFisher's rule with the whole of F, which is never formed.

    Frantar, Kurtic and Alistarh ("M-FAC: efficient matrix-free approximations of second-order information", NeurIPS
    2021); by one n x n Cholesky factorization in place of their recursion over the samples, with the same result.
    """

    name: ClassVar[str] = "mfac"


@dataclass(frozen=True, slots=True)
class CBS:
    """Choose the removed weights Q together, by swaps that lower ``1/2 w_Q'F w_Q``; then refit the kept ones exactly.

    Yu, Serra, Ramalingam and Zhe ("The combinatorial brain surgeon: pruning weights that cancel one another in neural
    networks", ICML 2022), with a local search that sees more swaps than their Algorithm 1: it starts at magnitude
    pruning, and a round takes the best swap among the most promising weights of either side, one after the other,
    until none of these gains enough.

    Parameters
    ----------
    least_gain : float
        A swap must lower the objective by this share of its value at the start. The authors' example uses 1e-4 in
        units of loss, which on MLPNet is about the default; a smaller one fits the sampled F closer, not the loss.
    max_rounds : int
        The most rounds; each is a pass over A. The search ends before when a round finds no swap.
    candidates : int
        How many removed and how many kept weights a round looks at. With at least p of them and ``least_gain=0`` no
        single swap improves the answer.
    """

    least_gain: float = 1e-3
    max_rounds: int = 200
    candidates: int = 256
    name: ClassVar[str] = "cbs"

    def __post_init__(self) -> None:
        if not 0 <= self.least_gain < 1:
            raise ValueError(f"least_gain: must lie in [0, 1), got {self.least_gain}")
        _require_positive(self.max_rounds, "max_rounds")
        _require_positive(self.candidates, "candidates")


Baseline = MagnitudePruning | WoodFisher | MFAC | CBS
BASELINES: dict[str, type[Baseline]] = {each.name: each for each in (MagnitudePruning, WoodFisher, MFAC, CBS)}


def pruned(
    options: Baseline,
    A: RealArray,
    w0: RealArray,
    k: Budget,
    l2: float,
    allowed: NDArray[np.bool_] | None = None,
    layers: Sequence[int] | NDArray[np.int64] | None = None,
) -> FloatArray:
    """Return the weights that a baseline leaves.

    Parameters
    ----------
    options : MagnitudePruning, WoodFisher, MFAC or CBS
    A : ndarray of shape (n, p), float32 or float64
        The gradients. Read in pieces, never converted as a whole.
    w0 : ndarray of shape (p,)
        The weights of the trained network.
    k : int, Cardinality, PerBlock or NofM
        How many weights may be kept; all budgets are used up as far as ``allowed`` has weights for them.
    l2 : float
        What is added to the diagonal of A'A/n; positive.
    allowed : ndarray of bool, shape (p,), optional
        False for weights that are pruned already: they stay zero, and F is that of the others.
    layers : sequence of int, optional
        Where each layer begins, 0 first, and p at the end; WoodFisher's blocks then end where layers do.

    Returns
    -------
    ndarray of shape (p,), float64

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.
    """
    if type(options) not in BASELINES.values():
        names = ", ".join(each.__name__ for each in BASELINES.values())
        raise TypeError(f"options: must be one of {names}, got {options!r}")
    task = _task(A, w0, k, l2, allowed)
    p = task.w.size
    edges = [0, p] if layers is None else [int(edge) for edge in layers]
    if edges[:1] != [0] or edges[-1] != p or any(b <= a for a, b in itertools.pairwise(edges)):
        raise ValueError(f"layers: must increase from 0 to the number of weights ({p}), got {edges}")
    if isinstance(options, MagnitudePruning):
        return _restricted(task.w, task.select(np.abs(task.w)))
    if isinstance(options, CBS):
        return _combinatorial(task, options)
    if isinstance(options, MFAC):
        return _one_shot(task, [(0, p)])
    size = options.block_size
    return _one_shot(task, [(i, min(i + size, b)) for a, b in itertools.pairwise(edges) for i in range(a, b, size)])


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be pruned, checked; ``w`` is zero where no weight is allowed."""

    A: RealArray
    w: FloatArray
    k: l0quad.Cardinality | l0quad.PerBlock | l0quad.NofM
    constraint: l0quad.Constraint
    l2: float
    allowed: NDArray[np.bool_]

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

    def product(self, v: FloatArray) -> FloatArray:
        """Return A v."""
        total = np.zeros(self.A.shape[0])
        for columns, piece in self.pieces(0, v.size):
            total += piece @ v[columns]
        return total


def _task(A: RealArray, w0: RealArray, k: Budget, l2: float, allowed: NDArray[np.bool_] | None) -> _Task:
    if not isinstance(A, np.ndarray) or A.ndim != 2 or A.dtype not in (np.float32, np.float64):
        got = f"{A.dtype} of shape {A.shape}" if isinstance(A, np.ndarray) else type(A).__name__
        raise TypeError(f"A: must be a 2-D float32 or float64 array, got {got}")
    n, p = A.shape
    if n == 0 or p == 0:
        raise ValueError(f"A: must have rows and columns, got shape {A.shape}")
    w = np.array(w0, dtype=np.float64)
    if w.shape != (p,):
        raise ValueError(f"w0: must have shape ({p},), one value for each column of A; got shape {w.shape}")
    for name, array in (("A", A), ("w0", w)):
        if not (math.isfinite(array.min()) and math.isfinite(array.max())):
            raise ValueError(f"{name}: all values must be finite, got NaN or infinite ones")
    if not (math.isfinite(l2) and l2 > 0):
        raise ValueError(f"l2: must be finite and positive, got {l2}")
    may = np.ones(p, dtype=np.bool_) if allowed is None else np.asarray(allowed)
    if may.shape != (p,) or may.dtype != np.bool_:
        raise ValueError(f"allowed: must be a bool array of shape ({p},), got {may.dtype} of shape {may.shape}")
    w[~may] = 0.0
    budget = k if isinstance(k, (l0quad.Cardinality, l0quad.PerBlock, l0quad.NofM)) else l0quad.Cardinality(k)
    return _Task(A, w, budget, budget.bind(p), float(l2), may)


class _Inverse:
    """F^-1 for one diagonal block of F, by the Cholesky factor of that block or, where it is wider than n, of
    ``M = l2 I + A A'/n``: F^-1 = (I - A'M^-1 A / n) / l2 (Woodbury's identity).
    """

    def __init__(self, task: _Task, first: int, last: int) -> None:
        self.task, self.first, self.last = task, first, last
        n, width = task.A.shape[0], last - first
        self.narrow = width <= n
        M = np.zeros((min(n, width),) * 2)
        if self.narrow:
            step = max(1, _PIECE_BYTES // (8 * width))
            for start in range(0, n, step):
                rows = task.A[start : start + step, first:last].astype(np.float64)
                rows *= task.allowed[first:last]
                M += rows.T @ rows
        else:
            for _, piece in task.pieces(first, last):
                M += piece @ piece.T
        M /= n
        M[np.diag_indices_from(M)] += task.l2
        try:
            self.factor = scipy.linalg.cholesky(M, lower=True, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError:
            raise ValueError(f"l2: too small beside A'A/n for float64, got {task.l2:g}") from None

    def diagonal(self) -> FloatArray:
        """Return the diagonal of F^-1."""
        if self.narrow:
            return self._solved_sq_norms(np.eye(self.last - self.first))
        n, l2 = self.task.A.shape[0], self.task.l2
        parts = []
        for _, piece in self.task.pieces(self.first, self.last):
            largest = l2 + np.einsum("ij,ij->j", piece, piece) / n
            # 1 - q may cancel; [F^-1]_jj >= 1 / F_jj holds for every positive definite F.
            parts.append(np.maximum((1 - self._solved_sq_norms(piece) / n) / l2, 1 / largest))
        return np.concatenate(parts)

    def product(self, v: FloatArray) -> FloatArray:
        """Return F^-1 v."""
        if self.narrow:
            return np.asarray(scipy.linalg.cho_solve((self.factor, True), v, check_finite=False))
        n = self.task.A.shape[0]
        total = np.zeros(n)
        for columns, piece in self.task.pieces(self.first, self.last):
            total += piece @ v[columns.start - self.first : columns.stop - self.first]
        y = scipy.linalg.cho_solve((self.factor, True), total / n, check_finite=False)
        back = [y @ piece for _, piece in self.task.pieces(self.first, self.last)]
        return (v - np.concatenate(back)) / self.task.l2

    def _solved_sq_norms(self, X: FloatArray) -> FloatArray:
        solved = scipy.linalg.solve_triangular(self.factor, X, lower=True, check_finite=False)
        return np.asarray(np.einsum("ij,ij->j", solved, solved))


def _one_shot(task: _Task, blocks: list[tuple[int, int]]) -> FloatArray:
    """Remove the weights of least saliency and add up their updates."""

    # The factors of all blocks could need more memory than A, so only one is held, and built anew for the update.
    @functools.lru_cache(maxsize=1)
    def inverse(first: int, last: int) -> _Inverse:
        return _Inverse(task, first, last)

    diagonal = np.concatenate([inverse(*block).diagonal() for block in blocks])
    kept = task.select(task.w**2 / (2 * diagonal))
    removal = task.w / diagonal
    removal[kept] = 0.0
    update = np.concatenate([inverse(first, last).product(removal[first:last]) for first, last in blocks])
    return _restricted(task.w - update, kept)


def _restricted(w: FloatArray, kept: NDArray[np.int64]) -> FloatArray:
    out = np.zeros(w.size)
    out[kept] = w[kept]
    return out


def _combinatorial(task: _Task, options: CBS) -> FloatArray:
    """Choose the kept weights by local search, and refit them."""
    kept = _search(task, task.select(np.abs(task.w)), options)
    ridge = task.A.shape[0] * task.l2 / 2
    problem = l0quad.Problem(task.A, task.product(task.w), task.k, ridge=ridge, w0=task.w)
    result = l0quad.solve(problem, l0quad.Backsolve(steps=0), start=kept, bound="none")
    if result.status is l0quad.Status.INTERRUPTED:
        raise KeyboardInterrupt
    return result.w.astype(np.float64)


def _search(task: _Task, kept: NDArray[np.int64], options: CBS) -> NDArray[np.int64]:
    """Swap removed weights for kept ones while that lowers ``1/2 w_Q'F w_Q``.

    With ``cross_j = w_j (F w_Q)_j`` and ``own_j = w_j^2 F_jj / 2``, to restore a removed weight j lowers it by
    cross_j - own_j, to remove a kept weight i raises it by cross_i + own_i, and a swap gains w_i F_ij w_j besides.
    """
    A, w, n = task.A, task.w, task.A.shape[0]
    removed = task.allowed.copy()
    removed[kept] = False
    if kept.size == 0 or not removed.any():
        return kept
    part = np.zeros(w.size, dtype=np.int64) if task.constraint.part is None else task.constraint.part
    sq_norms = np.concatenate([np.einsum("ij,ij->j", piece, piece) for _, piece in task.pieces(0, w.size)])
    own, damping = 0.5 * w**2 * (sq_norms / n + task.l2), task.l2 * w**2
    v = task.product(np.where(removed, w, 0.0))
    least = max(options.least_gain, _NEGLIGIBLE) * 0.5 * (float(v @ v) / n + float(damping[removed].sum()))
    for _ in range(options.max_rounds):
        # In A's precision: this only chooses the candidates.
        cross = w * (v.astype(A.dtype) @ A) / n + damping * removed
        worth = cross + np.where(removed, -own, own)
        chosen = _promising(worth, removed, task.allowed & ~removed, part, options.candidates)
        X = A[:, chosen].astype(np.float64) * w[chosen]
        before = removed[chosen]
        K = X.T @ X / n + np.diag(damping[chosen])
        after = _swaps(K, X.T @ v / n + damping[chosen] * before, before, part[chosen], least)
        if np.array_equal(before, after):
            break
        v += X @ (after.astype(np.float64) - before)
        removed[chosen] = after
    return np.flatnonzero(task.allowed & ~removed)


def _promising(
    worth: FloatArray,
    removed: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    part: NDArray[np.int64],
    candidates: int,
) -> NDArray[np.int64]:
    """Return the removed and the kept weights that gain most with their best partner, the pair's own term aside."""
    lowest, highest = np.full(part.max() + 1, np.inf), np.full(part.max() + 1, -np.inf)
    np.minimum.at(lowest, part[kept], worth[kept])
    np.maximum.at(highest, part[removed], worth[removed])
    gain = np.where(removed, worth - lowest[part], highest[part] - worth)
    sides = [np.flatnonzero(side) for side in (removed, kept)]
    return np.concatenate([side[np.argsort(-gain[side], kind="stable")[:candidates]] for side in sides])


def _swaps(
    K: FloatArray, cross: FloatArray, removed: NDArray[np.bool_], part: NDArray[np.int64], least: float
) -> NDArray[np.bool_]:
    """Take the best swap among a few weights until none gains ``least``; return which weights are then removed.

    Parameters
    ----------
    K : ndarray of shape (m, m)
        w_i F_ij w_j.
    cross : ndarray of shape (m,)
        w_j (F w_Q)_j.
    """
    removed, cross, own = removed.copy(), cross.copy(), 0.5 * np.diagonal(K)
    pair = np.where(part[:, None] == part, K, -np.inf)
    while True:
        restoring = np.where(removed, cross - own, -np.inf)
        removing = np.where(removed, np.inf, cross + own)
        gain = pair + restoring[:, None]
        gain -= removing
        j, i = divmod(int(gain.argmax()), own.size)
        if gain[j, i] <= least:
            return removed
        removed[j], removed[i] = False, True
        cross += K[:, i] - K[:, j]


def _require_positive(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}: must be at least 1, got {value}")
