"""Problem: a validated, immutable instance of L0-constrained least squares."""

import copy
import functools
import math
from typing import Any

import numpy as np
import scipy.sparse as sp

from l0quad import linalg, validation
from l0quad.constraints import Cardinality, Constraint, NofM, PerBlock
from l0quad.matrix import DenseMatrix, Matrix, as_matrix
from l0quad.result import Point
from l0quad.sparse_input import sparse_matrix
from l0quad.types import FloatArray, IntArray

# Data whose largest value lies within 2**+-_ORDINARY is used as it is; beyond, it is scaled by a power of two.
_ORDINARY = {np.dtype(np.float32): 30, np.dtype(np.float64): 120}
_MOST = 1000


class Problem:
    """Minimise ``1/2 ||A w - b||^2 + ridge ||w - w0||^2 + linear'w`` subject to ``||w||_0 <= k``.

    Everything is validated here, once. The caller's arrays are never changed, and A is not copied when it already is
    a float32 or float64 array that BLAS can read (C or Fortran order, a strided view, a memory map) or canonical CSC.

    Parameters
    ----------
    A : array_like or scipy.sparse matrix, shape (n, p)
        Integers, bools and float16 become float64. What would lose values (complex, object, strings, masked entries)
        is refused.
    b : array_like, shape (n,)
    k : int, Cardinality, PerBlock or NofM
        The largest number of nonzeros, or a partition of the columns with budgets.
    ridge : float, default 0
        The weight of ``||w - w0||^2`` (the lambda of the formula above, not half of it).
    w0 : array_like, shape (p,), optional
        The point that the ridge term pulls towards, 0 by default.
    linear : array_like, shape (p,), optional
        Coefficients of a linear term; needs ``ridge > 0``, because the problem could be unbounded without.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.

    Notes
    -----
    Solvers see the attributes below. The linear term is folded into ``w0`` and a constant,
    ``ridge ||w - w0||^2 + c'w = ridge ||w - (w0 - c/(2 ridge))||^2 + const``, and data of extreme size is scaled by
    powers of two (so 1e-150 and 1e150 are sizes like any other); `objective` and `gradient` speak the user's units.

    Attributes
    ----------
    shape, dtype : (n, p) and the dtype of A
    k : the constraint as given
    ridge : float
    matrix : Matrix
    b, w0 : ndarray
    mu : float
        Twice the ridge.
    constraint : Constraint
    constant : float
        What the objective has besides the two squares.
    """

    matrix: Matrix
    b: FloatArray
    w0: FloatArray
    mu: float
    constraint: Constraint
    constant: float
    k: int | Cardinality | PerBlock | NofM
    ridge: float

    def __init__(
        self,
        A: Any,
        b: Any,
        k: int | Cardinality | PerBlock | NofM,
        ridge: float = 0.0,
        w0: Any = None,
        linear: Any = None,
    ) -> None:
        array = sparse_matrix(A, "A") if sp.issparse(A) else validation.dense_matrix(A, "A")
        exponent = validation.largest_exponent(array.data if sp.issparse(array) else array, "A")
        n, p = array.shape
        b = validation.vector(b, "b", n, "one value for each row of A")
        w0 = np.zeros(p) if w0 is None else validation.vector(w0, "w0", p, "one value for each column of A")
        ridge = validation.real(ridge, "ridge")
        if linear is not None:
            linear = validation.vector(linear, "linear", p, "one value for each column of A")
            if ridge == 0:
                raise ValueError("linear: needs ridge > 0, because the problem could be unbounded without, got ridge=0")
        self._freeze(
            k=k, ridge=ridge, constraint=_constraint(k, p), _given_w0=w0, _linear=linear, _fold=0.0, constant=0.0
        )
        self._scale(array, exponent, b)

    def _scale(self, array: Any, exponent: int | None, b: FloatArray) -> None:
        """Set the attributes that solvers see: A times 2^-a, b times 2^-f, w times 2^(a - f), F times 2^-2f."""
        ridge_exponent = -(-math.frexp(self.ridge)[1] // 2) if self.ridge > 0 else None
        a = _power(max((e for e in (exponent, ridge_exponent) if e is not None), default=0), array.dtype)
        w0 = self._given_w0
        with np.errstate(over="ignore"):
            if self._linear is not None:
                w0 = w0 - self._linear / (2 * self.ridge)
        if not np.all(np.isfinite(w0)):
            raise ValueError(f"linear: linear / (2 ridge) overflows float64, got ridge={self.ridge:g}")
        largest_b, largest_w0 = validation.largest_exponent(b, "b"), validation.largest_exponent(w0, "w0")
        sizes = [largest_b] if largest_b is not None else []
        sizes += [largest_w0 + a] if largest_w0 is not None else []
        f = _power(max(sizes, default=0), np.dtype(np.float64))
        self._freeze(
            matrix=as_matrix(array, -a),
            b=_frozen(np.ldexp(b, -f)),
            w0=_frozen(np.ldexp(w0, a - f)),
            mu=math.ldexp(self.ridge, 1 - 2 * a),
            _w_exponent=a - f,
            _F_exponent=-2 * f,
            _ridge_exponent=2 * a,
            _linear_exponent=-a - f,
        )
        if self._linear is not None:
            self._fold_linear(self._linear)
        with np.errstate(over="ignore", invalid="ignore"):
            at_zero = self.user_size(self.objective_at_zero)
        if not math.isfinite(at_zero):
            raise ValueError("b: the objective at w = 0 overflows float64; scale b, w0 and linear down")

    def _fold_linear(self, linear: FloatArray) -> None:
        """Set the constant that folding the linear term into w0 leaves."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            linear = np.ldexp(linear, self._linear_exponent)
            fold = float(linear @ self.own_w(self._given_w0) - linear @ (linear / (2 * self.mu)))
        if not math.isfinite(self.user_size(fold)):
            raise ValueError(
                f"linear: ||linear||^2 / (4 ridge) overflows float64, got ridge={self.ridge:g}; scale linear down"
            )
        self._freeze(_fold=fold)

    @classmethod
    def from_gram(
        cls,
        H: Any,
        g: Any,
        k: int | Cardinality | PerBlock | NofM,
        const: float = 0.0,
        *,
        ridge: float = 0.0,
        w0: Any = None,
    ) -> "Problem":
        """Return the problem ``minimise 1/2 w'Hw - g'w + const + ridge ||w - w0||^2, ||w||_0 <= k``.

        H is factored as R'R at the door, by Cholesky or, where it is singular, by its eigenvalues; from then on it is
        an ordinary problem in R.

        Parameters
        ----------
        H : array_like, shape (p, p)
            Symmetric, positive semidefinite.
        g : array_like, shape (p,)
            Where H is singular and g leaves its range, the rest of g acts as a linear term and needs ``ridge > 0``.
        """
        H = np.asarray(validation.dense_matrix(H, "H"), dtype=np.float64)
        validation.largest_exponent(H, "H")
        if H.shape[0] != H.shape[1]:
            raise ValueError(f"H: must be square, got shape {H.shape}")
        asymmetry, size = float(np.abs(H - H.T).max()), float(np.abs(H).max())
        if asymmetry > 1e-8 * size:
            raise ValueError(f"H: must be symmetric, got entries that differ by {asymmetry:g}")
        g = validation.vector(g, "g", H.shape[0], "one value for each column of H")
        const = validation.real(const, "const", minimum=-math.inf)
        R, b, rest = linalg.factor_gram(H, g)
        if rest is not None and validation.real(ridge, "ridge") == 0:
            raise ValueError("g: leaves the range of the singular H, so that the problem is unbounded unless ridge > 0")
        problem = cls(R, b, k, ridge=ridge, w0=w0, linear=None if rest is None else -rest)
        return problem._with(constant=math.ldexp(const - 0.5 * float(b @ b), problem._F_exponent))

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def objective(self, w: Any) -> float:
        """Return the objective at ``w`` (shape (p,), any float dtype), accumulated in float64, in the user's units."""
        scaled = self.own_w(validation.vector(w, "w", self.shape[1], "one value for each column of A"))
        support = np.flatnonzero(scaled)
        return self.user_size(self.unfolded(self.evaluate(support, scaled[support])))

    def gradient(self, w: Any) -> FloatArray:
        """Return the gradient of the objective at ``w``, shape (p,), float64, in the user's units."""
        scaled = self.own_w(validation.vector(w, "w", self.shape[1], "one value for each column of A"))
        gradient = self.matrix.rmatvec(self.matrix.matvec(None, scaled) - self.b) + self.mu * (scaled - self.w0)
        return np.ldexp(gradient, self._w_exponent - self._F_exponent)

    def __repr__(self) -> str:
        n, p = self.shape
        return f"Problem(n={n}, p={p}, k={self.constraint.total}, ridge={self.ridge:g}, dtype={self.dtype})"

    # What follows is for solvers: points and objectives in the problem's own units.

    def residual(self, support: IntArray, w: FloatArray) -> FloatArray:
        """Return A w - b for the point with these values on this support."""
        return self.matrix.matvec(support, w) - self.b

    def evaluate(
        self, support: IntArray, w: FloatArray, residual: FloatArray | None = None, refit: bool = False
    ) -> Point:
        """Return the point with these values on this support, its objective accumulated in float64."""
        r = self.residual(support, w) if residual is None else residual
        pull = self.w0.copy()
        pull[support] -= w
        objective = 0.5 * float(r @ r) + 0.5 * self.mu * float(pull @ pull) + self.constant
        return Point(support, w, objective, refit)

    def refit(self, support: IntArray) -> Point:
        """Return the best point with this support."""
        w, residual = linalg.restricted_solve(self.matrix, self.b, self.w0, self.mu, support)
        point = self.evaluate(support, w, residual, refit=True)
        if point.objective <= self.objective_at_zero:
            return point
        # Columns of so different sizes that float64 cannot hold the solution: zero is a point with this support too.
        return self.evaluate(support, np.zeros(support.size))

    def refitted(self, point: Point) -> Point:
        """Return the point itself where it is the best one with its support, else that one."""
        return point if point.refit else self.refit(point.support)

    def unfolded(self, point: Point) -> float:
        """Return the objective with the linear term as it was given, still in the problem's own units.

        Not by adding the constant of the folded form, which can be far larger than the objective.
        """
        if self._linear is None:
            return point.objective
        pull = self.own_w(self._given_w0)
        pull[point.support] -= point.w
        r = self.residual(point.support, point.w)
        linear = np.ldexp(self._linear[point.support], self._linear_exponent)
        return 0.5 * (float(r @ r) + self.mu * float(pull @ pull)) + float(linear @ point.w) + self.constant

    @functools.cached_property
    def size(self) -> float:
        """``1/2 ||b||^2 + ridge ||w0||^2`` as given: the scale beside which a gap is called zero."""
        given = self.own_w(self._given_w0)
        return 0.5 * float(self.b @ self.b) + 0.5 * self.mu * float(given @ given)

    @functools.cached_property
    def objective_at_zero(self) -> float:
        """The objective at w = 0."""
        return 0.5 * float(self.b @ self.b) + 0.5 * self.mu * float(self.w0 @ self.w0) + self.constant

    @functools.cached_property
    def column_sq_norms(self) -> FloatArray:
        """The squared norms of A's columns."""
        return self.matrix.column_sq_norms()

    def restrict(self, columns: IntArray) -> "Problem":
        """Return the problem over these columns, the others held at zero."""
        outside = self.w0.copy()
        outside[columns] = 0.0
        return self._with(
            matrix=self.matrix.subset(columns),
            w0=_frozen(self.w0[columns]),
            constraint=self.constraint.restrict(columns),
            constant=self.constant + 0.5 * self.mu * float(outside @ outside),
        )

    def reduced(self) -> "Problem":
        """Return an equivalent problem with at most p rows.

        Through the Gram matrix (n p^2 flops), so columns that are dependent to 1e-8 are dependent in it.
        """
        R, b, _ = linalg.factor_gram(self.matrix.inner(), self.matrix.rmatvec(self.b))
        constant = self.constant + 0.5 * (float(self.b @ self.b) - float(b @ b))
        return self._with(matrix=DenseMatrix(R), b=_frozen(b), constant=constant)

    def user_objective(self, objective: float) -> float:
        """Return an objective in the user's units."""
        return self.user_size(objective + self._fold)

    def user_size(self, value: float) -> float:
        """Return a difference of objectives in the user's units."""
        return _ldexp(value, -self._F_exponent)

    def user_ridge(self, ridge: float) -> float:
        """Return a ridge in the user's units."""
        return _ldexp(ridge, self._ridge_exponent)

    def user_w(self, point: Point) -> np.ndarray:
        """Return a point as a dense vector in the user's units, in A's dtype (float64 where that is too small)."""
        w = np.zeros(self.shape[1])
        with np.errstate(over="ignore"):
            w[point.support] = np.ldexp(point.w, -self._w_exponent)
            narrow = w.astype(self.dtype)
        return narrow if np.all(np.isfinite(narrow)) else w

    def own_w(self, w: FloatArray) -> FloatArray:
        """Return a vector given in the user's units in the problem's own."""
        return np.ldexp(w, self._w_exponent)

    def _with(self, **changes: Any) -> "Problem":
        other = copy.copy(self)
        for cached in ("objective_at_zero", "size", "column_sq_norms"):
            other.__dict__.pop(cached, None)
        other._freeze(**changes)
        return other

    def _freeze(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Problem is immutable, cannot set {name}")

    _given_w0: FloatArray
    _linear: FloatArray | None
    _fold: float
    _w_exponent: int
    _F_exponent: int
    _ridge_exponent: int
    _linear_exponent: int


def _constraint(k: Any, n_columns: int) -> Constraint:
    if isinstance(k, (Cardinality, PerBlock, NofM)):
        return k.bind(n_columns)
    return Cardinality(validation.integer(k, "k", 0)).bind(n_columns)


def _power(exponent: int, dtype: np.dtype[Any]) -> int:
    """Return the power of two to divide by: none for data of ordinary size."""
    return 0 if abs(exponent) <= _ORDINARY[dtype] else max(-_MOST, min(_MOST, exponent))


def _frozen(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array


def _ldexp(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)
