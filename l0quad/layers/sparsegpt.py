"""SparseGPT's rule: inputs in their order, each rounding to zero made up for by the inputs that follow.

Source: Frantar and Alistarh, "SparseGPT: massive language models can be accurately pruned in one-shot", ICML 2023,
Algorithm 1 (blocks of 128 inputs share the budget evenly; n of m is chosen as its group comes).
"""

import numpy as np

from l0quad.layers.budgets import Pattern
from l0quad.layers.quadratic import Quadratic
from l0quad.problem.constraints.partition import Partition
from l0quad.types import BoolArray, FloatArray, Pause, go_on

_BLOCK = 128


def sparsegpt(layer: Quadratic, pause: Pause = go_on) -> FloatArray:
    """Return W (m x d), what is kept having been updated, on a mask within the budget."""
    W, pattern = layer.W0.copy(), layer.pattern
    d = W.shape[1]
    # Q = RR' and Q^-1 = U'U, both upper triangular: row i of U is what is left of Q^-1 without the inputs before i.
    R = np.linalg.cholesky(layer.regular[::-1, ::-1])[::-1, ::-1]
    U = np.triu(np.linalg.inv(R))
    # Groups of n of m are chosen as they come, other budgets in shares.
    width = pattern.group if pattern.group < d else min(_BLOCK, d)
    for first in range(0, d, width):
        pause()
        last = min(first + width, d)
        mask = _chosen(pattern, W[:, first:last] ** 2 / U.diagonal()[first:last] ** 2, first)
        errors = np.zeros((W.shape[0], last - first))
        for i in range(first, last):
            w, row = W[:, i], U[i]
            error = np.where(mask[:, i - first], 0.0, w / row[i])
            W[:, i:last] -= error[:, None] * row[None, i:last]
            errors[:, i - first] = error
        W[:, last:] -= errors @ U[first:last, last:]
        W[:, first:last] *= mask
    # Shares are rounded, and entries that must stay may exceed theirs.
    return W * pattern.select(W**2 * layer.Q.diagonal())


def _chosen(pattern: Pattern, scores: FloatArray, first: int) -> BoolArray:
    """Return which entries of the inputs from ``first`` on are kept, by their share of the budget."""
    (m, d), width = pattern.shape, scores.shape[1]
    rows = 1 if pattern.shared else m
    places = (np.arange(rows)[:, None] * d + np.arange(first, first + width)).ravel()
    own = pattern.partition
    must, never = (np.flatnonzero(np.isin(places, each)) for each in (own.must, own.never))
    if own.part is None:
        part, budgets = None, own.budgets
    else:
        numbers, part = np.unique(own.part[places], return_inverse=True)
        budgets = own.budgets[numbers]
    if pattern.group == d:
        budgets = budgets * (first + width) // d - budgets * first // d
    held = np.array([must.size]) if part is None else np.bincount(part[must], minlength=budgets.size)
    share = Partition.build(part, np.maximum(budgets, held), places.size, must, never)
    return pattern._replace(partition=share, shape=(m, width)).select(scores)
