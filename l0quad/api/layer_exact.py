"""Proven optima of a layer whose outputs have budgets of their own: branch and bound in each."""

import numpy as np

from l0quad.api.layer_result import Stated
from l0quad.api.solve import solve
from l0quad.errors import Unsuited
from l0quad.problem.constraints.cardinality import Cardinality
from l0quad.problem.constraints.n_of_m import NofM
from l0quad.problem.problem import Problem
from l0quad.run.monitor import SolveMonitor
from l0quad.run.outcome import Status
from l0quad.types import FloatArray

_MOST_INPUTS = 64


def exact_outputs(layer: Stated, monitor: SolveMonitor) -> tuple[FloatArray, FloatArray, Status]:
    """Solve every output to a proven optimum; what a limit leaves has the best point that was found.

    Returns
    -------
    W : ndarray of shape (m, d)
    bounds : ndarray of shape (m,)
    status : Status
    """
    quadratic = layer.quadratic
    pattern, (m, d) = quadratic.pattern, quadratic.W0.shape
    if not pattern.separate or d > _MOST_INPUTS:
        raise Unsuited(
            f"method 'exact': needs a budget for each output (PerColumn, NofM) and d <= {_MOST_INPUTS}, got "
            f"{layer.k!r} and d = {d}; 'auto' does not"
        )
    W, bounds, status = np.zeros((m, d)), np.zeros(m), Status.OPTIMAL
    movable, enterable = pattern.movable(), pattern.enterable()
    for j in range(m):
        must, never = np.flatnonzero(~movable[j]), np.flatnonzero(~enterable[j])
        if isinstance(layer.k, NofM):
            k: NofM | Cardinality = NofM(layer.k.n, layer.k.m, must=must, never=never)
        else:
            k = Cardinality(int(pattern.partition.budgets[j]), must=must, never=never)
        problem = Problem.from_gram(quadratic.Q, quadratic.targets[j], k)
        left = monitor.limits.seconds
        left = None if left is None else max(left - monitor.seconds(), 0.0)
        result = solve(problem, "exact", time_limit=left, gap_tol=monitor.limits.gap)
        W[j], bounds[j] = result.w, result.lower_bound + quadratic.at_zero[j]
        if result.status is not Status.OPTIMAL:
            status = result.status
        if status is Status.INTERRUPTED:
            raise KeyboardInterrupt
    return W, bounds, status
