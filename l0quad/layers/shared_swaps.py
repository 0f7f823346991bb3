"""Exact exchanges of an input for another in all outputs at once, where one support serves them all.

With the state of `l0quad.kernels.exchanges` for every output, costs and gains add up over the outputs: all exchanges of
slot a for input n come from one matrix product, because ``sum_j (r_jn + T_an w_ja / e_a)^2`` is
``|r_n|^2 + 2 (T_an / e_a) r_n'w_a + (T_an / e_a)^2 |w_a|^2``.
"""

from collections.abc import Callable

import numpy as np

from l0quad.layers.columns import least_gain
from l0quad.layers.quadratic import Quadratic, refit_shared, solver
from l0quad.types import BoolArray, FloatArray, IntArray

_MOST_EXCHANGES = 1000


def shared_swaps(
    layer: Quadratic, chosen: BoolArray, report: Callable[[FloatArray, BoolArray, FloatArray], bool]
) -> tuple[FloatArray, BoolArray, bool]:
    """Improve one support for all outputs (d) by exchanges with refit; arguments and results as `swaps` has them."""
    Q, G, chosen = layer.regular, layer.targets, chosen.copy()
    movable, enterable = layer.pattern.movable()[0], layer.pattern.enterable()[0]
    at_zero = 0.5 * float(np.sum(layer.W0 * G))
    ended = False
    for _ in range(_MOST_EXCHANGES):
        W = refit_shared(Q, G, chosen)
        if report(W, np.broadcast_to(chosen, G.shape), layer.at_zero - 0.5 * np.einsum("ij,ij->i", W, G)):
            break
        least = least_gain(at_zero, at_zero - 0.5 * float(np.sum(W * G)))
        S, N = np.flatnonzero(chosen), np.flatnonzero(~chosen & enterable)
        changes = _changes(Q, G, W, S, N)
        changes[~movable[S]] = np.inf
        if not changes.size or changes.min() > -least:
            ended = True
            break
        a, n = np.unravel_index(int(changes.argmin()), changes.shape)
        chosen[S[a]], chosen[N[n]] = False, True
    return W, np.broadcast_to(chosen, G.shape), ended


def _changes(Q: FloatArray, G: FloatArray, W: FloatArray, S: IntArray, N: IntArray) -> FloatArray:
    """Return how every exchange of an input of S for one of N changes the objective."""
    solve, cross, w = solver(Q, S), Q[np.ix_(S, N)], W[:, S]
    T, e = solve(cross), solve(np.eye(S.size)).diagonal()
    r = G[:, N] - w @ cross
    s = Q.diagonal()[N] - np.einsum("ij,ij->j", cross, T)
    ww, rr = np.einsum("ij,ij->j", w, w), np.einsum("ij,ij->j", r, r)
    ratio = T / e[:, None]
    gains = rr + 2 * ratio * (w.T @ r) + ratio**2 * ww[:, None]
    return 0.5 * (ww / e)[:, None] - 0.5 * gains / (s + T * ratio)
