"""Refits where passes over A are counted: two sweeps, and with them the dual point of the answer and its next scores.

    sweep 1     M = A_S A_S', A_S w0_S, the column norms               y = (M + mu I)^-1 (b - A_S w0_S), in R^n
    sweep 2     t = A'y, w_S = w0_S + t_S, A_S w_S

gives w and its residual. With nu = -mu y, which the residual is up to rounding, A'nu = -mu t: the lower bound D(nu) and
the gradient of the data term cost no further sweep. For |S| <= n sweep 1 brings the columns themselves, which are
solved with in memory, and sweep 2 is A'(A w - b).
"""

from typing import NamedTuple

import numpy as np

from l0quad.matrix import DenseMatrix, Matrix
from l0quad.matrix.sweeps import Columns, Follow, Swept, Wanted
from l0quad.problem.restricted import DIRECT_LIMIT, dual_solution, keeps_digits, restricted_solve
from l0quad.types import FloatArray, IntArray, Pause


class Refit(NamedTuple):
    """The values on a support, rounded to A's dtype, with what the two sweeps that found them brought.

    Attributes
    ----------
    w : ndarray of shape (|S|,)
    residual : ndarray of shape (n,)
        A w - b, of w as rounded.
    nu, Atnu : ndarray of shape (n,) and (p,)
        A dual point, and A'nu: of the best w on the support the residual, as it was found.
    """

    w: FloatArray
    residual: FloatArray
    nu: FloatArray
    Atnu: FloatArray


def counted_refit(matrix: Matrix, b: FloatArray, w0: FloatArray, mu: float, support: IntArray, pause: Pause) -> Refit:
    """Return what `restricted_solve` does, in two sweeps; in more where rows depend on each other and mu is tiny."""
    rows = matrix.shape[0]
    start = w0[support]
    if support.size > rows and rows <= DIRECT_LIMIT:
        swept = first_sweep(matrix, Wanted(weights=(Columns(support, start),), outers=(support,)), pause)
        r, gram = b - swept.products[0], swept.outers[0]
        y = dual_solution(gram, r, mu, pause)
        if y is not None:
            swept = matrix.swept(Wanted(rows=(y,), follow=Follow(support, start, matrix.dtype)), pause)
            v = swept.rows[0][support]
            if keeps_digits(gram, y, v):
                return Refit(swept.follow, swept.follow_product - b, -mu * y, -mu * swept.rows[0])
    if support.size <= rows:
        A_S = DenseMatrix(first_sweep(matrix, Wanted(gather=support), pause).gather)
        w = rounded(restricted_solve(A_S, b, start, mu, np.arange(support.size), pause)[0], matrix)
        return _with_scores(matrix, w, A_S.matvec(None, w) - b, pause)
    return found_elsewhere(matrix, b, support, restricted_solve(matrix, b, w0, mu, support, pause)[0], pause)


def found_elsewhere(matrix: Matrix, b: FloatArray, support: IntArray, w: FloatArray, pause: Pause) -> Refit:
    """Return the best w on a support, which has been found otherwise, with what two sweeps bring of it."""
    w = rounded(w, matrix)
    return _with_scores(matrix, w, matrix.matvec(support, w) - b, pause)


def _with_scores(matrix: Matrix, w: FloatArray, residual: FloatArray, pause: Pause) -> Refit:
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
