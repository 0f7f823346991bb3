"""Exchanges of two columns at once, at exact cost: what single exchanges cannot see.

Two columns that nearly repeat each other, with coefficients of opposite sign, gain much together and nothing alone.
With S the Schur complement of the support, and T the support without the slots a and b, that of T is
S + B_ab' E_ab^-1 B_ab; in it every pair's gain is known from a 2 x 2 system (`l0quad.kernels.tableau.best_pair`).
"""

from typing import NamedTuple

import numpy as np

from l0quad.problem.constraints.ranking import top_k
from l0quad.run.monitor import Monitor
from l0quad.solvers.tableau import Tableau
from l0quad.types import FloatArray, IntArray

# What the gain of a pair costs, in flops of a matrix product which is some 10 times as fast.
_PAIR_FLOPS = 150.0
# Fewer columns than this, where there are more, are not worth their rows of H.
_LEAST = 64


class Pair(NamedTuple):
    """Take the slots ``leaving`` out and the columns ``joining`` in; the objective changes by ``change``."""

    leaving: IntArray
    joining: IntArray
    change: float


def best_pair_exchange(tableau: Tableau, flops: float, monitor: Monitor) -> Pair | None:
    """Return the best exchange of two columns that lowers the objective, or None.

    All of them where the work allows it; else the pairs that cost least to take out, and of the pairs that join those
    whose better column is among the best by itself.
    """
    from l0quad.kernels.tableau import best_pair

    leaving, costs = _leaving(tableau)
    if leaving.size == 0:
        return None
    rows = _rows(tableau, leaving[0], flops)
    if rows.size == 0:
        return None
    # Only columns that may join: what is known of the others is rounding.
    outside = np.flatnonzero(np.isfinite(tableau.floor))
    S, places = np.take(tableau.schur(rows), outside, axis=1), np.searchsorted(outside, rows)
    # No column makes a pair with itself: NaN is larger than nothing.
    S[np.arange(rows.size), places] = np.nan
    floor = tableau.floor[outside]
    best: Pair | None = None
    for pair, cost in zip(leaving[: max(1, int(flops / (_PAIR_FLOPS * S.size)))], costs, strict=False):
        if monitor.expired():
            return None
        B, solved, r, s = (np.take(each, outside, axis=-1) for each in tableau.without(pair))
        part, room = tableau.problem.constraint.exchanges(np.delete(tableau.slots, pair))[2:]
        part = part[outside] if part.size else np.empty(0, dtype=np.int64)
        least = float(cost) - (0.0 if best is None else best.change)
        j, other, gain = best_pair(S, places, solved, B, r, s, floor, part, room, least)
        if j >= 0:
            best = Pair(pair, outside[[j, other]], cost - gain)
    return best


def exchange_pair(tableau: Tableau, pair: Pair) -> None:
    """Make an exchange; where rounding has hidden that a column depends on the rest, it stays out."""
    for slot in np.sort(pair.leaving)[::-1]:
        tableau.remove(int(slot))
    for j in pair.joining:
        tableau.join(int(j))


def _leaving(tableau: Tableau) -> tuple[IntArray, FloatArray]:
    """Return all pairs of slots that may leave, a row each, and what taking them out costs.

    In turn the cheapest of them, and the ones whose values hang together most.
    """
    slots = tableau.removable()
    a, b = np.triu_indices(slots.size, 1)
    pairs = np.column_stack([slots[a], slots[b]])
    w, E = tableau.w[pairs], tableau.inverse(pairs)
    e, f, g = E[:, 0, 0], E[:, 1, 1], E[:, 0, 1]
    costs = 0.5 * (w[:, 0] ** 2 * f - 2 * w[:, 0] * w[:, 1] * g + w[:, 1] ** 2 * e) / (e * f - g * g)
    cheapest = np.argsort(costs, kind="stable")
    coupled = np.argsort(-g * g / (e * f), kind="stable")
    order = np.column_stack([cheapest, coupled]).ravel()
    order = order[np.sort(np.unique(order, return_index=True)[1])]
    return pairs[order], costs[order]


def _rows(tableau: Tableau, pair: IntArray, flops: float) -> IntArray:
    """Return the columns of largest gain by themselves once this pair is out, as many as the work allows."""
    n, p = tableau.problem.shape
    most = min(p, int(flops / (2.0 * p * (n + tableau.size))))
    if most < min(p, _LEAST):
        return np.empty(0, dtype=np.int64)
    _, _, r, s = tableau.without(pair)
    usable = s > tableau.floor
    gains = np.where(usable, r * r, 0.0) / np.where(usable, s, 1.0)
    rows = top_k(gains, most)
    return rows[usable[rows]]
