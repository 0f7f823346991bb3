"""A proven lower bound for a whole layer: the separable bound of all outputs at once, lowered by its rounding error.

For each output it is L(w) of `l0quad.bounds.separable`; the allowed mask S with the largest sum is that of the budget.
Where each output has a budget of its own, so is its bound.
"""

from typing import NamedTuple

import numpy as np

from l0quad.bounds.diagonal import Curvature, largest_diagonal, proven, scaled_diagonal
from l0quad.layers.quadratic import Quadratic
from l0quad.linalg.rounding import SLACK, gamma
from l0quad.types import FloatArray, Pause, go_on

# The barrier's share of the sum at the end. A smaller one costs twice the steps for a diagonal whose bound is no larger
# or less: it leaves Q - diag(d) nearly singular.
_TOLERANCE = 0.6


class LayerBound(NamedTuple):
    """Lower bounds, of each output where the budget is ``separate`` and else of all, and what proves them.

    Attributes
    ----------
    values : ndarray of shape (m,) or (1,)
    point : ndarray of shape (m, d)
    diagonal : ndarray of shape (d,)
    """

    values: FloatArray
    point: FloatArray
    diagonal: FloatArray


def diagonal(layer: Quadratic, pause: Pause = go_on) -> FloatArray | None:
    """Return a large d > 0 of which Q - diag(d) >= 0 is proven; None where none is found, as for a singular Q."""
    start = scaled_diagonal(layer.Q.copy()) if layer.is_regular else None
    if start is None:
        return None
    best = start
    # The start is diag(Q^-1) the other way up.
    for better in largest_diagonal(layer.Q, 1 / start, start, _TOLERANCE):
        pause()
        best = better
    return proven(curvature(layer), best)


def curvature(layer: Quadratic) -> Curvature:
    """Return Q and how far its diagonal is from H + mu I."""
    return Curvature(layer.Q, SLACK * gamma(2) * layer.Q.diagonal())


def certified(layer: Quadratic, W: FloatArray, d: FloatArray) -> LayerBound:
    """Return the bounds L(W), W any point (m x d), d proven."""
    Q, pattern, n = layer.Q, layer.pattern, W.shape[1]
    E = W - layer.W0
    product, size = E @ Q, np.abs(E) @ np.abs(Q)
    q = layer.residual - product
    # W - W0 and the diagonal of Q are rounded too.
    q_error = gamma(n + 16) * (size + layer.residual_size)
    values = 0.5 * np.einsum("ij,ij->i", E, product) - (E * layer.residual).sum(axis=1) + layer.constant
    values_size = (np.abs(E) * (size + layer.residual_size)).sum(axis=1) + layer.constant_size
    scores = (q + d * W) ** 2 / d
    inside = pattern.select(scores)
    terms = np.where(inside, -0.5 * q * q / d, W * (q + 0.5 * d * W))
    # The errors of q, of the choice of S by rounded scores and of the terms: over all entries, more than over any S.
    absolute = np.abs(q) + d * np.abs(W)
    wrong = (0.5 * q_error + absolute) * q_error / d + np.abs(W) * q_error + gamma(16) * absolute**2 / d
    errors = wrong.sum(axis=1) + gamma(2 * n + 32) * (values_size + np.abs(terms).sum(axis=1) + scores.sum(axis=1))
    bounds = values + terms.sum(axis=1) - 2 * SLACK * errors
    if not pattern.separate:
        total = float(bounds.sum()) - gamma(W.shape[0] + 8) * float(np.abs(bounds).sum())
        bounds = np.array([total])
    return LayerBound(np.where(np.isfinite(bounds), bounds, -np.inf), W, d)
