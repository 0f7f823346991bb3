"""Every support, by eliminations in the Gram matrix."""

import math

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import FloatArray, IntArray

# The least eigenvalue of a correlation matrix is at least its determinant times ((m - 1) / m)^(m - 1) > 1 / e.
_LEAST = 0.36
# What a unit of a support costs beside its arithmetic, in flops.
_VISIT = 25.0


@inlined
def _eliminate(
    H: FloatArray,
    c: int,
    end: int,
    level: int,
    rows: FloatArray,
    left: FloatArray,
    slopes: FloatArray,
    pivots: FloatArray,
) -> None:
    """Take column c out of what is left of the later ones, up to ``end``, and of their slopes."""
    for j in range(c + 1, end):
        rows[level, j] = H[c, j]
    for i in range(level):
        factor = rows[i, c] / pivots[i]
        for j in range(c + 1, end):
            rows[level, j] -= factor * rows[i, j]
    pivot = pivots[level]
    step = slopes[level, c] / pivot
    for j in range(c + 1, end):
        left[level + 1, j] = left[level, j] - rows[level, j] * (rows[level, j] / pivot)
        slopes[level + 1, j] = slopes[level, j] - rows[level, j] * step


@inlined
def _least_root(
    rows: FloatArray, pivots: FloatArray, squares: FloatArray, columns: IntArray, inverse: FloatArray
) -> float:
    """Return one over the Frobenius norm of the inverse of R, upper triangular, R'R the correlation matrix L D L'."""
    m, size = columns.size, 0.0
    for j in range(m):
        # Column j of the inverse of L', which R is but for its scale.
        inverse[j], square = 1.0, squares[columns[j]]
        for i in range(j - 1, -1, -1):
            value = 0.0
            for t in range(i + 1, j + 1):
                value -= rows[i, columns[t]] * inverse[t]
            inverse[i] = value / pivots[i]
            square += inverse[i] * inverse[i] * squares[columns[i]]
        size += square / pivots[j]
    return 1 / math.sqrt(size)


@inlined
def _bound(size: float, least: float, rounding: FloatArray) -> float:
    """Return half the square of the largest ``size`` that rounding may hide; infinite where it may hide any."""
    left = 1 - rounding[0] / (least * least)
    if not (least > 0 and left > 0.5):
        return math.inf
    size += (rounding[2] * size + rounding[1]) / least
    return 0.5 * size * size / left


@kernel
def largest_gain(
    H: FloatArray,
    squares: FloatArray,
    starts: IntArray,
    lowest: IntArray,
    highest: IntArray,
    rounding: FloatArray,
    rows: FloatArray,
    left: FloatArray,
    slopes: FloatArray,
    path: FloatArray,
    levels: IntArray,
    columns: IntArray,
    following: IntArray,
    depth: int,
    most: float,
    best: FloatArray,
    chosen: IntArray,
) -> int:
    """Bound ``max_w h'w + s'|w| - 1/2 w'(H - E)w`` from above over all supports, by a walk in depth.

    It pauses after ``most`` flops.

    Units are sets of columns that lie side by side: unit u has those from ``starts[u]`` to ``starts[u + 1]``. Place d
    of a support takes a unit after that of place d - 1, from ``lowest[d]`` to below ``highest[d]``.

    Parameters
    ----------
    H, squares : ndarray of shape (p, p), which is not looked at where supports have one column, and (p,)
        A symmetric matrix and its diagonal, neither large nor small.
    rounding : ndarray of shape (3,)
        Beside the diagonal of a support's H, the norm of E and of what elimination does to it; that of s beside its
        root; and the relative error of the slopes.
    rows, left, slopes, path : ndarray of shape (m, p), (m + 1, p), (m + 1, p) and (4, m + 1)
        Work space, for m the most columns of a support; ``left[0]`` is ``squares``, ``slopes[0]`` is h, and ``path[1,
        0]`` is 1.
    levels, columns, following, depth : ndarray, ndarray, ndarray, int
        Where the walk stands: to begin, 0, anything (m numbers), ``lowest`` and 0.
    best, chosen : ndarray of shape (2,), ndarray
        The two largest bounds, to begin 0, and the units of the support with the larger one.

    Returns
    -------
    int
        The depth; -1 at the end, -2 where the columns of a support are nearly dependent, so that nothing is proven.
    """
    p, places = squares.size, lowest.size
    gains, shares, pivots = path[0], path[1], path[2]
    while depth >= 0 and most > 0:
        u = following[depth]
        if u >= highest[depth]:
            depth -= 1
            continue
        most -= _VISIT
        following[depth] = u + 1
        level, is_last = levels[depth], depth + 1 == places
        end = starts[u + 1] if is_last else p
        for c in range(starts[u], starts[u + 1]):
            pivot = left[level, c]
            if not pivot > 0:
                return -2
            shares[level + 1] = shares[level] * (pivot / squares[c])
            gains[level + 1] = gains[level] + 0.5 * slopes[level, c] * (slopes[level, c] / pivot)
            pivots[level], columns[level] = pivot, c
            _eliminate(H, c, end, level, rows, left, slopes, pivots)
            most -= (end - c) * (level + 3)
            level += 1
        if not is_last:
            depth += 1
            levels[depth] = level
            following[depth] = max(u + 1, lowest[depth])
            continue
        size, least = math.sqrt(2 * gains[level]), math.sqrt(_LEAST * shares[level])
        if not _bound(size, least, rounding) <= best[1]:
            most -= level**3 / 6
            # Less is lost to a bound that takes more work.
            root = _least_root(rows, pivots, squares, columns[:level], path[3])
            bound = _bound(size, max(least, (1 - rounding[2]) * root - rounding[2]), rounding)
            if not bound < math.inf:
                return -2
            if bound > best[0]:
                best[0], best[1] = bound, best[0]
                for d in range(places):
                    chosen[d] = following[d] - 1
            elif bound > best[1]:
                best[1] = bound
    return depth
