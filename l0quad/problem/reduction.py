"""A tall problem with as many rows as columns: [A b] by its triangular factor."""

from collections.abc import Iterator

import numpy as np

from l0quad.linalg.cholesky import cholesky_factor
from l0quad.linalg.tall import block_rows, triangle
from l0quad.matrix import DenseMatrix, Matrix
from l0quad.types import FloatArray, Pause, go_on

# The Gram matrix squares the condition. It is used where no pivot, and not the residual, falls below this share of
# what it was: then at least 9 digits are left.
_KEPT = 1e-6


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
