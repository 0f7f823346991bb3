"""A whole path: points by one walk where that can be, bounds from a few ascents, a Result for each (k, ridge)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from l0quad.api.claims import OPTIMAL
from l0quad.api.result import Result
from l0quad.api.solve import is_tall, result_of
from l0quad.bounds.bound import better, first_bound, lower_bound
from l0quad.bounds.shared import serving
from l0quad.certificates import Bound
from l0quad.errors import Stopped
from l0quad.problem.core import Point
from l0quad.problem.problem import Budget, Problem
from l0quad.run.monitor import Callback, Limits, SolveMonitor, SubMonitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.auto import Auto, auto, prove, tried
from l0quad.solvers.magnitude import largest_entries
from l0quad.solvers.path import Path, walks
from l0quad.types import IntArray

# One ascent for so many budgets, and at least so many, at geometric k.
_SERVES = 4
_ASCENTS = 8


class Entry(NamedTuple):
    """One (k, ridge) of a path, solved; ``rss`` is ``||A w - b||^2``."""

    k: int
    ridge: float
    result: Result
    rss: float


@dataclass
class Plan:
    """What a path is asked for, and what has ended it; without ``effort`` a walk begins from nothing."""

    ks: Sequence[int]
    ridges: Sequence[float]
    kind: Callable[[int], Budget]
    effort: Auto | None
    bound: str
    seconds: float | None = None
    callback: Callback | None = None
    n_threads: int = 1
    started: float = field(default_factory=time.perf_counter)
    stopped: Status | None = None

    def monitor(self, problem: Problem) -> SolveMonitor:
        """Return the monitor of one problem of the path; all of them have the same deadline."""
        core = problem.core
        return SolveMonitor(
            core.zero(), first_bound(core), problem.units, Limits(self.seconds), self.callback, self.n_threads,
            started=self.started,
        )  # fmt: skip

    def ended_by(self, monitor: SolveMonitor) -> bool:
        """Take over what has stopped a part of the path; whether anything has."""
        self.stopped = self.stopped or monitor.stopped
        return self.stopped is not None


def run_path(problem: Problem, plan: Plan) -> list[Entry]:
    """Solve for every ridge and every k, as far as the limits let it; larger k, and ridges, in the plan's order."""
    return [entry for solved in points_of(problem, plan) for entry in _bounded(*solved, plan)]


def points_of(problem: Problem, plan: Plan) -> Iterator[tuple[dict[int, Problem], dict[int, Point]]]:
    """Yield the problems and the points of each ridge, as far as the limits let it."""
    kinds = {k: plan.kind(k) for k in plan.ks}
    known: dict[int, IntArray] = {}
    for ridge in plan.ridges:
        first = problem.with_(ridge=ridge)
        problems = _in_memory({k: first.with_(k=kind) for k, kind in kinds.items()}, plan)
        most = max(problems)
        points = {most: problems[most].core.zero()} if plan.stopped else _points(problems, plan, known)
        known = {k: point.support for k, point in points.items()}
        yield problems, points
        if plan.stopped is not None:
            return


def _in_memory(problems: dict[int, Problem], plan: Plan) -> dict[int, Problem]:
    """Return the problems, where A is in tall files those with p rows, of one sweep, unless a limit comes before."""
    monitor = plan.monitor(next(iter(problems.values())))
    try:
        return {k: problem.in_memory(monitor.pause) for k, problem in problems.items()}
    except (Stopped, KeyboardInterrupt):
        plan.stopped = monitor.stopped or Status.INTERRUPTED
        return problems


def _points(problems: dict[int, Problem], plan: Plan, known: dict[int, IntArray]) -> dict[int, Point]:
    """Return a point for each k that has been reached, none worse than that of a smaller one that its budget allows."""
    most = max(problems)
    monitor = plan.monitor(problems[most])
    found: dict[int, Point] = {}
    try:
        if walks(problems[most].core):
            _walk(problems, plan, known, monitor, found)
        else:
            _solve_each(problems, plan, known, monitor, found)
    except KeyboardInterrupt:
        monitor.stopped = Status.INTERRUPTED
    plan.ended_by(monitor)
    best: Point | None = None
    for k in sorted(found):
        if best is not None and best.objective < found[k].objective and problems[k].constraint.allows(best.support):
            found[k] = best
        best = found[k]
    return dict(sorted(found.items()))


def _walk(
    problems: dict[int, Problem],
    plan: Plan,
    known: dict[int, IntArray],
    monitor: SolveMonitor,
    found: dict[int, Point],
) -> None:
    """Find a point for every k on one tableau."""
    most = max(problems)
    plain = refitting = problems[most].core
    supports: dict[int, IntArray] = {}

    try:
        with suppress(Stopped):
            working = replace(plain, pause=monitor.pause)
            if is_tall(plain):
                working = working.reduced()
                refitting = replace(working, pause=plain.pause)
            even = working.evened()
            inner = SubMonitor(monitor, None, even.exponents)
            start = known.get(most, np.empty(0, dtype=np.int64))
            if most not in known and plan.effort is not None:
                start = auto(even, even.zero(), plan.effort, inner).point.support
            supports[most] = start
            path = Path(even, start, min(problems), inner)
            supports = path.supports
            path.search(bool(known))
    finally:
        # Of an interrupted search too: these refits take no longer than a step of it.
        supports.setdefault(most, monitor.best.support)
        for k in problems:
            reached = supports.get(k, known.get(k))
            if reached is not None:
                point = refitting.restricted(reached)
                found[k] = point if refitting is plain else plain.evaluate(point.support, point.w)


def _solve_each(
    problems: dict[int, Problem],
    plan: Plan,
    known: dict[int, IntArray],
    monitor: SolveMonitor,
    found: dict[int, Point],
) -> None:
    """Solve for one k after the other, the largest first, each from the answer before."""
    before: Point | None = None
    for k in sorted(problems, reverse=True):
        core = replace(problems[k].core, pause=monitor.pause)
        even = core.evened()
        inner = SubMonitor(monitor, None, even.exponents)
        if k in known:
            support, w = known[k], np.zeros(known[k].size)
        elif before is None:
            support, w = largest_entries(even)
        else:
            values = np.zeros(core.shape[1])
            values[before.support] = before.w
            support = core.constraint.closed(core.constraint.nearest(values))
            w = values[support]
        monitor.best = core.zero()
        try:
            support = auto(even, Point(support, w, np.inf), plan.effort or Auto(), inner).point.support
        except Stopped:
            support = monitor.best.support
        before = found[k] = problems[k].core.restricted(support)
        if monitor.expired():
            return


def _bounded(problems: dict[int, Problem], points: dict[int, Point], plan: Plan) -> list[Entry]:
    """Bound every budget: by a tree where it is small, then by a few ascents that serve all of them."""
    monitors = {k: plan.monitor(problems[k]) for k in points}
    for k, monitor in monitors.items():
        monitor.best = points[k]
    statuses = dict.fromkeys(points, Status.CONVERGED)
    if plan.bound != "none" and plan.stopped is None:
        try:
            _prove_each(problems, points, monitors, plan)
            _ascend(problems, points, monitors, plan)
        except KeyboardInterrupt:
            plan.stopped = Status.INTERRUPTED
    entries = []
    for k, point in points.items():
        status = plan.stopped or statuses[k]
        monitors[k].stopped = plan.stopped
        result = result_of(problems[k], Outcome(point, status), "none", "path", monitors[k])
        own = problems[k].units.own_w(result.w[result.support].astype(np.float64))
        rss = 2.0 * sum(problems[k].core.data_term(result.support, own))
        entries.append(Entry(k, problems[k].ridge, result, problems[k].units.size(rss)))
    return entries


def _prove_each(
    problems: dict[int, Problem], points: dict[int, Point], monitors: dict[int, SolveMonitor], plan: Plan
) -> None:
    """Search the supports, all or by a tree of counted size, which may find better points; the smallest k first."""
    best: Point | None = None
    for k in sorted(points):
        core, monitor = replace(problems[k].core, pause=monitors[k].pause), monitors[k]
        if best is not None and best.objective < points[k].objective and core.constraint.allows(best.support):
            points[k] = monitor.best = best
        with suppress(Stopped):
            tree = prove(core, points[k], plan.effort or Auto(), monitor)
            if tree is not None and tree.bound is not None:
                monitor.prove(tree.bound)
                if tree.point.objective < points[k].objective:
                    points[k] = monitor.best = tree.point
            if _gap(points[k], monitor.bound) > OPTIMAL:
                points[k] = monitor.best = tried(core, points[k], plan.effort or Auto())
        best = points[k]
        if plan.ended_by(monitor):
            return


def _ascend(
    problems: dict[int, Problem], points: dict[int, Point], monitors: dict[int, SolveMonitor], plan: Plan
) -> None:
    """Bound the budgets that are not proven yet by ascents at geometric k; each ascent serves every budget."""
    left = [k for k in sorted(points) if _gap(points[k], monitors[k].bound) > OPTIMAL]
    if not left:
        return
    for k in _spread(left, max(_ASCENTS, len(left) // _SERVES)):
        bound = lower_bound(problems[k], points[k], plan.bound, monitors[k]).bound
        serves = serving(bound.certificate, problems[k].core)
        for other in left:
            monitor = monitors[other]
            if serves is not None:
                monitor.bound = better(monitor.bound, serves(problems[other].core))
        if plan.stopped is not None or monitors[k].expired():
            plan.ended_by(monitors[k])
            return


def _spread(ks: list[int], most: int) -> list[int]:
    """Return at most so many of the sorted ks, all of them where they are few, about in geometric progression."""
    chosen: list[int] = []
    for count in range(2, len(ks) * most + 2):
        marks = np.geomspace(max(ks[0], 1), max(ks[-1], 1), count).tolist()
        more = sorted({min(ks, key=lambda k: abs(k - mark)) for mark in marks})
        if len(more) > most:
            break
        chosen = more
    return chosen


def _gap(point: Point, bound: Bound) -> float:
    return (point.objective - bound.value) / max(abs(point.objective), np.finfo(np.float64).tiny)
