"""Design: from the columns as a user has them to A, with an intercept, scaled columns and weighted rows, and back."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from l0quad import frames, validation
from l0quad.matrix import DenseMatrix, GramMatrix, Matrix, SparseMatrix, as_matrix
from l0quad.matrix.standardized import Centred, StandardizedRows, WeightedRows
from l0quad.types import FloatArray, MatrixLike

# A dense matrix up to this size is standardised once, in a copy; a larger one in each pass, without.
_COPIED_BYTES = 1 << 28
# A large dense matrix whose means are up to so many standard deviations is centred by a correction of its products.
_NEAR = 4.0
# A centred column whose norm is this share of the norm of its mean is rounding.
_CONSTANT = 8 * float(np.finfo(np.float64).eps)
# Beyond 2**+-_ORDINARY squares may overflow.
_ORDINARY = 120


class Coefficients(NamedTuple):
    """What predicts: ``X @ coef + intercept``, in the units of X and y.

    Attributes
    ----------
    coef : ndarray of shape (p,)
        A coefficient for each column of X as it was given.
    intercept : float
        0 where none was fitted.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> X = np.random.default_rng(0).standard_normal((40, 12))
    >>> design, y = l0quad.Design(X, fit_intercept=True), 3 * X[:, 2] + 1
    >>> result = l0quad.minimize(design.matrix, design.target(y), k=1)
    >>> found = design.coefficients(result.w, y)
    >>> found.coef[2].round(6).item(), round(found.intercept, 6)
    (3.0, 1.0)
    """

    coef: FloatArray
    intercept: float


class Design:
    """The columns of X as a least-squares problem takes them: rows weighted, columns centred and scaled.

    ``minimise 1/2 sum_i weights_i (x_i'coef + intercept - y_i)^2 + ridge ||v||^2`` over v and the intercept, which is
    not penalised, is ``Problem(design.matrix, design.target(y), k, ridge)``: there v are the coefficients of columns
    that are centred (with an intercept) and of weighted norm 1 (``standardize=True``; else v = coef), so that a ridge
    shrinks the coefficient of a lone column by the factor 1 / (1 + 2 ridge), however many rows there are.
    `coefficients` leads back.

    A sparse X stays sparse, and a dense X above 256 MiB is not copied. A column that is constant (with an intercept) or
    zero is zero in ``matrix``, and has the coefficient 0.

    Parameters
    ----------
    X : array_like, scipy.sparse matrix or Matrix, shape (n, p)
    fit_intercept : bool, default False
    standardize : bool, default False
    weights : array_like, shape (n,), optional
        Of the rows, at least 0; a row of weight 2 counts as two equal rows.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; a `GramMatrix` has no rows to centre or to weight.

    Attributes
    ----------
    matrix : Matrix
        ``diag(weights)^(1/2) (X - 1 mean') diag(scale)``.
    mean, scale : ndarray of shape (p,)
        The weighted means (0 without an intercept), and what columns are multiplied by.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> X, y = np.array([[1.0, 5.0], [2.0, 3.0], [3.0, 4.0]]), np.array([3.0, 5.0, 7.0])
    >>> design = l0quad.Design(X, fit_intercept=True, standardize=True)
    >>> result = l0quad.minimize(design.matrix, design.target(y), k=1)
    >>> coef, intercept = design.coefficients(result.w, y)
    >>> print(coef.round(6), round(intercept, 6))
    [2. 0.] 1.0
    """

    matrix: Matrix
    mean: FloatArray
    scale: FloatArray
    # What errors call X, y and a point.
    _names = ("X", "y", "coef")

    def __init__(
        self,
        X: MatrixLike | Matrix,
        *,
        fit_intercept: bool = False,
        standardize: bool = False,
        weights: ArrayLike | None = None,
    ) -> None:
        X = as_matrix(X, self._names[0])
        (n, p), names, index = X.shape, X.names, X.index
        self._rows = None if weights is None else self._roots(weights, n)
        self._centred = _flag(fit_intercept, "fit_intercept")
        standardize = _flag(standardize, "standardize")
        if isinstance(X, GramMatrix) and (self._centred or self._rows is not None):
            raise TypeError(f"{self._names[0]}: a GramMatrix has no rows to centre or to weight")
        self._u = np.ones(n) if self._rows is None else self._rows
        self.mean, self.scale = np.zeros(p), np.ones(p)
        if not (self._centred or standardize) and self._rows is None:
            self.matrix = X
            return
        # Values that are not finite are named before they spread; those of extreme size would overflow in squares.
        exponent = X.prepared.once("exponent", 0, lambda matrix: matrix.largest_exponent(self._names[0]))
        shift = exponent if exponent is not None and abs(exponent) > _ORDINARY else 0
        X = X.prepared.scaled(-shift)
        if isinstance(X, SparseMatrix):
            matrix = self._standardised_sparse(X, standardize)
        else:
            matrix = self._standardised_rows(X, standardize)
        self.matrix = matrix if standardize else matrix.prepared.scaled(shift)
        self.matrix.names, self.matrix.index = names, index
        self.mean = np.ldexp(self.mean, shift)
        self.scale = np.ldexp(self.scale, -shift) if standardize else self.scale

    @property
    def n_rows(self) -> int:
        """How many rows have a positive weight."""
        return int(np.count_nonzero(self._u))

    def target(self, y: ArrayLike) -> FloatArray:
        """Return the right-hand side that belongs to ``y``, shape (n,)."""
        y = self.vector(y)
        return self._weighted(y - self._mean_of(y) if self._centred else y)

    def coefficients(self, w: ArrayLike, y: ArrayLike) -> Coefficients:
        """Return the coefficients for X as it was given, and the intercept, of a solution for the target ``y``."""
        coef = self._checked(w, "w", "column") * self.scale
        intercept = self._mean_of(self.vector(y)) - float(self.mean @ coef) if self._centred else 0.0
        return Coefficients(coef, intercept)

    def own(self, coef: ArrayLike) -> FloatArray:
        """Return coefficients for X as it was given as a point of the problem, such as w0 or a start."""
        coef = self._checked(coef, self._names[2], "column")
        return np.divide(coef, self.scale, out=np.zeros_like(coef), where=self.scale != 0)

    def vector(self, y: ArrayLike) -> FloatArray:
        """Return ``y`` checked, float64."""
        frames.require_aligned(self.matrix.index, y, self._names[1], self._names[0])
        return self._checked(y, self._names[1], "row")

    def _checked(self, value: object, name: str, each: str) -> FloatArray:
        length = self.matrix.shape[each == "column"]
        rule = f"one value for each {each} of {self._names[0]}"
        return validation.vector(value, name, length, rule, column=each == "row")

    def _roots(self, weights: ArrayLike | None, n: int) -> FloatArray:
        array = validation.vector(weights, "weights", n, f"one value for each row of {self._names[0]}")
        if array.min() < 0 or not array.any():
            raise ValueError(f"weights: must be at least 0 and not all 0, got a least of {array.min():g}")
        return np.sqrt(array)

    def _weighted(self, vector: FloatArray) -> FloatArray:
        return vector if self._rows is None else self._rows * vector

    def _mean_of(self, y: FloatArray) -> float:
        weights = self._weights()
        # About its first value: a target of large mean keeps its digits.
        return float(y[0]) + float(weights @ (y - y[0])) / float(weights.sum())

    def _weights(self) -> FloatArray:
        return self._u * self._u

    def _standardised_rows(self, X: Matrix, standardize: bool) -> Matrix:
        """Set the means and scales of a matrix that is not sparse."""
        u, total = self._u, float(self._u @ self._u)
        copied = isinstance(X, DenseMatrix) and 8 * X.shape[0] * X.shape[1] <= _COPIED_BYTES
        if self._centred:
            self.mean = X.rmatvec(u * u) / total
        if not copied:
            base = X if self._rows is None else WeightedRows(X, self._rows)
            means = self.mean**2 * total
            left = base.prepared.column_sq_norms - means
            if np.all(means <= _NEAR**2 * left):
                self.scale = _scale(np.sqrt(left), np.zeros_like(left), standardize)
                return Centred(base, u, self.mean, self.scale, _farthest(means, left))
        # Centred before anything is summed; the means anew, for the digits that large ones have cost them.
        if self._centred:
            self.mean += StandardizedRows(X, self._rows, self.mean, self.scale).rmatvec(u) / total
        norms = StandardizedRows(X, self._rows, self.mean, self.scale).column_sq_norms() ** 0.5
        self.scale = _scale(norms, _CONSTANT * np.abs(self.mean) * total**0.5, standardize)
        standardised = StandardizedRows(X, self._rows, self.mean, self.scale)
        return DenseMatrix(next(standardised.row_blocks(X.shape[0]))) if copied else standardised

    def _standardised_sparse(self, X: SparseMatrix, standardize: bool) -> Matrix:
        """Set the means and scales of a sparse matrix; only columns that are mostly full and far from 0 are filled."""
        u, total = self._u, float(self._u @ self._u)
        X = X if self._rows is None else X.weighted(self._rows)
        squares, mean = X.column_sq_norms(), np.zeros(X.shape[1])
        if self._centred:
            self.mean = X.rmatvec(u) / total
            # What centring would cost half of its square's digits, or more, is centred before it is stored.
            far = np.flatnonzero(self.mean**2 * total > 0.5 * squares)
            part = np.asarray(Centred(X, u, self.mean, self.scale).take(far), dtype=np.float64)
            correction = (u @ part) / total
            part -= np.multiply.outer(u, correction)
            self.mean[far] += correction
            X = X.replaced(far, part) if far.size else X
            mean = self.mean.copy()
            mean[far] = 0.0
            squares = Centred(X, u, mean, self.scale).column_sq_norms()
        self.scale = _scale(squares**0.5, _CONSTANT * np.abs(self.mean) * total**0.5, standardize)
        return Centred(X, u, mean, self.scale)


def _scale(norms: FloatArray, least: FloatArray, standardize: bool) -> FloatArray:
    """Return what columns of these norms are multiplied by: 0 where nothing but rounding is left of them."""
    varies = norms > least
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=varies) if standardize else varies.astype(np.float64)


def _farthest(means: FloatArray, left: FloatArray) -> float:
    """Return the largest ratio of a mean's size to what centring leaves of its column, from their squares."""
    return float(np.divide(means, left, out=np.zeros_like(left), where=means > 0).max()) ** 0.5


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: must be True or False, got {value!r}")
    return bool(value)
