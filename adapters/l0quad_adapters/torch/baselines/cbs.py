"""The combinatorial brain surgeon: removed weights that cancel one another, by local search."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import l0quad
from l0quad_adapters.torch.baselines.base import FloatArray, Task
from l0quad_adapters.torch.checks import check_integers, real

# Gains below this share of the objective may be rounding, and swaps could go round in circles: thousands of times
# float64's own error, and a billionth of the default least_gain.
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class CBS:
    """Choose the removed weights Q together, by swaps that lower ``1/2 w_Q'F w_Q``; then solve for the kept ones.

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

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import CBS, prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, method=CBS(max_rounds=20), stages=1)
    >>> report.method, int((model.weight == 0).sum())
    ('cbs', 12)
    """

    # The accuracies and seconds of these stand in docs/benchmarks/results/pruning-mlpnet.md.
    least_gain: float = 1e-3
    max_rounds: int = 200
    candidates: int = 256
    name: ClassVar[str] = "cbs"

    def __post_init__(self) -> None:
        real(self.least_gain, "least_gain", below=1.0)
        check_integers(max_rounds=self.max_rounds, candidates=self.candidates)


def cbs(task: Task, options: CBS) -> FloatArray:
    """Choose the kept weights by local search, and solve for them."""
    kept = _search(task, task.select(np.abs(task.w)), options)
    ridge = task.A.shape[0] * task.l2 / 2
    problem = l0quad.Problem(task.A, task.product(task.w), task.k, ridge=ridge, w0=task.w)
    result = l0quad.solve(problem, l0quad.Backsolve(steps=0), start=kept, bound="none")
    if result.status is l0quad.Status.INTERRUPTED:
        raise KeyboardInterrupt
    return result.w.astype(np.float64)


def _search(task: Task, kept: NDArray[np.int64], options: CBS) -> NDArray[np.int64]:
    """Swap removed weights for kept ones while that lowers ``1/2 w_Q'F w_Q``.

    With ``cross_j = w_j (F w_Q)_j`` and ``own_j = w_j^2 F_jj / 2``, to restore a removed weight j lowers it by
    cross_j - own_j, to remove a kept weight i raises it by cross_i + own_i, and a swap gains w_i F_ij w_j besides.
    """
    A, w, n = task.A, task.w, task.A.shape[0]
    removed = task.allowed.copy()
    removed[kept] = False
    if kept.size == 0 or not removed.any():
        return kept
    part = task.constraint.exchanges(kept).part
    part = part if part.size else np.zeros(w.size, dtype=np.int64)
    free = task.allowed.copy()
    free[task.constraint.must] = False
    sq_norms = np.concatenate([np.einsum("ij,ij->j", piece, piece) for _, piece in task.pieces(0, w.size)])
    own, damping = 0.5 * w**2 * (sq_norms / n + task.l2), task.l2 * w**2
    v = task.product(np.where(removed, w, 0.0))
    least = max(options.least_gain, _NEGLIGIBLE) * 0.5 * (float(v @ v) / n + float(damping[removed].sum()))
    for _ in range(options.max_rounds):
        # In A's precision: this only chooses the candidates.
        cross = w * (v.astype(A.dtype) @ A) / n + damping * removed
        worth = cross + np.where(removed, -own, own)
        chosen = _promising(worth, removed, free & ~removed, part, options.candidates)
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
