"""The table of methods: a new one is a file in this folder and a line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome
from l0quad.solvers.active_set import ActiveSet, active_set
from l0quad.solvers.admm import ADMM, admm
from l0quad.solvers.auto import Auto, auto, prove
from l0quad.solvers.backsolve import Backsolve, backsolve
from l0quad.solvers.block_backsolve import BlockBacksolve, block_backsolve
from l0quad.solvers.coordinate_descent import CoordinateDescent, coordinate_descent
from l0quad.solvers.exact.exact import Exact, exact
from l0quad.solvers.forward import Forward, forward
from l0quad.solvers.iht import IHT, iht
from l0quad.solvers.magnitude import Magnitude, magnitude
from l0quad.solvers.needs import Needs, Options
from l0quad.solvers.obs import OBS, obs
from l0quad.solvers.rounding import Rounding, rounding
from l0quad.solvers.swap import Swap, swap

Solver = Callable[[CoreProblem, Point, Any, Monitor], Outcome]


class Method(NamedTuple):
    """A solver with the type of its options, on which stands what it needs.

    ``prove`` goes on from the solver's answer on the problem as it is, with a bound, where a bound is asked for.
    """

    options: type[Any]
    solver: Solver
    prove: Callable[[CoreProblem, Point, Any, Monitor], Outcome | None] | None = None

    @property
    def needs(self) -> Needs:
        """What the method asks of a problem."""
        needs: Needs = self.options.needs
        return needs


METHODS: dict[str, Method] = {
    "auto": Method(Auto, auto, prove),
    "magnitude": Method(Magnitude, magnitude),
    "iht": Method(IHT, iht),
    "coordinate_descent": Method(CoordinateDescent, coordinate_descent),
    "active_set": Method(ActiveSet, active_set),
    "forward": Method(Forward, forward),
    "obs": Method(OBS, obs),
    "rounding": Method(Rounding, rounding),
    "admm": Method(ADMM, admm),
    "swap": Method(Swap, swap),
    "backsolve": Method(Backsolve, backsolve),
    "block_backsolve": Method(BlockBacksolve, block_backsolve),
    "exact": Method(Exact, exact),
}


def resolve(method: str | Options) -> tuple[Method, Options]:
    """Return the method and the options that a name or an options object stands for."""
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method: must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
        return METHODS[method], METHODS[method].options()
    for each in METHODS.values():
        if type(method) is each.options:
            return each, method
    raise TypeError(f"method: must be a name or an options object such as l0quad.IHT(), got {method!r}")
