"""The table of exact swap costs, and its update by rank one."""

from l0quad.kernels.jit import kernel
from l0quad.types import FloatArray, IntArray


@kernel
def best_swap(
    B: FloatArray,
    w: FloatArray,
    e: FloatArray,
    r: FloatArray,
    s: FloatArray,
    floor: FloatArray,
    leaving: IntArray,
    home: IntArray,
    part: IntArray,
    room: IntArray,
) -> tuple[int, int, float]:
    """Return (i, j, change): taking slot i out and column j in changes the objective by ``change``, the least there is.

    change = w_i^2 / (2 e_i) - (r_j + B_ij w_i / e_i)^2 / (2 (s_j + B_ij^2 / e_i)). Columns whose s_j + B_ij^2 / e_i
    is at most ``floor[j]`` depend on the others and are passed over; so are those that their part has no room for
    (``home[i]`` is slot i's part, ``part`` each column's, empty where there is one part only). Only the slots
    ``leaving`` may go.
    """
    best_i, best_j, best_change = -1, -1, 0.0
    for i in leaving:
        shift, inverse, cost = w[i] / e[i], 1.0 / e[i], 0.5 * w[i] * w[i] / e[i]
        # A gain that beats the best change so far, twice over: num^2 > needed * den.
        needed = 2.0 * (cost - best_change)
        for j in range(r.size):
            b = B[i, j]
            num = r[j] + b * shift
            den = s[j] + b * b * inverse
            fits = part.size == 0 or part[j] == home[i] or room[part[j]] > 0
            if num * num > needed * den and den > floor[j] and fits:
                best_i, best_j = i, j
                needed = num * num / den
                best_change = cost - 0.5 * needed
    return best_i, best_j, best_change


@kernel
def subtract_outer(B: FloatArray, x: FloatArray, y: FloatArray) -> None:
    """``B -= x y'`` in place."""
    for i in range(x.size):
        if x[i] != 0.0:
            for j in range(y.size):
                B[i, j] -= x[i] * y[j]
