"""The relaxation of one node of the exact tree: its lower bound, and the steps of its ascent.

In the variables of `l0quad.solvers.exact.frame` the problem is to minimise
``1/2 (v - c)'M(v - c) + 1/2 ||v||^2 - y'v``, M positive semidefinite, over v that are zero outside of a few units
(columns, or groups of them). Units are FREE, IN (any value, at no further price) or OUT (zero). With u = y - M(v - c),
for every v

    L(v) = -1/2 (v + c)'(y - u) - 1/2 sum over IN of ||u_g||^2 - 1/2 T,

T the largest sum of ||u_g||^2 over an allowed choice of free units, is a lower bound over the node. Its maximum is the
perspective relaxation, whose minimiser has z_g = min(1, ||v_g|| / theta), theta the price of a unit in its part.

A node may know of larger shares s of the diagonal that the perspective can take in place of 1, with M + diag(1 - s)
still semidefinite on its columns (`l0quad.kernels.lift`): ``shares[FREE]`` and ``shares[IN]``. Then u + (s - 1) v takes
the place of u, its square is divided by s, and ``1/2 sum (s - 1) v^2`` is added; theta keeps its meaning.

What does not change from node to node: M (p x p), y and c; ``root``, the square roots of M's diagonal, rounded up;
``curve``, for each unit the largest eigenvalue of its block of M. Unit g has the columns ``starts[g]:starts[g + 1]``,
part q the units ``first[q]:first[q + 1]``, of which ``budgets[q]`` may be in.
"""

import numpy as np

from l0quad.kernels.jit import inlined
from l0quad.kernels.perspective import threshold
from l0quad.kernels.selection import largest
from l0quad.types import FloatArray, IntArray

FREE, IN, OUT = 0, 1, 2
_UNIT = 2.0**-53
# A price at which the budget is not used up is lowered by this factor.
_CHEAPER = 0.8
_LEAST_PRICE = 1e-300


@inlined
def overwrite(x: FloatArray, y: FloatArray) -> None:
    """Write y to x: a loop, because numba takes seconds to compile the assignment of an array."""
    for i in range(x.size):
        x[i] = y[i]


@inlined
def norm(v: FloatArray, begin: int, end: int) -> float:
    """Return the Euclidean norm of ``v[begin:end]``; no slice, because making one takes longer than the sum."""
    if end - begin == 1:
        return abs(v[begin])
    total = 0.0
    for i in range(begin, end):
        total += v[i] * v[i]
    return np.sqrt(total)


@inlined
def decide(first: IntArray, budgets: IntArray, state: IntArray, left: IntArray) -> bool:
    """Fix the units that the budgets leave no choice for, and write what is left; False where a part has too many."""
    for q in range(budgets.size):
        free, inside = 0, 0
        for g in range(first[q], first[q + 1]):
            free += state[g] == FREE
            inside += state[g] == IN
        left[q] = budgets[q] - inside
        if left[q] < 0:
            return False
        if free > left[q] > 0:
            continue
        for g in range(first[q], first[q + 1]):
            if state[g] == FREE:
                state[g] = OUT if left[q] == 0 else IN
        left[q] = 0
    return True


@inlined
def slopes(M: FloatArray, y: FloatArray, c: FloatArray, v: FloatArray, u: FloatArray) -> None:
    """Write u = y - M(v - c)."""
    overwrite(u, y)
    for i in range(v.size):
        away = v[i] - c[i]
        if away != 0.0:
            row = M[i]
            for j in range(u.size):
                u[j] -= away * row[j]


@inlined
def prox(
    curve: FloatArray,
    starts: IntArray,
    g: int,
    fixed: bool,
    free_share: float,
    theta: float,
    v: FloatArray,
    u: FloatArray,
    new: FloatArray,
) -> None:
    """Write the minimiser over unit g, its block of M replaced by ``curve[g]`` times the identity."""
    begin, width, bend = starts[g], starts[g + 1] - starts[g], curve[g]
    for i in range(width):
        new[i] = bend * v[begin + i] + u[begin + i]
    size = norm(new, 0, width)
    shrink = 1.0 / (bend + 1.0)
    if not fixed:
        bend, pull = max(bend + (1.0 - free_share), 0.0), free_share * theta
        if size <= pull:
            shrink = 0.0
        elif (size - pull) / bend <= theta:
            shrink = (size - pull) / bend / size
    for i in range(width):
        new[i] *= shrink


@inlined
def prices(
    starts: IntArray,
    part: IntArray,
    state: IntArray,
    left: IntArray,
    active: IntArray,
    v: FloatArray,
    buffer: FloatArray,
    theta: FloatArray,
) -> None:
    """Write the theta of each part at which the z of its free units add up to what is left of its budget.

    Units that are not active, which are in the order of the parts, are zero.
    """
    place = 0
    for q in range(left.size):
        m = 0
        while place < active.size and part[active[place]] == q:
            g = active[place]
            if state[g] == FREE:
                size = norm(v, starts[g], starts[g + 1])
                if size > 0.0:
                    buffer[m] = size
                    m += 1
            place += 1
        if m > left[q] > 0:
            theta[q] = threshold(buffer[:m], 0.0, left[q])
        elif left[q] > 0:
            theta[q] = max(_CHEAPER * theta[q], _LEAST_PRICE)


@inlined
def largest_sum(scores: FloatArray, budget: int) -> tuple[float, float, float]:
    """Return the sum of the ``budget`` largest of more than that many scores, the last of them and the next one.

    Reorders the scores.
    """
    last = largest(scores, budget)
    total, above, following, reached = 0.0, 0, 0.0, 0
    for i in range(scores.size):
        if scores[i] > last:
            total += scores[i]
            above += 1
        elif scores[i] < last:
            following = max(following, scores[i])
        else:
            reached += 1
    return total + (budget - above) * last, last, last if above + reached > budget else following


@inlined
def bound(
    y: FloatArray,
    c: FloatArray,
    root: FloatArray,
    starts: IntArray,
    first: IntArray,
    shares: FloatArray,
    state: IntArray,
    left: IntArray,
    v: FloatArray,
    u: FloatArray,
    buffer: FloatArray,
    scores: FloatArray,
    last: FloatArray,
    following: FloatArray,
) -> tuple[float, float]:
    """Return L(v), lowered by a bound on its rounding error, and that bound; u is fresh from `slopes`.

    Entry j of u is off by at most ``gamma(m + 2) (|y_j| + sum_i |v_i - c_i| |M_ij|)`` for m nonzeros, and ``|M_ij|``
    is at most ``root_i root_j``. ``scores`` are what T is of, raised by that; of each part, ``last`` is the
    smallest of those that count in T, ``following`` the largest of the others.
    """
    nonzeros, length = 0, 0.0
    for i in range(v.size):
        nonzeros += v[i] != c[i]
        length += abs(v[i] - c[i]) * root[i]
    rounding = 2.0 * (nonzeros + 8) * _UNIT
    pull, size, off, total = 0.0, 0.0, 0.0, 0.0
    for j in range(v.size):
        both = v[j] + c[j]
        if both != 0.0:
            pull += both * (y[j] - u[j])
            size += abs(both) * (abs(y[j]) + abs(u[j]))
            off += abs(both) * rounding * (abs(y[j]) + root[j] * length)
    for q in range(left.size):
        m = 0
        for g in range(first[q], first[q + 1]):
            if state[g] == OUT:
                continue
            score, more = 0.0, shares[state[g]] - 1.0
            for j in range(starts[g], starts[g + 1]):
                error = rounding * (abs(y[j]) + root[j] * length)
                own = more * v[j]
                raised = abs(u[j] + own) + error + 4.0 * _UNIT * (abs(u[j]) + abs(own))
                score += raised * raised
                pull -= own * v[j]
                size += abs(own * v[j])
            score /= shares[state[g]]
            if state[g] == IN:
                total += score
            else:
                scores[g] = score
                buffer[m] = score
                m += 1
        if left[q] > 0:
            most, last[q], following[q] = largest_sum(buffer[:m], left[q])
            total += most
    lost = 0.5 * off + (3 * v.size + 24) * _UNIT * (size + total)
    return -0.5 * (pull + total) - lost, lost


@inlined
def relaxed_value(
    y: FloatArray,
    c: FloatArray,
    starts: IntArray,
    part: IntArray,
    free_share: float,
    state: IntArray,
    left: IntArray,
    active: IntArray,
    v: FloatArray,
    u: FloatArray,
    buffer: FloatArray,
    theta: FloatArray,
    nonzero: IntArray,
) -> float:
    """Return the least value of the relaxation over z at this v; u is fresh. Changes ``theta`` and ``nonzero``."""
    value = 0.0
    prices(starts, part, state, left, active, v, buffer, theta)
    for q in range(left.size):
        nonzero[q] = 0
    for g in active:
        nonzero[part[g]] += state[g] == FREE and norm(v, starts[g], starts[g + 1]) > 0.0
    for g in active:
        size, q = norm(v, starts[g], starts[g + 1]), part[g]
        crowded = state[g] == FREE and nonzero[q] > left[q]
        value += 0.5 * size * (size + free_share * (max(size, theta[q]) - size) if crowded else size)
    for j in range(v.size):
        if v[j] != 0.0 or c[j] != 0.0:
            value -= 0.5 * (v[j] * (y[j] + u[j]) + c[j] * (y[j] - u[j]))
    return value
