"""The relaxation with a separable diagonal, solved, and the diagonal that makes it tight.

With d in place of mu the perspective relaxation is, in y = d^(1/2) w and with C'C = D^(-1/2) H D^(-1/2) - I,

    minimise  1/2 ||C y - c||^2 + 1/2 min_z sum_j y_j^2 / z_j  (+ a constant),    C'c = D^(-1/2) g,

the relaxation that is there already (`l0quad.bounds.relaxation`) with mu = 1, in p dimensions. At its solution the
bound changes with d_j as w_j^2 (1/z_j - 1) / 2, a supergradient, because the bound is concave in d. So the d that
maximises the sum with these weights is a direction of ascent: d moves towards it while that raises the bound. The limit
is the value of a semidefinite relaxation; source: Dong, Chen and Linderoth, "Regularization vs. relaxation", 2015,
section 3; Zheng, Sun and Li, INFORMS J. Comput. 26 (2014), section 3.
"""

from typing import Any, NamedTuple

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
from l0quad.types import FloatArray, IntArray, Pause, go_on

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
# A diagonal is clearly larger than mu where half of its entries are so many times as large.
_LARGER = 2.0


class _Scene(NamedTuple):
    """The problem in p dimensions, over the columns that are kept.

    ``objective`` is that of a feasible point, ``at_zero`` that of w = 0.
    """

    kept: IntArray
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
    scene = _scene(problem, point, pause)
    d = None if scene is None else scaled_diagonal(scene.shape.H)
    if scene is None or d is None:
        return None
    relaxed = _relaxed(scene, d, _dense(problem, point)[scene.kept], pause)
    if relaxed is None:
        return None
    relaxed = _moved(scene, relaxed, moves, pause)
    d = proven(scene.shape, relaxed.d)
    if d is None:
        return None
    if np.any(d < relaxed.d):
        relaxed = _relaxed(scene, d, relaxed.w, pause) or relaxed
    full_w, full_d = np.zeros((2, problem.shape[1]))
    full_w[scene.kept], full_d[scene.kept] = relaxed.w, d
    return separable_bound(problem, full_w, full_d)


class SeparableRelaxation:
    """The relaxation with a proven d, ascended as `Relaxation` is, whose attributes it has; `begun` makes one."""

    def __init__(self, problem: CoreProblem, kept: IntArray, scaled: "_Scaled") -> None:
        self._problem, self._kept, self._scaled = problem, kept, scaled

    @classmethod
    def begun(cls, problem: CoreProblem, point: Point, pause: Pause = go_on) -> "SeparableRelaxation | None":
        """Return the relaxation at a point; None where there is no d, or none that is clearly larger than mu."""
        scene = _scene(problem, point, pause)
        d = None if scene is None else scaled_diagonal(scene.shape.H)
        d = None if scene is None or d is None else proven(scene.shape, d)
        if scene is None or d is None or float(np.median(d)) <= _LARGER * problem.mu:
            return None
        scaled = _Scaled.begun(scene, d, _dense(problem, point)[scene.kept], point.objective)
        return None if scaled is None else cls(problem, scene.kept, scaled)

    @property
    def primal(self) -> float:
        """The relaxation's objective at its primal point."""
        return self._scaled.relaxation.primal

    def step(self, dual: float) -> None:
        """Do one Newton step."""
        self._scaled.relaxation.step(dual)

    def state(self) -> dict[str, Any]:
        """Return all that further steps depend on."""
        return self._scaled.relaxation.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state` of an ascent that began at the same point."""
        self._scaled.relaxation.restore(state)

    def bound(self) -> Bound:
        """Return what the dual point proves."""
        d = np.zeros(self._problem.shape[1])
        d[self._kept] = self._scaled.root**2
        return separable_bound(self._problem, self._full(self._scaled.dual(self._scaled.relaxation.nu)), d)

    def point(self) -> FloatArray:
        """Return the dense w that belongs to the dual point."""
        return self._full(self._scaled.relaxation.point() / self._scaled.root)

    def _full(self, w: FloatArray) -> FloatArray:
        full = np.zeros(self._problem.shape[1])
        full[self._kept] = w
        return full


def _scene(problem: CoreProblem, point: Point, pause: Pause) -> _Scene | None:
    """Return the problem in p dimensions; None where a column without curvature plays a part."""
    whole = curvature(problem, pause)
    usable = problem.constraint.usable
    kept = usable[whole.H.diagonal()[usable] > 0]
    if kept.size == 0 or not adds_nothing(problem, np.setdiff1d(usable, kept, assume_unique=True)):
        return None
    shape = whole if kept.size == whole.error.size else Curvature(whole.H[np.ix_(kept, kept)], whole.error[kept])
    g = problem.g if isinstance(problem, GramCore) else problem.matrix.prepared.product(problem.b)
    g = (g + problem.mu * problem.w0)[kept]
    return _Scene(kept, shape, g, problem.constraint.restrict(kept), point.objective, problem.objective_at_zero)


def _dense(problem: CoreProblem, point: Point) -> FloatArray:
    w = np.zeros(problem.shape[1])
    w[point.support] = point.w
    return w


class _Scaled(NamedTuple):
    """The relaxation in y = root w, ``factor`` the lower factor C' and c of the module's docstring."""

    relaxation: Relaxation
    root: FloatArray
    factor: FloatArray
    c: FloatArray

    @classmethod
    def begun(cls, scene: _Scene, d: FloatArray, start: FloatArray, objective: float) -> "_Scaled | None":
        """Return the relaxation with d at a point, whose value is at most ``objective``; None where d is not inside."""
        root = np.sqrt(d)
        factor = cholesky_factor(scene.shape.H / np.outer(root, root), -1.0)
        if factor is None:
            return None
        c = scipy.linalg.solve_triangular(factor, scene.g / root, lower=True, check_finite=False)
        constant = scene.at_zero - 0.5 * float(c @ c)
        matrix = DenseMatrix(np.ascontiguousarray(factor.T))
        problem = CoreProblem(matrix, frozen(c), frozen(np.zeros(d.size)), 1.0, scene.constraint, constant)
        return cls(Relaxation(problem, Point(np.arange(d.size), start * root, objective)), root, factor, c)

    def dual(self, nu: FloatArray) -> FloatArray:
        """Return the w of which L is what nu proves: the one with C y = c + nu."""
        y = scipy.linalg.solve_triangular(self.factor, self.c + nu, lower=True, trans="T", check_finite=False)
        return np.asarray(y / self.root)


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
    scaled = _Scaled.begun(scene, d, start, np.inf)
    if scaled is None:
        return None
    relaxation = scaled.relaxation
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
    # Not y, at which L may be far lower.
    return _Relaxed(d, scaled.dual(nu), value, weights)
