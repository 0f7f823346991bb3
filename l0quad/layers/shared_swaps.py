"""Exact exchanges of an input for another in all outputs at once, where one support serves them all.

With the state of `l0quad.kernels.exchanges` for every output, costs and gains add up over the outputs: all exchanges of
slot a for input n come from one matrix product, because ``sum_j (r_jn + T_an w_ja / e_a)^2`` is
``|r_n|^2 + 2 (T_an / e_a) r_n'w_a + (T_an / e_a)^2 |w_a|^2``.
"""

from collections.abc import Callable

import numpy as np

from l0quad.layers.columns import least_gain
from l0quad.layers.quadratic import Quadratic, exchange, inverse, refit_shared
from l0quad.run.outcome import Status
from l0quad.types import BoolArray, FloatArray, IntArray

_MOST_EXCHANGES = 1000


def shared_swaps(
    layer: Quadratic, chosen: BoolArray, report: Callable[[FloatArray, BoolArray, FloatArray], bool]
) -> tuple[FloatArray, Status | None]:
    """Improve one support for all outputs (d) by exchanges with refit; arguments and results as `swaps` has them.

    An exchange is three matrix products, k d (k + 2m) multiplications.
    """
    Q, G, S = layer.regular, layer.targets, np.flatnonzero(chosen)
    movable, enterable = layer.pattern.movable()[0], layer.pattern.enterable()[0]
    at_zero = 0.5 * float(np.sum(layer.W0 * G))
    P, fresh = inverse(Q, S), True
    for left in reversed(range(_MOST_EXCHANGES + 1)):
        W, mask = np.zeros(G.shape), np.zeros(chosen.size, dtype=np.bool_)
        W[:, S], mask[S] = G[:, S] @ P, True
        if report(W, np.broadcast_to(mask, G.shape), layer.at_zero - 0.5 * np.einsum("ij,ij->i", W, G)):
            return W, None
        if not left:
            break
        N = np.flatnonzero(~mask & enterable)
        changes = _changes(Q, G, W[:, S], S, N, P)
        changes[~movable[S]] = np.inf
        if changes.size and changes.min() <= -least_gain(at_zero, at_zero - 0.5 * float(np.sum(W * G))):
            a, n = np.unravel_index(int(changes.argmin()), changes.shape)
            exchange(Q, S, P, np.array([a]), N[[n]])
            fresh = False
        elif fresh:
            return W, Status.SWAP_OPTIMAL
        else:
            # An inverse that was brought up to date carries the rounding of each time.
            P, fresh = inverse(Q, S), True
    return refit_shared(Q, G, mask), Status.CONVERGED


def _changes(Q: FloatArray, G: FloatArray, w: FloatArray, S: IntArray, N: IntArray, P: FloatArray) -> FloatArray:
    """Return how every exchange of an input of S for one of N changes the objective."""
    cross, e = Q[np.ix_(S, N)], P.diagonal()
    T = P @ cross
    r = G[:, N] - w @ cross
    s = Q.diagonal()[N] - np.einsum("ij,ij->j", cross, T)
    ww, rr = np.einsum("ij,ij->j", w, w), np.einsum("ij,ij->j", r, r)
    ratio = T / e[:, None]
    gains = rr + 2 * ratio * (w.T @ r) + ratio**2 * ww[:, None]
    return 0.5 * (ww / e)[:, None] - 0.5 * gains / (s + T * ratio)
