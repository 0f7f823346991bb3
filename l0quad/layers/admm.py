"""A support for a whole layer by splitting: the quadratic and the budget take turns.

Source: Meng, Behdin, Wang and Mazumder, "ALPS: improved optimization for highly sparse one-shot pruning for large
language models", NeurIPS 2024, section 3.1: one eigendecomposition serves all outputs and all penalties rho. In the
scale in which Q has a unit diagonal, so that one rho suits all inputs, and in single precision.
"""

from types import ModuleType

import numpy as np

from l0quad.layers.arrays import budget, host
from l0quad.layers.quadratic import Quadratic
from l0quad.types import BoolArray, Pause, go_on

_RHO = 0.03
# rho grows every few iterations by the second factor, by the first while a larger share of the mask still changes.
_EVERY, _FAST, _SLOW, _MOVING = 3, 1.3, 1.2, 0.1
_SETTLED = 1e-3
_MOST_ITERATIONS = 120


def admm(layer: Quadratic, pause: Pause = go_on, xp: ModuleType = np) -> BoolArray:
    """Return an allowed mask (m x d).

    Parameters
    ----------
    xp : namespace
        What holds the arrays and computes with them (`l0quad.layers.arrays`).
    """
    pattern, root = layer.pattern, np.sqrt(layer.regular.diagonal())
    own = budget(pattern, xp)
    values, V = xp.linalg.eigh(xp.asarray(layer.regular / np.outer(root, root), dtype=xp.float32))
    values = values * (values > 0)
    # A power of two, exact, so that squares stay within single precision.
    unit = np.ldexp(1.0, int(np.frexp(np.abs(layer.W0 * root).max())[1]))
    A = Y0 = xp.asarray(layer.W0 * root / unit, dtype=xp.float32)
    rho = _RHO
    mask = settled = own.select(Y0 * Y0)
    Z, U = Y0 * mask, 0 * Y0
    inverse = (V * (rho / (values + rho))) @ V.T
    for iteration in range(1, _MOST_ITERATIONS + 1):
        pause()
        A = (Z - U - Y0) @ inverse + Y0 + U
        mask = own.select(A * A)
        Z = A * mask
        U = A - Z
        if iteration % _EVERY == 0:
            changed = float((mask != settled).sum()) / max(float(mask.sum()), 1.0)
            if changed < _SETTLED:
                break
            settled = mask
            factor = _FAST if changed > _MOVING else _SLOW
            rho, U = rho * factor, U / factor
            inverse = (V * (rho / (values + rho))) @ V.T
    return pattern.select(host(A * A))
