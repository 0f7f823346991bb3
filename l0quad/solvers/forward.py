"""Forward stepwise selection by the exact gain, and its beam."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.problem.constraints.ranking import top_k
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.group_moves import tableau_of
from l0quad.solvers.needs import Needs
from l0quad.solvers.tableau import Tableau


@dataclass(frozen=True, slots=True)
class Forward:
    """Add the column, or group, that lowers the refitted objective most, until the budget is used up.

    Orthogonal least squares (Chen, Billings and Luo, Int. J. Control 1989): the gain r_j^2 / (2 s_j) is exact, where
    orthogonal matching pursuit takes |r_j|. Starts from zero, or adds to the support of ``start``. A step costs a pass
    over A and O(|S| p).

    Parameters
    ----------
    width : int
        With more than 1 a beam search: the best ``width`` supports are kept at each size. Worth it where n is much
        larger than p and the noise is high.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2, method=l0quad.Forward(width=3)).support
    array([2, 5])
    """

    width: int = 1
    name: ClassVar[str] = "forward"
    needs: ClassVar[Needs] = Needs(in_memory=True, most_entries=1 << 27, from_zero=True, solves_start=True)

    def __post_init__(self) -> None:
        validation.integer(self.width, "width", 1)


def forward(problem: CoreProblem, start: Point, options: Forward, monitor: Monitor) -> Outcome:
    """Add columns one at a time, the best few supports side by side."""
    grown = grow(tableau_of(problem, problem.constraint.closed(start.support)), options, monitor)
    if start.support.size == 0:
        return grown
    # A tableau leaves out columns of the start that nearly depend on the others.
    return Outcome(min(grown.point, problem.optimised(start), key=lambda each: each.objective), grown.status)


def grow(tableau: Tableau, options: Forward, monitor: Monitor) -> Outcome:
    """Run the beam from what the tableau holds, which it may overwrite."""
    beam = [tableau]
    if tableau.size and monitor.record(tableau.snapshot()):
        return Outcome(tableau.point(), Status.CONVERGED)
    while True:
        children = _best_children(beam, options.width)
        if not children:
            break
        # The last child of a state may have its arrays; the others get copies.
        beam = [_grown(state, j, copied) for state, j, copied in children]
        if monitor.record(beam[0].snapshot()):
            break
    return Outcome(beam[0].point(), Status.CONVERGED)


def fill(tableau: Tableau) -> None:
    """Add columns (or groups) to a support, the best one first, until the budget is used up or nothing is gained."""
    while tableau.size < tableau.total:
        gains = tableau.allowed_gains()
        move = int(np.argmax(gains)) if gains.size else -1
        if move < 0 or not gains[move] > 0 or not tableau.join(move):
            return


def _best_children(beam: list[Tableau], width: int) -> list[tuple[Tableau, int, bool]]:
    """Return (state, column to add, whether to copy) of the best different supports that are one column larger."""
    found: list[tuple[float, int, int]] = []
    for index, state in enumerate(beam):
        gains = state.allowed_gains()
        best = top_k(gains, width)
        found += [(state.objective - gains[j], index, int(j)) for j in best if gains[j] > 0]
    children: dict[frozenset[int], tuple[int, int]] = {}
    for _, index, j in sorted(found):
        children.setdefault(beam[index].with_move(j), (index, j))
    chosen = list(children.values())[:width]
    last = {index: place for place, (index, _) in enumerate(chosen)}
    return [(beam[index], j, last[index] != place) for place, (index, j) in enumerate(chosen)]


def _grown(state: Tableau, j: int, copied: bool) -> Tableau:
    grown = state.copy() if copied else state
    grown.join(j)
    return grown
