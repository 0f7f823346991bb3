"""Exact exchanges in every output, and exact moves of budget between outputs.

Outputs share no weight, so that for a budget of the whole layer the cheapest removal from one output and the best
addition to another cost what they cost alone: where the gain is larger, the budget moves, and both are improved again.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from l0quad.layers.columns import Improved, Places, improve
from l0quad.layers.quadratic import Quadratic
from l0quad.run import threads
from l0quad.types import BoolArray, FloatArray

# Budget moves between outputs so many times at most, only where the gain is larger than the cost by this factor.
_MOST_MOVES = 3
_WORTH = 1.001
_CHUNKS = 16


def swaps(
    layer: Quadratic,
    mask: BoolArray,
    n_threads: int,
    report: Callable[[FloatArray, BoolArray, FloatArray], bool],
) -> tuple[FloatArray, BoolArray, bool]:
    """Improve a mask by exchanges with refit.

    Parameters
    ----------
    mask : ndarray of bool, shape (m, d)
        Allowed; not changed.
    report : callable
        Is given W, the mask and the outputs' objectives after each sixteenth of them; True ends the work.

    Returns
    -------
    W, mask : ndarray of shape (m, d)
    ended : bool
        Whether the work came to its own end.
    """
    work = _Work(layer, mask, n_threads)
    todo = np.arange(mask.shape[0])
    for turn in range(_MOST_MOVES + 1):
        for chunk in np.array_split(todo, min(_CHUNKS, todo.size)):
            work.improve(chunk)
            if report(work.W, work.mask, work.values):
                return work.W, work.mask, False
        if turn == _MOST_MOVES or layer.pattern.separate:
            break
        todo = work.move()
        if not todo.size:
            break
    return work.W, work.mask, True


class _Work:
    """What is known of each output."""

    def __init__(self, layer: Quadratic, mask: BoolArray, n_threads: int) -> None:
        self.layer, self.n_threads = layer, n_threads
        self.Q, self.G, self.mask = layer.regular, layer.targets, mask.copy()
        self.movable = layer.pattern.movable()
        self.enterable = layer.pattern.enterable()
        self.W = layer.W0 * mask
        self.values = layer.objectives(self.W)
        self.lifts = 0.5 * np.einsum("ij,ij->i", layer.W0, self.G)
        self.found: dict[int, Improved] = {}

    def improve(self, outputs: np.ndarray) -> None:
        found: dict[int, Improved] = {}

        def task(j: int) -> None:
            places = Places(self.movable[j], self.enterable[j], self.layer.pattern.group)
            found[j] = improve(self.Q, self.G[j], self.mask[j], places, float(self.lifts[j]))

        threads.run((partial(task, j) for j in outputs), self.n_threads, lambda: False)
        for j in outputs:
            self.mask[j], self.W[j] = found[j].chosen, found[j].w
            self.values[j] = self.layer.at_zero[j] - 0.5 * float(found[j].w @ self.G[j])
        self.found |= found

    def move(self) -> np.ndarray:
        """Move budget from the cheapest removals to the best additions, each output once; return those changed."""
        m = self.mask.shape[0]
        costs = np.array([self.found[j].cost for j in range(m)])
        gains = np.array([self.found[j].gain for j in range(m)])
        givers, changed = iter(np.argsort(costs, kind="stable")), set[int]()
        giver = next(givers)
        for taker in np.argsort(-gains, kind="stable"):
            while giver in changed and (following := next(givers, None)) is not None:
                giver = following
            if giver in changed or gains[taker] <= _WORTH * costs[giver]:
                break
            if giver == taker or taker in changed:
                continue
            self.mask[giver, self.found[giver].leaving] = False
            self.mask[taker, self.found[taker].joining] = True
            changed |= {int(giver), int(taker)}
        return np.array(sorted(changed), dtype=np.int64)
