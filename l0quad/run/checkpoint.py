"""The states from which a stopped solve goes on.

A method says `begin` before its first step, and `save` between two steps: what it hands over is all that its further
steps depend on (`l0quad.run.monitor`). A method that runs within another one is a *part* of it, with a state of its
own. So there is a state for each method that is running, the outermost first, and a part is known by its place: how
many parts its outer method had begun since that one's own state. What is done anew from there begins the same parts in
the same order.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from l0quad.run.outcome import State

Place = tuple[int, ...]
Saved = dict[str, Any]
States = dict[Place, Saved]

# A state that costs something to take is taken this many times as often as the file is written.
_OFTENER = 30
# Taking states, and writing them, may take this share of the time.
_SHARE = 0.05


class Checkpoint:
    """Keeps the newest states of one solve, and writes them from time to time.

    Parameters
    ----------
    states : dict
        Those that an earlier run has left.
    history : sequence of State
        What it had recorded.
    write : callable
        Takes states and history to where they last; returns whether that has succeeded.
    seconds : float
        Two writes are at least this far apart, but for the one of `flush`; 0: every state is written.
    """

    def __init__(
        self,
        states: States,
        history: Sequence[State],
        write: Callable[[States, Sequence[State]], bool],
        seconds: float,
    ) -> None:
        self.states, self.history = states, tuple(history)
        self._write, self._seconds = write, seconds
        self._recorded: list[State] = []
        self._changed = False
        self._asked: float | None = None
        self._next_state = time.perf_counter()
        self._next_write = self._next_state + seconds

    def due(self) -> bool:
        """Whether a state that costs something to take shall be taken now."""
        now = time.perf_counter()
        if now < self._next_state:
            return False
        self._asked = now
        return True

    def keep(self, place: Place, state: Saved, history: list[State]) -> None:
        """Keep the state of the part at this place in place of those of parts before it and within it.

        Those that it is within stay, and so do later ones that an earlier run has left: this one will come to them.
        ``history`` is the solve's own, of which the state tells how much belongs to it. Written where it is time.
        """
        self.states = {each: kept for each, kept in self.states.items() if _stays(each, place)}
        self.states[place] = state
        self._recorded, self._changed = history, True
        now = time.perf_counter()
        if self._asked is not None:
            self._next_state = now + self._pause(self._seconds / _OFTENER, now - self._asked)
            self._asked = None
        if now >= self._next_write:
            self.flush()

    def flush(self) -> None:
        """Write the states, unless nothing has changed since they were written."""
        if not self._changed:
            return
        began = time.perf_counter()
        count = max(state["run"]["count"] for state in self.states.values())
        recorded = (*self._recorded, *self.history[len(self._recorded) :])
        self._changed = not self._write(self.states, recorded[:count])
        now = time.perf_counter()
        self._next_write = now + self._pause(self._seconds, now - began)

    def _pause(self, least: float, spent: float) -> float:
        """Return how long not to do again what has taken so long."""
        return max(least, spent / _SHARE) if self._seconds else 0.0


def _stays(old: Place, new: Place) -> bool:
    """Whether the state at the old place stays when one is kept at the new place."""
    outer, within = old == new[: len(old)], new == old[: len(new)]
    return outer or (old > new and not within)
