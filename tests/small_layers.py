"""Small layers, every kind of budget for them, and their optima by brute force."""

import itertools
from typing import Any

import numpy as np

from l0quad import NofM, PerColumn, SharedSupport

D, M = 6, 3


def gram(d=D, seed=0, n=40):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    return X.T @ X / n


def weights(d=D, m=M, seed=1):
    return np.random.default_rng(seed).standard_normal((d, m))


def least_of_support(Q, w0, support):
    """The least 1/2 (w - w0)'Q(w - w0) over w on a support."""
    rest = np.setdiff1d(np.arange(w0.size), support)
    if not rest.size:
        return 0.0
    # The value of the Schur complement at what is given up.
    return 0.5 * w0[rest] @ np.linalg.solve(np.linalg.inv(Q)[np.ix_(rest, rest)], w0[rest])


def curve(Q, w0, allowed):
    return {S: least_of_support(Q, w0, list(S)) for S in allowed}


def supports(d, k):
    return list(itertools.combinations(range(d), k))


def brute_force(Q, W0, k, must=None, never=None):
    """The optimum over every support that the budget allows, with what must stay and without what must not."""
    d, m = W0.shape
    must, never = (np.zeros((d, m), dtype=bool) if each is None else each for each in (must, never))
    if isinstance(k, SharedSupport):
        kept, zero = set(np.flatnonzero(must.any(axis=1))), set(np.flatnonzero(never.all(axis=1)))
        allowed = [S for S in supports(d, k.k) if kept <= set(S) and not zero & set(S)]
        return min(sum(least_of_support(Q, w, list(S)) for w in W0.T) for S in allowed)

    def least(j, allowed):
        kept, zero = set(np.flatnonzero(must[:, j])), set(np.flatnonzero(never[:, j]))
        return min(
            curve(Q, W0[:, j], [S for S in allowed if kept <= set(S) and not zero & set(S)]).values(), default=np.inf
        )

    if isinstance(k, PerColumn):
        return sum(least(j, supports(d, size)) for j, size in enumerate(np.broadcast_to(k.k, m)))
    if isinstance(k, NofM):
        groups = [range(i, min(i + k.m, d)) for i in range(0, d, k.m)]
        parts = [
            list(itertools.chain(*(itertools.combinations(group, size) for size in range(k.n + 1)))) for group in groups
        ]
        allowed = [tuple(itertools.chain(*each)) for each in itertools.product(*parts)]
        return sum(least(j, allowed) for j in range(m))
    best = [[least(j, supports(d, size)) for size in range(d + 1)] for j in range(m)]
    return min(
        sum(best[j][size] for j, size in enumerate(sizes))
        for sizes in itertools.product(range(d + 1), repeat=m)
        if sum(sizes) == k
    )


BUDGETS: dict[str, Any] = {
    "layer": 8,
    "columns": PerColumn(2),
    "each its own": PerColumn([1, 4, 2]),
    "1 of 2": NofM(1, 2),
    "2 of 4, the last group short": NofM(2, 4),
    "shared": SharedSupport(3),
}
