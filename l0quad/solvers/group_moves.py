"""The tableau for constraints whose columns come and go in groups: the exact cost of every change by a whole group.

With S_JJ the block of a group J in the Schur complement of the support, and E_GG that of a group G in H_SS^-1,

* adding J lowers the objective by 1/2 r_J' S_JJ^-1 r_J,
* removing G raises it by 1/2 w_G' E_GG^-1 w_G,
* an exchange is known exactly by removing G in a copy, O(|G| |S| p), where the gains of all J are those above.

The blocks are updated by rank one with the rest of the tableau, in O(p) times the size of the groups.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import scipy.linalg

from l0quad.kernels.groups import group_gains, group_pivots, subtract_outer_blocks
from l0quad.linalg.cholesky import cholesky_factor
from l0quad.problem.core import CoreProblem, Point
from l0quad.solvers.tableau import Tableau
from l0quad.types import FloatArray, IntArray

_EPS = float(np.finfo(np.float64).eps)
# Columns solved for at a time.
_PIECE_BYTES = 1 << 23


def tableau_of(problem: CoreProblem, support: IntArray) -> Tableau:
    """Return the tableau of a support, for the moves that the constraint allows."""
    if problem.constraint.units is None:
        return Tableau(problem, support)
    return GroupTableau(problem, support, problem.constraint.units)


class GroupTableau(Tableau):
    """A tableau whose moves are whole groups, which are named by their place in ``Constraint.units``."""

    _whole = (*Tableau._whole, "_blocks")

    def __init__(self, problem: CoreProblem, support: IntArray, units: tuple[IntArray, ...]) -> None:
        self._units = units
        sizes = np.array([each.size for each in units], dtype=np.int64)
        self._columns = np.concatenate([np.empty(0, dtype=np.int64), *units])
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._offsets = (np.cumsum(sizes**2) - sizes**2).astype(np.int64)
        self._unit = np.full(problem.shape[1], -1, dtype=np.int64)
        self._unit[self._columns] = np.repeat(np.arange(sizes.size), sizes)
        self._own = np.empty(int((sizes**2).sum()))
        for columns, begin in zip(units, self._offsets, strict=True):
            block = problem.matrix.inner(columns) + problem.mu * np.eye(columns.size)
            self._own[begin : begin + columns.size**2] = block.ravel()
        super().__init__(problem, support)

    def _begin(self) -> None:
        super()._begin()
        self._blocks = self._own.copy()

    def _eliminate(self, H: FloatArray, solve: Callable[[FloatArray], FloatArray]) -> None:
        rows = H.copy()
        super()._eliminate(H, solve)
        for x, y in zip(rows, H, strict=True):
            self._subtract(x, y)

    def _update(self, t: FloatArray, scale: float) -> None:
        super()._update(t, scale)
        self._subtract(scale * t, t)

    def _subtract(self, x: FloatArray, y: FloatArray) -> None:
        subtract_outer_blocks(
            self._blocks, self._offsets, self._starts, self._columns, np.ascontiguousarray(x), np.ascontiguousarray(y)
        )

    def allowed_gains(self) -> FloatArray:
        """Return by how much adding each group lowers the objective, 0 where that is not allowed."""
        gains = np.empty(self._offsets.size)
        group_gains(self._blocks, self._offsets, self._starts, self._columns, self.r, self.floor, gains)
        return gains * self.problem.constraint.addable(self.slots)[self._columns[self._starts[:-1]]]

    def with_move(self, move: int) -> frozenset[int]:
        """Return the support that has this group too."""
        return frozenset([*self.slots.tolist(), *self._units[move].tolist()])

    def join(self, move: int) -> bool:
        """Add the columns of a group that do not depend on the others; return whether there is one."""
        before = self.size
        for j in self._units[move].tolist():
            if self.s[j] > self.floor[j]:
                self.add(j)
        return self.size > before

    def removable(self) -> IntArray:
        """Return the groups in the support that may be removed."""
        return np.unique(self._unit[self.slots[self.problem.constraint.removable(self.slots)]])

    def take_out(self, move: int) -> list[int]:
        """Remove a group; return its columns."""
        leaving = self._unit[self.slots] == move
        # From behind, so that the slots before a removed one stay where they are.
        return [self.remove(int(slot)) for slot in np.flatnonzero(leaving)[::-1]]

    def removal_costs(self, moves: IntArray) -> FloatArray:
        """Return what removing each of these groups costs."""
        unit, costs = self._unit[self.slots], np.empty(moves.size)
        for place, move in enumerate(moves):
            own = np.flatnonzero(unit == move)
            costs[place] = 0.5 * self.w[own] @ np.linalg.solve(self._E[np.ix_(own, own)], self.w[own])
        return costs

    def best_swap(self) -> tuple[int, int, float]:
        """Return the groups that leave and join in the best exchange, and its change; -1 where none is better."""
        best = (-1, -1, 0.0)
        for leaving in self.removable().tolist():
            trial = self.copy()
            trial.bar(trial.take_out(leaving))
            gains = trial.allowed_gains()
            joining = int(np.argmax(gains))
            change = trial.objective - float(gains[joining]) - self.objective
            if gains[joining] > 0 and change < best[2]:
                best = (leaving, joining, change)
        return best

    def exchange(self, leaving: int, joining: int) -> bool:
        """Take a group out and another one in; False where the latter depends on the rest."""
        self.take_out(leaving)
        return self.join(joining)

    def after(self, leaving: int, joining: int) -> IntArray:
        """Return the support after an exchange, sorted."""
        kept = self.slots[self._unit[self.slots] != leaving]
        return np.sort(np.concatenate([kept, self._units[joining]]))

    def pivots(self, leaving: int | None) -> FloatArray:
        """Return the least pivot of each group, as a share of its column's H_jj, were that of ``leaving`` taken out."""
        trial = self
        if leaving is not None:
            trial = self.copy()
            trial.take_out(int(self._unit[leaving]))
        least = np.empty(self._offsets.size)
        group_pivots(trial._blocks, self._offsets, self._starts, self._columns, self.curvature, least)
        return least


def group_scores(problem: CoreProblem, point: Point, units: tuple[IntArray, ...]) -> FloatArray | None:
    """Return what each group is worth after refit, on its first column: the cost of removing it, or the gain.

    With M = A_S A_S' + mu I and Q = A_J'M^-1 A_J: E_JJ = (I - Q) / mu on the support, S_JJ = mu (I + Q) outside.
    """
    factor = cholesky_factor(problem.matrix.outer(point.support, problem.pause), problem.mu, problem.pause)
    if factor is None:
        return None
    mu, w = problem.mu, np.zeros(problem.shape[1])
    w[point.support] = point.w
    r = mu * (problem.w0 - w) - problem.matrix.rmatvec(problem.residual(point.support, point.w))
    inside = np.zeros(w.size, dtype=np.bool_)
    inside[point.support] = True
    values: FloatArray = np.zeros(w.size)
    for few in _pieces(units, max(1, _PIECE_BYTES // (8 * problem.shape[0]))):
        block = np.asarray(problem.matrix.take(np.concatenate(few)), dtype=np.float64)
        solved = scipy.linalg.solve_triangular(factor, block, lower=True, check_finite=False)
        edges = np.concatenate([[0], np.cumsum([each.size for each in few])])
        for columns, (first, last) in zip(few, pairwise(edges.tolist()), strict=True):
            Q, unit = solved[:, first:last].T @ solved[:, first:last], np.eye(columns.size)
            if inside[columns].any():
                values[columns[0]] = 0.5 * mu * w[columns] @ np.linalg.solve((1 + _EPS) * unit - Q, w[columns])
            else:
                values[columns[0]] = 0.5 / mu * r[columns] @ np.linalg.solve(unit + Q, r[columns])
    return np.maximum(values, 0.0)


def _pieces(units: tuple[IntArray, ...], most: int) -> list[list[IntArray]]:
    """Return the groups in runs of some ``most`` columns."""
    pieces: list[list[IntArray]] = [[]]
    size = 0
    for each in units:
        if size + each.size > most and pieces[-1]:
            pieces.append([])
            size = 0
        pieces[-1].append(each)
        size += each.size
    return [each for each in pieces if each]
