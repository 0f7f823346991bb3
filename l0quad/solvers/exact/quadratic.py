"""A problem by its curvature and its slope at one point, with bounds on what rounding has done to them."""

from typing import NamedTuple

from l0quad.bounds.diagonal import curvature
from l0quad.bounds.separable import expansion
from l0quad.problem.core import CoreProblem
from l0quad.types import FloatArray, Pause


class Quadratic(NamedTuple):
    """A quadratic below the objective.

    For all w, with x = w - centre, the objective is at least
    ``1/2 x'(H - diag(error))x - q'x - slope'|x| + constant``.
    About a good point, because the terms of an expansion about 0 may be far larger than the objective.

    Attributes
    ----------
    H : ndarray of shape (p, p)
        A'A + mu I as computed; its lower triangle counts.
    centre, q : ndarray of shape (p,)
        The point, and the negative gradient there as computed.
    error, slope : ndarray of shape (p,)
        What rounding may have done to H and q.
    constant : float
        The objective at the centre, lowered by its rounding error; ``lost`` is that.
    rank : int
        That of A is no larger.
    """

    H: FloatArray
    centre: FloatArray
    q: FloatArray
    error: FloatArray
    slope: FloatArray
    constant: float
    lost: float
    rank: int

    @classmethod
    def of(cls, problem: CoreProblem, centre: FloatArray, pause: Pause) -> "Quadratic":
        """Return it for a problem; some n p^2 flops, between slices of which ``pause`` is called, and 8 p^2 bytes."""
        H, error = curvature(problem, pause)
        value, q, lost, slope = expansion(problem, centre)
        return cls(H, centre, q, error, slope, value - lost, lost, min(problem.shape))

    def about(self, problem: CoreProblem, centre: FloatArray) -> "Quadratic":
        """Return it about another point, of the same problem."""
        value, q, lost, slope = expansion(problem, centre)
        return self._replace(centre=centre, q=q, slope=slope, constant=value - lost, lost=lost)
