"""The bound that costs nothing: the ridge term alone."""

import numpy as np

from l0quad.certificates import Bound, Trivial
from l0quad.problem.core import CoreProblem

_EPS = float(np.finfo(np.float64).eps)
_BASIS = "the bound is the trivial one"


def trivial_bound(problem: CoreProblem) -> Bound:
    """Return the bound from the ridge term alone: w differs from w0 at least outside of the best support."""
    if not problem.w0.any():
        return Bound(problem.constant, Trivial(), _BASIS)
    outside = problem.w0.copy()
    outside[problem.constraint.select(problem.w0**2)] = 0.0
    value = 0.5 * problem.mu * float(outside @ outside) * (1 - 2 * outside.size * _EPS)
    return Bound(value + problem.constant, Trivial(), _BASIS)
