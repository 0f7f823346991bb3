"""Exact exchanges with the columns that promise most, where the table of all exchanges is too large."""

from dataclasses import replace

import numpy as np

from l0quad.matrix import DenseMatrix
from l0quad.problem.constraints.ranking import top_k
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor, SubMonitor
from l0quad.solvers.group_moves import tableau_of
from l0quad.solvers.swap import descend, table_fits
from l0quad.types import FloatArray, IntArray


def exchanged(problem: CoreProblem, point: Point, extra: int, most_flops: float, monitor: Monitor) -> Point:
    """Return where the best exchanges with ``extra`` further columns lead, the point itself where that is no better.

    The columns with the largest r_j^2 / H_jj: half of it is what adding one gains while the others stay, and no more
    than what it gains after refit. At most |S| exchanges are made. A table costs some 4 |S|^2 (|S| + extra) flops, an
    exchange |S| (|S| + extra); nothing is done, and A is not read, where the first is above ``most_flops``. Of
    files the columns are read into memory: one sweep for r where no refit has brought it, one for the columns.
    """
    size = point.support.size
    if size + extra == 0:
        return point
    if 4.0 * float(size) ** 2 * min(size + extra, problem.shape[1]) > most_flops:
        return point
    columns = _promising(problem, point, extra)
    inner = problem.restrict(columns)
    if problem.matrix.counted:
        inner = replace(inner, matrix=DenseMatrix(problem.matrix.take(columns)))
    if not table_fits(inner) or monitor.expired():
        return point
    tableau = tableau_of(inner, np.searchsorted(columns, point.support))
    descend(tableau, size, SubMonitor(monitor, columns))
    if monitor.expired() or not tableau.objective < point.objective:
        return point
    found = problem.restricted(columns[tableau.support])
    return found if found.objective < point.objective else point


def _promising(problem: CoreProblem, point: Point, extra: int) -> IntArray:
    """Return the support and the columns that promise most beside it, sorted."""
    r = problem.mu * problem.w0 - problem.data_gradient(point)
    r[point.support] -= problem.mu * point.w
    curvature = problem.column_sq_norms + problem.mu
    scores: FloatArray = r * r / np.where(curvature > 0, curvature, 1.0)
    scores[point.support] = scores[problem.constraint.never] = -1.0
    free = problem.shape[1] - point.support.size - problem.constraint.never.size
    return problem.constraint.closed(np.sort(np.concatenate([point.support, top_k(scores, min(extra, free))])))
