"""The tableau of a support: the exact cost, after refit, of every change by one column, kept up to date by rank one.

For a support S with E = H_SS^-1, w_S = E g_S, B = E H_S: (|S| x p), the residuals r = g - H w and the Schur complements
s_j = H_jj - H_jS B_:j,

* adding j lowers the objective by r_j^2 / (2 s_j),
* removing i raises it by w_i^2 / (2 E_ii),
* taking i out and j in changes it by w_i^2/(2 E_ii) - (r_j + B_ij w_i/E_ii)^2 / (2 (s_j + B_ij^2/E_ii)).

An addition or a removal updates all of it in O(|S| p), plus one pass over A for the new column's row of H.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np

from l0quad.kernels.tableau import best_swap, subtract_outer
from l0quad.linalg.cholesky import cholesky
from l0quad.matrix.base import CHUNK_BYTES
from l0quad.problem.core import CoreProblem, Point
from l0quad.types import FloatArray, IntArray

_EPS = float(np.finfo(np.float64).eps)
# A column counts as dependent on the support when its Schur complement has lost this share of H_jj.
_DEPENDENT = 1e4 * _EPS
# A slice of a set-up takes about so many flops.
_SLICE_FLOPS = 1e9
# At least so many rows of A'A come from one pass over A.
_ROWS_TOGETHER = 64

_T = TypeVar("_T", bound="Tableau")


class Tableau:
    """A support with the exact cost of every change.

    Attributes
    ----------
    slots : ndarray
        The columns of the support in the order in which the tableau holds them; ``w`` holds the best values on them.
    support : ndarray
        The same columns, sorted.
    r, s : ndarray of shape (p,)
        Residuals and Schur complements; both 0 on the support.
    floor : ndarray of shape (p,)
        A column may be added where s_j is above it; infinite on the support and for barred columns.
    total : int
        The largest size that the constraint allows.
    objective : float
        Kept by adding up the changes; `point` computes it anew.
    """

    # What is kept of all columns.
    _whole: ClassVar[tuple[str, ...]] = ("r", "s", "floor")
    size: int
    floor: FloatArray
    r: FloatArray
    s: FloatArray
    objective: float
    _slots: IntArray
    _w: FloatArray

    def __init__(self, problem: CoreProblem, support: IntArray) -> None:
        self.problem, self.total = problem, problem.constraint.total
        self._B = np.empty((max(self.total, support.size), problem.shape[1]))
        self._E, self._H = (np.empty((self._B.shape[0], self._B.shape[0])) for _ in range(2))
        self._g = problem.matrix.prepared.product(problem.b) + problem.mu * problem.w0
        self.curvature = problem.column_sq_norms + problem.mu
        self.reset(support)

    def reset(self, support: IntArray) -> None:
        """Start anew from this support, everything computed from scratch."""
        self._begin()
        if support.size == 0:
            return
        m = support.size
        H = self._B[:m]
        together = max(_ROWS_TOGETHER, CHUNK_BYTES // (8 * H.shape[1]))
        for first in range(0, m, together):
            H[first : first + together] = self._rows(support[first : first + together])
        solve = cholesky(H[:, support], 0.0, self.problem.pause)
        if solve is None:
            # What keeps its place anyway comes first.
            for j in support[np.argsort(~np.isin(support, self.problem.constraint.must), kind="stable")]:
                if self.s[j] > self.floor[j]:
                    self.add(int(j))
            return
        self.size = m
        self._slots[:m] = support
        self._H[:m, :m] = H[:, support]
        self._w[:m] = solve(self.r[support])
        self.objective -= 0.5 * float(self.r[support] @ self._w[:m])
        unit = np.eye(m)
        for each in self._slices(m):
            self._E[:m, each] = solve(unit[:, each])
        self._eliminate(H, solve)
        self._close(support)

    def _slices(self, n_columns: int) -> Iterator[slice]:
        """Yield slices of so many columns, of each of which a system with H_SS is solved."""
        step = max(1, min(int(_SLICE_FLOPS / (2 * self.size**2)), CHUNK_BYTES // (8 * self.size)))
        for first in range(0, n_columns, step):
            self.problem.pause()
            yield slice(first, min(first + step, n_columns))

    def _begin(self) -> None:
        """Set everything to the empty support."""
        problem = self.problem
        self.size = 0
        self._slots = np.empty(self._B.shape[0], dtype=np.int64)
        self._w = np.empty(self._B.shape[0])
        self.floor = _DEPENDENT * self.curvature
        self.floor[problem.constraint.never] = np.inf
        self.r = self._g.copy()
        self.s = self.curvature.copy()
        self.objective = problem.objective_at_zero

    def _eliminate(self, H: FloatArray, solve: Callable[[FloatArray], FloatArray]) -> None:
        """Turn H_S: into E H_S:, and subtract what the support explains from the residuals and Schur complements."""
        for each in self._slices(H.shape[1]):
            rows = H[:, each].copy()
            H[:, each] = solve(rows)
            self.r[each] -= self.w @ rows
            self.s[each] -= np.einsum("ij,ij->j", rows, H[:, each])

    def _update(self, t: FloatArray, scale: float) -> None:
        """Subtract ``scale t t'`` from what is kept of the Schur complement."""
        self.s -= scale * t * t

    @property
    def drift(self) -> float:
        """How far the updates have let H_SS w_S = g_S and the last column of E H_SS = I get out of true (relative)."""
        m = self.size
        if m == 0:
            return 0.0
        H, w, g = self._H[:m, :m], self.w, self._g[self.slots]
        size = float((np.abs(H) @ np.abs(w) + np.abs(g)).max())
        unit = self._E[:m, :m] @ H[:, -1]
        unit[-1] -= 1.0
        return max(float(np.abs(H @ w - g).max()) / size if size > 0 else 0.0, float(np.abs(unit).max()))

    @property
    def slots(self) -> IntArray:
        """The columns in their slots."""
        return self._slots[: self.size]

    @property
    def support(self) -> IntArray:
        """The columns, sorted."""
        return np.sort(self.slots)

    @property
    def w(self) -> FloatArray:
        """The values in their slots."""
        return self._w[: self.size]

    @property
    def e(self) -> FloatArray:
        """The diagonal of H_SS^-1."""
        return self._E[: self.size, : self.size].diagonal()

    def gains(self) -> FloatArray:
        """Return by how much adding each column lowers the objective, 0 for those that depend on the support."""
        usable = self.s > self.floor
        return np.where(usable, self.r**2, 0.0) / np.where(usable, 2 * self.s, 1.0)

    def allowed_gains(self) -> FloatArray:
        """Return the gain of each move that the constraint has room for, 0 for the others; a move adds a column."""
        return self.gains() * self.problem.constraint.addable(self.slots)

    def with_move(self, move: int) -> frozenset[int]:
        """Return the support after a move."""
        return frozenset([*self.slots.tolist(), move])

    def join(self, move: int) -> bool:
        """Make a move; False where the column depends on the support."""
        if not self.s[move] > self.floor[move]:
            return False
        self.add(move)
        return True

    def take_out(self, slot: int) -> list[int]:
        """Remove what `removable` names; return the columns."""
        return [self.remove(slot)]

    def exchange(self, slot: int, j: int) -> bool:
        """Take a slot's column out and another one in; False where the latter depends on the rest."""
        self.remove(slot)
        return self.join(j)

    def add(self, j: int) -> None:
        """Add a column that does not depend on the support."""
        m, row = self.size, self._rows(np.array([j]))[0]
        B, E = self._B[:m], self._E
        step = self.r[j] / self.s[j]
        t = row - row[self.slots] @ B if m else row.copy()
        scale = float(self.s[j])
        coupling = B[:, j].copy()
        t /= scale
        subtract_outer(self._B, coupling, t)
        self._B[m] = t
        E[:m, :m] += np.outer(coupling, coupling) / scale
        E[:m, m] = E[m, :m] = -coupling / scale
        E[m, m] = 1 / scale
        self._w[:m] -= coupling * step
        self._w[m] = step
        self._slots[m] = j
        self.size = m + 1
        self._H[: m + 1, m] = self._H[m, : m + 1] = row[self.slots]
        self.objective -= 0.5 * scale * step * step
        self.r -= (scale * step) * t
        self._update(t, scale)
        self._close(self.slots)
        self._B[:m, j] = 0.0

    def remove(self, slot: int) -> int:
        """Remove the column in this slot (the last one takes its place); return it."""
        self._to_the_end(slot)
        m = self.size - 1
        column, e = int(self._slots[m]), float(self._E[m, m])
        t, coupling = self._B[m] / e, self._E[:m, m].copy()
        step = self._w[m]
        self.objective += 0.5 * step * step / e
        self.r += step * t
        self._update(t, -e)
        subtract_outer(self._B, coupling, t)
        self._E[:m, :m] -= np.outer(coupling, coupling) / e
        self._w[:m] -= coupling * (step / e)
        self.size = m
        self.floor[column] = _DEPENDENT * self.curvature[column]
        self._close(self.slots)
        return column

    def removable(self) -> IntArray:
        """Return the slots that may be taken out."""
        return self.problem.constraint.removable(self.slots)

    def bar(self, columns: list[int]) -> None:
        """Keep these columns out until they are admitted again."""
        self.floor[columns] = np.inf

    def admit(self, columns: list[int]) -> None:
        """Let barred columns in again."""
        self.floor[columns] = _DEPENDENT * self.curvature[columns]
        self._close(self.slots)

    def _rows(self, columns: IntArray) -> FloatArray:
        """Return H_S:, a copy."""
        rows = self.problem.matrix.prepared.gram_rows(columns, self.problem.pause)
        rows[np.arange(columns.size), columns] += self.problem.mu
        return rows

    def _close(self, support: IntArray) -> None:
        """Set what is known of the columns of the support, and keep them from being added again."""
        self.r[support] = self.s[support] = 0.0
        self.floor[support] = np.inf

    def best_swap(self) -> tuple[int, int, float]:
        """Return slot, column and change of the best swap; the slot is -1 where none lowers the objective."""
        moves = self.problem.constraint.exchanges(self.slots)
        found = best_swap(self._B, self.w, self.e.copy(), self.r, self.s, self.floor, *moves)
        return int(found[0]), int(found[1]), float(found[2])

    def best_change(self) -> tuple[IntArray, float]:
        """Return the support after the best exchange or addition, and its change; the support itself without one."""
        leaving, joining, change = self.best_swap()
        gains = self.allowed_gains()
        move = int(np.argmax(gains)) if gains.size else -1
        if move >= 0 and -gains[move] < change:
            return np.array(sorted(self.with_move(move))), -float(gains[move])
        if leaving < 0:
            return self.support, 0.0
        return self.after(leaving, joining), change

    def after(self, slot: int, j: int) -> IntArray:
        """Return the support after an exchange, sorted."""
        return np.sort(np.append(np.delete(self.slots, slot), j))

    def pivots(self, leaving: int | None) -> FloatArray:
        """Return each column's Schur complement, as a share of its H_jj, were ``leaving`` taken out."""
        s = self.s
        if leaving is not None:
            slot = int(np.flatnonzero(self.slots == leaving)[0])
            s = s + self._B[slot] ** 2 / self._E[slot, slot]
        return s / np.where(self.curvature > 0, self.curvature, 1.0)

    def schur(self, columns: IntArray) -> FloatArray:
        """Return these columns' rows of the Schur complement H - H_S:' B."""
        rows = self._rows(columns)
        rows -= rows[:, self.slots] @ self._B[: self.size]
        return rows

    def inverse(self, pairs: IntArray) -> FloatArray:
        """Return the blocks of H_SS^-1 that belong to rows of slots."""
        return self._E[pairs[:, :, None], pairs[:, None, :]]

    def without(self, slots: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return (B_i:, E_ii^-1 B_i:, r, s) for slots i: without them, r and s, and S is larger by their product."""
        B, E = self._B[slots], self._E[np.ix_(slots, slots)]
        solved: FloatArray = np.asarray(np.linalg.solve(E, B), dtype=np.float64)
        return B, solved, self.r + self._w[slots] @ solved, self.s + np.einsum("ij,ij->j", solved, B)

    def point(self) -> Point:
        """Return the current support refitted from scratch."""
        return self.problem.restricted(self.support)

    def snapshot(self) -> Point:
        """Return the current point as the updates left it."""
        order = np.argsort(self.slots)
        return Point(self.slots[order], self.w[order], self.objective)

    def state(self) -> dict[str, Any]:
        """Return all that further changes depend on, a copy; the rows of A'A that are known are a part of it."""
        m = self.size
        parts = {"B": self._B[:m], "E": self._E[:m, :m], "H": self._H[:m, :m], "w": self.w, "slots": self.slots}
        parts |= {name: getattr(self, name) for name in self._whole}
        rows = self.problem.matrix.prepared.known_rows()
        return {name: each.copy() for name, each in parts.items()} | {"objective": self.objective, "rows": rows}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        m = self.size = state["slots"].size
        self._B[:m], self._E[:m, :m], self._H[:m, :m] = state["B"], state["E"], state["H"]
        self._w[:m], self._slots[:m], self.objective = state["w"], state["slots"], state["objective"]
        for name in self._whole:
            setattr(self, name, state[name].copy())
        self.problem.matrix.know_rows(*state["rows"])

    def copy(self: _T) -> _T:
        """Return a tableau of its own with the same support."""
        other = copy.copy(self)
        for name in ("_B", "_E", "_H", "_w", "_slots", *self._whole):
            setattr(other, name, getattr(self, name).copy())
        return other

    def _to_the_end(self, slot: int) -> None:
        last = self.size - 1
        if slot == last:
            return
        pair, swapped = [slot, last], [last, slot]
        self._B[pair] = self._B[swapped]
        self._E[pair] = self._E[swapped]
        self._E[:, pair] = self._E[:, swapped]
        self._H[pair] = self._H[swapped]
        self._H[:, pair] = self._H[:, swapped]
        self._w[pair] = self._w[swapped]
        self._slots[pair] = self._slots[swapped]
