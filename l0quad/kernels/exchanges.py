"""Exact exchanges with refit on a quadratic alone, down to a local optimum: no data, one column of a layer a call.

The state of a support S (k slots of d places) under 1/2 w'Qw - g'w: T = Q_SS^-1 [Q_SN, I] (k x d, the inverse in the
places of S), w = Q_SS^-1 g_S, the residuals r_n = g_n - Q_nS w, and the Schur diagonal s_n = Q_nn - Q_nS T_n, infinite
in places that may not come in. Giving up slot a costs w_a^2 / (2 e_a), e_a = T[a, S_a]; n's coming in gains
r_n^2 / (2 s_n); both at once change the objective by
w_a^2 / (2 e_a) - (r_n + T_an w_a / e_a)^2 / (2 (s_n + T_an^2 / e_a)).
"""

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import BoolArray, FloatArray, IntArray


@inlined
def _best_exchange(
    T: FloatArray,
    S: IntArray,
    w: FloatArray,
    r: FloatArray,
    s: FloatArray,
    movable: BoolArray,
    first: IntArray,
    last: IntArray,
) -> tuple[int, int, float]:
    """Return (slot, place, change) of the exchange that lowers the objective most; slot -1 where none does."""
    slot, place, best = -1, -1, 0.0
    for a in range(S.size):
        i = S[a]
        if not movable[i]:
            continue
        row, low, high = T[a], first[i], last[i]
        inverse = 1.0 / row[i]
        shift, cost = w[a] * inverse, 0.5 * w[a] * w[a] * inverse
        # A gain that beats the best change so far, twice over: num^2 > needed * den.
        needed, better = 2.0 * (cost - best), 0
        # Without a branch, so that it vectorises; the places themselves are looked at only where one is better.
        for n in range(low, high):
            num = r[n] + row[n] * shift
            better += num * num > needed * (s[n] + row[n] * row[n] * inverse)
        if better == 0:
            continue
        for n in range(low, high):
            num, den = r[n] + row[n] * shift, s[n] + row[n] * row[n] * inverse
            if num * num > needed * den:
                needed = num * num / den
                slot, place, best = a, n, cost - 0.5 * needed
    return slot, place, best


@inlined
def _take_out(T: FloatArray, S: IntArray, w: FloatArray, r: FloatArray, s: FloatArray, a: int) -> None:
    """Bring the state to S without slot a, whose row of T is left as it was."""
    i, out = S[a], T[a]
    e, wa = out[i], w[a]
    for q in range(S.size):
        if q != a:
            f, row = T[q, i] / e, T[q]
            for n in range(row.size):
                row[n] -= f * out[n]
            row[i] = -f
            w[q] -= f * wa
    for n in range(out.size):
        s[n] += out[n] * out[n] / e
        r[n] += out[n] * wa / e
    s[i], r[i] = 1.0 / e, wa / e


@inlined
def _bring_in(
    Q: FloatArray, T: FloatArray, S: IntArray, w: FloatArray, r: FloatArray, s: FloatArray, a: int, j: int
) -> None:
    """Give slot a to place j; s_j and r_j are those of S without slot a."""
    sj, row = s[j], Q[j].copy()
    for q in range(S.size):
        if q != a:
            f, other = Q[j, S[q]], T[q]
            for n in range(row.size):
                row[n] -= f * other[n]
    t = r[j] / sj
    for n in range(row.size):
        row[n] /= sj
    for q in range(S.size):
        if q != a:
            row[S[q]] = -T[q, j] / sj
    for q in range(S.size):
        if q != a:
            b, other = T[q, j], T[q]
            for n in range(row.size):
                other[n] -= b * row[n]
            other[j] = -b / sj
            w[q] -= b * t
    for n in range(row.size):
        s[n] -= row[n] * row[n] * sj
        r[n] -= row[n] * sj * t
    row[j] = 1.0 / sj
    T[a] = row
    w[a], S[a] = t, j
    s[j], r[j] = float("inf"), 0.0


@kernel
def descend(
    Q: FloatArray,
    T: FloatArray,
    S: IntArray,
    w: FloatArray,
    r: FloatArray,
    s: FloatArray,
    movable: BoolArray,
    first: IntArray,
    last: IntArray,
    most: int,
    least: float,
) -> int:
    """Exchange until no exchange lowers the objective by over ``least``; return how many were made, all state updated.

    Parameters
    ----------
    movable : ndarray of bool, shape (d,)
        The places that may be given up; those that may not come in have an infinite ``s``.
    first, last : ndarray of int, shape (d,)
        The place of slot a may go to the places ``first[S[a]]`` to ``last[S[a]] - 1``.
    """
    for made in range(most):
        slot, place, change = _best_exchange(T, S, w, r, s, movable, first, last)
        if slot < 0 or change > -least:
            return made
        _take_out(T, S, w, r, s, slot)
        _bring_in(Q, T, S, w, r, s, slot, place)
    return most
