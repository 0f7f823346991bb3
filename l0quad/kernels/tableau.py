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


@kernel
def best_pair(
    S: FloatArray,
    rows: IntArray,
    left: FloatArray,
    right: FloatArray,
    r: FloatArray,
    s: FloatArray,
    floor: FloatArray,
    part: IntArray,
    room: IntArray,
    least: float,
) -> tuple[int, int, float]:
    """Return (j, l, gain): adding the columns j, one of ``rows``, and l lowers the objective most, by over ``least``.

    (-1, -1, least) where no pair does.

    The Schur complement of a support is ``S[q] + left[:, rows[q]]' right`` (right: 2 x p), ``s`` its diagonal and ``r``
    the residuals; gain = (r_j^2 s_l - 2 r_j r_l S_jl + r_l^2 s_j) / (2 (s_j s_l - S_jl^2)). A NaN in S bars a pair.
    Pairs of which one column keeps at most ``floor`` outside the span of the rest are passed over, and those that their
    parts have no room for.
    """
    best_j, best_m, best_gain = -1, -1, least
    for q in range(rows.size):
        j = rows[q]
        if not s[j] > floor[j] or (part.size and room[part[j]] < 1):
            continue
        u, v, rj, sj, twice = left[0, j], left[1, j], r[j], s[j], 2.0 * best_gain
        row, first, second, better = S[q], right[0], right[1], 0
        # Without a branch, so that it vectorises; the pairs themselves are looked at only where one is better.
        for m in range(r.size):
            c = row[m] + u * first[m] + v * second[m]
            num = rj * rj * s[m] - 2.0 * rj * r[m] * c + r[m] * r[m] * sj
            better += num > twice * (sj * s[m] - c * c)
        if better == 0:
            continue
        for m in range(r.size):
            c = row[m] + u * first[m] + v * second[m]
            den = sj * s[m] - c * c
            num = rj * rj * s[m] - 2.0 * rj * r[m] * c + r[m] * r[m] * sj
            # The floors are at least 0, so that den > 0.
            if num > 2.0 * best_gain * den and den > floor[m] * sj and den > floor[j] * s[m]:
                needed = 1 + (part.size > 0 and part[j] == part[m])
                if part.size == 0 or room[part[m]] >= needed:
                    best_j, best_m, best_gain = j, m, 0.5 * num / den
    return best_j, best_m, best_gain
