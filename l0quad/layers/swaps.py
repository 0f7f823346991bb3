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
from l0quad.run.outcome import Status
from l0quad.types import BoolArray, FloatArray

# Budget moves between outputs so many times at most, only where the gain is larger than the cost by this factor, and
# where all moves of a turn gain this share of the objective: an output that has changed costs as much as at first.
_MOST_MOVES = 3
_WORTH = 1.001
_LEAST_TURN = 1e-4
_CHUNKS = 16


def swaps(
    layer: Quadratic,
    mask: BoolArray,
    n_threads: int,
    expired: Callable[[], bool],
    report: Callable[[FloatArray, BoolArray, FloatArray], bool],
) -> tuple[FloatArray, Status | None]:
    """Improve a mask by exchanges with refit.

    Parameters
    ----------
    mask : ndarray of bool, shape (m, d)
        Allowed; not changed.
    expired : callable
        Asked after each output; True ends the work.
    report : callable
        Is given W, the mask and the outputs' objectives after each sixteenth of them; True ends the work.

    Returns
    -------
    W : ndarray of shape (m, d)
    status : Status or None
        SWAP_OPTIMAL, or CONVERGED where lists of candidates passed over exchanges; None where a limit ended the work.
    """
    work = _Work(layer, mask, n_threads)
    todo = np.arange(mask.shape[0])
    for turn in range(_MOST_MOVES + 1):
        for chunk in np.array_split(todo, min(_CHUNKS, todo.size)):
            work.improve(chunk, expired)
            if report(work.W, work.mask, work.values) or expired():
                return work.W, None
        if turn == _MOST_MOVES or layer.pattern.separate:
            break
        todo = work.move()
        if not todo.size:
            break
    settled = all(each.settled for each in work.found.values())
    return work.W, Status.SWAP_OPTIMAL if settled else Status.CONVERGED


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

    def improve(self, outputs: np.ndarray, expired: Callable[[], bool]) -> None:
        found: dict[int, Improved] = {}

        def task(j: int) -> None:
            places = Places(self.movable[j], self.enterable[j], self.layer.pattern.group)
            found[j] = improve(self.Q, self.G[j], self.mask[j], places, float(self.lifts[j]))

        threads.run((partial(task, j) for j in outputs), self.n_threads, expired)
        for j, each in found.items():
            self.mask[j], self.W[j] = each.chosen, each.w
            self.values[j] = self.layer.at_zero[j] - 0.5 * float(each.w @ self.G[j])
        self.found |= found

    def move(self) -> np.ndarray:
        """Move budget from the cheapest removals to the best additions, each output once; return those changed.

        None is changed where that would hardly gain.
        """
        m = self.mask.shape[0]
        costs = np.array([self.found[j].cost for j in range(m)])
        gains = np.array([self.found[j].gain for j in range(m)])
        givers, changed = iter(np.argsort(costs, kind="stable")), set[int]()
        pairs, total = list[tuple[int, int]](), 0.0
        giver = next(givers)
        for taker in np.argsort(-gains, kind="stable"):
            while giver in changed and (following := next(givers, None)) is not None:
                giver = following
            if giver in changed or gains[taker] <= _WORTH * costs[giver]:
                break
            if giver == taker or taker in changed:
                continue
            pairs.append((int(giver), int(taker)))
            total += float(gains[taker] - costs[giver])
            changed |= {int(giver), int(taker)}
        if total <= _LEAST_TURN * float(self.values.sum()):
            return np.empty(0, dtype=np.int64)
        for giver, taker in pairs:
            self.mask[giver, self.found[giver].leaving] = False
            self.mask[taker, self.found[taker].joining] = True
        return np.array(sorted(changed), dtype=np.int64)
