"""Many small restricted solves: one block of columns after the other, each with its own factorization."""

import numpy as np

from l0quad.kernels.jit import inlined, kernel
from l0quad.kernels.products import dot
from l0quad.types import BoolArray, FloatArray, IntArray

_SINGULAR = 1e-14


@inlined
def _factor(G: FloatArray) -> bool:
    """Overwrite the lower triangle of G by its Cholesky factor; False where a pivot is lost in rounding."""
    for i in range(G.shape[0]):
        diagonal = G[i, i]
        for j in range(i):
            G[i, j] = (G[i, j] - dot(G[i, :j], G[j, :j])) / G[j, j]
        pivot = diagonal - dot(G[i, :i], G[i, :i])
        if not pivot > _SINGULAR * G.shape[0] * diagonal:
            return False
        G[i, i] = np.sqrt(pivot)
    return True


@inlined
def _substitute(L: FloatArray, x: FloatArray) -> None:
    """Overwrite x by the solution of L L' y = x."""
    for i in range(x.size):
        x[i] = (x[i] - dot(L[i, :i], x[:i])) / L[i, i]
    for i in range(x.size - 1, -1, -1):
        x[i] /= L[i, i]
        for j in range(i):
            x[j] -= L[i, j] * x[i]


@inlined
def _solve(X: FloatArray, r: FloatArray, mu: float, v: FloatArray) -> bool:
    """Write to v the minimiser of 1/2 ||X'v - r||^2 + mu/2 ||v||^2, refined once; primal or dual, the smaller."""
    primal = X.shape[0] <= X.shape[1]
    G = np.dot(X, X.T) if primal else np.dot(X.T, X)
    for i in range(G.shape[0]):
        G[i, i] += mu
    if not _factor(G):
        return False
    y = np.dot(X, r) if primal else r.copy()
    _substitute(G, y)
    if primal:
        correction = np.dot(X, r - np.dot(X.T, y)) - mu * y
        _substitute(G, correction)
        v[:] = y + correction
    else:
        correction = r - np.dot(X.T, np.dot(X, y)) - mu * y
        _substitute(G, correction)
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
