"""A debug mode: told a known optimum, a solve raises at the first lower bound above it.

In the manner of HiGHS (`HighsDebugSol`): a bound that cuts off a known solution shows itself where it comes to be,
not in a result. Off unless `known_optimum` is entered.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

Known = Fraction | float | None
_KNOWN: ContextVar[Callable[[Any], Known] | None] = ContextVar("known optimum", default=None)


class BoundAboveOptimum(AssertionError):
    """A lower bound was above the known optimum."""


@contextmanager
def known_optimum(optimum: Known | Callable[[Any], Known]) -> Iterator[None]:
    """Check every lower bound of the solves inside against the optimum, or the objective of any feasible point.

    Parameters
    ----------
    optimum : number or callable
        In the user's units; or what gives it for a problem or layer, None where it is not known.
    """
    token = _KNOWN.set(optimum if callable(optimum) else lambda problem: optimum)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def optimum_of(problem: object) -> Known:
    """Return what is known, None where nothing is."""
    known = _KNOWN.get()
    return None if known is None else known(problem)


def check(lower: float, optimum: Known) -> None:
    """Raise `BoundAboveOptimum` where the bound is above the optimum, by however little."""
    if optimum is not None and lower > optimum:
        raise BoundAboveOptimum(f"a lower bound of {lower!r} is above the optimum {float(optimum)!r}")
