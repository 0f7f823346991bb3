"""Progress on a terminal or in a log: a callback like any other."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

from l0quad.run.outcome import State
from l0quad.shown import proves

T = TypeVar("T")
_EVERY = 0.2
_LONG = 1.0
_TINY = 2.0**-1022


class Progress:
    """Show how far a solve is, at most five times a second.

    On a terminal one line is kept up to date; elsewhere each report is a line of its own. Use it as the ``callback``
    of `solve`, or let ``verbose=1`` do so.

    Parameters
    ----------
    stream : text file, optional
        Where to write, by default standard error.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> result = l0quad.minimize(A, A[:, 2], k=1, callback=l0quad.Progress())  # one line on stderr, renewed
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._due, self._length = 0.0, 0

    def __call__(self, state: State) -> None:
        """Show a state where the last one shown is old enough."""
        if state.n_iter > 1 and not self._is_due(state.seconds):
            return
        self._due = state.seconds + _EVERY
        counted = f"iteration {state.n_iter}"
        if state.nodes:
            counted = f"nodes {state.nodes}  open {state.open_nodes}"
        gap = (state.best_objective - state.lower_bound) / max(abs(state.best_objective), _TINY)
        known = proves(state.lower_bound)
        bound = f"{state.lower_bound:.8g}" if known else "none"
        proven = f"  gap {100 * gap:.3g} %" if state.nodes and known else ""
        self.show(
            f"{counted}  best {state.best_objective:.8g}  bound {bound}{proven}  "
            f"{state.nonzeros} nonzeros  {state.seconds:.1f} s"
        )

    def reading(self, nbytes: int, size: int, seconds: float) -> None:
        """Show how far the sweep over A's files is, and about how long the rest will take, where solves take long."""
        if seconds < _LONG or nbytes == 0 or not self._is_due(seconds):
            return
        self._due = seconds + _EVERY
        sweep, here = divmod(nbytes, size)
        left = seconds / nbytes * (size - here)
        self.show(f"sweep {sweep + 1}  {here / 1e9:.3g} of {size / 1e9:.3g} GB read, about {left:.0f} s left")

    def over(self, steps: Sequence[T], name: str) -> Iterator[T]:
        """Yield the steps of longer work, saying which one runs and about how long the rest will take."""
        begin = time.perf_counter()
        for done, step in enumerate(steps):
            seconds = time.perf_counter() - begin
            left = f", about {seconds / done * (len(steps) - done):.0f} s left" if done else ""
            self.show(f"{name} {done + 1} of {len(steps)}, {seconds:.0f} s{left}")
            yield step
        self.clear()

    def _is_due(self, seconds: float) -> bool:
        """Whether the last line is old enough; one that was shown later than now is another solve's."""
        return seconds >= self._due or seconds < self._due - _EVERY

    def show(self, text: str) -> None:
        """Show a line in place of the last one."""
        if self._terminal:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r{text.ljust(self._length)}")
            self._length = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Leave an empty line with the cursor at its beginning; elsewhere than on a terminal nothing happens."""
        if self._terminal and self._length:
            self.show("")
            self._stream.write("\r")
            self._stream.flush()
            self._length = 0
