"""Proven optima of a layer whose outputs have budgets of their own: branch and bound in each."""

import numpy as np

from l0quad.api.layer_result import Stated
from l0quad.api.solve import solve
from l0quad.errors import Unsuited
from l0quad.layers.quadratic import Quadratic
from l0quad.linalg.rounding import gamma
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
    if not pattern.separate or d > _MOST_INPUTS or not quadratic.is_regular:
        raise Unsuited(
            f"method 'exact': needs a budget for each output (PerColumn, NofM), d <= {_MOST_INPUTS} and a regular H or "
            f"a ridge, got {layer.k!r}, d = {d}, H {'regular' if quadratic.is_regular else 'singular'}; 'auto' does not"
        )
    allowance = _allowance(quadratic)
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
        W[j], bounds[j] = result.w, result.lower_bound + quadratic.at_zero[j] - allowance[j]
        if result.status is not Status.OPTIMAL:
            status = result.status
        if status is Status.INTERRUPTED:
            raise KeyboardInterrupt
    return W, bounds, status


def _allowance(quadratic: Quadratic) -> FloatArray:
    """Return by how much each output's problem, stated by rounded g and F(0), may be off where F <= F(0).

    There ``|w_i - w0_i| <= sqrt(2 (F(0) - F(w0)) (Q^-1)_ii)``, of which twice as much is taken.
    """
    drop = np.maximum(quadratic.at_zero - quadratic.constant, 0.0)
    inverse = np.abs(np.linalg.inv(quadratic.Q).diagonal())
    radius = np.abs(quadratic.W0) + 2 * np.sqrt(2 * drop[:, None] * inverse)
    terms = (np.abs(quadratic.W0) @ np.abs(quadratic.Q) + quadratic.residual_size) * radius
    return gamma(8 * inverse.size + 64) * (terms.sum(axis=1) + quadratic.constant_size)
