"""QR factorizations of tall matrices by blocks of rows.

Source: Demmel, Grigori, Hoemmen and Langou, "Communication-optimal parallel and sequential QR and LU factorizations",
SIAM J. Sci. Comput. 34 (2012), the sequential (flat) tree.
"""

from collections.abc import Iterable

import numpy as np

from l0quad.types import FloatArray

# A block has this many numbers where it may, and twice as many rows as columns: its QR then costs 1.5 times its share.
_BLOCK = 1 << 19


def block_rows(n_columns: int) -> int:
    """Return how many rows a block should have."""
    return max(2 * n_columns, _BLOCK // max(n_columns, 1), 1)


def triangle(blocks: Iterable[FloatArray], n_columns: int) -> FloatArray:
    """Return R with R'R = M'M, upper triangular and square, for the matrix M whose rows come in blocks.

    Backward stable: the rounding is that of a few roundings of M, whatever its condition.
    """
    R = np.zeros((0, n_columns))
    for block in blocks:
        R = np.asarray(np.linalg.qr(np.vstack([R, block]), mode="r"))
    return np.vstack([R, np.zeros((n_columns - R.shape[0], n_columns))])
