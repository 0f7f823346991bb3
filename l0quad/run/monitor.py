"""What a solver sees of its solve: where to report, and when to stop."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from l0quad.certificates import Bound
from l0quad.errors import Stopped
from l0quad.matrix import Matrix
from l0quad.problem.core import Point
from l0quad.problem.units import Units
from l0quad.run import debug
from l0quad.run.outcome import State, Status
from l0quad.types import IntArray

# Work that must follow a limit (a final solve, a bound) may take this many seconds, or this share of the time limit.
GRACE_SECONDS = 0.25
GRACE_SHARE = 0.1
# Pessimistic machine speeds by which such work is judged before it is begun.
BYTES_PER_SECOND = 5e9
FLOPS_PER_SECOND = 1e10

_TINY = float(np.finfo(np.float64).tiny)

Callback = Callable[[State], object]


class Monitor(Protocol):
    """What a solver sees of its solve.

    It calls `record` once an iteration and `prove` with each better bound, and returns when the answer is True; long
    loops ask `expired` between.
    """

    @property
    def n_threads(self) -> int:
        """How many threads the solve may use."""
        ...

    @property
    def rng(self) -> np.random.Generator:
        """What chance is drawn from."""
        ...

    def record(self, point: Point, tree: tuple[int, int] | None = None) -> bool:
        """Take note of an iteration, and of a tree's nodes (all, open); return whether to end."""
        ...

    def prove(self, bound: Bound) -> bool:
        """Take note of a bound; return whether to end."""
        ...

    def relative_gap(self, point: Point, bound: Bound) -> float:
        """Return the relative gap of a point beside a bound, as `Result` has it."""
        ...

    def expired(self) -> bool:
        """Return whether a limit is reached."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a solve must end: seconds, or a proven gap (relative to the objective, or absolute, in the user's units).

    ``bound_at`` gives a bound from a point, for methods that compute none; asked at iterations 1, 2, 4, ....
    """

    seconds: float | None = None
    gap: float | None = None
    absolute_gap: float | None = None
    bound_at: Callable[[Point], Bound] | None = None


@dataclass
class SolveMonitor:
    """Keeps the best point, the best bound and the history of one solve, and tells its solver when to stop."""

    best: Point
    bound: Bound
    units: Units
    limits: Limits = field(default_factory=Limits)
    callback: Callback | None = None
    n_threads: int = 1
    seed: int = 0
    started: float = field(default_factory=time.perf_counter)
    history: list[State] = field(default_factory=list)
    stopped: Status | None = None
    optimum: debug.Known = None
    matrix: Matrix | None = None
    reading: Callable[[int, int, float], None] | None = None

    def __post_init__(self) -> None:
        self.check(self.bound)
        self._read_before = self.matrix.bytes_read if self.matrix is not None else 0

    def reads(self) -> tuple[float, int]:
        """Return how often A has been read from its files since the start, and the bytes."""
        if self.matrix is None or not self.matrix.counted:
            return 0.0, 0
        nbytes = self.matrix.bytes_read - self._read_before
        return nbytes / self.matrix.nbytes, nbytes

    def check(self, bound: Bound) -> None:
        """In debug mode, raise where a lower bound is above the known optimum."""
        if self.optimum is not None:
            debug.check(self.units.lower(bound.value), self.optimum)

    def record(self, point: Point, tree: tuple[int, int] | None = None) -> bool:
        """Note an iterate; True when the solver must stop, `stopped` then says why.

        ``tree`` is how many nodes have been looked at and how many are open.
        """
        best = self.best
        if point.objective < best.objective or (point.restricted_optimum and point.objective == best.objective):
            self.best = point
        count = len(self.history) + 1
        if self.limits.bound_at is not None and count & (count - 1) == 0 and not self.proven:
            self.prove(self.limits.bound_at(self.best))
        state = State(
            count,
            self.units.objective(point.objective),
            int(point.support.size),
            self.seconds(),
            self.units.objective(self.best.objective),
            self.units.lower(self.bound.value),
            *(tree or (0, 0)),
            *self.reads(),
        )
        self.history.append(state)
        if self.callback is not None and self.callback(state):
            self.stopped = Status.INTERRUPTED
        return self.stopped is not None or self.expired()

    def prove(self, bound: Bound) -> bool:
        """Note a lower bound; True when the solver must stop."""
        self.check(bound)
        if bound.value > self.bound.value:
            self.bound = bound
        return self.expired()

    @property
    def proven(self) -> bool:
        """Whether the best point is proven to be as close to the optimum as was asked for."""
        limits = self.limits
        if limits.absolute_gap is not None and self._gap(self.best, self.bound) <= limits.absolute_gap:
            return True
        return limits.gap is not None and self.relative_gap(self.best, self.bound) <= limits.gap

    def _gap(self, point: Point, bound: Bound) -> float:
        """Return the gap between the two as the user sees it, what folding a linear term loses included."""
        return max(self.units.objective(point.objective) - self.units.lower(bound.value), 0.0)

    def relative_gap(self, point: Point, bound: Bound) -> float:
        """Return that gap beside the objective."""
        return self._gap(point, bound) / max(abs(self.units.objective(point.objective)), _TINY)

    def expired(self) -> bool:
        """Whether the solver must stop: the time is up, or the gap is proven."""
        if self.stopped is None:
            if self.limits.seconds is not None and self.seconds() >= self.limits.seconds:
                self.stopped = Status.TIME_LIMIT
            elif self.proven:
                self.stopped = Status.CONVERGED
        return self.stopped is not None

    def pause(self) -> None:
        """Raise `Stopped` where the solver must stop; before, tell `reading` how much of A has been read."""
        if self.reading is not None and self.matrix is not None and self.matrix.counted:
            self.reading(self.reads()[1], self.matrix.nbytes, self.seconds())
        if self.expired():
            raise Stopped

    @functools.cached_property
    def rng(self) -> np.random.Generator:
        """Random numbers that depend on the seed alone."""
        return np.random.default_rng(self.seed)

    def seconds(self) -> float:
        """Seconds since the start of the solve."""
        return time.perf_counter() - self.started

    def affords(self, bytes_read: float, flops: float) -> bool:
        """Whether work of this size may still be done, now that the solver has stopped."""
        estimate = bytes_read / BYTES_PER_SECOND + flops / FLOPS_PER_SECOND
        if self.stopped is Status.INTERRUPTED:
            return estimate <= GRACE_SECONDS
        return self.limits.seconds is None or self.seconds() + estimate <= self.limits.seconds * (1 + GRACE_SHARE)


@dataclass(frozen=True, slots=True)
class SubMonitor:
    """Passes on what a run on another problem records; its bounds are not bounds of the whole and are dropped.

    ``columns`` are the whole problem's columns that the other problem has; None where it has all of them. The whole
    problem's w is ``2**exponents`` times the other's; None where it is the same.
    """

    parent: Monitor
    columns: IntArray | None = None
    exponents: IntArray | None = None

    @property
    def n_threads(self) -> int:
        """Those of the whole."""
        return self.parent.n_threads

    @property
    def rng(self) -> np.random.Generator:
        """That of the whole."""
        return self.parent.rng

    def record(self, point: Point, tree: tuple[int, int] | None = None) -> bool:
        """Record the point of the whole problem that this one stands for."""
        if self.exponents is not None:
            point = replace(point, w=np.ldexp(point.w, self.exponents[point.support]))
        if self.columns is not None:
            point = replace(point, support=self.columns[point.support])
        if self.columns is not None or self.exponents is not None:
            point = replace(point, refit=None)
        return self.parent.record(point, tree)

    def prove(self, bound: Bound) -> bool:
        """Pass over the bound, which is not one of the whole problem."""
        return self.parent.expired()

    def relative_gap(self, point: Point, bound: Bound) -> float:
        """Return it as the whole does."""
        return self.parent.relative_gap(point, bound)

    def expired(self) -> bool:
        """Return whether the whole has come to a limit."""
        return self.parent.expired()
