"""What a solver sees of its solve: where to report, and when to stop."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from l0quad.certificates import Bound
from l0quad.errors import Stopped
from l0quad.matrix import Matrix
from l0quad.problem.core import Point
from l0quad.problem.units import Units
from l0quad.run import debug
from l0quad.run.checkpoint import Checkpoint, Place, Saved
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

    def keep(self, point: Point) -> None:
        """Take a point within an iteration, so that a worse one need not be held any longer."""
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

    def begin(self) -> "tuple[Monitor, Saved | None]":
        """Return the monitor of a method that begins, and what it had saved when the solve was stopped, if anything."""
        ...

    def due(self) -> bool:
        """Whether to `save` now; asked where to put a state together costs something."""
        ...

    def save(self, **state: Any) -> None:
        """Keep all that the method's further steps depend on, in arrays that it will not change.

        Numbers, texts, arrays, points, bounds and outcomes, and lists and dicts of these; or what returns them, which
        is called where states are kept at all. Not once the solve must stop: what is cut short then is no step.
        """
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
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        self.check(self.bound)
        self._read_before = self.matrix.bytes_read if self.matrix is not None else 0
        self._spent, self._read = 0.0, 0

    def reads(self) -> tuple[float, int]:
        """Return how often A has been read from its files since the start, and the bytes, as `spent` counts."""
        if self.matrix is None or not self.matrix.in_files:
            return 0.0, 0
        nbytes = self._read + self.matrix.bytes_read - self._read_before
        return nbytes / self.matrix.nbytes, nbytes

    def check(self, bound: Bound) -> None:
        """In debug mode, raise where a lower bound is above the known optimum."""
        if self.optimum is not None:
            debug.check(self.units.lower(bound.value), self.optimum)

    def record(self, point: Point, tree: tuple[int, int] | None = None) -> bool:
        """Note an iterate; True when the solver must stop, `stopped` then says why.

        ``tree`` is how many nodes have been looked at and how many are open.
        """
        self.keep(point)
        count = len(self.history) + 1
        if self.limits.bound_at is not None and count & (count - 1) == 0 and not self.proven:
            self.prove(self.limits.bound_at(self.best))
        state = State(
            count,
            self.units.objective(point.objective),
            int(point.support.size),
            self.spent(),
            self.units.objective(self.best.objective),
            self.units.lower(self.bound.value),
            *(tree or (0, 0)),
            *self.reads(),
        )
        self.history.append(state)
        if self.callback is not None and self.callback(state):
            self.stopped = Status.INTERRUPTED
        return self.stopped is not None or self.expired()

    def keep(self, point: Point) -> None:
        """Note a point where it is the best one."""
        best = self.best
        if point.objective < best.objective or (point.restricted_optimum and point.objective == best.objective):
            self.best = point

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
            self.reading(self.reads()[1], self.matrix.nbytes, self.spent())
        if self.expired():
            raise Stopped

    @functools.cached_property
    def rng(self) -> np.random.Generator:
        """Random numbers that depend on the seed alone."""
        return np.random.default_rng(self.seed)

    def seconds(self) -> float:
        """Seconds since the start of the solve, of this call of it: what its time limit counts."""
        return time.perf_counter() - self.started

    def spent(self) -> float:
        """Seconds since the start, with those that earlier calls took up to the state that this one goes on from."""
        return self._spent + self.seconds()

    @property
    def goes_on(self) -> bool:
        """Whether the method has a state to go on from, so that its start plays no part."""
        return self.checkpoint is not None and (0,) in self.checkpoint.states

    def begin(self) -> "tuple[Monitor, Saved | None]":
        """Return the monitor of the whole run, or itself where no states are kept."""
        return (self, None) if self.checkpoint is None else _Part(self, self.checkpoint, ()).resumed()

    def due(self) -> bool:
        """Whether to save: never, without a checkpoint."""
        return False

    def save(self, **state: Any) -> None:
        """Keep nothing."""

    def flush(self) -> None:
        """Write the states that are kept, now that the method has ended or is stopped; a Ctrl-C then stops that."""
        try:
            if self.checkpoint is not None:
                self.checkpoint.flush()
        except KeyboardInterrupt:
            self.stopped = Status.INTERRUPTED

    def snapshot(self) -> Saved:
        """Return what a state says of the solve itself."""
        rng = self.rng.bit_generator.state if "rng" in self.__dict__ else None
        return {
            "best": self.best, "bound": self.bound, "count": len(self.history), "rng": rng, "seconds": self.spent(),
            "nbytes": self.reads()[1],
        }  # fmt: skip

    def restore(self, run: Saved, history: tuple[State, ...]) -> None:
        """Go on from a snapshot and the history that it belongs to."""
        self.best, self.bound = run["best"], run["bound"]
        self.history[:] = history[: run["count"]]
        self._spent, self._read = run["seconds"], run["nbytes"]
        self.__dict__.pop("rng", None)
        if run["rng"] is not None:
            self.rng.bit_generator.state = run["rng"]

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
        return self.parent.record(self._of_whole(point), tree)

    def keep(self, point: Point) -> None:
        """Keep the point of the whole problem that this one stands for."""
        self.parent.keep(self._of_whole(point))

    def _of_whole(self, point: Point) -> Point:
        if self.exponents is not None:
            point = replace(point, w=np.ldexp(point.w, self.exponents[point.support]))
        if self.columns is not None:
            point = replace(point, support=self.columns[point.support])
        if self.columns is not None or self.exponents is not None:
            point = replace(point, refit=None)
        return point

    def prove(self, bound: Bound) -> bool:
        """Pass over the bound, which is not one of the whole problem."""
        return self.parent.expired()

    def relative_gap(self, point: Point, bound: Bound) -> float:
        """Return it as the whole does."""
        return self.parent.relative_gap(point, bound)

    def expired(self) -> bool:
        """Return whether the whole has come to a limit."""
        return self.parent.expired()

    def begin(self) -> "tuple[Monitor, Saved | None]":
        """Return the same for a part of what the parent runs."""
        parent, saved = self.parent.begin()
        return replace(self, parent=parent), saved

    def due(self) -> bool:
        """Ask the parent."""
        return self.parent.due()

    def save(self, **state: Any) -> None:
        """Keep a state, which is in the other problem's terms."""
        self.parent.save(**state)


class _Part:
    """What a method sees of a solve whose states are kept, with its own place among them."""

    def __init__(self, whole: SolveMonitor, checkpoint: Checkpoint, place: Place) -> None:
        self._whole, self._checkpoint, self._place, self._begun = whole, checkpoint, place, 0

    @property
    def n_threads(self) -> int:
        return self._whole.n_threads

    @property
    def rng(self) -> np.random.Generator:
        return self._whole.rng

    def record(self, point: Point, tree: tuple[int, int] | None = None) -> bool:
        return self._whole.record(point, tree)

    def keep(self, point: Point) -> None:
        self._whole.keep(point)

    def prove(self, bound: Bound) -> bool:
        return self._whole.prove(bound)

    def relative_gap(self, point: Point, bound: Bound) -> float:
        return self._whole.relative_gap(point, bound)

    def expired(self) -> bool:
        return self._whole.expired()

    def begin(self) -> "tuple[Monitor, Saved | None]":
        part = _Part(self._whole, self._checkpoint, (*self._place, self._begun))
        self._begun += 1
        return part.resumed()

    def resumed(self) -> "tuple[Monitor, Saved | None]":
        """Go on from the state at this place, where there is one."""
        state = self._checkpoint.states.get(self._place)
        if state is None:
            return self, None
        self._whole.restore(state["run"], self._checkpoint.history)
        return self, dict(state["method"])

    def due(self) -> bool:
        return self._checkpoint.due()

    def save(self, **state: Any) -> None:
        if self._whole.stopped is None:
            own = {name: each() if callable(each) else each for name, each in state.items()}
            kept = {"run": self._whole.snapshot(), "method": own}
            self._checkpoint.keep(self._place, kept, self._whole.history)
            self._begun = 0
