"""The default: what the shape of the problem calls for, the best point of all parts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.bounds import ridge_is_lost
from l0quad.exchange import Exchange, Rows
from l0quad.linalg import independent_columns
from l0quad.problem import Problem
from l0quad.progress import Monitor
from l0quad.result import Point, Status
from l0quad.solvers.forward import Forward, grow
from l0quad.solvers.iht import IHT, iht
from l0quad.solvers.magnitude import largest_entries
from l0quad.solvers.obs import OBS, obs
from l0quad.solvers.rounding import Rounding, rounding
from l0quad.solvers.swap import Swap, descend, kicked, swap, table_fits

_SWAPS = 1000
# An objective this far below that of w = 0 is zero: nothing is left to find.
_ZERO = 1e-18
# What a kick costs beside its arithmetic, in flops.
_KICK_OVERHEAD = 5e6
# Rounding may take as many steps as this many flops pay for, where that is more than the effort's own number.
_ROUNDING_FLOPS = 2e9
_MOST_STEPS = 40
# Elimination and rounding as starts cost n x n factorizations.
_MOST_ROWS = 4096


@dataclass(frozen=True, slots=True)
class _Effort:
    """How much work the parts may do: counted, not timed, so that answers do not depend on the machine."""

    table_flops: float
    forward_flops: float
    width: int
    elimination_columns: int
    kicks: int
    kick_flops: float
    basis_flops: float
    rounding_steps: int
    proven: float
    batches: int


_EFFORTS = {
    "fast": _Effort(1e8, 5e8, 1, 100, 10, 5e7, 5e8, 12, 1e-3, 0),
    "thorough": _Effort(1e9, 1e11, 8, 4096, 100, 1e10, 1e11, 40, 0.0, 5),
}


@dataclass(frozen=True, slots=True)
class Auto:
    """Choose by shape; return the best point that any part visited.

    Where the table of swaps fits: hard-thresholding pursuit from zero, forward selection and, where the sizes allow it,
    backward elimination and rounding, each followed by exact swaps; then kicks. Else, as in pruning: `Rounding` of the
    relaxation, then batches of swaps; without a ridge, pursuit. Never above the refit of its start.

    Parameters
    ----------
    effort : {"fast", "thorough"}
        How much work; counted, not timed. Where it rounds the relaxation, "fast" also ends once its answer is proven
        to lie within 0.1 % of the optimum.
    """

    effort: str = "fast"
    name: ClassVar[str] = "auto"

    def __post_init__(self) -> None:
        validation.choice(self.effort, "effort", tuple(_EFFORTS))


def auto(problem: Problem, start: Point, options: Auto, monitor: Monitor) -> tuple[Point, Status]:
    """Run the parts that suit the problem, the better ones first."""
    effort = _EFFORTS[options.effort]
    # Descent over the table takes some k swaps of O(kp).
    if table_fits(problem) and problem.shape[1] * float(problem.constraint.total) ** 2 <= effort.table_flops:
        return _small(problem, start, effort, monitor)
    return _large(problem, start, effort, monitor)


def _small(problem: Problem, start: Point, effort: _Effort, monitor: Monitor) -> tuple[Point, Status]:
    """Descend over exact swaps from several starts, then from kicks of the best end."""
    exchange = Exchange(problem, Rows(problem), np.empty(0, dtype=np.int64), problem.constraint.total)
    best, status = problem.refit(start.support), Status.CONVERGED
    seen: set[bytes] = set()
    for begin in _starts(problem, exchange, start, effort, monitor):
        if begin.support.tobytes() not in seen and not monitor.expired():
            exchange.reset(begin.support)
            ended = descend(exchange, _SWAPS, monitor)
            if exchange.objective < best.objective and (point := exchange.point()).objective < best.objective:
                best, status = point, ended
            seen |= {begin.support.tobytes(), best.support.tobytes()}
        # Asked before the next start is computed.
        if monitor.expired() or best.objective - problem.constant <= _ZERO * problem.objective_at_zero:
            return best, status
    # A kick brings in some three new columns, a pass over A each, and updates the table some ten times.
    flops = _KICK_OVERHEAD + problem.shape[1] * (6.0 * problem.shape[0] + 40.0 * problem.constraint.total)
    kicks = min(effort.kicks, int(effort.kick_flops / flops))
    return kicked(exchange, best, status, kicks, _SWAPS, monitor)


def _starts(problem: Problem, exchange: Exchange, start: Point, effort: _Effort, monitor: Monitor) -> Iterator[Point]:
    """Yield where to descend from, each computed when its turn comes; ``exchange`` may be overwritten meanwhile."""
    n, p = problem.shape
    if start.support.size:
        yield start
    empty = problem.evaluate(np.empty(0, dtype=np.int64), np.empty(0))
    yield iht(problem, empty, IHT(refit=True), monitor)[0]
    if float(n) * p * problem.constraint.total <= effort.forward_flops:
        exchange.reset(empty.support)
        yield grow(exchange, Forward(effort.width), monitor)[0]
    if p <= effort.elimination_columns and n <= _MOST_ROWS and not ridge_is_lost(problem):
        yield obs(problem, empty, OBS(), monitor)[0]
        yield rounding(problem, empty, Rounding(effort.rounding_steps), monitor)[0]


def _basis(problem: Problem, effort: _Effort) -> Point | None:
    """Return the best point on independent columns that span all of them, where the budgets have room for these.

    Without a ridge it attains the all-columns bound, so it is optimal.
    """
    n, p = problem.shape
    if not ridge_is_lost(problem) or 4.0 * n * p * min(n, p) > effort.basis_flops:
        return None
    columns = independent_columns(problem.matrix.take_dense(np.arange(p)))
    return problem.refit(columns) if np.all(problem.constraint.room(columns) >= 0) else None


def _large(problem: Problem, start: Point, effort: _Effort, monitor: Monitor) -> tuple[Point, Status]:
    """Round the relaxation, then exchange in batches."""
    begin = start if start.support.size else largest_entries(problem)
    if ridge_is_lost(problem):
        pursued, status = iht(problem, begin, IHT(refit=True), monitor)
        basis = None if monitor.expired() else _basis(problem, effort)
        return pursued if basis is None else min(basis, pursued, key=lambda each: each.objective), status
    n, k = problem.shape[0], begin.support.size
    affordable = int(_ROUNDING_FLOPS / (float(n) * n * (k / 4 + n / 3)))
    steps = min(max(effort.rounding_steps, affordable), _MOST_STEPS)
    point, status = rounding(problem, begin, Rounding(steps, effort.proven), monitor)
    if monitor.expired() or effort.batches == 0:
        return point, status
    swapped, status = swap(problem, point, Swap(effort.batches), monitor)
    return replace(swapped, dual=point.dual), status
