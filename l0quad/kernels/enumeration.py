"""Every support of one size, by projections."""

from l0quad.kernels.jit import kernel
from l0quad.kernels.products import dot
from l0quad.types import FloatArray, IntArray


@kernel
def best_support(
    columns: FloatArray,
    residuals: FloatArray,
    floor: FloatArray,
    first: int,
    part: IntArray,
    room: IntArray,
    chosen: IntArray,
) -> tuple[float, int]:
    """Search all supports whose first column is ``first``; return the largest fall of the objective and the size.

    A walk in depth: at each column that joins, modified Gram-Schmidt takes its direction out of the later ones and out
    of the residual. ``columns[d]`` (p x n, a column of A a row) and ``residuals[d]`` hold what d columns have left;
    d = 0 comes in, the others are work space. Columns of whose squared length at most ``floor`` is left are passed
    over, and so are those of parts without room. ``chosen`` receives the best support.
    """
    k, p, n = columns.shape
    path, following, gains = [0] * k, [0] * k, [0.0] * k
    best, size, depth = 0.0, 0, 0
    following[0] = first
    while depth >= 0:
        j = following[depth]
        if j >= (first + 1 if depth == 0 else p):
            depth -= 1
            if depth >= 0 and part.size:
                room[part[path[depth]]] += 1
            continue
        following[depth] = j + 1
        x, r = columns[depth, j], residuals[depth]
        square = dot(x, x)
        if not square > floor[j] or (part.size and room[part[j]] <= 0):
            continue
        step = dot(x, r) / square
        gain = gains[depth] + 0.5 * step * step * square
        path[depth] = j
        if gain > best:
            best, size = gain, depth + 1
            for d in range(size):
                chosen[d] = path[d]
        if depth + 1 == k:
            continue
        for i in range(n):
            residuals[depth + 1, i] = r[i] - step * x[i]
        for later in range(j + 1, p):
            y, left = columns[depth, later], columns[depth + 1, later]
            share = dot(x, y) / square
            for i in range(n):
                left[i] = y[i] - share * x[i]
        if part.size:
            room[part[j]] -= 1
        depth += 1
        gains[depth], following[depth] = gain, j + 1
    return best, size
