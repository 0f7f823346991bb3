"""What a feasible point of a small problem attains, exactly: no lower bound may be above it."""

import math
import weakref

import numpy as np
import reference
from rational import Exact

import l0quad

_MOST_SUPPORTS = 300
_MOST_ENTRIES = 600
_KNOWN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def attained(problem):
    """The exact objective of the best point on a largest support, solved in float64; None for larger problems, and for
    layers, which have tests by brute force of their own.
    """
    if not isinstance(problem, l0quad.Problem):
        return None
    if problem not in _KNOWN:
        _KNOWN[problem] = _attained(problem)
    return _KNOWN[problem]


def _attained(problem):
    n, p = problem.shape
    gram = problem._gram
    if n * p > _MOST_ENTRIES or (gram is not None and problem.linear is not None):
        return None
    if _count(problem.k, p) > _MOST_SUPPORTS:
        return None
    if gram is None:
        A = np.asarray(problem.matrix.take(np.arange(p)), dtype=np.float64)
        exact = Exact.of(A, problem.b, problem.k, problem.ridge, problem.w0, problem.linear)
    else:
        exact = Exact.of_gram(problem.matrix.H, gram.g, problem.k, gram.const, problem.ridge, problem.w0)
    H, g = (np.array(each, dtype=object) for each in (exact.H, exact.g))
    with np.errstate(all="ignore"):
        try:
            H, g = H.astype(np.float64), g.astype(np.float64)
        except OverflowError:
            return None
        best, least = np.zeros(p), 0.0
        for support in reference.largest_supports(problem.k, p):
            w = np.zeros(p)
            try:
                w[support] = np.linalg.lstsq(H[np.ix_(support, support)], g[support], rcond=1e-13)[0]
            except (np.linalg.LinAlgError, ValueError):
                continue
            value = 0.5 * w @ H @ w - g @ w
            if np.all(np.isfinite(w)) and value < least:
                best, least = w, value
    return exact.objective(best)


def _count(k, p):
    """How many largest supports there are."""
    if reference.is_groups(k):
        held, others = reference.groups(k)
        return math.comb(len(others), min(k.k - len(held), len(others)))
    must, never = reference.fixed(k)
    count = 1
    for columns, budget in reference.parts(k, p):
        free, held = np.setdiff1d(columns, must + never).size, np.intersect1d(columns, must).size
        count *= math.comb(free, min(budget - held, free))
    return count
