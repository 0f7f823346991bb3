"""Problem: L0-constrained least squares as the user states it, validated once and immutable."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from l0quad import frames, validation
from l0quad.linalg.rounding import gamma, norm_above
from l0quad.matrix import GramMatrix, Matrix, as_matrix
from l0quad.problem.constraints.base import Constraint, Kind
from l0quad.problem.constraints.cardinality import Cardinality
from l0quad.problem.core import CoreProblem, GramCore, Point, frozen
from l0quad.problem.units import Units, scaled
from l0quad.shown import few, html_table
from l0quad.types import FloatArray, MatrixLike, Pause, go_on

_UNBOUNDED = "linear: needs ridge > 0, because the problem could be unbounded without, got ridge=0"
_LEAVES = "g: leaves the range of the singular H, so that the problem is unbounded unless ridge > 0"

Budget = int | np.integer | Kind


class _Same:
    """The default of `Problem.with_`: what is not given stays."""

    def __repr__(self) -> str:
        return "as it is"


_SAME: Any = _Same()


class Problem:
    """Minimise ``1/2 ||A w - b||^2 + ridge ||w - w0||^2 + linear'w`` subject to ``||w||_0 <= k``.

    Everything is validated here, once. The caller's arrays are never changed, and A is not copied when it already is
    a float32 or float64 array that BLAS can read (C or Fortran order, a strided view, a memory map) or canonical CSC.

    Parameters
    ----------
    A : array_like, data frame, scipy.sparse matrix or Matrix, shape (n, p)
        Integers, bools and float16 become float64. What would lose values (complex, object, strings, masked entries)
        is refused. A frame's columns keep their names, which ``must`` and ``never`` may then use.
    b : array_like, shape (n,) or (n, 1)
        Where A and b are pandas', they have the same index.
    k : int, Cardinality, PerBlock, NofM or Groups
        The largest number of nonzeros, or another kind of constraint.
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

    Attributes
    ----------
    shape, dtype : (n, p) and the dtype of A
    k : the constraint as given, with numbers for names
    ridge : float
    matrix : Matrix
        A.
    names : tuple of str, or None
        The names of A's columns, where they have any.
    b, w0, linear : ndarray, float64, read-only
        As given; ``linear`` may be None.
    constraint : Constraint
        k, bound to the p columns.
    core : CoreProblem
        What solvers see: of ordinary size, without a linear term.
    units : Units
        How the two hang together.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> problem = l0quad.Problem(A, A[:, 2] - 2 * A[:, 5], k=2, ridge=1e-3)
    >>> problem.shape
    (40, 12)
    >>> l0quad.solve(problem.with_(k=1)).support
    array([5])
    """

    k: Budget
    ridge: float
    matrix: Matrix
    b: FloatArray
    w0: FloatArray
    linear: FloatArray | None
    constraint: Constraint
    core: CoreProblem
    units: Units
    _gram: "_Gram | None"

    def __init__(
        self,
        A: MatrixLike | Matrix,
        b: ArrayLike,
        k: Budget,
        ridge: float = 0.0,
        w0: ArrayLike | None = None,
        linear: ArrayLike | None = None,
    ) -> None:
        matrix = as_matrix(A)
        _exponent(matrix)
        p = matrix.shape[1]
        self._build(matrix, _target(b, matrix), _budget(k, matrix), _ridge(ridge), _centre(w0, p), _linear(linear, p))

    @classmethod
    def from_gram(
        cls,
        H: ArrayLike | GramMatrix,
        g: ArrayLike,
        k: Budget,
        const: float = 0.0,
        *,
        ridge: float = 0.0,
        w0: ArrayLike | None = None,
    ) -> "Problem":
        """Return the problem ``minimise 1/2 w'Hw - g'w + const + ridge ||w - w0||^2, ||w||_0 <= k``.

        Objectives, Gram products and tables of swaps come from H itself. What needs A uses a factor, H = R'R, by
        Cholesky or, where H is singular, by its eigenvalues; the factorization is also what shows H to be positive
        semidefinite.

        Parameters
        ----------
        H : array_like or GramMatrix, shape (p, p)
            Symmetric, positive semidefinite.
        g : array_like, shape (p,)
            Where H is singular and g leaves its range, the rest of g acts as a linear term and needs ``ridge > 0``.
        const : float
            Added to every objective, as half the squared norm of b: without it objectives may be negative, and
            relative gaps mean little.
        k, ridge, w0
            As of `Problem`.

        Raises
        ------
        ValueError, TypeError
            Naming the argument; also where H is not positive semidefinite.

        Examples
        --------
        >>> import numpy as np, l0quad
        >>> A = np.random.default_rng(0).standard_normal((40, 12))
        >>> b = A[:, 2] - 2 * A[:, 5]
        >>> problem = l0quad.Problem.from_gram(A.T @ A, A.T @ b, 2, 0.5 * b @ b)
        >>> l0quad.solve(problem).support
        array([2, 5])
        """
        matrix = H if isinstance(H, GramMatrix) else GramMatrix(H)
        _exponent(matrix)
        p = matrix.shape[1]
        g = validation.vector(g, "g", p, "one value for each column of H")
        const = validation.real(const, "const", minimum=-math.inf)
        b, rest = matrix.factor.target(g)
        if rest is not None and validation.real(ridge, "ridge") == 0:
            raise ValueError(_LEAVES)
        gram = _Gram(g if rest is None else g - rest, const)
        problem = cls.__new__(cls)
        linear = None if rest is None else frozen(-rest)
        problem._build(matrix, frozen(b), _budget(k, matrix), _ridge(ridge), _centre(w0, p), linear, gram)
        return problem

    def with_(
        self,
        *,
        k: Budget = _SAME,
        ridge: float = _SAME,
        b: ArrayLike = _SAME,
        w0: ArrayLike | None = _SAME,
        linear: ArrayLike | None = _SAME,
    ) -> "Problem":
        """Return the problem with some arguments changed, on the same A.

        Only what is new is validated, and everything that depends on A alone (column norms, rows of A'A, factors) is
        computed once for all problems that come from one another in this way. ``w0=None`` and ``linear=None`` take
        these terms out.

        Raises
        ------
        ValueError, TypeError
            Naming the argument; a problem from a Gram matrix has neither ``b`` nor ``linear``.

        Examples
        --------
        >>> import numpy as np
        >>> import l0quad
        >>> A = np.random.default_rng(0).standard_normal((50, 20))
        >>> problem = l0quad.Problem(A, A[:, 3] - A[:, 11], k=1)
        >>> [l0quad.solve(problem.with_(k=k)).support.size for k in (1, 2)]
        [1, 2]
        """
        if self._gram is not None and not (b is _SAME and linear is _SAME):
            raise ValueError("b, linear: a problem from from_gram has g instead; call from_gram with its matrix again")
        p = self.shape[1]
        budget = _Budget(self.k, self.constraint) if k is _SAME else _budget(k, self.matrix)
        other = type(self).__new__(type(self))
        if all(each is _SAME for each in (ridge, b, w0, linear)):
            core = replace(self.core, constraint=budget.constraint)
            core.matrix.prepared.problems += 1
            other.__dict__.update(self.__dict__, **budget._asdict(), core=core)
            return other
        other._build(
            self.matrix,
            self.b if b is _SAME else _target(b, self.matrix),
            budget,
            self.ridge if ridge is _SAME else _ridge(ridge),
            self.w0 if w0 is _SAME else _centre(w0, p),
            self.linear if linear is _SAME else _linear(linear, p),
            self._gram,
        )
        return other

    def _build(
        self,
        matrix: Matrix,
        b: FloatArray,
        budget: "_Budget",
        ridge: float,
        w0: FloatArray,
        linear: FloatArray | None,
        gram: "_Gram | None" = None,
    ) -> None:
        """Set all attributes from valid arguments."""
        if linear is not None and ridge == 0:
            raise ValueError(_UNBOUNDED if gram is None else _LEAVES)
        units, folded = Units.choose(_exponent(matrix), matrix.dtype, b, w0, ridge, linear)
        own = matrix.prepared.scaled(-units.a)
        own.prepared.problems += 1
        terms = (own, scaled(b, -units.f), folded, units.own_mu(ridge), budget.constraint)
        if gram is None:
            core = CoreProblem(*terms, slack=units.slack, fold=units.fold)
        else:
            core = gram.core(terms, units)
            units = replace(units, offset=_offset(gram.const, units))
        self.__dict__.update(
            matrix=matrix, b=b, k=budget.k, ridge=ridge, w0=w0, linear=linear, _gram=gram,
            constraint=budget.constraint, units=units, core=core,
        )  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            at_zero = units.size(core.objective_at_zero)
        if not math.isfinite(at_zero):
            raise ValueError("b: the objective at w = 0 overflows float64; scale b, w0 and linear down")

    @property
    def shape(self) -> tuple[int, int]:
        """The rows and columns of A, (n, p)."""
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of A, float32 or float64."""
        return self.matrix.dtype

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of A's columns, or None."""
        return self.matrix.names

    @property
    def size(self) -> float:
        """``1/2 ||b||^2 + ridge ||w0||^2`` in own units: the scale beside which a gap is called zero."""
        b, w0 = self.core.b, self.units.w0
        return 0.5 * float(b @ b) + 0.5 * self.core.mu * float(w0 @ w0)

    def objective(self, w: ArrayLike) -> float:
        """Return the objective at ``w`` (shape (p,), any float dtype), accumulated in float64, in the user's units."""
        own = self.units.own_w(validation.vector(w, "w", self.shape[1], "one value for each column of A"))
        support = np.flatnonzero(own)
        point = self.core.evaluate(support, own[support])
        return self.units.value(self.core, point)

    def gradient(self, w: ArrayLike) -> FloatArray:
        """Return the gradient of the objective at ``w``, shape (p,), float64, in the user's units."""
        own = self.units.own_w(validation.vector(w, "w", self.shape[1], "one value for each column of A"))
        core = self.core
        residual = core.matrix.matvec(None, own) - core.b
        return self.units.gradient(core.matrix.rmatvec(residual) + core.mu * (own - core.w0))

    def in_memory(self, pause: Pause = go_on) -> "Problem":
        """Return the problem itself; where A is in tall files, an equivalent one with p rows, which takes one sweep.

        Its ``matrix`` and ``b`` are still the user's.
        """
        if not self.core.in_tall_files:
            return self
        core, moved = self.core.from_files(pause)
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__, core=core, units=replace(self.units, moved=moved))
        return other

    def dense(self, point: Point) -> np.ndarray:
        """Return a solver's point as a dense vector in the user's units, in A's dtype where that can hold it."""
        return self.units.w(point, self.shape[1], self.dtype)

    def __repr__(self) -> str:
        n, p = self.shape
        return f"Problem(n={n}, p={p}, k={self.constraint.total}, ridge={self.ridge:g}, dtype={self.dtype})"

    def _repr_html_(self) -> str:
        n, p = self.shape
        rows: list[tuple[str, object]] = [
            ("A", f"{n} rows, {p} columns, {self.dtype}"),
            ("k", f"{self.k!r}, at most {self.constraint.total} nonzeros"),
            ("ridge", f"{self.ridge:g}"),
        ]
        if self.names is not None:
            rows.append(("columns", few(self.names)))
        return html_table("l0quad.Problem", rows)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a copy's or a pickle's attributes; its arrays may not be written to either."""
        self.__dict__.update(state)
        for each in (self.b, self.w0, self.linear, self.core.b, self.core.w0, self.units.w0, self.units.linear):
            if each is not None:
                frozen(each)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Problem is immutable, cannot set {name}")


class _Budget(NamedTuple):
    """k as given, with numbers for names, and bound to the columns of a matrix."""

    k: Budget
    constraint: Constraint


class _Gram(NamedTuple):
    """What a problem from `Problem.from_gram` has instead of b, in the user's units."""

    g: FloatArray
    const: float

    def core(self, terms: tuple[Matrix, FloatArray, FloatArray, float, Constraint], units: Units) -> GramCore:
        b, g = terms[1], np.ldexp(self.g, -units.a - units.f)
        # Where part of g became the linear term, what is left of it is rounded.
        slack = (
            units.slack
            if units.linear is None
            else units.slack + 2 * gamma(1) * norm_above(np.abs(g) + np.abs(units.linear))
        )
        share = terms[0].factor.share if isinstance(terms[0], GramMatrix) else 0.0
        return GramCore(*terms, constant=-0.5 * float(b @ b), slack=slack, fold=units.fold, share=share, g=g)


def _offset(const: float, units: Units) -> float:
    try:
        return units.own_objective(const)
    except OverflowError:
        raise ValueError(f"const: must not overflow float64 beside g, got {const:g}; it decides nothing") from None


def _exponent(matrix: Matrix) -> int | None:
    """Return the exponent of the largest entry, looked at once; values that are not finite are refused then."""
    return matrix.prepared.once("exponent", 0, lambda matrix: matrix.largest_exponent())


def _vector(value: object, name: str, length: int, rule: str) -> FloatArray:
    return frozen(validation.vector(value, name, length, rule))


def _target(value: object, matrix: Matrix) -> FloatArray:
    frames.require_aligned(matrix.index, value, "b")
    return frozen(validation.vector(value, "b", matrix.shape[0], "one value for each row of A", column=True))


def _ridge(value: object) -> float:
    return validation.real(value, "ridge")


def _centre(value: object, p: int) -> FloatArray:
    return frozen(np.zeros(p)) if value is None else _vector(value, "w0", p, "one value for each column of A")


def _linear(value: object, p: int) -> FloatArray | None:
    return None if value is None else _vector(value, "linear", p, "one value for each column of A")


def _budget(k: Budget, matrix: Matrix) -> _Budget:
    if isinstance(k, Kind):
        k = k.numbered(matrix.names)
        return _Budget(k, k.bind(matrix.shape[1]))
    return _Budget(k, Cardinality(validation.integer(k, "k", 0)).bind(matrix.shape[1]))
