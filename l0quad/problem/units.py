"""Units: from the arguments as given to a problem of ordinary size without a linear term, and back.

A is thought of as 2^a A', b as 2^f b', w as 2^(f - a) w', F as 2^(2f) F' and the ridge as 2^(2a) times its own; powers
of two are exact, and a = f = 0 for data of ordinary size. A linear term is folded into w0 and a constant,
``ridge ||w - w0||^2 + c'w = ridge ||w - (w0 - c/(2 ridge))||^2 + fold``.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from l0quad import validation
from l0quad.linalg.rounding import down, norm_above
from l0quad.problem.core import CoreProblem, Point, frozen
from l0quad.types import FloatArray

# Data whose largest value lies within 2**+-_ORDINARY is used as it is; beyond, it is scaled by a power of two.
_ORDINARY = {np.dtype(np.float32): 30, np.dtype(np.float64): 120}
_MOST = 1000
_EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, eq=False)
class Units:
    """How the user's units and a `CoreProblem`'s own hang together.

    Attributes
    ----------
    a, f : int
        The exponents of the module's docstring.
    w0, linear : ndarray of shape (p,); ``linear`` may be None
        The terms as they were given, in own units.
    fold : float
        What folding the linear term took from the objective, in own units; off by at most ``fold_error``.
    slack : float
        A bound on ``||e||``, where rounding the new w0 has left a term e'(w - w0).
    offset : float
        A constant of the objective, in own units, that solvers are not told of: it decides nothing.
    moved : float
        By how much the optimum may lie below that of the problem that solvers see, in own units, where that has been
        reduced to fewer rows.
    """

    a: int
    f: int
    w0: FloatArray
    linear: FloatArray | None
    fold: float = 0.0
    fold_error: float = 0.0
    slack: float = 0.0
    offset: float = 0.0
    moved: float = 0.0

    @classmethod
    def choose(
        cls,
        exponent: int | None,
        dtype: np.dtype[Any],
        b: FloatArray,
        w0: FloatArray,
        ridge: float,
        linear: FloatArray | None,
    ) -> "tuple[Units, FloatArray]":
        """Return the units that suit these arguments, and w0 with the linear term folded in, in own units.

        ``exponent`` is e with A's largest entry in [2^(e-1), 2^e), None where A is zero.
        """
        ridge_exponent = -(-math.frexp(ridge)[1] // 2) if ridge > 0 else None
        a = _power(max((e for e in (exponent, ridge_exponent) if e is not None), default=0), dtype)
        folded = w0
        if linear is not None:
            with np.errstate(over="ignore"):
                folded = w0 - linear / (2 * ridge)
            if not np.all(np.isfinite(folded)):
                raise ValueError(f"linear: linear / (2 ridge) overflows float64, got ridge={ridge:g}")
        largest_b, largest_w0 = validation.largest_exponent(b, "b"), validation.largest_exponent(folded, "w0")
        sizes = [largest_b] if largest_b is not None else []
        sizes += [largest_w0 + a] if largest_w0 is not None else []
        f = _power(max(sizes, default=0), np.dtype(np.float64))
        if linear is None:
            return cls(a, f, scaled(w0, a - f), None), scaled(folded, a - f)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            own_linear = scaled(linear, -a - f)
            units = cls(a, f, scaled(w0, a - f), own_linear)
            squares = float(own_linear @ (own_linear / (2 * units.own_mu(ridge))))
            fold = float(own_linear @ units.w0) - squares
            error = 2 * (w0.size + 8) * _EPS * (float(np.abs(own_linear) @ np.abs(units.w0)) + squares)
            own_folded, mu = scaled(folded, a - f), units.own_mu(ridge)
            rounding = 4 * _EPS * (np.abs(own_linear) + mu * (np.abs(own_folded) + np.abs(units.w0)))
            slack = norm_above(np.abs(own_linear + mu * (own_folded - units.w0)) + rounding)
        if not math.isfinite(units.size(fold)):
            raise ValueError(
                f"linear: ||linear||^2 / (4 ridge) overflows float64, got ridge={ridge:g}; scale linear down"
            )
        return cls(a, f, units.w0, own_linear, fold, error, slack), own_folded

    def own_w(self, w: FloatArray) -> FloatArray:
        """Return a vector given in the user's units in own ones."""
        return np.ldexp(w, self.a - self.f)

    def own_diagonal(self, d: FloatArray) -> FloatArray:
        """Return second derivatives in the user's units in own ones."""
        return np.ldexp(d, -2 * self.a)

    def diagonal(self, d: FloatArray) -> FloatArray:
        """Return second derivatives in the user's units."""
        return np.ldexp(d, 2 * self.a)

    def own_b(self, vector: FloatArray) -> FloatArray:
        """Return a vector in the user's units of b in own ones."""
        return np.ldexp(vector, -self.f)

    def b(self, vector: FloatArray) -> FloatArray:
        """Return a vector of R^n in the user's units of b."""
        return np.ldexp(vector, self.f)

    def own_mu(self, ridge: float) -> float:
        """Return twice the ridge in own units."""
        return math.ldexp(ridge, 1 - 2 * self.a)

    def own_objective(self, value: float) -> float:
        """Return an objective without its fold in own units."""
        return math.ldexp(value, -2 * self.f)

    def ridge(self, ridge: float) -> float:
        """Return a ridge in the user's units."""
        return _ldexp(ridge, 2 * self.a)

    def size(self, value: float) -> float:
        """Return a difference of objectives in the user's units."""
        return _ldexp(value, 2 * self.f)

    def objective(self, value: float) -> float:
        """Return an objective in the user's units."""
        return self.size(value + self.fold + self.offset)

    def lower(self, value: float) -> float:
        """Return a lower bound in the user's units, rounded down, ``moved`` and the rounding of ``fold`` included.

        Where nothing is proven, the least float.
        """
        if self.moved:
            value = down(value - self.moved)
            # A sum of squares, unless rounding has left a linear term.
            value = max(value, 0.0) if self.linear is None else value
        if self.linear is not None:
            value = down(down(value - self.fold_error) + self.fold)
        if self.offset:
            value = down(value + self.offset)
        bound = self.size(value)
        return max(down(bound) if abs(bound) < _TINY and bound != value else bound, -_LARGEST)

    def dense(self, w: FloatArray) -> FloatArray:
        """Return a dense vector of weights in the user's units."""
        return np.ldexp(w, self.f - self.a)

    def own_lower(self, value: float) -> float:
        """Return a lower bound given in the user's units in own ones, up to rounding."""
        return self.own_objective(value) - self.offset - self.fold + self.moved

    def gradient(self, gradient: FloatArray) -> FloatArray:
        """Return a gradient in the user's units."""
        return np.ldexp(gradient, self.f + self.a)

    def w(self, point: Point, n_columns: int, dtype: np.dtype[Any]) -> np.ndarray:
        """Return a point as a dense vector in the user's units, in A's dtype (float64 where that is too small)."""
        w = np.zeros(n_columns)
        with np.errstate(over="ignore"):
            w[point.support] = np.ldexp(point.w, self.f - self.a)
            narrow = w.astype(dtype)
        return narrow if np.all(np.isfinite(narrow)) else w

    def value(self, core: CoreProblem, point: Point) -> float:
        """Return the objective of a point in the user's units."""
        return self.size(self.unfolded(core, point) + self.offset)

    def unfolded(self, core: CoreProblem, point: Point) -> float:
        """Return the objective of a point with the linear term as it was given, still in own units, ``offset`` apart.

        Not by adding ``fold``, which can be far larger than the objective.
        """
        if self.linear is None:
            return point.objective
        pull = self.w0.copy()
        pull[point.support] -= point.w
        data, constant = core.data_term(point.support, point.w)
        linear = float(self.linear[point.support] @ point.w)
        return data + 0.5 * core.mu * float(pull @ pull) + linear + constant


def scaled(array: FloatArray, exponent: int) -> FloatArray:
    """Return ``2**exponent`` times the array, read-only; the array itself where that is 1."""
    return frozen(np.ldexp(array, exponent)) if exponent else array


def _power(exponent: int, dtype: np.dtype[Any]) -> int:
    """Return the power of two to divide by: none for data of ordinary size."""
    return 0 if abs(exponent) <= _ORDINARY[dtype] else max(-_MOST, min(_MOST, exponent))


def _ldexp(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)
