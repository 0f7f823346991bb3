"""Cholesky factorizations of small matrices."""

import numpy as np

from l0quad.kernels.jit import inlined
from l0quad.kernels.products import dot
from l0quad.types import FloatArray

_SINGULAR = 1e-14


@inlined
def factor(G: FloatArray) -> bool:
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
def substitute(L: FloatArray, x: FloatArray) -> None:
    """Overwrite x by the solution of L L' y = x."""
    for i in range(x.size):
        x[i] = (x[i] - dot(L[i, :i], x[:i])) / L[i, i]
    for i in range(x.size - 1, -1, -1):
        x[i] /= L[i, i]
        for j in range(i):
            x[j] -= L[i, j] * x[i]
