"""Refits where passes over A are counted: two sweeps, and with them the dual point of the answer and its next scores.

    sweep 1     M = A_S A_S', A_S w0_S, the column norms               y = (M + mu I)^-1 (b - A_S w0_S), in R^n
    sweep 2     t = A'y, w_S = w0_S + t_S, A_S w_S

gives w and its residual. With nu = -mu y, which the residual is up to rounding, A'nu = -mu t: the lower bound D(nu) and
the gradient of the data term cost no further sweep. For |S| <= n sweep 1 brings the columns themselves, which are
solved with in memory, and sweep 2 is A'(A w - b). Both may be part of sweeps that bring other things too.
"""

from typing import NamedTuple

import numpy as np

from l0quad.certificates import Bound
from l0quad.matrix import DenseMatrix, Matrix
from l0quad.matrix.sweeps import Columns, Follow, Outer, Swept, Wanted, as_numbers, norm_on, size_of, union
from l0quad.problem.restricted import (
    DIRECT_LIMIT,
    dual_solution,
    keeps_digits,
    orthogonal_solve,
    restricted_solve,
)
from l0quad.types import ColumnSet, FloatArray, IntArray, Pause


class Refit(NamedTuple):
    """The values on a support, rounded to A's dtype, with what the two sweeps that found them brought.

    Attributes
    ----------
    w : ndarray of shape (|S|,)
    residual : ndarray of shape (n,)
        A w - b, of w as rounded.
    nu, Atnu : ndarray of shape (n,) and (p,)
        A dual point, and A'nu: of the best w on the support the residual, as it was found. ``Atnu`` is None where it
        has been let go of.
    bound : Bound, optional
        What nu proves, where that has been computed.
    """

    w: FloatArray
    residual: FloatArray
    nu: FloatArray
    Atnu: FloatArray | None
    bound: Bound | None = None


class TwoSweeps:
    """A refit on its way: what its sweeps are to bring, first ``first``, then ``second``.

    Whoever makes the sweeps may want more of them, after what is wanted here, and hands over what they brought.
    """

    def __init__(self, matrix: Matrix, b: FloatArray, w0: FloatArray, mu: float, support: ColumnSet) -> None:
        self._matrix, self._b, self._mu, self._w0 = matrix, b, mu, w0
        self._few = size_of(support) <= matrix.shape[0]
        if self._few:
            self._support: ColumnSet = as_numbers(support)
            self.first = Wanted(gather=as_numbers(support))
        else:
            self._support = union((support,), matrix.shape[1])
            self.first = Wanted(weights=(Columns(self._support, w0),), outers=(Outer(self._support),))
        self.second, self.solved = Wanted(), False
        self._gram: FloatArray = np.empty((0, 0))
        self.w: FloatArray = np.empty(0)
        self.residual: FloatArray = np.empty(0)

    @staticmethod
    def suit(matrix: Matrix, support: ColumnSet) -> bool:
        """Whether two sweeps may do."""
        return 0 < size_of(support) <= matrix.shape[0] or matrix.shape[0] <= DIRECT_LIMIT

    def take_first(self, swept: Swept, pause: Pause) -> bool:
        """Solve with what the first sweep brought; False where rows depend on each other too much for that."""
        if self._few:
            A_S = DenseMatrix(swept.gather)
            own, start = np.arange(self._support.size), self._w0[self._support]
            self.w = rounded(restricted_solve(A_S, self._b, start, self._mu, own, pause)[0], self._matrix)
            self.residual = A_S.matvec(None, self.w) - self._b
            self.second, self.solved = Wanted(rows=(self.residual,)), True
            return True
        # Where the factorization fails, it is the distance that the solution has to go.
        self.residual, self._gram = swept.products[0] - self._b, swept.outers[0]
        y = dual_solution(self._gram, -self.residual, self._mu, pause)
        if y is None:
            return False
        self.second = Wanted(rows=(y,), follow=Follow(self._support, self._w0, self._matrix.dtype))
        self.solved = True
        return True

    def take_second(self, swept: Swept) -> Refit | None:
        """Return the refit that the second sweep completes; None where too many digits have cancelled."""
        y, t = self.second.rows[0], swept.rows[0]
        if self._few:
            return Refit(self.w, y, y, t)
        if not keeps_digits(self._gram, y, norm_on(self._support, t)):
            return None
        t *= -self._mu
        return Refit(swept.follow, swept.follow_product - self._b, -self._mu * y, t)

    def by_rows(self, pause: Pause) -> FloatArray:
        """Return the best w where rows depend on each other and mu is tiny, in more sweeps, through n x n."""
        support = as_numbers(self._support)
        return self._w0[support] + orthogonal_solve(self._matrix, support, -self.residual, self._mu, pause)


def counted_refit(matrix: Matrix, b: FloatArray, w0: FloatArray, mu: float, support: IntArray, pause: Pause) -> Refit:
    """Return what `restricted_solve` does, in two sweeps; in more where rows depend on each other and mu is tiny."""
    if not TwoSweeps.suit(matrix, support):
        return found_elsewhere(matrix, b, support, restricted_solve(matrix, b, w0, mu, support, pause)[0], pause)
    refit = TwoSweeps(matrix, b, w0, mu, support)
    if refit.take_first(first_sweep(matrix, refit.first, pause), pause):
        found = refit.take_second(matrix.swept(refit.second, pause))
        if found is not None:
            return found
    return found_elsewhere(matrix, b, support, refit.by_rows(pause), pause)


def found_elsewhere(matrix: Matrix, b: FloatArray, support: IntArray, w: FloatArray, pause: Pause) -> Refit:
    """Return the best w on a support, which has been found otherwise, with what two sweeps bring of it."""
    w = rounded(w, matrix)
    residual = matrix.matvec(support, w) - b
    return Refit(w, residual, residual, first_sweep(matrix, Wanted(rows=(residual,)), pause).rows[0])


def first_sweep(matrix: Matrix, wanted: Wanted, pause: Pause) -> Swept:
    """Make a sweep, and let it bring the norms of A's columns where they are not yet known."""
    prepared = matrix.prepared
    if prepared.knows_norms:
        return matrix.swept(wanted, pause)
    swept = matrix.swept(wanted._replace(norms=True), pause)
    prepared.learn_norms(swept.norms)
    return swept


def rounded(w: FloatArray, matrix: Matrix) -> FloatArray:
    """Return w as A's dtype holds it, in float64."""
    return w.astype(matrix.dtype).astype(np.float64)
