"""Forward stepwise selection by the exact gain, and its beam."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.constraints import top_k
from l0quad.exchange import Exchange, Rows
from l0quad.problem import Problem
from l0quad.progress import Monitor
from l0quad.result import Point, Status
from l0quad.types import FloatArray


@dataclass(frozen=True, slots=True)
class Forward:
    """Add the column that lowers the refitted objective most, until the budget is used up.

    Orthogonal least squares (Chen, Billings and Luo, Int. J. Control 1989): the gain r_j^2 / (2 s_j) is exact, where
    orthogonal matching pursuit takes |r_j|. Starts from zero, or adds to the support of ``start``. A step costs a pass
    over A and O(|S| p).

    Parameters
    ----------
    width : int
        With more than 1 a beam search: the best ``width`` supports are kept at each size. Worth it where n is much
        larger than p and the noise is high.
    """

    width: int = 1
    name: ClassVar[str] = "forward"

    def __post_init__(self) -> None:
        validation.integer(self.width, "width", 1)


def forward(problem: Problem, start: Point, options: Forward, monitor: Monitor) -> tuple[Point, Status]:
    """Add columns one at a time, the best few supports side by side."""
    return grow(Exchange(problem, Rows(problem), start.support, problem.constraint.total), options, monitor)


def grow(exchange: Exchange, options: Forward, monitor: Monitor) -> tuple[Point, Status]:
    """Run the beam from what the exchange holds, which it may overwrite."""
    beam = [exchange]
    while True:
        children = _best_children(beam, options.width)
        if not children:
            break
        # The last child of a state may have its arrays; the others get copies.
        beam = [_grown(state, j, copied) for state, j, copied in children]
        if monitor.record(beam[0].snapshot()):
            break
    return beam[0].point(), Status.CONVERGED


def fill(exchange: Exchange) -> None:
    """Add columns to a support, the best one first, until the budget is used up or nothing is gained."""
    while True:
        gains = allowed_gains(exchange)
        j = int(np.argmax(gains))
        if not gains[j] > 0:
            return
        exchange.add(j)


def allowed_gains(exchange: Exchange) -> FloatArray:
    """Return what each column gains, 0 for those that the constraint has no room for."""
    constraint = exchange.problem.constraint
    room = constraint.room(exchange.support)
    return exchange.gains() * ((room > 0)[0 if constraint.part is None else constraint.part])


def _best_children(beam: list[Exchange], width: int) -> list[tuple[Exchange, int, bool]]:
    """Return (state, column to add, whether to copy) of the best different supports that are one column larger."""
    found: list[tuple[float, int, int]] = []
    for index, state in enumerate(beam):
        gains = allowed_gains(state)
        best = top_k(gains, width)
        found += [(state.objective - gains[j], index, int(j)) for j in best if gains[j] > 0]
    children: dict[frozenset[int], tuple[int, int]] = {}
    for _, index, j in sorted(found):
        children.setdefault(frozenset([*beam[index].support.tolist(), j]), (index, j))
    chosen = list(children.values())[:width]
    last = {index: place for place, (index, _) in enumerate(chosen)}
    return [(beam[index], j, last[index] != place) for place, (index, j) in enumerate(chosen)]


def _grown(state: Exchange, j: int, copied: bool) -> Exchange:
    grown = state.copy() if copied else state
    grown.add(j)
    return grown
