"""Block back-solve: one small exact solve for each diagonal block of the Hessian, the blocks in parallel."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.kernels.blocks import solve_blocks
from l0quad.matrix.dense import DenseMatrix
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.restricted import orthogonal_solve
from l0quad.run import threads
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray, IntArray

# Columns are gathered (as float64) for a run of blocks of at most this size at a time and thread.
_TASK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BlockBacksolve:
    """Minimise the block-diagonal model of the objective around w0, on the support of the start.

    With the columns in consecutive blocks B of ``block_size`` and H_BB the diagonal blocks of the Hessian, it minimises

        F(w0) + gradient(w0)'(w - w0) + 1/2 sum_B (w - w0)_B' H_BB (w - w0)_B

    over the support, exactly: CHITA-BSO with blocks (Benbaki et al., ICML 2023, Algorithm 6). Each block keeps as many
    columns as the start has in it, so the budgets add up to k. Two passes over A, one block at a time, and the blocks
    are independent. The global refit is left out on purpose (`Backsolve` has it), so the objective may be larger than
    the start's where blocks interact strongly; use it for pruning-shaped problems (w0 dense, b = A w0).

    Parameters
    ----------
    block_size : int
        Columns per block; the last one may be smaller.
    """

    block_size: int = 500
    name: ClassVar[str] = "block_backsolve"
    needs: ClassVar[Needs] = Needs(final_solve=False)

    def __post_init__(self) -> None:
        validation.integer(self.block_size, "block_size", 1)


def block_backsolve(problem: CoreProblem, start: Point, options: BlockBacksolve, monitor: Monitor) -> Outcome:
    """Solve every block on the start's support; blocks that a limit leaves out keep the start's values."""
    blocks = _Blocks(problem, start, options.block_size)
    tasks = (partial(blocks.solve_run, run) for run in range(len(blocks.runs)))
    threads.run(tasks, monitor.n_threads, monitor.expired)
    point = problem.evaluate(start.support, blocks.w, blocks.residual())
    monitor.record(point)
    return Outcome(point, Status.CONVERGED)


class _Blocks:
    """Consecutive blocks of columns, solved in runs whose supported columns fit a task's memory."""

    def __init__(self, problem: CoreProblem, start: Point, block_size: int) -> None:
        n, p = problem.shape
        self.problem, self.support, self.w = problem, start.support, start.w.copy()
        everything = np.arange(p)
        dense = problem.w0.any()
        self.remainder = problem.b - problem.matrix.matvec(everything, problem.w0) if dense else problem.b
        self.edges: IntArray = np.append(np.arange(0, p, block_size), p)
        self.offsets = np.searchsorted(start.support, self.edges)
        self.runs = list(self._split(max(1, _TASK_BYTES // (8 * n))))
        self._products: list[FloatArray | None] = [None] * len(self.runs)

    def _split(self, most: int) -> Iterator[slice]:
        first: int = 0
        while first < self.edges.size - 1:
            # A block also needs its target, a vector as long as a column.
            after = np.arange(first + 1, self.edges.size)
            sizes = self.offsets[after] - self.offsets[first] + (after - first)
            last = first + max(1, int(np.searchsorted(sizes, most, side="right")))
            yield slice(first, last + 1)
            first = last

    def solve_run(self, run: int) -> None:
        """Solve one run of blocks, write its part of ``w`` and keep its part of A w."""
        problem, edges, offsets = self.problem, self.edges[self.runs[run]], self.offsets[self.runs[run]]
        own = slice(int(offsets[0]), int(offsets[-1]))
        columns = np.ascontiguousarray(problem.matrix.take(self.support[own]).T, dtype=np.float64)
        targets, offsets = self._targets(edges, self.support[own]), offsets - offsets[0]
        v, solved = np.zeros(columns.shape[0]), np.empty(edges.size - 1, dtype=np.bool_)
        solve_blocks(columns, offsets, targets, problem.mu, v, solved)
        for q in np.flatnonzero(~solved):
            block = slice(int(offsets[q]), int(offsets[q + 1]))
            v[block] = orthogonal_solve(DenseMatrix(columns[block].T), None, targets[q], problem.mu)
        self.w[own] = problem.w0[self.support[own]] + v
        self._products[run] = self.w[own] @ columns

    def _targets(self, edges: IntArray, kept: IntArray) -> FloatArray:
        """Return what each block's kept columns must add up to, as its others go to zero."""
        problem = self.problem
        dropped = problem.w0[edges[0] : edges[-1]].copy()
        dropped[kept - edges[0]] = 0.0
        targets = np.tile(self.remainder, (edges.size - 1, 1))
        for q, (first, last) in enumerate(pairwise(edges)):
            w0 = dropped[first - edges[0] : last - edges[0]]
            if w0.any():
                targets[q] += problem.matrix.block_matvec(first, last, w0)
        return targets

    def residual(self) -> FloatArray | None:
        """Return A w - b, its parts added in order; None where a limit left blocks out."""
        products = [each for each in self._products if each is not None]
        return np.sum(products, axis=0) - self.problem.b if len(products) == len(self.runs) else None
