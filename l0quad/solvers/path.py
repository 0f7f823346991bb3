"""The points of a whole path: every budget from one tableau, down, up and down again.

A column more or less and a few exchanges lead from the best support of one size to a good one of the next; where that
is better than what was known for this size, it is kept. Source of the walk in both directions: Hazimeh and Mazumder,
"Fast best subset selection: coordinate descent and local combinatorial optimization algorithms", Oper. Res. 2020,
section 5; here changes are exact after refit.
"""

from collections.abc import Iterator

import numpy as np

from l0quad.problem.core import CoreProblem
from l0quad.run.monitor import Monitor
from l0quad.solvers.settle import threshold
from l0quad.solvers.swap import descend, table_fits
from l0quad.solvers.tableau import Tableau
from l0quad.types import IntArray

_SWAPS = 1000


def walks(problem: CoreProblem) -> bool:
    """Whether one tableau serves all budgets: one budget of single columns, whose table of swaps fits."""
    constraint = problem.constraint
    return constraint.units is None and constraint.exchanges(constraint.must).part.size == 0 and table_fits(problem)


class Path:
    """The best support known for each number of columns from ``least`` to the problem's budget.

    Attributes
    ----------
    supports : dict
        For each number of columns a sorted support with at most so many; all that have been reached.
    """

    supports: dict[int, IntArray]

    def __init__(self, problem: CoreProblem, start: IntArray, least: int, monitor: Monitor) -> None:
        self._tableau = Tableau(problem, problem.constraint.closed(start))
        self._most = problem.constraint.total
        self._least = max(least, problem.constraint.must.size)
        self._monitor = monitor
        self._objectives: dict[int, float] = {}
        self.supports = {}

    def search(self, near: bool = False) -> None:
        """Walk down, up and down again; down and up from the end of a ``near`` path; up and down from nothing."""
        passes = (self._down, self._up) if near else (self._down, self._up, self._down)
        for passed in passes if self._tableau.size > self._least else (self._up, self._down):
            for k in passed():
                if self._descend(k):
                    return

    def _down(self) -> Iterator[int]:
        yield self._most
        for k in range(self._most - 1, self._least - 1, -1):
            self._remove_cheapest(k)
            yield k

    def _up(self) -> Iterator[int]:
        yield from range(self._least, self._most + 1)

    def _remove_cheapest(self, k: int) -> None:
        tableau = self._tableau
        while tableau.size > k:
            slots = tableau.removable()
            tableau.remove(int(slots[np.argmin(tableau.w[slots] ** 2 / tableau.e[slots])]))

    def _descend(self, k: int) -> bool:
        """Add up to k columns, exchange until nothing is gained, and keep or take up the better; True at a limit."""
        tableau = self._tableau
        tableau.total = k
        descend(tableau, _SWAPS, self._monitor)
        known = self._objectives.get(k)
        if known is None or tableau.objective < known - threshold(tableau.problem, known):
            self._objectives[k], self.supports[k] = tableau.objective, tableau.support
        elif known < tableau.objective - threshold(tableau.problem, known):
            tableau.reset(self.supports[k])
        return self._monitor.expired()
