"""Symmetric matrices of which one triangle is worked on, so that no second matrix of their size is needed."""

import numpy as np

from l0quad.types import FloatArray, RealArray

# Work is done on so many rows at a time, or on as many more as are of so many bytes.
_LEAST_ROWS = 256
_BYTES = 1 << 23


def block_rows(order: int) -> int:
    """Return on how many rows of a matrix of this order to work at a time."""
    return max(_LEAST_ROWS, _BYTES // (8 * max(order, 1)))


def add_outer(total: FloatArray, block: FloatArray) -> None:
    """Add what block @ block' has on and above the diagonal, and in the squares along it."""
    _change(np.add, total, block)


def subtract_outer(total: FloatArray, block: FloatArray) -> None:
    """Subtract it."""
    _change(np.subtract, total, block)


def _change(operation: np.ufunc, total: FloatArray, block: FloatArray) -> None:
    step = block_rows(block.shape[0])
    for first in range(0, block.shape[0] if block.size else 0, step):
        rows = block[first : first + step]
        last = first + rows.shape[0]
        square, beside = total[first:last, first:last], total[first:last, last:]
        operation(square, rows @ rows.T, out=square)
        operation(beside, rows @ block[last:].T, out=beside)


def mirror(matrix: FloatArray) -> None:
    """Copy what is above the diagonal below it."""
    for first in range(0, matrix.shape[0], _LEAST_ROWS):
        rows = matrix[first : first + _LEAST_ROWS]
        last = first + rows.shape[0]
        set_lower(rows[:, first:last], rows[:, first:last].T.copy())
        matrix[last:, first:last] = rows[:, last:].T


def upper_product(matrix: FloatArray, x: FloatArray) -> FloatArray:
    """Return the product with x of the symmetric matrix that has these entries on and above the diagonal."""
    product = np.zeros(x.size)
    for first in range(0, x.size, _LEAST_ROWS):
        rows = matrix[first : first + _LEAST_ROWS, first:]
        last = first + rows.shape[0]
        square, beside = rows[:, : rows.shape[0]], rows[:, rows.shape[0] :]
        product[first:last] += np.triu(square) @ x[first:last] + x[first:last] @ np.triu(square, 1)
        product[first:last] += beside @ x[last:]
        product[last:] += x[first:last] @ beside
    return product


def set_lower(matrix: FloatArray, values: RealArray) -> None:
    """Take what is on and below the diagonal from other values."""
    np.copyto(matrix, values, where=np.tri(matrix.shape[0], dtype=np.bool_))
