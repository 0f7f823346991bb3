"""The relaxation with a separable diagonal, solved, and the diagonal that makes it tight.

With d in place of mu the perspective relaxation is, in y = d^(1/2) w and with C'C = D^(-1/2) H D^(-1/2) - I,

    minimise  1/2 ||C y - c||^2 + 1/2 min_z sum_j y_j^2 / z_j  (+ a constant),    C'c = D^(-1/2) g,

the relaxation that is there already (`l0quad.bounds.relaxation`) with mu = 1, in p dimensions. At its solution the
bound changes with d_j as w_j^2 (1/z_j - 1) / 2, a supergradient, because the bound is concave in d. So the d that
maximises the sum with these weights is a direction of ascent: d moves towards it while that raises the bound. The limit
is the value of a semidefinite relaxation; source: Dong, Chen and Linderoth, "Regularization vs. relaxation", 2015,
section 3; Zheng, Sun and Li, INFORMS J. Comput. 26 (2014), section 3.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from l0quad.bounds.diagonal import Curvature, curvature, largest_diagonal, proven, scaled_diagonal
from l0quad.bounds.relaxation import Relaxation
from l0quad.bounds.separable import adds_nothing, separable_bound
from l0quad.certificates import Bound
from l0quad.linalg.cholesky import cholesky_factor
from l0quad.matrix import DenseMatrix
from l0quad.problem.constraints.base import Constraint
from l0quad.problem.core import CoreProblem, GramCore, Point, frozen
from l0quad.types import FloatArray, Pause, go_on

# A relaxation counts as solved when the rest of its ascent is at most this share of the gap, or of the objective.
_SOLVED = 1e-2
_EXACT = 1e-6
_MOST_STEPS = 100
# Moves of d: the first length, the shortest one, and the share of the gap that one must gain for another to be made.
_FIRST_MOVE = 0.5
_LAST_MOVE = 1.0 / 64
_PAYS = 0.01
# The barrier need not be exact for a direction; its end is taken a little inside.
_DIRECTION = 0.3
_INSIDE = 1e-3


class _Scene(NamedTuple):
    """The problem in p dimensions, over the columns that are kept.

    ``objective`` is that of a feasible point, ``at_zero`` that of w = 0.
    """

    shape: Curvature
    g: FloatArray
    constraint: Constraint
    objective: float
    at_zero: float


class _Relaxed(NamedTuple):
    """The relaxation with d, solved: w, its value, and the weights of the entries of d there."""

    d: FloatArray
    w: FloatArray
    value: float
    weights: FloatArray


def reweighted_bound(problem: CoreProblem, point: Point, moves: int, pause: Pause = go_on) -> Bound | None:
    """Return the bound of the separable relaxation, its d moved at most so many times; None where there is no d.

    Some n p^2 flops, then a few Cholesky factorizations of order p, and some 15 for each move. ``pause`` is called
    between; where it raises `Stopped`, all that has been done is lost.
    """
    whole = curvature(problem, pause)
    usable = problem.constraint.usable
    kept = usable[whole.H.diagonal()[usable] > 0]
    if kept.size == 0 or not adds_nothing(problem, np.setdiff1d(usable, kept, assume_unique=True)):
        return None
    shape = whole if kept.size == whole.error.size else Curvature(whole.H[np.ix_(kept, kept)], whole.error[kept])
    g = (problem.g if isinstance(problem, GramCore) else problem.matrix.prepared.product(problem.b)).copy()
    g += problem.mu * problem.w0
    scene = _Scene(shape, g[kept], problem.constraint.restrict(kept), point.objective, problem.objective_at_zero)
    d = scaled_diagonal(shape.H)
    w = np.zeros(problem.shape[1])
    w[point.support] = point.w
    relaxed = None if d is None else _relaxed(scene, d, w[kept], pause)
    if relaxed is None:
        return None
    relaxed = _moved(scene, relaxed, moves, pause)
    d = proven(shape, relaxed.d)
    if d is None:
        return None
    if np.any(d < relaxed.d):
        relaxed = _relaxed(scene, d, relaxed.w, pause) or relaxed
    full_w, full_d = np.zeros((2, problem.shape[1]))
    full_w[kept], full_d[kept] = relaxed.w, d
    return separable_bound(problem, full_w, full_d)


def _moved(scene: _Scene, relaxed: _Relaxed, moves: int, pause: Pause) -> _Relaxed:
    """Move d towards the diagonal that is largest in the weights of the relaxed point, while it pays."""
    length = _FIRST_MOVE
    for _ in range(moves):
        target = relaxed.d
        for reached in largest_diagonal(scene.shape.H, relaxed.weights, 0.5 * relaxed.d, _DIRECTION):
            target = reached
            pause()
        better = None
        while better is None and length >= _LAST_MOVE:
            d = (1 - length) * relaxed.d + length * (1 - _INSIDE) * target
            better = _relaxed(scene, d, relaxed.w, pause, relaxed.value)
            length *= 0.5 if better is None else 2
        if better is None:
            break
        gained, gap = better.value - relaxed.value, scene.objective - relaxed.value
        relaxed, length = better, min(length, 1.0)
        if gained <= _PAYS * gap:
            break
    return relaxed


def _relaxed(scene: _Scene, d: FloatArray, start: FloatArray, pause: Pause, known: float = -np.inf) -> _Relaxed | None:
    """Solve the relaxation with d from a point; None where d is not inside, or the value not above ``known``."""
    root = np.sqrt(d)
    scaled = scene.shape.H / np.outer(root, root)
    factor = cholesky_factor(scaled, -1.0)
    if factor is None:
        return None
    c = scipy.linalg.solve_triangular(factor, scene.g / root, lower=True, check_finite=False)
    constant = scene.at_zero - 0.5 * float(c @ c)
    matrix = DenseMatrix(np.ascontiguousarray(factor.T))
    problem = CoreProblem(matrix, frozen(c), frozen(np.zeros(d.size)), 1.0, scene.constraint, constant)
    relaxation = Relaxation(problem, Point(np.arange(d.size), start * root, np.inf))
    value, nu = relaxation.bound().value, relaxation.nu
    for _ in range(_MOST_STEPS):
        pause()
        relaxation.step(value)
        reached = relaxation.bound().value
        if reached > value:
            value, nu = reached, relaxation.nu
        left = relaxation.primal - value
        if left <= max(_SOLVED * (scene.objective - value), _EXACT * abs(scene.objective)) or relaxation.exhausted:
            break
        if relaxation.primal <= known:
            return None
    if value <= known:
        return None
    y = relaxation.point()
    z = scene.constraint.relaxed(y, 0.0)
    weights = np.divide(y * y * (1 - z), z * d, out=np.zeros(d.size), where=z > 0)
    # Of all w, the one with Q w as the dual point has it: L is as large there, which it need not be at y.
    w = scipy.linalg.solve_triangular(factor, c + nu, lower=True, trans="T", check_finite=False) / root
    return _Relaxed(d, w, value, weights)
