"""Many small restricted solves: one block of columns after the other, each with its own factorization."""

import numpy as np

from l0quad.kernels.cholesky import factor, substitute
from l0quad.kernels.jit import inlined, kernel
from l0quad.types import BoolArray, FloatArray, IntArray


@inlined
def _solve(X: FloatArray, r: FloatArray, mu: float, v: FloatArray) -> bool:
    """Write to v the minimiser of 1/2 ||X'v - r||^2 + mu/2 ||v||^2, refined once; primal or dual, the smaller."""
    primal = X.shape[0] <= X.shape[1]
    G = np.dot(X, X.T) if primal else np.dot(X.T, X)
    for i in range(G.shape[0]):
        G[i, i] += mu
    if not factor(G):
        return False
    y = np.dot(X, r) if primal else r.copy()
    substitute(G, y)
    if primal:
        correction = np.dot(X, r - np.dot(X.T, y)) - mu * y
        substitute(G, correction)
        v[:] = y + correction
    else:
        correction = r - np.dot(X.T, np.dot(X, y)) - mu * y
        substitute(G, correction)
        v[:] = np.dot(X, y + correction)
    return True


@kernel
def solve_blocks(
    columns: FloatArray, offsets: IntArray, targets: FloatArray, mu: float, v: FloatArray, solved: BoolArray
) -> None:
    """For each block q minimise ``1/2 ||A_q v_q - targets[q]||^2 + mu/2 ||v_q||^2``.

    ``columns[t]`` is a column of A; block q has the columns ``offsets[q]:offsets[q + 1]``. Writes ``v``, and in
    ``solved`` whether the block's matrix was regular; where not, its v is left alone.
    """
    for q in range(solved.size):
        first, last = offsets[q], offsets[q + 1]
        solved[q] = first == last or _solve(columns[first:last], targets[q], mu, v[first:last])
