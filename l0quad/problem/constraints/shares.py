"""The relaxed support of a budget: z_i = clip(magnitude_i / c - beta, 0, 1), adding up to the budget in each part."""

import numpy as np

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
        one, zero = magnitudes >= (1 + beta) * c, magnitudes <= beta * c
        z = np.divide(magnitudes, c, out=magnitudes)
        z -= beta
        np.clip(z, 0.0, 1.0, out=z)
        z[one] = 1.0
        z[zero] = 0.0
    return z
