"""The diagonal that the curvature of a problem can give up: d > 0 with H - diag(d) positive semidefinite.

H = A'A + mu I. With such a d, which may be far larger than mu, the perspective relaxation is far tighter
(`l0quad.bounds.separable`). Two choices: `scaled_diagonal`, one number in the scale in which H^-1 has a unit diagonal,
and `largest_diagonal`, which maximises a weighted sum. Neither is proven; `proven` makes it so. Source: Dong, Chen and
Linderoth, "Regularization vs. relaxation: a conic optimization perspective of statistical variable selection", 2015;
the barrier: Boyd and Vandenberghe, "Convex Optimization", 2004, section 11.8.3.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from l0quad.linalg.cholesky import cholesky, cholesky_factor, inverse_of
from l0quad.linalg.rounding import SLACK, gamma
from l0quad.linalg.semidefinite import is_semidefinite
from l0quad.matrix.gram import GramMatrix
from l0quad.problem.core import CoreProblem
from l0quad.types import FloatArray, Pause, go_on

# Steps of Lanczos' method towards the least eigenvalue, and how much of it is given away at once.
_LANCZOS_STEPS = 40
_INSIDE = 1e-3
# What is taken from a diagonal until its proof runs through.
_BACK = (0.0, 1e-8, 1e-6, 1e-4, 1e-2, 1e-1)
# The barrier: its weight falls to this share once a centre is nearly reached, and ends at this share of the sum.
_SHRINK = 0.2
_CENTRED = 0.3
_MOST_NEWTON = 60
_SMALLEST_STEP = 2.0**-30
_LEAST_WEIGHT = 1e-6


class Curvature(NamedTuple):
    """H = A'A + mu I as computed, and how far it is from the one that is meant.

    Attributes
    ----------
    H : ndarray of shape (p, p)
        Symmetric; the lower triangle is what ``error`` speaks of.
    error : ndarray of shape (p,)
        ``|x'(H - H_exact)x| <= sum_j error_j x_j^2`` for all x.
    """

    H: FloatArray
    error: FloatArray


def curvature(problem: CoreProblem, pause: Pause = go_on) -> Curvature:
    """Return the curvature of a problem; some n p^2 flops, ``pause`` is called between slices.

    Entry (i, j) of A'A is off by at most gamma(n) ``||a_i|| ||a_j||``, however it is summed, hence x'(.)x by
    ``gamma(n) (sum_j ||a_j|| |x_j|)^2 <= gamma(n) p sum_j ||a_j||^2 x_j^2``.
    """
    n, p = problem.shape
    matrix = problem.matrix
    H = matrix.prepared.gram(pause)
    squares = H.diagonal().copy()
    # A given H is not computed; its symmetric part is what is meant.
    given = isinstance(matrix, GramMatrix)
    error = 0.5 * np.abs(H - H.T).sum(axis=1) if given else p * gamma(n + 8) * matrix.spread**2 * squares
    np.fill_diagonal(H, squares + problem.mu)
    return Curvature(H, SLACK * (error + gamma(2) * H.diagonal()))


def proven(curvature: Curvature, d: FloatArray) -> FloatArray | None:
    """Return the largest ``(1 - t) d``, of a few t, for which H - diag(d) >= 0 is proven in exact arithmetic."""
    for back in _BACK:
        less = (1 - back) * d
        if np.all(less > 0) and is_semidefinite(curvature.H, SLACK * (less + curvature.error)):
            return less
    return None


def scaled_diagonal(H: FloatArray) -> FloatArray | None:
    """Return ``t / diag(H^-1)`` with t such that H - diag(d) is barely positive definite; None where H is singular.

    That is the least eigenvalue of H where all of diag(H^-1) are equal, and it follows the scale of the columns.
    """
    inverse = _inverse(H)
    if inverse is None:
        return None
    diagonal = inverse.diagonal().copy()
    root = 1 / np.sqrt(diagonal)
    inverse *= np.outer(root, root)
    largest = _largest_eigenvalue(inverse)
    return (1 - _INSIDE) / largest / diagonal if largest > 0 else None


def _largest_eigenvalue(M: FloatArray) -> float:
    """Return the largest eigenvalue of a symmetric M, hardly ever less, by a few steps of Lanczos' method."""
    p = M.shape[0]
    steps = min(_LANCZOS_STEPS, p)
    basis, T = np.zeros((steps + 1, p)), np.zeros((steps + 1, steps + 1))
    basis[0] = np.cos(1.0 + np.arange(p))
    basis[0] /= np.linalg.norm(basis[0])
    largest = 0.0
    for i in range(steps):
        v = M @ basis[i]
        T[i, i] = v @ basis[i]
        for _ in range(2):
            v -= (basis[: i + 1] @ v) @ basis[: i + 1]
        values, vectors = np.linalg.eigh(T[: i + 1, : i + 1])
        rest = float(np.linalg.norm(v))
        largest = float(values[-1]) + rest * abs(float(vectors[-1, -1]))
        if largest - values[-1] <= _INSIDE * largest:
            break
        T[i, i + 1] = T[i + 1, i] = rest
        basis[i + 1] = v / rest
    return largest


def largest_diagonal(
    H: FloatArray, weights: FloatArray, start: FloatArray, tolerance: float = 1e-2
) -> Iterator[FloatArray]:
    """Ascend towards the d that maximises ``weights'd`` over d > 0 with H - diag(d) > 0; yield each d, all inside.

    Newton's method on ``weights'd + tau (log det(H - diag(d)) + sum_j log d_j)``, in the scale of ``start``; tau falls
    until the sum is within a share of ``tolerance`` of the largest one. Some 25 steps, each of them
    two Cholesky factorizations and an inverse of order p, between which the caller may stop.

    Parameters
    ----------
    weights : ndarray of shape (p,), at least 0
    start : ndarray of shape (p,)
        Inside: positive, with H - diag(start) positive definite.
    """
    p, root = weights.size, np.sqrt(start)
    R = H / np.outer(root, root)
    c = weights * start
    c = np.maximum(c / c.mean(), _LEAST_WEIGHT) if c.any() else np.ones(p)
    x = np.ones(p)
    factor = _factor(R, x)
    tau = float(c @ x) / p
    for _ in range(_MOST_NEWTON):
        if factor is None:
            return
        inverse = inverse_of(factor)
        gradient = c - tau * inverse.diagonal() + tau / x
        solve = cholesky(tau * inverse * inverse, tau / x**2)
        if solve is None:
            return
        step = solve(gradient)
        rise = float(gradient @ step)
        found = _search(R, x, factor, step, rise, c, tau)
        if found is None:
            return
        x, factor = found
        yield x * start
        if rise < _CENTRED * tau:
            if 2 * p * tau <= tolerance * float(c @ x):
                return
            tau *= _SHRINK


def _search(
    R: FloatArray, x: FloatArray, factor: FloatArray, step: FloatArray, rise: float, c: FloatArray, tau: float
) -> tuple[FloatArray, FloatArray] | None:
    """Return the first x + step / 2^i at which the barrier has risen enough, with its factor."""

    def value(x: FloatArray, factor: FloatArray) -> float:
        return float(c @ x) + tau * float(2 * np.log(factor.diagonal()).sum() + np.log(x).sum())

    before, length = value(x, factor), 1.0
    while length > _SMALLEST_STEP:
        new = x + length * step
        reached = _factor(R, new)
        if reached is not None and value(new, reached) >= before + 1e-4 * length * rise:
            return new, reached
        length /= 2
    return None


def _factor(R: FloatArray, x: FloatArray) -> FloatArray | None:
    """Return the Cholesky factor of R - diag(x), None where x is not inside."""
    return cholesky_factor(R, -x) if np.all(x > 0) else None


def _inverse(H: FloatArray) -> FloatArray | None:
    factor = cholesky_factor(H, 0.0)
    return None if factor is None else inverse_of(factor)
