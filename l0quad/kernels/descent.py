"""Cyclic coordinate descent for 1/2 ||residual||^2 + mu/2 ||w - w0||^2."""

import numpy as np

from l0quad.kernels.jit import kernel
from l0quad.kernels.products import dot
from l0quad.types import FloatArray, IntArray, RealArray


@kernel
def descend_dense(columns: RealArray, residual: FloatArray, w: FloatArray, w0: FloatArray, mu: float) -> float:
    """Minimise over each w[t] in turn, keeping ``residual = A w - b``; ``columns[t]`` is the t-th column of A.

    Changes ``w`` and ``residual``; returns by how much the objective fell. Zero columns keep their w where mu = 0.
    """
    decrease = 0.0
    for t in range(w.size):
        column = columns[t]
        curvature = mu
        for i in range(column.size):
            curvature += np.float64(column[i]) * np.float64(column[i])
        if curvature > 0.0:
            step = -(dot(column, residual) + mu * (w[t] - w0[t])) / curvature
            w[t] += step
            for i in range(column.size):
                residual[i] += step * column[i]
            decrease += 0.5 * curvature * step * step
    return decrease


@kernel
def descend_sparse(
    data: RealArray, indices: IntArray, indptr: IntArray, residual: FloatArray, w: FloatArray, w0: FloatArray, mu: float
) -> float:
    """Do the same for columns in CSC form: column t is ``data[indptr[t]:indptr[t + 1]]`` at rows ``indices[...]``."""
    decrease = 0.0
    for t in range(w.size):
        curvature, slope = mu, mu * (w[t] - w0[t])
        for q in range(indptr[t], indptr[t + 1]):
            value = np.float64(data[q])
            curvature += value * value
            slope += value * residual[indices[q]]
        if curvature > 0.0:
            step = -slope / curvature
            w[t] += step
            for q in range(indptr[t], indptr[t + 1]):
                residual[indices[q]] += step * data[q]
            decrease += 0.5 * curvature * step * step
    return decrease
