"""The default: what the shape of the problem calls for, the best point of all parts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.linalg.orthogonal import independent_columns
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.checkpoint import Saved
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.enumeration import best_of_all, enumeration_flops, proven_by_all
from l0quad.solvers.exact.exact import within
from l0quad.solvers.forward import Forward, grow
from l0quad.solvers.group_moves import tableau_of
from l0quad.solvers.iht import IHT, iht
from l0quad.solvers.magnitude import largest_entries
from l0quad.solvers.needs import Needs
from l0quad.solvers.obs import OBS, obs
from l0quad.solvers.rounding import Rounding, rounding
from l0quad.solvers.swap import Swap, concluded, descend, kicked, paired, swap, table_fits
from l0quad.solvers.tableau import Tableau
from l0quad.solvers.working_set import exchanged

_SWAPS = 1000
# An objective this far below that of w = 0 is zero: nothing is left to find.
_ZERO = 1e-18
# What a kick costs beside its arithmetic, in flops: .5 ms at 10 GFLOP/s, measured on P0 and P1 of docs/benchmarks.
_KICK_OVERHEAD = 5e6
# Rounding may take as many steps as this many flops pay for, where that is more than the effort's own number.
_ROUNDING_FLOPS = 2e9
_MOST_STEPS = 40
# Elimination and rounding as starts cost n x n factorizations.
_MOST_ROWS = 4096


@dataclass(frozen=True, slots=True)
class _Effort:
    """How much work the parts may do: counted, not timed, so that answers do not depend on the machine.

    Attributes
    ----------
    enumeration_flops : float
        Of trying every support, to find the best one and to prove it.
    table_flops : float
        Of one descent over the table of swaps; where it would take more, the relaxation is rounded instead.
    forward_flops : float
        Of forward selection, whose beam is ``width`` wide.
    elimination_columns : int
        The most columns for which elimination and rounding are starts of descents.
    kicks, kick_flops : int, float
        The most kicks, and their work all together.
    pair_flops : float
        Of looking for an exchange of two columns at once.
    basis_flops : float
        Of looking for independent columns where there is no ridge.
    exchange_flops : float
        Of the table of exchanges with the columns that promise most, where that of all columns is too large.
    rounding_steps : int
        Newton steps of the relaxation, where they are not nearly free.
    tree_flops : float
        Of the branch and bound that follows.
    proven : float
        The relative gap at which rounding ends.
    batches : int
        Batches of swaps after rounding.
    """

    enumeration_flops: float
    table_flops: float
    forward_flops: float
    width: int
    elimination_columns: int
    kicks: int
    kick_flops: float
    pair_flops: float
    basis_flops: float
    exchange_flops: float
    rounding_steps: int
    tree_flops: float
    proven: float
    batches: int


_EFFORTS = {
    "fast": _Effort(
        enumeration_flops=3e7,
        table_flops=1e8,
        forward_flops=5e8,
        width=1,
        elimination_columns=100,
        kicks=10,
        kick_flops=1.25e7,
        pair_flops=3e8,
        basis_flops=5e8,
        exchange_flops=4e9,
        rounding_steps=12,
        tree_flops=2e9,
        proven=1e-3,
        batches=0,
    ),
    "thorough": _Effort(
        enumeration_flops=3e8,
        table_flops=1e9,
        forward_flops=1e11,
        width=8,
        elimination_columns=4096,
        kicks=100,
        kick_flops=1e10,
        pair_flops=1e10,
        basis_flops=1e11,
        exchange_flops=1e11,
        rounding_steps=40,
        tree_flops=2e10,
        proven=0.0,
        batches=5,
    ),
}


@dataclass(frozen=True, slots=True)
class Auto:
    """Choose by shape; return the best point that any part visited.

    Where there are few supports: all of them. Where the table of swaps fits: hard-thresholding pursuit from zero,
    forward selection and, where the sizes allow it, backward elimination and rounding, each followed by exact swaps;
    then exchanges of two columns, and kicks. Else, as in pruning: `Rounding` of the relaxation (without a ridge,
    pursuit), then swaps with the columns that promise most, and in batches. Never above the refit of its start.

    Parameters
    ----------
    effort : {"fast", "thorough"}
        How much work; counted, not timed. Where it rounds the relaxation, "fast" also ends once its answer is proven
        to lie within 0.1 % of the optimum.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2, method=l0quad.Auto("thorough")).support
    array([2, 5])
    """

    effort: str = "fast"
    name: ClassVar[str] = "auto"
    needs: ClassVar[Needs] = Needs(from_zero=True, solves_start=True, reducible=True, resumes=True)

    def __post_init__(self) -> None:
        validation.choice(self.effort, "effort", tuple(_EFFORTS))


def auto(problem: CoreProblem, start: Point, options: Auto, monitor: Monitor) -> Outcome:
    """Run the parts that suit the problem, the better ones first."""
    effort = _EFFORTS[options.effort]
    monitor, saved = monitor.begin()
    if not problem.in_large_files and table_fits(problem) and _descent_flops(problem) <= effort.table_flops:
        return _small(problem, start, effort, monitor, saved)
    # Its support may be as long as w0: what solves from it takes it out, and lets go of it.
    held = [start]
    del start
    return _large(problem, held, effort, monitor, saved)


def prove(problem: CoreProblem, best: Point, options: Auto, monitor: Monitor) -> Outcome | None:
    """Close the gap, or find a better point, as far as the effort goes; on the problem itself, not a reduced one."""
    effort = _EFFORTS[options.effort]
    tried = proven_by_all(problem, best, effort.enumeration_flops, monitor)
    return within(problem, best, effort.tree_flops, monitor) if tried is None else tried


def tried(problem: CoreProblem, best: Point, options: Auto) -> Point:
    """Return the best point of all supports where these are few, nearly dependent columns among them too."""
    if enumeration_flops(problem) > _EFFORTS[options.effort].enumeration_flops:
        return best
    return min(best, best_of_all(problem), key=lambda each: each.objective)


def _descent_flops(problem: CoreProblem) -> float:
    """Return what a descent over the table takes: some k swaps of O(kp); of groups, k times as much for each."""
    constraint = problem.constraint
    flops = problem.shape[1] * float(constraint.total) ** 2
    if constraint.units is None:
        return flops
    largest = max((each.size for each in constraint.units), default=1)
    return flops * (largest + constraint.total / largest)


def _small(problem: CoreProblem, start: Point, effort: _Effort, monitor: Monitor, saved: Saved | None) -> Outcome:
    """Descend over exact swaps from several starts, then from kicks of the best end."""
    tableau = tableau_of(problem, np.empty(0, dtype=np.int64))
    if enumeration_flops(problem) <= effort.enumeration_flops:
        return _enumerated(tableau, problem.restricted(start.support), monitor)
    if saved is None:
        best, status, seen, first = problem.restricted(start.support), Status.CONVERGED, set[bytes](), 0
    else:
        problem.matrix.know_rows(*saved["rows"])
        start, best, status, first = saved["start"], saved["best"], saved["status"], saved["done"]
        seen = {each.tobytes() for each in saved["seen"]}
    starts = _starts(problem, tableau, start, effort, monitor)
    for done in range(first, len(starts)):
        begin = starts[done]()
        if begin.support.tobytes() not in seen and not monitor.expired():
            tableau.reset(begin.support)
            ended = descend(tableau, _SWAPS, monitor)
            if tableau.objective < best.objective and (point := tableau.point()).objective < best.objective:
                best, status = point, ended
            seen |= {begin.support.tobytes(), best.support.tobytes()}
        # Asked before the next start is computed.
        if monitor.expired() or best.objective - problem.constant <= _ZERO * problem.objective_at_zero:
            return Outcome(best, Status.CONVERGED)
        tried = [np.frombuffer(each, dtype=np.int64) for each in sorted(seen)]
        rows = problem.matrix.prepared.known_rows
        monitor.save(rows=rows, start=start, best=best, status=status, seen=tried, done=done + 1)
    if problem.constraint.units is None:
        best, status = paired(tableau, best, status, effort.pair_flops, _SWAPS, monitor)
    # A kick brings in some three new columns, a pass over A each, and updates the table some ten times.
    flops = _KICK_OVERHEAD + problem.shape[1] * (6.0 * problem.shape[0] + 40.0 * problem.constraint.total)
    kicks = min(effort.kicks, int(effort.kick_flops / flops))
    return concluded(tableau, kicked(tableau, best, status, kicks, _SWAPS, monitor), _SWAPS, monitor)


def _enumerated(tableau: Tableau, start: Point, monitor: Monitor) -> Outcome:
    """Take the best of all supports; swap-optimal where every exchange is settled."""
    best = min(best_of_all(tableau.problem), start, key=lambda each: each.objective)
    if monitor.record(best):
        return Outcome(best, Status.CONVERGED)
    return concluded(tableau, Outcome(best, Status.CONVERGED), _SWAPS, monitor)


def _starts(
    problem: CoreProblem, tableau: Tableau, start: Point, effort: _Effort, monitor: Monitor
) -> list[Callable[[], Point]]:
    """Return what computes the points to descend from, when their turn comes; ``tableau`` may be overwritten then."""
    n, p = problem.shape
    empty = problem.evaluate(np.empty(0, dtype=np.int64), np.empty(0))

    def forward() -> Point:
        tableau.reset(problem.constraint.closed(empty.support))
        return grow(tableau, Forward(effort.width), monitor).point

    starts: list[Callable[[], Point]] = [lambda: start] if start.support.size else []
    starts.append(lambda: iht(problem, empty, IHT(refit=True), monitor).point)
    if float(n) * p * problem.constraint.total <= effort.forward_flops:
        starts.append(forward)
    if p <= effort.elimination_columns and n <= _MOST_ROWS and not problem.ridge_is_lost:
        if OBS.needs.lacking(problem) is None:
            starts.append(lambda: obs(problem, empty, OBS(), monitor).point)
        starts.append(lambda: rounding(problem, empty, Rounding(effort.rounding_steps), monitor).point)
    return starts


def _basis(problem: CoreProblem, effort: _Effort) -> Point | None:
    """Return the best point on independent columns that span all of them, where the budgets have room for these.

    Without a ridge it attains the all-columns bound, so it is optimal.
    """
    n, p = problem.shape
    if not problem.ridge_is_lost or 4.0 * n * p * min(n, p) > effort.basis_flops:
        return None
    usable = problem.constraint.usable
    if usable.size == 0:
        return None
    columns = usable[independent_columns(problem.matrix.take(usable), problem.pause)]
    return problem.restricted(columns) if problem.constraint.allows(columns) else None


def _large(problem: CoreProblem, held: list[Point], effort: _Effort, monitor: Monitor, saved: Saved | None) -> Outcome:
    """Round the relaxation, then exchange: with the columns that promise most, and in batches."""
    if saved is None:
        # Of the start only the support is asked for.
        if not held[0].support.size:
            held = [Point(largest_entries(problem)[0], np.empty(0), np.inf)]
        first = (_pursued if problem.ridge_is_lost else _rounded)(problem, held, effort, monitor)
        monitor.save(first=first)
    else:
        first = saved["first"]
    if problem.ridge_is_lost:
        basis = None if monitor.expired() else _basis(problem, effort)
        if basis is None or first.point.objective <= basis.objective:
            return _with_exchanges(problem, first, effort, monitor)
        return Outcome(basis, first.status)
    if first.bound is not None and monitor.relative_gap(first.point, first.bound) <= effort.proven:
        return first
    found, batches = _with_exchanges(problem, first, effort, monitor), Swap(effort.batches)
    if monitor.expired() or effort.batches == 0 or batches.needs.lacking(problem) is not None:
        return found
    return swap(problem, found.point, batches, monitor)._replace(bound=first.bound)


def _pursued(problem: CoreProblem, held: list[Point], effort: _Effort, monitor: Monitor) -> Outcome:
    return iht(problem, held.pop(), IHT(refit=True), monitor)


def _rounded(problem: CoreProblem, held: list[Point], effort: _Effort, monitor: Monitor) -> Outcome:
    n, k = problem.shape[0], held[0].support.size
    affordable = int(_ROUNDING_FLOPS / (float(n) * n * (k / 4 + n / 3)))
    steps = min(max(effort.rounding_steps, affordable), _MOST_STEPS)
    return rounding(problem, held.pop(), Rounding(steps, effort.proven), monitor)


def _with_exchanges(problem: CoreProblem, outcome: Outcome, effort: _Effort, monitor: Monitor) -> Outcome:
    point = outcome.point
    if monitor.expired():
        return outcome
    return outcome._replace(point=exchanged(problem, point, point.support.size, effort.exchange_flops, monitor))
