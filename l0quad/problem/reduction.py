"""A tall problem with as many rows as columns: [A b] by its triangular factor.

In files that is made in one sweep, and with it a bound on what rounding has done to objectives. Let T be the computed
factor, M = [A b], E = M'M - T'T. M'M comes from the same sweep, so that a norm of E is known. With z = (w, -1), R and c
the parts of T, and any s of which s ||w||^2 <= ||R w||^2 + mu ||w||^2,

    |F(w) - F_T(w)| = 1/2 |z'E z| <= k (2 F_T(w) + N) + 1/2 ||E_Ab|| / t + 1/2 |E_bb|,

    N = ||c||^2 + mu ||w0||^2,    t = (s / N)^(1/2),    k = (||E_AA|| + t ||E_Ab||) / s,

because s ||w||^2 <= 4 F_T(w) + 2 N. Where k < 1/2, a point as good as w = 0 has an F_T of at most F_T(0), so that F*
lies at most the right-hand side at F_T(0) below F_T*; and in any case at most F_T(0), because F >= 0. For w one may
read D^-1 w, and R D, D E_AA D, D E_Ab, mu min D^2 for R, E_AA, E_Ab, mu: with D diagonal, powers of two by which the
columns come to norms of about 1, sizes of columns hide nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from l0quad.linalg.cholesky import cholesky_factor
from l0quad.linalg.rounding import SLACK, gamma, least_singular_value, norm_above
from l0quad.linalg.tall import block_rows, triangle
from l0quad.matrix import DenseMatrix, Matrix
from l0quad.types import FloatArray, Pause, go_on

# The Gram matrix squares the condition. It is used where no pivot, and not the residual, falls below this share of
# what it was: then at least 9 digits are left.
_KEPT = 1e-6
# Columns are brought to norm 1 by powers of two up to this one: what has underflowed in M'M stays far below rounding.
_MOST_EXPONENT = 400


class Triangle(NamedTuple):
    """The triangular factor of [A b], and how far rounding has moved it from that.

    Attributes
    ----------
    R : ndarray of shape (p, p)
    c : ndarray of shape (p + 1,)
        ``||A w - b||^2 = ||R w - c[:p]||^2 + c[p]^2`` for all w, but for rounding.
    error_AA, error_Ab, error_bb : float
        Bounds on the (Frobenius) norms of the parts of [A b]'[A b] less what R and c give, columns brought to norm 1.
    least : float
        What the least singular value of R, its columns brought to norm 1, is not below; zero columns left out.
    scale : float
        The least number by which a column has been multiplied for that.
    """

    R: FloatArray
    c: FloatArray
    error_AA: float
    error_Ab: float
    error_bb: float
    least: float
    scale: float

    def moved(self, mu: float, w0: FloatArray, at_zero: float) -> float:
        """Return by how much the optimum may lie below that of the reduced problem, whose objective at 0 is given."""
        at_zero *= 1 + gamma(self.c.size + 8)
        s = (self.least * self.least + mu * self.scale * self.scale) / SLACK
        size = SLACK * (norm_above(self.c[:-1]) ** 2 + mu * norm_above(w0) ** 2)
        most = SLACK * at_zero
        if s == 0:
            return most
        t = (s / size) ** 0.5 if size > 0 else 1.0
        k = (self.error_AA + t * self.error_Ab) / s
        return min(most, SLACK * (k * (2 * at_zero + size) + self.error_Ab / (2 * t) + self.error_bb / 2))


def proven_triangle(matrix: Matrix, b: FloatArray, pause: Pause = go_on) -> Triangle:
    """Return the triangular factor of [A b] by one pass over blocks of rows, some 4 n p^2 flops."""
    p, rows, n_blocks = matrix.shape[1], 0, 0
    gram, nonzero = np.zeros((p + 1, p + 1)), np.zeros(p, dtype=np.bool_)

    def blocks() -> Iterator[FloatArray]:
        nonlocal gram, rows, n_blocks
        for each in _rows(matrix, b, pause):
            block = np.column_stack(each)
            gram += block.T @ block
            np.logical_or(nonzero, each[0].any(axis=0), out=nonzero)
            rows, n_blocks = max(rows, block.shape[0]), n_blocks + 1
            yield block

    whole = triangle(blocks(), p + 1)
    R, c = np.asfortranarray(whole[:p, :p]), whole[:, p].copy()
    exponents = np.append(np.where(nonzero, -np.frexp(np.linalg.norm(R, axis=0))[1], 0), 0)
    exponents = np.clip(exponents, -_MOST_EXPONENT, _MOST_EXPONENT)
    gram, even = np.ldexp(gram, exponents + exponents[:, None]), np.ldexp(whole, exponents)
    own = even.T @ even
    # An entry of M'M is a sum of so many products, added up in blocks; M may have been centred and weighted first.
    summed, made = gamma(rows + n_blocks) + gamma(8) * matrix.spread, gamma(p + 4)
    squares = np.array([np.trace(gram[:p, :p]), gram[p, p]]) * (1 + 2 * summed)
    lengths = np.array([np.trace(own[:p, :p]), own[p, p]]) * (1 + 2 * made)

    def error(found: FloatArray, i: int, j: int) -> float:
        rounding = summed * (squares[i] * squares[j]) ** 0.5 + made * (lengths[i] * lengths[j]) ** 0.5
        return SLACK * (norm_above(found.ravel()) + rounding)

    off = gram - own
    errors = error(off[:p, :p], 0, 0), error(off[:p, p], 0, 1), error(off[p:, p], 1, 1)
    # A zero column has no part in objectives; any w without it has R w = R' w, R' with another number there.
    least = least_singular_value(even[:p, :p] + np.diag(np.where(nonzero, 0.0, 1.0)))
    return Triangle(R, c, *errors, least, 2.0 ** int(exponents[:p].min()))


def reduced_rows(matrix: Matrix, b: FloatArray, pause: Pause = go_on) -> tuple[Matrix, FloatArray]:
    """Return R (p x p) and c (p + 1) with ``||A w - b||^2 = ||R w - c[:p]||^2 + c[p]^2`` for all w.

    Where passes over A are counted it takes one.
    """
    p = matrix.shape[1]
    known = (
        None if matrix.counted else matrix.prepared.once("triangle", 16 * p * p, lambda matrix: _by_gram(matrix, pause))
    )
    if known is not None:
        R, reduced = known
        c = np.linalg.solve(R.T, matrix.rmatvec(b))
        total = float(b @ b)
        rest = total - float(c @ c)
        if rest > _KEPT * total:
            return reduced, np.append(c, rest**0.5)
    whole = triangle((np.column_stack(each) for each in _rows(matrix, b, pause)), p + 1)
    return DenseMatrix(np.asfortranarray(whole[:p, :p])), whole[:, p].copy()


def _by_gram(matrix: Matrix, pause: Pause) -> tuple[FloatArray, Matrix] | None:
    H = matrix.prepared.gram(pause)
    factor = cholesky_factor(H, 0.0)
    if factor is None or np.any(factor.diagonal() ** 2 <= _KEPT * H.diagonal()):
        return None
    R = np.ascontiguousarray(factor.T)
    return R, DenseMatrix(R)


def _rows(matrix: Matrix, b: FloatArray, pause: Pause) -> Iterator[tuple[FloatArray, FloatArray]]:
    step, start = block_rows(matrix.shape[1]), 0
    for block in matrix.row_blocks(step):
        pause()
        yield block, b[start : start + block.shape[0]]
        start += block.shape[0]
