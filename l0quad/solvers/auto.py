"""The default: hard-thresholding pursuit, then the active set from where it ends."""

from dataclasses import dataclass
from typing import ClassVar

from l0quad.problem import Problem
from l0quad.progress import Monitor
from l0quad.result import Point, Status
from l0quad.solvers.active_set import ActiveSet, active_set
from l0quad.solvers.iht import IHT, iht


@dataclass(frozen=True, slots=True)
class Auto:
    """Hard-thresholding pursuit (`IHT` with ``refit=True``), then `ActiveSet`; never above the refit of its start."""

    name: ClassVar[str] = "auto"


def auto(problem: Problem, start: Point, options: Auto, monitor: Monitor) -> tuple[Point, Status]:
    """Run both, the second from where the first ends."""
    point, status = iht(problem, start, IHT(refit=True), monitor)
    if monitor.expired():
        return point, status
    return active_set(problem, point, ActiveSet(), monitor)
