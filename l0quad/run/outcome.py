"""How a solve goes and how it ends."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from l0quad.certificates import Bound
from l0quad.problem.core import Point


class Status(Enum):
    """How a solve ended; the value is the message a reader sees.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2], k=1).status is l0quad.Status.OPTIMAL
    True
    """

    OPTIMAL = "proven optimal: the gap is zero to working accuracy"
    SWAP_OPTIMAL = "swap-optimal: no exchange of one column (or whole group) for another is better, all refitted"
    CONVERGED = "converged: the method finds no better point"
    ITERATION_LIMIT = "iteration limit reached; this is the best point so far"
    TIME_LIMIT = "time limit reached; this is the best point so far"
    INTERRUPTED = "interrupted; this is the best point so far"

    @property
    def success(self) -> bool:
        """Whether the method ran to its own end."""
        return self in (Status.OPTIMAL, Status.SWAP_OPTIMAL, Status.CONVERGED)


@dataclass(frozen=True, slots=True)
class State:
    """One iteration, as it is given to ``callback`` and kept in ``Result.history``.

    Attributes
    ----------
    n_iter : int
        Counted from 1.
    objective : float
        Of this iteration's point, in the user's units.
    nonzeros : int
        Of this iteration's point.
    seconds : float
        Since the start of the solve.
    best_objective : float
        The least objective so far, in the user's units.
    lower_bound : float
        The largest lower bound so far, in the user's units; the trivial one until a method finds another.
    nodes, open_nodes : int
        Of a branch-and-bound tree: how many have been looked at, and how many are still to be.
    n_sweeps, bytes_read : float, int
        How much of A has been read from its files (`open_columns`): bytes, and the same over the bytes that hold A. 0
        where A is in memory.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> result = l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2, callback=lambda state: True)
    >>> result.status.name, result.history[-1].n_iter, result.history[-1].nonzeros
    ('INTERRUPTED', 1, 2)
    """

    n_iter: int
    objective: float
    nonzeros: int
    seconds: float
    best_objective: float
    lower_bound: float
    nodes: int = 0
    open_nodes: int = 0
    n_sweeps: float = 0.0
    bytes_read: int = 0


class Outcome(NamedTuple):
    """What a solver returns: its best point, why it ended, and its best bound where it computes bounds."""

    point: Point
    status: Status
    bound: Bound | None = None
