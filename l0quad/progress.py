"""What a running solve reports and when it must stop."""

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from l0quad.result import Point, Status
from l0quad.types import IntArray

# Work that must follow a limit (a final refit, a bound) may take this many seconds, or this share of the time limit.
GRACE_SECONDS = 0.25
GRACE_SHARE = 0.1
# Pessimistic machine speeds by which such work is judged before it is begun.
BYTES_PER_SECOND = 5e9
FLOPS_PER_SECOND = 1e10

_PRINT_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class State:
    """One iteration, as it is given to ``callback`` and kept in ``Result.history``.

    ``objective`` is in the user's units; ``seconds`` counts from the start of the solve.
    """

    n_iter: int
    objective: float
    nonzeros: int
    seconds: float


Callback = Callable[[State], object]


class Monitor(Protocol):
    """What a solver sees of its solve.

    It calls `record` once an iteration and returns when the answer is True; long loops ask `expired` between.
    """

    @property
    def n_threads(self) -> int: ...

    @property
    def rng(self) -> np.random.Generator: ...

    def record(self, point: Point) -> bool: ...

    def expired(self) -> bool: ...


@dataclass
class SolveMonitor:
    """Keeps the best point and the history of one solve, and tells its solver when to stop."""

    best: Point
    user_objective: Callable[[float], float]
    time_limit: float | None = None
    callback: Callback | None = None
    verbose: int = 0
    n_threads: int = 1
    seed: int = 0
    started: float = field(default_factory=time.perf_counter)
    history: list[State] = field(default_factory=list)
    stopped: Status | None = None
    _printed: float = 0.0

    def record(self, point: Point) -> bool:
        """Note an iterate; True when the solver must stop, `stopped` then says why."""
        if point.objective < self.best.objective or (point.refit and point.objective == self.best.objective):
            self.best = point
        objective = self.user_objective(point.objective)
        state = State(len(self.history) + 1, objective, int(point.support.size), self.seconds())
        self.history.append(state)
        if self.verbose and state.seconds - self._printed >= _PRINT_EVERY:
            self._printed = state.seconds
            print(
                f"iteration {state.n_iter}  objective {state.objective:.8g}  {state.seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )
        if self.callback is not None and self.callback(state):
            self.stopped = Status.INTERRUPTED
        return self.stopped is not None or self.expired()

    def expired(self) -> bool:
        """Whether the time is up."""
        if self.stopped is None and self.time_limit is not None and self.seconds() >= self.time_limit:
            self.stopped = Status.TIME_LIMIT
        return self.stopped is not None

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
        if self.stopped is None:
            return self.time_limit is None or self.seconds() + estimate <= self.time_limit * (1 + GRACE_SHARE)
        if self.stopped is Status.TIME_LIMIT and self.time_limit is not None:
            return self.seconds() + estimate <= self.time_limit * (1 + GRACE_SHARE)
        return estimate <= GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class SubMonitor:
    """Passes what a run on the subproblem of some columns records on to the monitor of the whole problem."""

    parent: Monitor
    columns: IntArray

    @property
    def n_threads(self) -> int:
        return self.parent.n_threads

    @property
    def rng(self) -> np.random.Generator:
        return self.parent.rng

    def record(self, point: Point) -> bool:
        return self.parent.record(replace(point, support=self.columns[point.support]))

    def expired(self) -> bool:
        return self.parent.expired()
