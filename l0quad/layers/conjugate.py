"""The best weights on a mask by conjugate gradients: all outputs at once, a product with Q an iteration.

In the scale in which Q has a unit diagonal, that is, preconditioned by the diagonal, in double precision. It is for
devices with fast products; with one thread of NumPy, a factorization for each output is faster. Source: Hestenes and
Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
"""

from typing import Any

import numpy as np

from l0quad.layers.arrays import host
from l0quad.layers.quadratic import refit_one
from l0quad.types import BoolArray, FloatArray, Pause, go_on

# An output is done when its residual is this share of what it is at W = 0; what is not done after so many iterations is
# factored.
_RESIDUAL = 1e-9
_MOST_ITERATIONS = 1000


def refit(Q: FloatArray, G: FloatArray, mask: BoolArray, pause: Pause = go_on, xp: Any = np) -> FloatArray:
    """Return the best W (m x d) on a mask, Q regular."""
    root = np.sqrt(Q.diagonal())
    C, M = xp.asarray(Q / np.outer(root, root)), xp.asarray(mask)
    R = xp.asarray(G / root) * M
    W, P, square = 0 * R, R, (R * R).sum(axis=1)
    goal = _RESIDUAL**2 * square
    for _ in range(_MOST_ITERATIONS):
        pause()
        open_ = square > goal
        if not bool(open_.any()):
            break
        A = (P @ C) * M
        # Outputs that are done stay as they are.
        length = open_ * square / xp.where(open_, (P * A).sum(axis=1), 1.0)
        W, R = W + length[:, None] * P, R - length[:, None] * A
        old, square = square, (R * R).sum(axis=1)
        P = R + (square / xp.where(old > 0, old, 1.0))[:, None] * P
    W, left = host(W) / root, host(square > goal)
    for j in np.flatnonzero(left):
        pause()
        W[j] = refit_one(Q, G[j], mask[j])
    return W
