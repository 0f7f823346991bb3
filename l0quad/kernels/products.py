"""Products with a row-major matrix X in its own dtype, accumulated in float64.

X is A where A is stored by rows, and its transpose where A is stored by columns. Full float64 products are left to
BLAS; these serve float32, where converting first would double the traffic, and products that touch only some columns.
"""

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import FloatArray, IntArray, RealArray

# Width of the strip of the result that stays in the first-level cache while rows are added to it.
_STRIP = 2048


@inlined
def dot(x: RealArray, y: FloatArray) -> float:
    """Return x'y, summed in eight fixed strands (so that it vectorises without reordering)."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = x.size - x.size % 8
    for i in range(0, whole, 8):
        s0 += x[i] * y[i]
        s1 += x[i + 1] * y[i + 1]
        s2 += x[i + 2] * y[i + 2]
        s3 += x[i + 3] * y[i + 3]
        s4 += x[i + 4] * y[i + 4]
        s5 += x[i + 5] * y[i + 5]
        s6 += x[i + 6] * y[i + 6]
        s7 += x[i + 7] * y[i + 7]
    for i in range(whole, x.size):
        s0 += x[i] * y[i]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@kernel
def row_products(X: RealArray, rows: IntArray, v: FloatArray, out: FloatArray) -> None:
    """``out[t] = X[rows[t]] @ v``."""
    for t in range(rows.size):
        out[t] = dot(X[rows[t]], v)


@kernel
def combine_rows(X: RealArray, rows: IntArray, u: FloatArray, out: FloatArray) -> None:
    """``out = sum_t u[t] X[rows[t]]``."""
    whole = rows.size - rows.size % 4
    for first in range(0, X.shape[1], _STRIP):
        last = min(first + _STRIP, X.shape[1])
        strip = out[first:last]
        strip[:] = 0.0
        for t in range(0, whole, 4):
            u0, u1, u2, u3 = u[t], u[t + 1], u[t + 2], u[t + 3]
            x0 = X[rows[t], first:last]
            x1 = X[rows[t + 1], first:last]
            x2 = X[rows[t + 2], first:last]
            x3 = X[rows[t + 3], first:last]
            for j in range(strip.size):
                strip[j] += (u0 * x0[j] + u1 * x1[j]) + (u2 * x2[j] + u3 * x3[j])
        for t in range(whole, rows.size):
            x0 = X[rows[t], first:last]
            for j in range(strip.size):
                strip[j] += u[t] * x0[j]


@kernel
def column_products(X: RealArray, columns: IntArray, w: FloatArray, out: FloatArray) -> None:
    """``out[i] = X[i, columns] @ w``."""
    whole = columns.size - columns.size % 4
    for i in range(X.shape[0]):
        row = X[i]
        s0 = s1 = s2 = s3 = 0.0
        for t in range(0, whole, 4):
            s0 += row[columns[t]] * w[t]
            s1 += row[columns[t + 1]] * w[t + 1]
            s2 += row[columns[t + 2]] * w[t + 2]
            s3 += row[columns[t + 3]] * w[t + 3]
        for t in range(whole, columns.size):
            s0 += row[columns[t]] * w[t]
        out[i] = (s0 + s1) + (s2 + s3)


@kernel
def gather_columns(X: RealArray, columns: IntArray, out: RealArray) -> None:
    """``out[t] = X[:, columns[t]]``: eight rows at a time, so that whole cache lines are written."""
    whole = X.shape[0] - X.shape[0] % 8
    for i in range(0, whole, 8):
        for t in range(columns.size):
            j = columns[t]
            for q in range(8):
                out[t, i + q] = X[i + q, j]
    for i in range(whole, X.shape[0]):
        for t in range(columns.size):
            out[t, i] = X[i, columns[t]]
