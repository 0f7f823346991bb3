"""What solvers see: a problem of ordinary size without a linear term, and the points they hand around."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from l0quad.linalg.pieces import pieces
from l0quad.linalg.rounding import SLACK, gamma, norm_above
from l0quad.matrix import DenseMatrix, Matrix
from l0quad.matrix.columns import ScaledColumns
from l0quad.matrix.gram import GramMatrix
from l0quad.problem.constraints.base import Constraint
from l0quad.problem.counted import Refit, counted_refit
from l0quad.problem.proof import Proof
from l0quad.problem.reduction import proven_triangle, reduced_rows
from l0quad.problem.restricted import restricted_solve
from l0quad.types import FloatArray, IntArray, Pause, go_on

# Below this share of A's largest squared column norm the ridge term is lost in rounding.
_SMALLEST_MU = 2.0**-60
# Files of so little that they could as well be in memory.
FILE_BYTES = 1 << 27
# Up to so many columns, larger ones with more rows than columns are reduced to p rows.
_REDUCED_COLUMNS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A feasible w, as solvers hold it: values on a support, which is sorted, in the problem's own units.

    ``restricted_optimum`` says that ``w`` minimises the objective over all points with this support. ``refit`` is what
    its two sweeps brought, where passes over A are counted.
    """

    support: IntArray
    w: FloatArray
    objective: float
    restricted_optimum: bool = False
    refit: Refit | None = None


@dataclass(frozen=True, eq=False)
class CoreProblem:
    """Minimise ``1/2 ||A w - b||^2 + mu/2 ||w - w0||^2 + constant`` over the supports that ``constraint`` allows.

    Everything is valid and of ordinary size; b and w0 are float64 and read-only.

    Attributes
    ----------
    matrix : Matrix
        A, n x p.
    b, w0 : ndarray of shape (n,) and (p,)
    mu : float
        Twice the ridge.
    constraint : Constraint
    constant : float
        What the objective has besides the two squares.
    slack : float
        How far rounding has moved w0 where a linear term was folded into it: the objective that is meant has a further
        term e'(w - w0) with ``||e|| <= slack``.
    fold : float
        What is left out of the objective where a linear term was folded, to be added to it.
    share : float
        How far rounding has moved the inner products of A's columns from those that are meant, beside their norms.
    pause : callable
        What a solve's long work calls between slices: at a limit of the solve it raises `Stopped`.
    exponents : ndarray of int, shape (p,), or None
        Where the columns have been brought to one size (`evened`): w stands for ``2**exponents`` times itself.
    """

    matrix: Matrix
    b: FloatArray
    w0: FloatArray
    mu: float
    constraint: Constraint
    constant: float = 0.0
    slack: float = 0.0
    fold: float = 0.0
    share: float = 0.0
    pause: Pause = go_on
    exponents: IntArray | None = None

    @property
    def proof(self) -> "Proof | None":
        """What lower bounds are computed from; None where the objective has no lower bound that rounding leaves."""
        if self.slack == 0:
            return Proof(self.mu, self.constant, 0.0)
        return Proof.of(self.mu, self.constant, self._reach, 0.0, self.slack, 0.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Those of A, (n, p)."""
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of A."""
        return self.matrix.dtype

    @property
    def in_large_files(self) -> bool:
        """Whether A is in files, and would take more than `FILE_BYTES` in memory."""
        n, p = self.shape
        return self.matrix.counted and 8 * n * p > FILE_BYTES

    @property
    def in_tall_files(self) -> bool:
        """Whether A is in large files of so few columns that one sweep brings a problem of p rows to work on.

        A's columns may be centred and scaled, and its rows weighted, as they are read.
        """
        n, p = self.shape
        return self.matrix.in_files and 8 * n * p > FILE_BYTES and p < n and p <= _REDUCED_COLUMNS

    @property
    def column_sq_norms(self) -> FloatArray:
        """The squared norms of A's columns."""
        return self.matrix.prepared.column_sq_norms

    @property
    def rounding_norms(self) -> FloatArray:
        """The norms of columns as large as the rounding of products with A's columns is that of products with them."""
        return np.sqrt(self.column_sq_norms) * self.matrix.spread

    @cached_property
    def largest_rounding(self) -> float:
        """The largest sum of their squares over an allowed support."""
        norms = self.column_sq_norms if self.matrix.spread == 1 else self.column_sq_norms * self.matrix.spread**2
        return self.constraint.largest_sum(norms)

    @property
    def ridge_is_lost(self) -> bool:
        """Whether the ridge is 0 or so small beside A that it, and the relaxation with it, is lost in rounding."""
        return self.mu <= _SMALLEST_MU * float(self.column_sq_norms.max())

    @property
    def has_ridge(self) -> bool:
        """Whether a ridge is there that is not lost; where passes are counted, as far as is known without one."""
        if self.matrix.counted and not self.matrix.prepared.knows_norms:
            return self.mu > 0
        return not self.ridge_is_lost

    @cached_property
    def _reach(self) -> float:
        """How far from w0 a point as good as w0 can be."""
        if self.mu == 0:
            return math.inf
        return math.sqrt(2 * (norm_above(self.b) ** 2 / self.mu + norm_above(self.w0) ** 2))

    @cached_property
    def objective_at_zero(self) -> float:
        """The objective at w = 0."""
        return 0.5 * float(self.b @ self.b) + 0.5 * self.mu * float(self.w0 @ self.w0) + self.constant

    def zero(self) -> Point:
        """Return the point w = 0."""
        return Point(np.empty(0, dtype=np.int64), np.empty(0), self.objective_at_zero)

    def residual(self, support: IntArray, w: FloatArray) -> FloatArray:
        """Return A w - b for the point with these values on this support."""
        return self.matrix.matvec(support, w) - self.b

    def residual_at(self, point: Point) -> FloatArray:
        """Return A w - b for a point, without a pass over A where its refit has brought it."""
        return self.residual(point.support, point.w) if point.refit is None else point.refit.residual

    def data_gradient(self, point: Point, residual: FloatArray | None = None) -> FloatArray:
        """Return A'(A w - b) for a point, not to be written to; that of a refit is known."""
        refit = point.refit
        if refit is not None and refit.Atnu is not None and point.restricted_optimum:
            return refit.Atnu
        return self.matrix.rmatvec(self.residual_at(point) if residual is None else residual)

    def evaluate(
        self, support: IntArray, w: FloatArray, residual: FloatArray | None = None, restricted_optimum: bool = False
    ) -> Point:
        """Return the point with these values on this support, its objective accumulated in float64."""
        data, constant = self.data_term(support, w, residual)
        ridge = 0.5 * self.mu * squared_distance(support, w, self.w0)
        return Point(support, w, data + ridge + constant, restricted_optimum)

    def data_term(self, support: IntArray, w: FloatArray, residual: FloatArray | None = None) -> tuple[float, float]:
        """Return ``1/2 ||A w - b||^2`` and the constant that belongs to it; the residual spares a pass over A."""
        r = self.residual(support, w) if residual is None else residual
        return 0.5 * float(r @ r), self.constant

    def restricted(self, support: IntArray) -> Point:
        """Return the best point with this support."""
        if self.matrix.counted and support.size:
            return self.refitted(support, counted_refit(self.matrix, self.b, self.w0, self.mu, support, self.pause))
        w, residual = restricted_solve(self.matrix, self.b, self.w0, self.mu, support, self.pause)
        return self._not_above_zero(self.evaluate(support, w, residual, restricted_optimum=True))

    def refitted(self, support: IntArray, refit: Refit) -> Point:
        """Return the point that sweeps have found to be the best one with this support."""
        point = self.evaluate(support, refit.w, refit.residual, restricted_optimum=True)
        return self._not_above_zero(replace(point, refit=refit))

    def _not_above_zero(self, point: Point) -> Point:
        if point.objective <= self.objective_at_zero:
            return point
        # Columns of so different sizes that float64 cannot hold the solution: zero is a point with this support too.
        return self.evaluate(point.support, np.zeros(point.support.size))

    def doubt(self, point: Point) -> float:
        """Return by how much a refit's objective may miss the least one on its support, A not being what is given."""
        return 0.0

    def optimised(self, point: Point) -> Point:
        """Return the point itself where it is the best one with its support, else that one."""
        return point if point.restricted_optimum else self.restricted(point.support)

    def restrict(self, columns: IntArray) -> "CoreProblem":
        """Return the problem over these columns, the others held at zero."""
        matrix = self.matrix.subset(columns)
        if matrix.counted and self.matrix.prepared.knows_norms:
            matrix.prepared.learn_norms(self.column_sq_norms[columns])
        return replace(
            self,
            matrix=matrix,
            w0=frozen(self.w0[columns]),
            constraint=self.constraint.restrict(columns),
            constant=self.constant + self._held_at_zero(columns),
        )

    def _held_at_zero(self, columns: IntArray) -> float:
        """Return what holding all other columns at zero costs."""
        outside = self.w0.copy()
        outside[columns] = 0.0
        # Summed in pairs: rounding grows with the logarithm of p (`l0quad.bounds.separable.expansion`).
        return 0.5 * self.mu * float(np.square(outside).sum()) if outside.any() else 0.0

    def evened(self) -> "CoreProblem":
        """Return the problem with columns of about norm 1, by powers of two, where they differ and no ridge is there.

        The optimum does not depend on the columns' sizes then, and what solvers find should not.
        """
        if self.mu > 0 or self.matrix.counted:
            return self
        squares = self.column_sq_norms
        exponents = np.where(squares > 0, -(np.frexp(squares)[1] // 2), 0)
        if np.unique(exponents[squares > 0]).size <= 2:
            return self
        return self._with_columns(exponents.astype(np.int64))

    def _with_columns(self, exponents: IntArray) -> "CoreProblem":
        matrix, w0 = ScaledColumns(self.matrix, exponents), frozen(np.ldexp(self.w0, -exponents))
        return replace(self, matrix=matrix, w0=w0, exponents=exponents)

    def reduced(self) -> "CoreProblem":
        """Return an equivalent problem with at most p rows.

        Through the Gram matrix (n p^2 flops) where that keeps the digits, else by QR of blocks of rows.
        """
        return self._with_rows(*reduced_rows(self.matrix, self.b, self.pause))

    def _with_rows(self, R: Matrix, b: FloatArray) -> "CoreProblem":
        constant = self.constant + 0.5 * float(b[-1]) ** 2
        return replace(self, matrix=R, b=frozen(b[:-1]), constant=constant)

    def from_files(self, pause: Pause) -> "tuple[CoreProblem, float]":
        """Return an equivalent problem with p rows, and by how much its optimum may lie above this one's.

        One sweep; that of the last b is kept.
        """
        triangle = self.matrix.prepared.of_target(
            "triangle", self.b, lambda matrix: proven_triangle(matrix, self.b, pause)
        )
        reduced = self._with_rows(DenseMatrix(triangle.R), triangle.c.copy())
        return reduced, triangle.moved(self.mu, self.w0, reduced.objective_at_zero)


@dataclass(frozen=True, eq=False)
class GramCore(CoreProblem):
    """The same, known by H = A'A and g = A'b, from which objectives come: ``1/2 w'Hw - g'w`` and the ridge term.

    ``const`` is what objectives have besides; ``constant`` is ``const - 1/2 ||b||^2``, and b a vector with A'b = g,
    both up to rounding.
    """

    g: FloatArray = field(default_factory=lambda: np.empty(0))
    const: float = 0.0

    @cached_property
    def _mismatch(self) -> float:
        """A bound on ``||g - R'b||``."""
        R, b = self.matrix.take(np.arange(self.shape[1])), self.b
        rounding = gamma(b.size + 2) * norm_above(np.abs(R).T @ np.abs(b) + np.abs(self.g))
        return SLACK * (norm_above(self.g - R.T @ b) + rounding)

    @property
    def proof(self) -> "Proof | None":
        """What lower bounds are computed from: H and g differ from R'R and R'b by rounding."""
        error = self.matrix.factor.error if isinstance(self.matrix, GramMatrix) else 0.0
        size = norm_above(self.w0)
        loss = error * size**2 + self._mismatch * size + gamma(self.b.size + 4) * float(self.b @ self.b)
        return Proof.of(self.mu, self.constant, self._reach, error, self._mismatch + self.slack, SLACK * loss)

    @cached_property
    def objective_at_zero(self) -> float:
        """The objective at w = 0."""
        return 0.5 * self.mu * float(self.w0 @ self.w0) + self.const

    def doubt(self, point: Point) -> float:
        """Return by how much a refit's objective may miss the least one on its support: H and g are not R'R and R'b."""
        S, w = point.support, np.abs(point.w)
        squares = self.column_sq_norms
        norms = np.sqrt(np.where(squares[S] > 0, squares[S], squares.max(initial=0.0)))
        size = float(w @ norms)
        target = np.abs(self.g - self.matrix.prepared.product(self.b))[S]
        return self.share * size * (size + norm_above(self.b)) + float(w @ target)

    def data_term(self, support: IntArray, w: FloatArray, residual: FloatArray | None = None) -> tuple[float, float]:
        """Return ``1/2 w'Hw - g'w`` and the constant that belongs to it."""
        return 0.5 * float(w @ (self.matrix.inner(support) @ w)) - float(self.g[support] @ w), self.const

    def restrict(self, columns: IntArray) -> "CoreProblem":
        """Return the problem over these columns, the others held at zero."""
        own = replace(self, g=self.g[columns], const=self.const + self._held_at_zero(columns))
        return CoreProblem.restrict(own, columns)

    def _with_columns(self, exponents: IntArray) -> "CoreProblem":
        own = replace(self, g=np.ldexp(self.g, exponents))
        return CoreProblem._with_columns(own, exponents)

    def reduced(self) -> "CoreProblem":
        """Return the problem itself: it has p rows."""
        return self


def squared_distance(support: IntArray, w: FloatArray, w0: FloatArray) -> float:
    """Return ``||w - w0||^2`` for the values on a support, sorted; no vector as long as w0 is made."""
    total, first = 0.0, 0
    for here in pieces(w0.size):
        pull = w0[here].copy()
        last = first + int(np.searchsorted(support[first:], here.stop))
        pull[support[first:last] - here.start] -= w[first:last]
        total, first = total + float(pull @ pull), last
    return total


def frozen(array: FloatArray) -> FloatArray:
    """Return the array, which is the caller's to give away, read-only."""
    array.flags.writeable = False
    return array
