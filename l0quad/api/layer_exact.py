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
from l0quad.errors import Stopped, Unsuited
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
from l0quad.types import FloatArray, IntArray, Pause

_MOST_INPUTS = 64
# The columns of the stacked problem of one support for all outputs.
_MOST_STACKED = 512
# Outputs times the budget that they share: the bytes of the table that divides it.
_MOST_DIVIDED = 1 << 27


def suitable(layer: Stated) -> None:
    """Raise `Unsuited` where a layer is too large for branch and bound, or its H singular."""
    quadratic = layer.quadratic
    pattern, (m, d) = quadratic.pattern, quadratic.W0.shape
    large = d > _MOST_INPUTS or (pattern.shared and m * d > _MOST_STACKED)
    divided = not (pattern.shared or pattern.separate)
    if large or not quadratic.is_regular or (divided and m * pattern.partition.total > _MOST_DIVIDED):
        raise Unsuited(
            f"method 'exact': needs d <= {_MOST_INPUTS}, for SharedSupport d times m <= {_MOST_STACKED}, for one "
            f"budget m times k <= {_MOST_DIVIDED}, and a regular H or a ridge, got {layer.k!r}, d = {d}, m = {m}, "
            f"H {'regular' if quadratic.is_regular else 'singular'}; 'auto' does not"
        )


def exact_outputs(
    layer: Stated, monitor: SolveMonitor, start: FloatArray, record: Callable[[FloatArray], bool]
) -> tuple[FloatArray, Status]:
    """Solve a `suitable` layer to a proven optimum; the answer is the best point that was recorded.

    Parameters
    ----------
    start : ndarray of shape (m, d)
        Within the budget; outputs that a limit leaves unsolved have it.
    record : callable
        Is given W, within the budget, as outputs are solved.

    Returns
    -------
    bounds : ndarray of shape (m,), or (1,) where outputs share a budget
    status : Status
        Where no limit has stopped ``monitor``.

    Raises
    ------
    Stopped
        Where a limit is reached before the one solve of `SharedSupport`.
    """
    work, pattern = _Work(layer, monitor, start, record), layer.quadratic.pattern
    if pattern.shared:
        return work.stacked(), work.status
    return work.separate() if pattern.separate else work.divided(), work.status


class _Work:
    def __init__(
        self, layer: Stated, monitor: SolveMonitor, start: FloatArray, record: Callable[[FloatArray], bool]
    ) -> None:
        self.k, self.quadratic, self.monitor, self.record = layer.k, layer.quadratic, monitor, record
        self.W, self.values = start.copy(), self.quadratic.objectives(start)
        self.allowance = _allowance(self.quadratic)
        self.gram = GramMatrix(self.quadratic.Q)
        self.movable, self.enterable = self.quadratic.pattern.movable(), self.quadratic.pattern.enterable()
        self.status = Status.OPTIMAL

    def separate(self) -> FloatArray:
        """Solve each output with its own budget; the bound of one that is not reached is its least F of all."""
        quadratic = self.quadratic
        bounds = quadratic.constant - self.allowance
        try:
            for j in range(bounds.size):
                self.monitor.pause()
                must, never = self._fixed(j)
                if isinstance(self.k, NofM):
                    k: Kind = NofM(self.k.n, self.k.m, must=must, never=never)
                else:
                    k = Cardinality(int(quadratic.pattern.partition.budgets[j]), must=must, never=never)
                w, value, low = self._output(j, k)
                bounds[j] = low - self.allowance[j]
                if value < self.values[j]:
                    self.W[j] = w
                self.record(self.W)
        except Stopped:
            pass
        return bounds

    def divided(self) -> FloatArray:
        """Solve each output for every size, and divide the budget: outputs share no weight, so that costs add up."""
        quadratic, total = self.quadratic, self.quadratic.pattern.partition.total
        m, d = quadratic.W0.shape
        least = np.count_nonzero(~self.movable, axis=1)
        most = np.minimum(np.count_nonzero(self.enterable, axis=1), total - int(least.sum()) + least)
        kept = np.count_nonzero((self.W != 0) | ~self.movable, axis=1)
        sizes = np.arange(d + 1)
        allowed = (sizes >= least[:, None]) & (sizes <= most[:, None])
        # W = 0 fits every size.
        values, lows = (np.where(allowed, each[:, None], np.inf) for each in (quadratic.at_zero, quadratic.constant))
        found = np.zeros((m, d + 1, d))
        try:
            for j in range(m):
                must, never = self._fixed(j)
                for size in range(least[j], most[j] + 1):
                    self.monitor.pause()
                    w, value, lows[j, size] = self._output(j, Cardinality(size, must=must, never=never))
                    if value < values[j, size]:
                        found[j, size], values[j, size] = w, value
                    if size == kept[j]:
                        if value < self.values[j]:
                            self.W[j] = w
                        self.record(self.W)
            self.record(found[np.arange(m), _division(values, total, self.monitor.pause)[0]])
            low = _division(lows, total, self.monitor.pause)[1]
        except Stopped:
            # As if each output could have the best of its sizes.
            low = float(lows.min(axis=1).sum())
        error = gamma(2 * m + 8) * float((np.abs(quadratic.at_zero) + np.abs(quadratic.constant)).sum())
        return np.array([low - float(self.allowance.sum()) - error])

    def stacked(self) -> FloatArray:
        """Solve the problem of all outputs one after the other: m times Q along its diagonal, an input a group."""
        self.monitor.pause()
        quadratic, partition = self.quadratic, self.quadratic.pattern.partition
        m, d = quadratic.W0.shape
        must, never = (np.flatnonzero(np.tile(each, m)) for each in (~self.movable[0], ~self.enterable[0]))
        k = Groups(np.tile(np.arange(d), m), partition.total, must=must, never=never)
        result = self._solve(Problem.from_gram(np.kron(np.eye(m), quadratic.Q), quadratic.targets.ravel(), k))
        self.record(result.w.reshape(m, d))
        error = gamma(m + 8) * float(np.abs(quadratic.at_zero).sum())
        low = result.lower_bound + float(quadratic.at_zero.sum()) - float(self.allowance.sum()) - error
        return np.array([low])

    def _fixed(self, j: int) -> tuple[IntArray, IntArray]:
        return np.flatnonzero(~self.movable[j]), np.flatnonzero(~self.enterable[j])

    def _output(self, j: int, k: Kind) -> tuple[FloatArray, float, float]:
        """Return the w of an output, its F, and the lower bound on that."""
        result = self._solve(Problem.from_gram(self.gram, self.quadratic.targets[j], k))
        at_zero = float(self.quadratic.at_zero[j])
        return result.w, result.objective + at_zero, result.lower_bound + at_zero

    def _solve(self, problem: Problem) -> Result:
        """Solve a part; each of its iterations is one of the whole, which may end there."""
        monitor = self.monitor
        left = monitor.limits.seconds
        left = None if left is None else max(left - monitor.seconds(), 0.0)
        # An optimum that is known is the layer's.
        with debug.known_optimum(None):
            result = solve(
                problem,
                "exact",
                time_limit=left,
                gap_tol=monitor.limits.gap,
                callback=lambda _: monitor.record(monitor.best),
            )
        if result.status is Status.INTERRUPTED:
            # Without a limit of the whole, by Ctrl-C.
            monitor.stopped = monitor.stopped or Status.INTERRUPTED
        elif result.status is not Status.OPTIMAL:
            self.status = result.status
        return result


def _division(costs: FloatArray, total: int, pause: Pause) -> tuple[IntArray, float]:
    """Return a size for each row, adding up to at most ``total``, with the least sum of costs, and that sum."""
    m, count = costs.shape
    best, chosen = np.full(total + 1, np.inf), np.zeros((m, total + 1), dtype=np.int8)
    best[0] = 0.0
    for j in range(m):
        pause()
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
