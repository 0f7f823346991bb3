"""What comes before a relaxation: columns that depend on each other, of which some are fixed first.

Without a ridge, and with columns that depend on each other, no diagonal can be taken from the curvature. It can as
soon as so many of them are out that the rest is independent. Which of them are, is branched on.
"""

from typing import NamedTuple

import numpy as np

from l0quad.kernels.relaxed import FREE, IN, OUT
from l0quad.problem.constraints.base import Parts
from l0quad.problem.core import CoreProblem
from l0quad.solvers.exact.frame import Frame
from l0quad.solvers.exact.node import StateArray
from l0quad.solvers.exact.quadratic import Quadratic
from l0quad.types import FloatArray, IntArray

# A column depends on others where they leave this share of its square.
_DEPENDENT = 1e-10


class Undecided(NamedTuple):
    """Some supports: FREE, IN or OUT for each unit of the problem."""

    state: StateArray

    @classmethod
    def root(cls, parts: Parts) -> "Undecided":
        """Return all supports."""
        state = np.full(parts.part.size, FREE, dtype=np.int8)
        state[parts.held] = IN
        return cls(state)

    def frame(self, problem: CoreProblem, quadratic: Quadratic, parts: Parts) -> Frame | None:
        """Return the frame over the columns that are not out; None where no diagonal is proven."""
        left = self.state != OUT
        columns = np.flatnonzero(left[parts.unit])
        centre = np.zeros_like(quadratic.centre)
        centre[columns] = quadratic.centre[columns]
        if np.any(centre != quadratic.centre):
            quadratic = quadratic.about(problem, centre)
        return Frame.build(quadratic, parts, problem.mu, columns, left)

    def split(self, quadratic: Quadratic, parts: Parts) -> "list[Undecided] | None":
        """Return the supports with and without a unit that depends on others, those without last.

        None where those that are in depend on each other already, or none is found to depend on others.
        """
        unit = _dependent(quadratic.H, self.state[parts.unit], parts.unit)
        if unit < 0 or self.state[unit] == IN:
            return None
        both = self.state.copy(), self.state.copy()
        both[0][unit], both[1][unit] = IN, OUT
        within = [state for state in both if np.all(_used(state, parts) <= parts.budgets)]
        return [Undecided(_filled(state, parts)) for state in within]


def _used(state: StateArray, parts: Parts) -> IntArray:
    return np.bincount(parts.part[state == IN], minlength=parts.budgets.size)


def _filled(state: StateArray, parts: Parts) -> StateArray:
    """Take out the free units of parts that have no room left."""
    full = _used(state, parts) == parts.budgets
    state[full[parts.part] & (state == FREE)] = OUT
    return state


def _dependent(H: FloatArray, state: StateArray, unit: IntArray) -> int:
    """Return the unit of the first column that depends on those before it, -1 if none; those that are in come first."""
    columns = np.concatenate([np.flatnonzero(state == IN), np.flatnonzero(state == FREE)])
    left = H[np.ix_(columns, columns)]
    left = np.tril(left) + np.tril(left, -1).T
    squares = left.diagonal().copy()
    for i in range(columns.size):
        if not left[i, i] > _DEPENDENT * squares[i]:
            return int(unit[columns[i]])
        row = left[i, i:] / left[i, i]
        left[i:, i:] -= np.outer(left[i:, i], row)
    return -1
