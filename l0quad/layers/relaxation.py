"""The perspective relaxation of a whole layer: all outputs at once, a product with one matrix an iteration.

With d > 0 as `l0quad.bounds.diagonal` has it, C = Q - diag(d) and e = w - w0, it is

    minimise  sum_j 1/2 e_j'C e_j - r_j'e_j + 1/2 sum_i d_i (w_ji^2 / z_ji - 2 w0_ji w_ji + w0_ji^2),

z a mean of allowed masks. e and w are split in the scale d^(1/2), in which z is one threshold for each part of the
budget, in single precision. Any e bounds the optimum (`l0quad.layers.bound`); the one with the largest bound is
returned. Source: Boyd et al., "Distributed optimization and statistical learning via the alternating direction method
of multipliers", 2011, sections 3.4.1 (rho) and 3.4.3 (over-relaxation).
"""

from types import ModuleType
from typing import Any

import numpy as np

from l0quad.errors import Stopped
from l0quad.layers.arrays import budget, host
from l0quad.layers.quadratic import Quadratic
from l0quad.types import FloatArray, Pause, go_on

_OVER = 1.6
_ADJUST_EVERY, _BALANCED, _MOST_CHANGE = 10, 3.0, 5.0


def relaxed_point(
    layer: Quadratic,
    d: FloatArray,
    iterations: int = 25,
    least_rise: float = 1e-4,
    pause: Pause = go_on,
    xp: ModuleType = np,
) -> FloatArray:
    """Return the W (m x d) of an iterate whose bound is the largest; where ``pause`` stops, the best so far.

    Parameters
    ----------
    d : ndarray of shape (d,)
        Positive, with Q - diag(d) positive semidefinite.
    iterations : int
        At most.
    least_rise : float
        End where an iteration, not one of the first, raises the bound by no more than this share of it.
    """
    own, root = budget(layer.pattern, xp), np.sqrt(d)
    C = xp.asarray((layer.Q - np.diag(d)) / np.outer(root, root))
    values, vectors = xp.linalg.eigh(C)
    values = values * (values > 0)
    # A power of two, exact, so that squares stay within single precision.
    unit = np.ldexp(1.0, int(np.frexp(np.abs(layer.W0 * root).max())[1]))
    Y0, R = (xp.asarray(each / unit, dtype=xp.float32) for each in (layer.W0 * root, layer.residual / root))
    free = 0.5 * float((Y0 * Y0).sum())
    rho = float(np.exp(np.log(host(values) + 1e-3).mean()))
    V = xp.asarray(vectors, dtype=xp.float32)
    inverse = _inverse(xp.asarray(values, dtype=xp.float32), V, rho)
    Z, U = Y0 * own.select(Y0 * Y0), 0 * Y0
    best, found = -np.inf, None
    try:
        for iteration in range(1, iterations + 1):
            pause()
            target = Z - U - Y0 + R / rho
            E = target @ inverse
            gradient = rho * (target - E)
            P = gradient - R
            bound = free - float((P * Y0 + 0.5 * E * gradient).sum())
            bound -= 0.5 * float(own.largest_sums((Y0 - P) ** 2).sum())
            rise = bound - best
            if rise > 0:
                best, found = bound, (target, rho)
            if iteration > _ADJUST_EVERY and abs(rise) <= least_rise * abs(bound):
                break
            Y, old = _OVER * E - (_OVER - 1) * (Z - Y0) + Y0, Z
            pull = Y0 + rho * (Y + U)
            z = own.relaxed(pull / rho, 1 / rho)
            Z = pull * (z / (1 + rho * z))
            U = U + Y - Z
            if iteration % _ADJUST_EVERY == 0:
                factor = _balance(xp, E + Y0 - Z, Z - old, Z, U)
                if factor != 1.0:
                    rho, U = rho * factor, U / factor
                    inverse = _inverse(xp.asarray(values, dtype=xp.float32), V, rho)
    except Stopped:
        pass
    if found is None:
        return layer.W0
    # In double precision: C would enlarge what single precision leaves of E by its largest eigenvalue.
    target, rho = found
    return layer.W0 + host(xp.asarray(target, dtype=xp.float64) @ _inverse(values, vectors, rho)) * (unit / root)


def _inverse(values: Any, V: Any, rho: float) -> Any:
    """Return rho (C + rho I)^-1, C = V diag(values) V'."""
    half = V * (rho / (values + rho)) ** 0.5
    return half @ half.T


def _balance(xp: Any, primal: Any, dual: Any, Z: Any, U: Any) -> float:
    """Return by what rho is to be multiplied so that both residuals fall alike; 1 where they do."""
    sizes = [float(xp.linalg.norm(each)) for each in (primal, Z, dual, U)]
    if min(sizes) == 0.0:
        return 1.0
    ratio = (sizes[0] / sizes[1]) / (sizes[2] / sizes[3])
    if 1 / _BALANCED < ratio < _BALANCED:
        return 1.0
    return min(max(ratio**0.5, 1 / _MOST_CHANGE), _MOST_CHANGE)
