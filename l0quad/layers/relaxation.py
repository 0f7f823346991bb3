"""The perspective relaxation of a whole layer: all outputs at once, a product with one matrix an iteration.

With d > 0 as `l0quad.bounds.diagonal` has it, C = Q - diag(d) and e = w - w0, it is

    minimise  sum_j 1/2 e_j'C e_j - r_j'e_j + 1/2 sum_i d_i (w_ji^2 / z_ji - 2 w0_ji w_ji + w0_ji^2),

z a mean of allowed masks. e and w are split in the scale d^(1/2), in which z is one threshold for each part of the
budget. Any e bounds the optimum (`l0quad.layers.bound`); the one with the largest bound is returned. Source: Boyd et
al., "Distributed optimization and statistical learning via the alternating direction method of multipliers", 2011,
sections 3.4.1 (rho) and 3.4.3 (over-relaxation).
"""

from types import ModuleType

import numpy as np

from l0quad.errors import Stopped
from l0quad.layers.arrays import host
from l0quad.layers.quadratic import Quadratic
from l0quad.types import FloatArray, Pause, go_on

_OVER = 1.6
_ADJUST_EVERY, _BALANCED, _MOST_CHANGE = 10, 3.0, 5.0


def relaxed_point(
    layer: Quadratic, d: FloatArray, iterations: int = 25, pause: Pause = go_on, xp: ModuleType = np
) -> FloatArray:
    """Return the W (m x d) of an iterate whose bound is the largest; where ``pause`` stops, the best so far.

    Parameters
    ----------
    d : ndarray of shape (d,)
        Positive, with Q - diag(d) positive semidefinite.
    iterations : int
        At most; bounds hardly rise after the default.
    """
    pattern, root = layer.pattern, np.sqrt(d)
    C = xp.asarray((layer.Q - np.diag(d)) / np.outer(root, root))
    values, vectors = xp.linalg.eigh(C)
    values = values * (values > 0)
    Y0 = layer.W0 * root
    R = layer.residual / root
    rho = float(np.exp(np.log(host(values) + 1e-3).mean()))
    inverse = (vectors * (rho / (values + rho))) @ vectors.T
    Z, U = Y0 * pattern.select(Y0 * Y0), np.zeros_like(Y0)
    best, point = -np.inf, layer.W0
    try:
        for iteration in range(1, iterations + 1):
            pause()
            target = Z - U - Y0 + R / rho
            E = host(xp.asarray(target) @ inverse)
            gradient = rho * (target - E)
            P = gradient - R
            free = 0.5 * float(np.sum(Y0 * Y0)) - float(np.sum(P * Y0))
            bound = free - 0.5 * (float(np.sum(E * gradient)) + float(pattern.largest_sums((Y0 - P) ** 2).sum()))
            if bound > best:
                best, point = bound, layer.W0 + E / root
            Y, old = _OVER * E - (_OVER - 1) * (Z - Y0) + Y0, Z
            pull = Y0 + rho * (Y + U)
            z = pattern.relaxed(pull / rho, 1 / rho)
            Z = pull * (z / (1 + rho * z))
            U = U + Y - Z
            if iteration % _ADJUST_EVERY == 0:
                factor = _balance(E + Y0 - Z, Z - old, Z, U)
                if factor != 1.0:
                    rho, U = rho * factor, U / factor
                    inverse = (vectors * (rho / (values + rho))) @ vectors.T
    except Stopped:
        pass
    return point


def _balance(primal: FloatArray, dual: FloatArray, Z: FloatArray, U: FloatArray) -> float:
    """Return by what rho is to be multiplied so that both residuals fall alike; 1 where they do."""
    sizes = [float(np.linalg.norm(each)) for each in (primal, Z, dual, U)]
    if min(sizes) == 0.0:
        return 1.0
    ratio = (sizes[0] / sizes[1]) / (sizes[2] / sizes[3])
    if 1 / _BALANCED < ratio < _BALANCED:
        return 1.0
    return min(max(ratio**0.5, 1 / _MOST_CHANGE), _MOST_CHANGE)
