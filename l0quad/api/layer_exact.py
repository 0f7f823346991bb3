"""Proven optima of a layer by branch and bound.

Where each output has a budget of its own, in each. Where one budget serves all, in each output for every size that it
may have, and the best division of the budget among the outputs by dynamic programming. Where one support serves all,
outputs are stacked: an input is a group of columns.
"""

from collections.abc import Callable

import numpy as np

from l0quad.api.layer_result import Stated
from l0quad.api.result import Result
from l0quad.api.solve import solve
from l0quad.errors import Unsuited
from l0quad.layers.quadratic import Quadratic
from l0quad.linalg.rounding import gamma
from l0quad.matrix.gram import GramMatrix
from l0quad.problem.constraints.base import Kind
from l0quad.problem.constraints.cardinality import Cardinality
from l0quad.problem.constraints.groups import Groups
from l0quad.problem.constraints.n_of_m import NofM
from l0quad.problem.problem import Problem
from l0quad.run import debug
from l0quad.run.monitor import SolveMonitor
from l0quad.run.outcome import Status
from l0quad.types import FloatArray, IntArray

_MOST_INPUTS = 64
# The columns of the stacked problem of one support for all outputs.
_MOST_STACKED = 512


def exact_outputs(
    layer: Stated, monitor: SolveMonitor, record: Callable[[FloatArray], bool]
) -> tuple[FloatArray, FloatArray, Status]:
    """Solve a layer to a proven optimum; what a limit leaves has the best point that was found.

    Parameters
    ----------
    record : callable
        Is given W, within the budget, whenever it is better; True ends the work.

    Returns
    -------
    W : ndarray of shape (m, d)
    bounds : ndarray of shape (m,), or (1,) where outputs share a budget
    status : Status
    """
    quadratic = layer.quadratic
    shared, (m, d) = quadratic.pattern.shared, quadratic.W0.shape
    if d > _MOST_INPUTS or not quadratic.is_regular or (shared and m * d > _MOST_STACKED):
        raise Unsuited(
            f"method 'exact': needs d <= {_MOST_INPUTS}, for SharedSupport d times m <= {_MOST_STACKED}, and a regular "
            f"H or a ridge, got {layer.k!r}, d = {d}, m = {m}, H {'regular' if quadratic.is_regular else 'singular'}; "
            "'auto' does not"
        )
    work = _Work(layer, monitor, record)
    if shared:
        return work.stacked()
    return work.separate() if quadratic.pattern.separate else work.divided()


class _Work:
    def __init__(self, layer: Stated, monitor: SolveMonitor, record: Callable[[FloatArray], bool]) -> None:
        self.k, self.quadratic, self.monitor, self.record = layer.k, layer.quadratic, monitor, record
        self.allowance = _allowance(self.quadratic)
        self.gram = GramMatrix(self.quadratic.Q)
        self.movable, self.enterable = self.quadratic.pattern.movable(), self.quadratic.pattern.enterable()
        self.status = Status.OPTIMAL

    def separate(self) -> tuple[FloatArray, FloatArray, Status]:
        """Solve each output with its own budget; one that is not reached is zero, its bound its least F of all."""
        quadratic = self.quadratic
        W, bounds = np.zeros_like(quadratic.W0), quadratic.constant - self.allowance
        for j in range(bounds.size):
            must, never = self._fixed(j)
            if isinstance(self.k, NofM):
                k: Kind = NofM(self.k.n, self.k.m, must=must, never=never)
            else:
                k = Cardinality(int(quadratic.pattern.partition.budgets[j]), must=must, never=never)
            result = self._solve(Problem.from_gram(self.gram, quadratic.targets[j], k))
            W[j], bounds[j] = result.w, result.lower_bound + quadratic.at_zero[j] - self.allowance[j]
            if self.record(W):
                break
        return W, bounds, self.status

    def divided(self) -> tuple[FloatArray, FloatArray, Status]:
        """Solve each output for every size, and divide the budget: outputs share no weight, so that costs add up."""
        quadratic, total = self.quadratic, self.quadratic.pattern.partition.total
        m, d = quadratic.W0.shape
        fixed = [self._fixed(j) for j in range(m)]
        held = sum(must.size for must, _ in fixed)
        values, lows = np.full((2, m, d + 1), np.inf)
        found = np.zeros((m, d + 1, d))
        for j, (must, never) in enumerate(fixed):
            sizes = range(must.size, min(d - never.size, total - held + must.size) + 1)
            # What is not reached has W = 0, which every size allows, and the least F of all.
            values[j, sizes], lows[j, sizes] = quadratic.at_zero[j], quadratic.constant[j]
            for size in sizes:
                if self.monitor.expired():
                    break
                k = Cardinality(size, must=must, never=never)
                result = self._solve(Problem.from_gram(self.gram, quadratic.targets[j], k))
                found[j, size] = result.w
                values[j, size], lows[j, size] = np.array([result.objective, result.lower_bound]) + quadratic.at_zero[j]
        W = found[np.arange(m), _division(values, total)[0]]
        self.record(W)
        error = gamma(2 * m + 8) * float((np.abs(quadratic.at_zero) + np.abs(quadratic.constant)).sum())
        return W, np.array([_division(lows, total)[1] - float(self.allowance.sum()) - error]), self.status

    def stacked(self) -> tuple[FloatArray, FloatArray, Status]:
        """Solve the problem of all outputs one after the other: m times Q along its diagonal, an input a group."""
        quadratic, partition = self.quadratic, self.quadratic.pattern.partition
        m, d = quadratic.W0.shape
        must, never = (np.flatnonzero(np.tile(each, m)) for each in (~self.movable[0], ~self.enterable[0]))
        k = Groups(np.tile(np.arange(d), m), partition.total, must=must, never=never)
        result = self._solve(Problem.from_gram(np.kron(np.eye(m), quadratic.Q), quadratic.targets.ravel(), k))
        W = result.w.reshape(m, d)
        self.record(W)
        error = gamma(m + 8) * float(np.abs(quadratic.at_zero).sum())
        low = result.lower_bound + float(quadratic.at_zero.sum()) - float(self.allowance.sum()) - error
        return W, np.array([low]), self.status

    def _fixed(self, j: int) -> tuple[IntArray, IntArray]:
        return np.flatnonzero(~self.movable[j]), np.flatnonzero(~self.enterable[j])

    def _solve(self, problem: Problem) -> Result:
        monitor = self.monitor
        left = monitor.limits.seconds
        left = None if left is None else max(left - monitor.seconds(), 0.0)
        # An optimum that is known is the layer's.
        with debug.known_optimum(None):
            result = solve(problem, "exact", time_limit=left, gap_tol=monitor.limits.gap)
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if result.status is not Status.OPTIMAL:
            self.status = result.status
        return result


def _division(costs: FloatArray, total: int) -> tuple[IntArray, float]:
    """Return a size for each row, adding up to at most ``total``, with the least sum of costs, and that sum."""
    m, count = costs.shape
    best, chosen = np.full(total + 1, np.inf), np.zeros((m, total + 1), dtype=np.int64)
    best[0] = 0.0
    for j in range(m):
        before, best = best, np.full(total + 1, np.inf)
        for size in range(min(count, total + 1)):
            reached = before[: total + 1 - size] + costs[j, size]
            better = size + np.flatnonzero(reached < best[size:])
            best[better], chosen[j, better] = reached[better - size], size
    left = int(best.argmin())
    least, sizes = float(best[left]), np.zeros(m, dtype=np.int64)
    for j in reversed(range(m)):
        sizes[j] = chosen[j, left]
        left -= int(sizes[j])
    return sizes, least


def _allowance(quadratic: Quadratic) -> FloatArray:
    """Return by how much each output's problem, stated by rounded g and F(0), may be off where F <= F(0).

    There ``|w_i - w0_i| <= sqrt(2 (F(0) - F(w0)) (Q^-1)_ii)``, of which twice as much is taken.
    """
    drop = np.maximum(quadratic.at_zero - quadratic.constant, 0.0)
    inverse = np.abs(np.linalg.inv(quadratic.Q).diagonal())
    radius = np.abs(quadratic.W0) + 2 * np.sqrt(2 * drop[:, None] * inverse)
    terms = (np.abs(quadratic.W0) @ np.abs(quadratic.Q) + quadratic.residual_size) * radius
    return gamma(8 * inverse.size + 64) * (terms.sum(axis=1) + quadratic.constant_size)
