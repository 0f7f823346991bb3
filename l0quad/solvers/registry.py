"""The table of methods: a new one is a file in this folder and a line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from l0quad.problem import Problem
from l0quad.progress import Monitor
from l0quad.result import Point, Status
from l0quad.solvers.active_set import ActiveSet, active_set
from l0quad.solvers.admm import ADMM, admm
from l0quad.solvers.auto import Auto, auto
from l0quad.solvers.backsolve import Backsolve, backsolve
from l0quad.solvers.block_backsolve import BlockBacksolve, block_backsolve
from l0quad.solvers.coordinate_descent import CoordinateDescent, coordinate_descent
from l0quad.solvers.forward import Forward, forward
from l0quad.solvers.iht import IHT, iht
from l0quad.solvers.magnitude import Magnitude, magnitude
from l0quad.solvers.obs import OBS, obs
from l0quad.solvers.rounding import Rounding, rounding
from l0quad.solvers.swap import Swap, swap

Solver = Callable[[Problem, Point, Any, Monitor], tuple[Point, Status]]


class Method(NamedTuple):
    """A solver with the type of its options.

    ``refit``: whether the exact solve on its support belongs to the answer. ``iterative``: whether it passes over A
    often enough for a tall problem to be reduced to p rows first. ``from_zero``: whether it starts from nothing unless
    told otherwise.
    """

    options: type
    solver: Solver
    refit: bool = True
    iterative: bool = False
    from_zero: bool = False


METHODS: dict[str, Method] = {
    "auto": Method(Auto, auto, iterative=True, from_zero=True),
    "magnitude": Method(Magnitude, magnitude),
    "iht": Method(IHT, iht, iterative=True),
    "coordinate_descent": Method(CoordinateDescent, coordinate_descent),
    "active_set": Method(ActiveSet, active_set, iterative=True),
    "forward": Method(Forward, forward, from_zero=True),
    "obs": Method(OBS, obs),
    "rounding": Method(Rounding, rounding),
    "admm": Method(ADMM, admm, iterative=True),
    "swap": Method(Swap, swap),
    "backsolve": Method(Backsolve, backsolve),
    "block_backsolve": Method(BlockBacksolve, block_backsolve, refit=False),
}


def resolve(method: object) -> tuple[Method, Any]:
    """Return the method and the options that a name or an options object stands for."""
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method: must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
        return METHODS[method], METHODS[method].options()
    for each in METHODS.values():
        if type(method) is each.options:
            return each, method
    raise TypeError(f"method: must be a name or an options object such as l0quad.IHT(), got {method!r}")
