"""Screening at the root: columns that no support as good as the best point can have.

With nu in the dual of the perspective relaxation, v = w0 - A'nu / mu and s = v^2, to force a unit in that is not among
the best raises the bound D(nu) by mu/2 times the difference of its s to the smallest one that counts (Atamturk and
Gomez, "Safe screening rules for l0-regression from perspective relaxations", ICML 2020).
"""

from typing import NamedTuple

import numpy as np

from l0quad.bounds.dual import dual_bound
from l0quad.bounds.relaxation import Relaxation
from l0quad.certificates import Bound
from l0quad.problem.constraints.base import Parts
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.types import BoolArray, FloatArray, IntArray

_MOST_STEPS = 60
# The relaxation's ascent ends where what is left of it is this share of the gap. Every so many steps it is rounded.
_ENOUGH = 1e-3
_ROUND_EVERY = 3


class Screened(NamedTuple):
    """The columns that are left, the bound of the root, the best point and a bound over supports with other columns."""

    columns: IntArray
    root: Bound
    best: Point
    excluded: float


def screens(problem: CoreProblem) -> bool:
    """Whether screening is of use: A has fewer rows than columns, and a ridge that is felt."""
    return problem.shape[0] < problem.shape[1] and not problem.ridge_is_lost and problem.proof is not None


def screened(problem: CoreProblem, columns: IntArray, best: Point, monitor: Monitor) -> Screened:
    """Ascend the relaxation of all supports, and leave out what its bounds exclude."""
    own = problem if columns.size == problem.shape[1] else problem.restrict(columns)
    parts = own.constraint.parts()
    assert parts is not None
    relaxation = Relaxation(problem, best)
    root = relaxation.bound()
    left, excluded = np.ones(columns.size, dtype=np.bool_), np.inf
    for step in range(_MOST_STEPS):
        relaxation.step(root.value)
        bound = relaxation.bound()
        if bound.value > root.value:
            root = bound
        monitor.prove(root)
        solved = relaxation.primal - root.value <= _ENOUGH * (best.objective - root.value)
        if solved or step % _ROUND_EVERY == _ROUND_EVERY - 1:
            point = problem.restricted(problem.constraint.nearest(relaxation.point()))
            best = min(best, point, key=lambda each: each.objective)
            fresh = dual_bound(problem, relaxation.nu)
            out = _excluded(problem, parts, columns, relaxation.nu, fresh, best.objective)
            if np.any(left & out):
                left &= ~out
                excluded = best.objective
        if monitor.record(best) or solved or relaxation.exhausted:
            break
    return Screened(columns[left], root, best, excluded)


def _excluded(
    problem: CoreProblem, parts: Parts, columns: IntArray, nu: FloatArray, bound: Bound, target: float
) -> BoolArray:
    """Return the columns whose units, forced in, bring the bound to the target."""
    proof = problem.proof
    assert proof is not None
    v = problem.w0 - problem.matrix.rmatvec(nu) / proof.mu
    scores = np.bincount(parts.unit, weights=v[columns] ** 2, minlength=parts.part.size)
    scores[parts.held] = np.inf
    last = np.zeros(parts.budgets.size)
    for q in range(parts.budgets.size):
        own, budget = scores[parts.part == q], int(parts.budgets[q])
        if budget == 0:
            last[q] = np.inf
        elif budget < own.size:
            last[q] = np.partition(own, own.size - budget)[own.size - budget]
    # Both bounds are rounded.
    least = bound.value - 2 * bound.allowance + 0.5 * proof.mu * (last[parts.part] - scores)
    out = ~parts.held & (scores < last[parts.part]) & (least >= target)
    return out[parts.unit]
