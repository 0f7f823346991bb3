"""What a layer's solve returns: the weights, how good they are, and what proves it."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from l0quad.api.result import Check
from l0quad.bounds.diagonal import proven
from l0quad.certificates import Separable, Trivial
from l0quad.layers.bound import certified, curvature
from l0quad.layers.budgets import LayerBudget
from l0quad.layers.quadratic import Quadratic
from l0quad.linalg.rounding import gamma
from l0quad.run.outcome import State, Status
from l0quad.shown import proves
from l0quad.types import BoolArray, FloatArray, Pause, go_on

_LEAST = -float(np.finfo(np.float64).max)


class Stated(Protocol):
    """What solving and checking see of a `Layer`."""

    k: LayerBudget
    W0: np.ndarray
    quadratic: Quadratic

    def diagonal(self, pause: Pause = go_on) -> FloatArray | None:
        """Return the separable diagonal of H, None where there is none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LayerResult:
    """The answer and how good it is. Every field is always there.

    Attributes
    ----------
    W : ndarray of shape (d, m)
        In the dtype of W0.
    mask : ndarray of bool, shape (d, m)
        Where W is not zero.
    objective : float
        At ``W`` as returned, in float64.
    relative_error : float
        ``objective`` over the objective at W = 0.
    lower_bound : float
        No W within the budget has a smaller objective.
    gap, relative_gap : float
        ``objective - lower_bound``, and the same over the objective; beside `Status.OPTIMAL` at most 1e-6, as in
        `Result`.
    column_objectives : ndarray of shape (m,)
        The part of ``objective`` that each output has.
    column_bounds : ndarray of shape (m,) or None
        Lower bounds of each output, where each has a budget of its own.
    certificate : Separable, Trivial or None
        What proves ``lower_bound``: w a point (d x m) and d the diagonal; nothing but that H is semidefinite; or
        branch and bound, of which nothing is kept.
    status, message, n_iter, history, solve_time, bound_time, method
        As in `Result`. `Status.SWAP_OPTIMAL`: no exchange within an output gains a millionth of its objective;
        where d is so large that only the likeliest exchanges are tried, the status is CONVERGED instead.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> rng = np.random.default_rng(0)
    >>> layer = l0quad.Layer(rng.standard_normal((6, 3)), X=rng.standard_normal((20, 6)), k=6)
    >>> result = layer.solve()
    >>> result.W.shape, int(result.mask.sum()), result.lower_bound <= result.objective, result.check(layer).ok
    ((6, 3), 6, True, True)
    """

    W: np.ndarray
    mask: BoolArray
    objective: float
    relative_error: float
    lower_bound: float
    gap: float
    relative_gap: float
    column_objectives: FloatArray
    column_bounds: FloatArray | None
    certificate: Separable | Trivial | None = field(repr=False)
    status: Status
    message: str
    n_iter: int
    history: tuple[State, ...] = field(repr=False)
    solve_time: float
    bound_time: float
    method: str

    def check(self, layer: Stated) -> Check:
        """Compute objective, budget and lower bound anew and compare: the bound from the certificate alone.

        Of branch and bound there is nothing to compute anew; the message says so.
        """
        quadratic, faults = layer.quadratic, []
        if self.W.shape != layer.W0.shape:
            raise ValueError(f"layer: must have the shape of W, {self.W.shape}, got {layer.W0.shape}")
        W = np.ascontiguousarray(self.W.T, dtype=np.float64)
        objective = float(quadratic.objectives(W).sum())
        if not abs(objective - self.objective) <= rounding(quadratic, W):
            faults.append(f"the objective at W is {objective:.10g}, not {self.objective:.10g}")
        feasible = np.array_equal(self.W != 0, self.mask) and quadratic.pattern.allows(W != 0)
        if not feasible:
            faults.append("W does not have the mask that the result names, or not one within the budget")
        bounds = certified_bounds(quadratic, self.certificate)
        lower = lower_bound(bounds, objective) if self.certificate is not None else self.lower_bound
        # What is proven exactly lies at most two allowances above what was computed, and so does any proof of it.
        if not self.lower_bound <= lower + 2 * rounding(quadratic, _point_of(self.certificate, W)):
            faults.append(f"the certificate proves {lower:.10g}, not {self.lower_bound:.10g}")
        message = "objective, budget and lower bound are as the result says"
        if self.certificate is None:
            message += "; branch and bound leaves no certificate to compute the bound from"
        return Check(objective, feasible, lower, not faults, "; ".join(faults) or message)

    def __repr__(self) -> str:
        proof = f"relative_gap={self.relative_gap:.2g}" if proves(self.lower_bound) else "no lower bound"
        return (
            f"LayerResult({self.status.name.lower()}, method={self.method!r}, "
            f"relative_error={self.relative_error:.4g}, "
            f"{proof}, nonzeros={np.count_nonzero(self.mask)}/{self.mask.size}, "
            f"solve_time={self.solve_time:.3g}s)"
        )


def trivial_bounds(quadratic: Quadratic) -> FloatArray:
    """Return what is known of each output without work.

    Its value at 0, where nothing else is allowed; else 0 where its centre is given, because H is semidefinite.
    """
    if quadratic.pattern.partition.total == 0:
        return quadratic.at_zero - _roundings(quadratic, np.zeros_like(quadratic.W0))
    given = quadratic.constant_size == 0
    return np.where(given, 0.0, -np.inf)


def lower_bound(bounds: FloatArray, objective: float) -> float:
    """Return the bound that they add up to; the least float where nothing is proven."""
    return max(min(float(bounds.sum()), objective), _LEAST)


def certified_bounds(quadratic: Quadratic, certificate: Separable | Trivial | None) -> FloatArray:
    """Return the bounds that a certificate proves, of each output or of all; the diagonal is proven anew."""
    if isinstance(certificate, Separable) and np.all(certificate.d > 0) and certificate.w.T.shape == quadratic.W0.shape:
        d = proven(curvature(quadratic), certificate.d)
        if d is not None and np.array_equal(d, certificate.d):
            return largest_bounds(quadratic, certified(quadratic, np.ascontiguousarray(certificate.w.T), d).values)
    return trivial_bounds(quadratic)


def largest_bounds(quadratic: Quadratic, values: FloatArray) -> FloatArray:
    """Return these bounds (of each output or of all), or the trivial ones where they are larger."""
    trivial = trivial_bounds(quadratic)
    return np.maximum(values, trivial if values.size == trivial.size else trivial.sum())


def rounding(quadratic: Quadratic, W: FloatArray) -> float:
    """Return a bound on the rounding error of the objective at W, summed over the outputs."""
    return float(_roundings(quadratic, W).sum())


def _roundings(quadratic: Quadratic, W: FloatArray) -> FloatArray:
    E = np.abs(W - quadratic.W0)
    size = (E * (E @ np.abs(quadratic.Q) + quadratic.residual_size)).sum(axis=1) + quadratic.constant_size
    return gamma(4 * W.shape[1] + 4 * W.shape[0] + 64) * size


def _point_of(certificate: Separable | Trivial | None, W: FloatArray) -> FloatArray:
    return certificate.w.T if isinstance(certificate, Separable) else W
