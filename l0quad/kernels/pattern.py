"""A Newton step of a node's relaxation on the present pattern of z = 1 and 0 < z < 1."""

import numpy as np

from l0quad.kernels.cholesky import factor, substitute
from l0quad.kernels.jit import inlined
from l0quad.kernels.relaxed import FREE, IN, norm
from l0quad.types import FloatArray, IntArray

# The step is left out where its system is larger.
_MOST_PATTERN = 200
_REGULAR = 1e-9
# z counts as 1 from here on.
_WHOLE = 1 - 1e-12


@inlined
def _pattern(
    starts: IntArray,
    first: IntArray,
    budgets: IntArray,
    state: IntArray,
    v: FloatArray,
    theta: FloatArray,
    columns: IntArray,
    home: IntArray,
    ones: IntArray,
) -> int:
    """Write the columns of the pattern and the part of those in between (-1 of the others), count the units with z = 1.

    Returns how many columns there are, 0 where these are too many.
    """
    m = 0
    for q in range(budgets.size):
        ones[q] = 0
        for g in range(first[q], first[q + 1]):
            begin, end = starts[g], starts[g + 1]
            size = norm(v, begin, end)
            if state[g] != IN and (state[g] != FREE or size == 0.0):
                continue
            whole = state[g] == IN or size >= _WHOLE * theta[q]
            ones[q] += whole and state[g] == FREE
            if m + end - begin > columns.size:
                return 0
            for j in range(begin, end):
                columns[m] = j
                home[m] = -1 if whole else q
                m += 1
    return m


@inlined
def _system(
    M: FloatArray,
    starts: IntArray,
    columns: IntArray,
    home: IntArray,
    free_share: float,
    v: FloatArray,
    theta: FloatArray,
    C: FloatArray,
    s: FloatArray,
) -> None:
    """Write the Hessian of the pattern, and v_j / ||v_g|| for the columns in between."""
    for x in range(columns.size):
        row = M[columns[x]]
        for i in range(x + 1):
            C[x, i] = row[columns[i]]
        C[x, x] += 1.0 if home[x] < 0 else 1.0 - free_share + _REGULAR
        s[x] = 0.0
    g, x = 0, 0
    while x < columns.size:
        while starts[g + 1] <= columns[x]:
            g += 1
        begin, end = starts[g], starts[g + 1]
        if home[x] >= 0:
            size = norm(v, begin, end)
            bend = free_share * theta[home[x]] / size
            for i in range(end - begin):
                s[x + i] = v[begin + i] / size
                if end - begin > 1:
                    C[x + i, x + i] += bend
                    for k in range(i + 1):
                        C[x + i, x + k] -= bend * s[x + i] * s[x + k]
        x += end - begin


@inlined
def _places(home: IntArray, left: IntArray, ones: IntArray, place: IntArray) -> int:
    """Count the parts with columns in between and number them, -1 for others; return 0 where one has no budget left."""
    parts = 0
    for q in range(place.size):
        place[q] = -1
    for q in home:
        if q >= 0 and place[q] < 0:
            if left[q] <= ones[q]:
                return 0
            place[q] = parts
            parts += 1
    return parts


@inlined
def newton(
    M: FloatArray,
    y: FloatArray,
    starts: IntArray,
    first: IntArray,
    budgets: IntArray,
    free_share: float,
    state: IntArray,
    left: IntArray,
    v: FloatArray,
    theta: FloatArray,
    new: FloatArray,
    price: FloatArray,
) -> bool:
    """Write the point and the prices that solve the stationarity system of the pattern; False where there are none.

    With y the linear term at v = 0, s = v_j / ||v_g|| in between and 0 elsewhere, E the identity where z = 1 and
    1 - share in between, it is (M + E) v + share sum_q theta_q s_q = y and s_q'v = theta_q (what the ones leave of
    part q's budget).
    """
    pattern, counts = np.empty((2, min(v.size, _MOST_PATTERN)), np.int64), np.empty((2, left.size), np.int64)
    ones, place = counts[0], counts[1]
    m = _pattern(starts, first, budgets, state, v, theta, pattern[0], pattern[1], ones)
    columns, home = pattern[0, :m], pattern[1, :m]
    parts = _places(home, left, ones, place)
    if parts == 0:
        return False
    C, rows, small = np.empty((m, m)), np.empty((parts + 2, m)), np.zeros((parts + 1, parts))
    s, solved, S, cost = rows[parts + 1], rows[: parts + 1], small[:parts], small[parts]
    _system(M, starts, columns, home, free_share, v, theta, C, s)
    if not factor(C):
        return False
    for x in range(m):
        solved[parts, x] = y[columns[x]]
        for i in range(parts):
            solved[i, x] = s[x] if home[x] >= 0 and place[home[x]] == i else 0.0
    for i in range(parts + 1):
        substitute(C, solved[i])
    for x in range(m):
        if home[x] >= 0:
            i = place[home[x]]
            cost[i] += s[x] * solved[parts, x]
            for k in range(parts):
                S[i, k] += s[x] * solved[k, x]
    for q in range(left.size):
        if place[q] >= 0:
            S[place[q], place[q]] += (left[q] - ones[q]) / free_share
    if not factor(S):
        return False
    substitute(S, cost)
    return _moved(columns, home, free_share, v, place, cost, solved, theta, new, price)


@inlined
def _moved(
    columns: IntArray,
    home: IntArray,
    free_share: float,
    v: FloatArray,
    place: IntArray,
    cost: FloatArray,
    solved: FloatArray,
    theta: FloatArray,
    new: FloatArray,
    price: FloatArray,
) -> bool:
    """Write the solution, zero where a column in between has changed its sign; False where a price is not positive."""
    for j in range(new.size):
        new[j] = 0.0
    for x in range(columns.size):
        value = solved[cost.size, x]
        for k in range(cost.size):
            value -= cost[k] * solved[k, x]
        if home[x] < 0 or value * v[columns[x]] > 0.0:
            new[columns[x]] = value
    for q in range(place.size):
        price[q] = theta[q] if place[q] < 0 else cost[place[q]] / free_share
        if not price[q] > 0.0:
            return False
    return True
