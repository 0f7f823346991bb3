"""All supports of a small problem, one by one, by orthogonal projections: no start and no table decides."""

import math

import numpy as np

from l0quad.bounds.supports import few_supports, supports_bound
from l0quad.errors import Stopped
from l0quad.linalg.tall import block_rows, triangle
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.types import FloatArray, IntArray

_EPS = float(np.finfo(np.float64).eps)
# A column depends on others where at most this many roundings of it, and of its number of rows, are left of it.
_ROUNDINGS = 8
_MOST_SUPPORTS = 1e12


def enumeration_flops(problem: CoreProblem) -> float:
    """Return what it takes to enumerate the supports; infinite where columns come in groups."""
    constraint = problem.constraint
    if constraint.units is not None:
        return math.inf
    n, p = problem.shape
    free, k = p - constraint.must.size - constraint.never.size, constraint.total - constraint.must.size
    rows = min(n + p if problem.mu > 0 else n, p + 1)
    # Each support up to this size costs a projection and two products.
    supports, of_size = 1.0, 1.0
    for size in range(1, min(k, free) + 1):
        of_size *= (free - size + 1) / size
        supports += of_size
        if supports > _MOST_SUPPORTS:
            return math.inf
    return 8.0 * rows * supports + 4.0 * n * p * p


def best_of_all(problem: CoreProblem) -> Point:
    """Return the refit on the best allowed support; supports of dependent columns count as their independent part.

    In the coordinates of a QR factorization, where a column that nearly depends on others keeps half of the digits that
    inner products of it would lose.
    """
    from l0quad.kernels.enumeration import best_support

    constraint = problem.constraint
    columns, residual = _coordinates(problem)
    floor = _floor(columns)
    for j in constraint.must:
        x = columns[j].copy()
        if (square := float(x @ x)) > floor[j]:
            columns -= np.outer(columns @ x / square, x)
            residual -= float(x @ residual) / square * x
    free = np.setdiff1d(constraint.usable, constraint.must, assume_unique=True)
    k = constraint.total - constraint.must.size
    best, support = 0.0, np.empty(0, dtype=np.int64)
    if k == 0 or free.size == 0:
        return problem.restricted(constraint.must)
    moves = constraint.exchanges(constraint.must)
    part = moves.part[free] if moves.part.size else np.empty(0, dtype=np.int64)
    stack, residuals = np.empty((k, free.size, residual.size)), np.empty((k, residual.size))
    stack[0], residuals[0] = columns[free], residual
    chosen: IntArray = np.empty(k, dtype=np.int64)
    for first in range(free.size):
        problem.pause()
        gain, size = best_support(stack, residuals, floor[free], first, part, moves.room.copy(), chosen)
        if gain > best:
            best, support = gain, free[chosen[:size]]
    return problem.restricted(np.union1d(support, constraint.must))


def proven_by_all(problem: CoreProblem, best: Point, flops: float, monitor: Monitor) -> Outcome | None:
    """Try all supports where that takes at most so many flops; None where it takes more, or proves nothing."""
    if not few_supports(problem, flops):
        return None
    try:
        bound, found = supports_bound(problem, problem.pause)
    except Stopped:
        return None
    if not math.isfinite(bound.value):
        return None
    monitor.prove(bound)
    return Outcome(min(best, found, key=lambda each: each.objective), Status.CONVERGED, bound)


def _coordinates(problem: CoreProblem) -> tuple[FloatArray, FloatArray]:
    """Return the columns of [A; mu^1/2 I], a row each, and [b; mu^1/2 w0], in at most p + 1 coordinates."""
    p = problem.shape[1]
    A = np.asarray(problem.matrix.take(np.arange(p)), dtype=np.float64)
    system = np.column_stack([A, problem.b])
    if problem.mu > 0:
        system = np.vstack([system, problem.mu**0.5 * np.column_stack([np.eye(p), problem.w0])])
    if system.shape[0] > p + 1:
        step = block_rows(p + 1)
        system = triangle((system[at : at + step] for at in range(0, system.shape[0], step)), p + 1)
    return np.ascontiguousarray(system[:, :p].T), system[:, p].copy()


def _floor(columns: FloatArray) -> FloatArray:
    return (_ROUNDINGS * _EPS * columns.shape[1]) ** 2 * np.einsum("ij,ij->i", columns, columns)
