"""The bound that costs nothing: the ridge term alone."""

import math

import numpy as np

from l0quad.certificates import Bound, Trivial
from l0quad.linalg.rounding import down
from l0quad.problem.core import CoreProblem, GramCore

_EPS = float(np.finfo(np.float64).eps)
_BASIS = "the bound is the trivial one"


def trivial_bound(problem: CoreProblem) -> Bound:
    """Return the bound from the ridge term alone: w differs from w0 at least outside of the best support."""
    if problem.constraint.total == 0:
        # w = 0 is the only point.
        sizes = abs(problem.objective_at_zero) + (0.0 if isinstance(problem, GramCore) else abs(problem.constant))
        allowance = (2 * (problem.b.size + problem.w0.size) + 8) * _EPS * sizes
        allowance += 2 * problem.slack * float(np.linalg.norm(problem.w0))
        lowest = down(problem.objective_at_zero - allowance) if allowance else 0.0
        return Bound(lowest, Trivial(), "w = 0 is the only point within the budget", allowance)
    proof = problem.proof
    if proof is None:
        return Bound(-math.inf, Trivial(), "H is singular up to rounding and ridge is (next to) 0")
    outside = problem.w0.copy()
    outside[problem.constraint.select(problem.w0**2)] = 0.0
    value = 0.5 * proof.mu * float(outside @ outside)
    allowance = (2 * outside.size + 8) * _EPS * (value + abs(proof.constant)) + proof.loss
    lowest = proof.constant if value == 0 == proof.loss else down(value - allowance + proof.constant)
    return Bound(lowest, Trivial(), "the bound is the trivial one", allowance)
