"""The relaxed support of a budget: z_i = clip(magnitude_i / c - beta, 0, 1), adding up to the budget in each part."""

import numpy as np

from l0quad.linalg.pieces import pieces
from l0quad.types import FloatArray, IntArray


def thresholds(magnitudes: FloatArray, starts: IntArray, budgets: IntArray, beta: float) -> FloatArray:
    """Return each part's c; 0 and inf where its equation has no solution. The magnitudes are in the parts' order."""
    from l0quad.kernels.perspective import part_thresholds

    found = np.empty(budgets.size)
    part_thresholds(np.ascontiguousarray(magnitudes), starts, budgets, float(beta), found)
    return found


def clipped_ratio(magnitudes: FloatArray, c: FloatArray | float, beta: float) -> FloatArray:
    """Return clip(magnitudes / c - beta, 0, 1), 1 where c = 0 and the magnitude is not, in place of the magnitudes."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for here in pieces(magnitudes.size):
            z, own = magnitudes[here], c if isinstance(c, float) else c[here]
            one, zero = z >= (1 + beta) * own, z <= beta * own
            z /= own
            z -= beta
            np.clip(z, 0.0, 1.0, out=z)
            z[one] = 1.0
            z[zero] = 0.0
    return magnitudes
