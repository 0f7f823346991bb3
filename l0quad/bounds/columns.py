"""The all-columns bound: the least value over all w, dense ones too."""

import numpy as np

from l0quad.certificates import AllColumns, Bound
from l0quad.linalg.orthogonal import least_squares_value
from l0quad.problem.core import CoreProblem


def all_columns_bound(problem: CoreProblem) -> Bound:
    """Return ``min_w 1/2 ||A w - b||^2`` over the usable columns, lowered by its rounding error.

    Takes 4 n p min(n, p) flops and a copy of A.
    """
    usable = problem.constraint.usable
    if usable.size == 0:
        # One column more only lowers the bound.
        usable = np.arange(1)
    A = np.asarray(problem.matrix.take(usable), dtype=np.float64)
    value = least_squares_value(A, problem.b) + problem.constant
    return Bound(value, AllColumns(), "the bound is the all-columns bound, because ridge is (next to) 0")


def all_columns_flops(problem: CoreProblem) -> float:
    """Return the work of `all_columns_bound`."""
    n, p = problem.shape
    return 4.0 * n * p * min(n, p)
