"""A larger share of the diagonal for the perspective of a node, proven.

Where units are fixed, H gives up more. What is out leaves a smaller matrix. What is in needs no perspective, so that
next to nothing is taken from its diagonal, and what the free units can give is the least eigenvalue of a Schur
complement: that of M + I, in the frame's scale. The proof: Rump, "Verification of positive definiteness", BIT Numer.
Math. 46 (2006), as in `l0quad.linalg.semidefinite`; here the factorization is by outer products, because its loops
vectorise.
"""

import numpy as np

from l0quad.kernels.jit import inlined, kernel
from l0quad.kernels.products import dot
from l0quad.kernels.relaxed import FREE, IN
from l0quad.types import FloatArray, IntArray

# What is still taken from the diagonal of columns that are in: their u^2 is divided by it.
_INSIDE = 2.0**-8
# Steps of inverse iteration towards the least eigenvalue, and how much of it is given away until the proof succeeds.
_STEPS = 16
_BACK = (0.01, 0.1)
_UNIT = 2.0**-53
_SLACK = 1.0 + 2.0**-40


@inlined
def _columns(starts: IntArray, state: IntArray, which: int, columns: IntArray, m: int) -> int:
    for g in range(state.size):
        if state[g] == which:
            for j in range(starts[g], starts[g + 1]):
                columns[m] = j
                m += 1
    return m


@inlined
def _eliminate(G: FloatArray, begin: int, end: int) -> bool:
    """Write the rows ``begin:end`` of the factor R of G = R'R, and take R'R from what follows, four rows at once."""
    m = G.shape[0]
    for first in range(begin, end, 4):
        last = min(first + 4, end)
        for k in range(first, last):
            row = G[k]
            if not row[k] > 0.0:
                return False
            pivot = np.sqrt(row[k])
            for i in range(k, m):
                row[i] /= pivot
            for j in range(k + 1, last):
                _subtract(G[j], row[j], row, j)
        if last < first + 4:
            for k in range(first, last):
                for j in range(last, m):
                    _subtract(G[j], G[k, j], G[k], j)
            continue
        r0, r1, r2, r3 = G[first], G[first + 1], G[first + 2], G[first + 3]
        for j in range(last, m):
            row, a0, a1, a2, a3 = G[j], r0[j], r1[j], r2[j], r3[j]
            for i in range(j, m):
                row[i] -= (a0 * r0[i] + a1 * r1[i]) + (a2 * r2[i] + a3 * r3[i])
    return True


@inlined
def _subtract(x: FloatArray, times: float, y: FloatArray, begin: int) -> None:
    for i in range(begin, x.size):
        x[i] -= times * y[i]


@inlined
def _least_eigenvalue(R: FloatArray, begin: int) -> float:
    """Return an estimate of the least eigenvalue of R'R, R from row and column ``begin`` on, and no less."""
    m, largest = R.shape[0], 0.0
    x = np.empty(m)
    for i in range(begin, m):
        x[i] = np.cos(1.0 + i)
    for step in range(_STEPS):
        length = 0.0
        for i in range(begin, m):
            length += x[i] * x[i]
        length = np.sqrt(length)
        for i in range(begin, m):
            x[i] /= length
        for k in range(begin, m):
            row = R[k]
            x[k] /= row[k]
            times = x[k]
            for i in range(k + 1, m):
                x[i] -= times * row[i]
        largest = 0.0
        for i in range(begin, m):
            largest += x[i] * x[i]
        if step < _STEPS - 1:
            for k in range(m - 1, begin - 1, -1):
                row = R[k]
                x[k] = (x[k] - dot(row[k + 1 :], x[k + 1 :])) / row[k]
    return 1.0 / largest


@kernel
def lifted(M: FloatArray, starts: IntArray, state: IntArray, shares: FloatArray) -> bool:
    """Raise the shares of a node where that is proven; return whether they are.

    Some m^3/2 + 16 m^2 multiplications, m the columns that are not out.

    Parameters
    ----------
    M : ndarray of shape (p, p)
    starts, state : ndarray
        As in `l0quad.kernels.relaxed`.
    shares : ndarray of shape (3,)
        On the columns that are IN and FREE, M + diag(1 - shares) is semidefinite, before and after.
    """
    columns = np.empty(M.shape[0], np.int64)
    inside = _columns(starts, state, IN, columns, 0)
    m = _columns(starts, state, FREE, columns, inside)
    if inside == m:
        return False
    G = np.empty((m, m))
    # Bounds what the factorization and the rounding of the diagonal may do, as a share of the diagonal.
    error = 2.0 * _SLACK * (m * (m + 8) + 16) * _UNIT
    for x in range(m):
        row = M[columns[x]]
        for i in range(x, m):
            G[x, i] = row[columns[i]]
        G[x, x] = G[x, x] + (1.0 - error * (G[x, x] + 1.0)) - (_INSIDE if x < inside else 0.0)
    if not _eliminate(G, 0, inside):
        return False
    R, least, share = np.empty((m, m)), 0.0, 0.0
    for trial in range(len(_BACK) + 1):
        if trial > 0:
            share = (1.0 - _BACK[trial - 1]) * least
            if not share > shares[FREE]:
                return False
        for x in range(inside, m):
            for i in range(x, m):
                R[x, i] = G[x, i]
            R[x, x] -= share
        if not _eliminate(R, inside, m):
            continue
        if trial > 0:
            shares[FREE], shares[IN] = share, _INSIDE
            return True
        least = _least_eigenvalue(R, inside)
    return False
