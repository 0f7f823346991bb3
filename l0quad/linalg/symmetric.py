"""Symmetric matrices of which one triangle is worked on, so that no second matrix of their size is needed."""

import numpy as np

from l0quad.types import FloatArray, RealArray

_BLOCK = 256


def add_outer(total: FloatArray, block: FloatArray) -> None:
    """Add what block @ block' has on and above the diagonal, and in the squares along it."""
    for first in range(0, block.shape[0], _BLOCK):
        rows = block[first : first + _BLOCK]
        last = first + rows.shape[0]
        total[first:last, first:last] += rows @ rows.T
        total[first:last, last:] += rows @ block[last:].T


def mirror(matrix: FloatArray) -> None:
    """Copy what is above the diagonal below it."""
    for first in range(0, matrix.shape[0], _BLOCK):
        rows = matrix[first : first + _BLOCK]
        last = first + rows.shape[0]
        set_lower(rows[:, first:last], rows[:, first:last].T.copy())
        matrix[last:, first:last] = rows[:, last:].T


def set_lower(matrix: FloatArray, values: RealArray) -> None:
    """Take what is on and below the diagonal from other values."""
    np.copyto(matrix, values, where=np.tri(matrix.shape[0], dtype=np.bool_))
