"""One node of the exact tree: ascent of its relaxation, screening, and the unit to branch on.

Coordinate descent on the reverse Huber form of the relaxation (Dong, Chen and Linderoth 2015; Hazimeh, Mazumder and
Saab, "Sparse regression at scale: branch-and-bound rooted in first-order optimization", Math. Program. 2022), with a
Newton step on its pattern, and screening by the bound (Atamturk and Gomez, "Safe screening rules for l0-regression
from perspective relaxations", ICML 2020).
"""

import numpy as np

from l0quad.kernels.jit import inlined, kernel
from l0quad.kernels.pattern import newton
from l0quad.kernels.relaxed import FREE, IN, OUT, bound, decide, norm, overwrite, prices, prox, relaxed_value, slopes
from l0quad.types import BoolArray, FloatArray, IntArray

PRUNED, OPEN, LEAF, UNFINISHED = 0, 1, 2, 3
# Sweeps over the active units between two looks at the bound.
_SWEEPS = 8
# A sweep that moves less than this share of the objective's size is the last one.
_STILL = 1e-18
# The ascent ends when what it could still gain is this share of what is missing: of a node that could still be pruned,
# and of one that cannot.
_NEAR, _FAR = 1e-3, 0.05
# Units with z = 1 are branched on last.
_WHOLE = 1e-3


@inlined
def _settle(starts: IntArray, state: IntArray, v: FloatArray, chosen: BoolArray) -> int:
    """Set what is out to zero, and mark what is in; return how many units are free."""
    free = 0
    for g in range(state.size):
        free += state[g] == FREE
        chosen[g] = state[g] == IN
        if state[g] == OUT:
            for j in range(starts[g], starts[g + 1]):
                v[j] = 0.0
    return free


@inlined
def _first_sweep(
    M: FloatArray,
    curve: FloatArray,
    starts: IntArray,
    first: IntArray,
    free_share: float,
    state: IntArray,
    theta: FloatArray,
    v: FloatArray,
    u: FloatArray,
    new: FloatArray,
    active: IntArray,
) -> int:
    """Minimise over one unit after the other, with u kept up to date; write the units that are then not zero, or IN."""
    m = 0
    for q in range(theta.size):
        for g in range(first[q], first[q + 1]):
            if state[g] == OUT:
                continue
            begin, end = starts[g], starts[g + 1]
            prox(curve, starts, g, state[g] == IN, free_share, theta[q], v, u, new)
            nonzero = state[g] == IN
            for j in range(begin, end):
                step = new[j - begin] - v[j]
                v[j] = new[j - begin]
                nonzero = nonzero or v[j] != 0.0
                if step != 0.0:
                    row = M[j]
                    for i in range(u.size):
                        u[i] -= step * row[i]
            if nonzero:
                active[m] = g
                m += 1
    return m


@inlined
def _sweeps(
    M: FloatArray,
    curve: FloatArray,
    starts: IntArray,
    free_share: float,
    state: IntArray,
    left: IntArray,
    part: IntArray,
    active: IntArray,
    theta: FloatArray,
    v: FloatArray,
    u: FloatArray,
    new: FloatArray,
    buffer: FloatArray,
    still: float,
) -> None:
    """Sweep over the active units; u is kept up to date on their columns only."""
    for _ in range(_SWEEPS):
        prices(starts, part, state, left, active, v, buffer, theta)
        moved = 0.0
        for g in active:
            begin, end = starts[g], starts[g + 1]
            prox(curve, starts, g, state[g] == IN, free_share, theta[part[g]], v, u, new)
            for j in range(begin, end):
                step = new[j - begin] - v[j]
                if step == 0.0:
                    continue
                v[j] = new[j - begin]
                row = M[j]
                for h in active:
                    for i in range(starts[h], starts[h + 1]):
                        u[i] -= step * row[i]
                moved = max(moved, step * step * (row[j] + 1.0))
        if moved < still:
            break
    prices(starts, part, state, left, active, v, buffer, theta)


@inlined
def _screen(
    starts: IntArray,
    first: IntArray,
    state: IntArray,
    left: IntArray,
    v: FloatArray,
    value: float,
    target: float,
    scores: FloatArray,
    last: FloatArray,
    following: FloatArray,
) -> bool:
    """Fix the units without which, or with which, the bound reaches the target."""
    fixed = False
    for q in range(left.size):
        if left[q] == 0:
            continue
        for g in range(first[q], first[q + 1]):
            if state[g] != FREE:
                continue
            if scores[g] >= last[q]:
                if value + 0.5 * (scores[g] - following[q]) >= target:
                    state[g], fixed = IN, True
            elif value + 0.5 * (last[q] - scores[g]) >= target:
                state[g], fixed = OUT, True
                for j in range(starts[g], starts[g + 1]):
                    v[j] = 0.0
    return fixed


@inlined
def _branch(
    starts: IntArray,
    first: IntArray,
    state: IntArray,
    left: IntArray,
    v: FloatArray,
    theta: FloatArray,
    scores: FloatArray,
    last: FloatArray,
    chosen: BoolArray,
) -> int:
    """Return the free unit with the largest z < 1, because its child without it is soon pruned; mark the best units."""
    branch, most = -1, -1.0
    for q in range(left.size):
        room = left[q]
        for g in range(first[q], first[q + 1]):
            chosen[g] = state[g] == IN
            if state[g] != FREE:
                continue
            if scores[g] >= last[q] and room > 0:
                chosen[g] = True
                room -= 1
            size = norm(v, starts[g], starts[g + 1])
            z = size / theta[q] if size < theta[q] else _WHOLE
            if z > most:
                branch, most = g, z
    return branch


@kernel
def ascend(
    M: FloatArray,
    y: FloatArray,
    c: FloatArray,
    pull: FloatArray,
    root: FloatArray,
    curve: FloatArray,
    starts: IntArray,
    first: IntArray,
    budgets: IntArray,
    part: IntArray,
    shares: FloatArray,
    state: IntArray,
    v: FloatArray,
    theta: FloatArray,
    target: float,
    size: float,
    rounds: int,
    chosen: BoolArray,
) -> tuple[int, float, float, int, bool, int]:
    """Ascend the relaxation of a node for at most so many rounds.

    Changes ``state`` (screening), ``v`` and ``theta``, from which it can go on. Marks in ``chosen`` the
    units of a support that the bound takes for the best.

    Parameters
    ----------
    pull : ndarray of shape (p,)
        y + Mc.
    part : ndarray of int
        The part of each unit.
    shares : ndarray of shape (3,)
        What the perspective takes of the diagonal where a unit is FREE, IN or OUT.
    target : float
        Where the bound reaches this, the node need not be looked at further.
    size : float
        The scale of the objective.

    Returns
    -------
    kind : int
        PRUNED; OPEN, with a unit to branch on; LEAF where no unit is free; UNFINISHED where the rounds did not suffice.
    bound : float
        The best one found, of a LEAF that at ``v`` if it was none before, lowered by its rounding error.
    lost : float
        That error, of the last bound.
    branch : int
    screened : bool
        Whether supports were excluded because their bound reaches the target.
    used : int
        The rounds.
    """
    # Rows of few arrays, and one call of `bound`: every way to make an array and every copy of a helper is compiled.
    by_column, by_unit = np.empty((3, y.size)), np.empty((2, part.size))
    by_part, counts = np.empty((3, budgets.size)), np.empty((2, budgets.size), np.int64)
    u, new, v2, buffer, scores = by_column[0], by_column[1], by_column[2], by_unit[0], by_unit[1]
    theta2, last, following, left, nonzero = by_part[0], by_part[1], by_part[2], counts[0], counts[1]
    active = np.empty((1, part.size), np.int64)[0]
    overwrite(theta2, theta)
    best, value, lost, screened, stale, m = -np.inf, -np.inf, 0.0, False, True, 0
    for used in range(rounds):
        if not decide(first, budgets, state, left):
            return PRUNED, np.inf, 0.0, -1, screened, used
        free, stepped = _settle(starts, state, v, chosen), False
        if free > 0:
            if stale:
                slopes(M, y, c, v, u)
            m = _first_sweep(M, curve, starts, first, shares[FREE], state, theta, v, u, new, active)
            still = _STILL * size
            _sweeps(M, curve, starts, shares[FREE], state, left, part, active[:m], theta, v, u, new, buffer, still)
            stepped = newton(M, pull, starts, first, budgets, shares[FREE], state, left, v, theta, v2, theta2)
        while True:
            if not stepped:
                overwrite(v2, v)
                overwrite(theta2, theta)
            slopes(M, y, c, v2, u)
            value, lost = bound(y, c, root, starts, first, shares, state, left, v2, u, buffer, scores, last, following)
            if not stepped or value > best:
                break
            stepped = False
        overwrite(v, v2)
        overwrite(theta, theta2)
        best = max(best, value)
        if free == 0:
            return LEAF, best, lost, -1, screened, used + 1
        if best >= target:
            return PRUNED, best, lost, -1, screened, used + 1
        if _screen(starts, first, state, left, v, value, target, scores, last, following):
            screened = stale = True
            continue
        stale = False
        primal = relaxed_value(y, c, starts, part, shares[FREE], state, left, active[:m], v, u, buffer, theta2, nonzero)
        if primal - value <= (_FAR if primal < target else _NEAR) * (target - value):
            branch = _branch(starts, first, state, left, v, theta, scores, last, chosen)
            return OPEN, best, lost, branch, screened, used + 1
    branch = _branch(starts, first, state, left, v, theta, scores, last, chosen)
    return UNFINISHED, best, lost, branch, screened, rounds
