"""What a solve returns: Result, Status, and the Point that solvers hand around."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from l0quad.types import FloatArray, IntArray

if TYPE_CHECKING:
    from l0quad.progress import State


class Status(Enum):
    """How a solve ended; the value is the message a reader sees."""

    OPTIMAL = "proven optimal: the gap is zero to working accuracy"
    SWAP_OPTIMAL = "swap-optimal: no exchange of one column for another is better, all refitted"
    CONVERGED = "converged: the method finds no better point"
    ITERATION_LIMIT = "iteration limit reached; this is the best point so far"
    TIME_LIMIT = "time limit reached; this is the best point so far"
    INTERRUPTED = "interrupted; this is the best point so far"

    @property
    def success(self) -> bool:
        """Whether the method ran to its own end."""
        return self in (Status.OPTIMAL, Status.SWAP_OPTIMAL, Status.CONVERGED)


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A feasible w, as solvers hold it: values on a support, in the problem's own units.

    ``refit`` says that ``w`` minimises the objective over all points with this support. ``dual`` is a nu in R^n that a
    solver found to give a good lower bound (`l0quad.bounds`), where it did.
    """

    support: IntArray
    w: FloatArray
    objective: float
    refit: bool = False
    dual: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The answer and how good it is. Every field is always there.

    Attributes
    ----------
    w : ndarray of shape (p,)
        The solution, with at most k nonzeros, in A's dtype (float64 where float32 could not hold its values).
    support : ndarray of int
        The sorted indices of the nonzeros of ``w``.
    objective : float
        The objective at ``w`` as returned (after rounding to its dtype), accumulated in float64.
    lower_bound : float
        No feasible point has a smaller objective. With ``bound="none"``, after an interrupt and after a time limit it
        may be the trivial bound.
    gap, relative_gap : float
        ``objective - lower_bound`` (at least 0), and the same over ``max(|objective|, tiny)``.
    status : Status
        How the solve ended; ``message`` says it in words and adds what the bound rests on.
    n_iter : int
        Iterations of the method.
    history : tuple of State
        One record an iteration: objective, number of nonzeros, seconds since the start.
    solve_time : float
        Seconds, bound included.
    method : str
        The name of the method.
    """

    w: np.ndarray
    support: IntArray
    objective: float
    lower_bound: float
    gap: float
    relative_gap: float
    status: Status
    message: str
    n_iter: int
    history: "tuple[State, ...]" = field(repr=False)
    solve_time: float
    method: str

    @property
    def success(self) -> bool:
        """Whether the method ran to its own end (optimal, swap-optimal or converged)."""
        return self.status.success

    def __repr__(self) -> str:
        return (
            f"Result({self.status.name.lower()}, method={self.method!r}, objective={self.objective:.6g}, "
            f"relative_gap={self.relative_gap:.2g}, nonzeros={self.support.size}/{self.w.size}, "
            f"n_iter={self.n_iter}, solve_time={self.solve_time:.3g}s)"
        )
