"""Block back-solve: one small exact solve for each diagonal block of the Hessian, the blocks in parallel."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from l0quad import threads, validation
from l0quad.kernels.blocks import solve_blocks
from l0quad.linalg import minimum_norm
from l0quad.problem import Problem
from l0quad.progress import Monitor
from l0quad.result import Point, Status
from l0quad.types import FloatArray, IntArray

# Columns are gathered (as float64) for a run of blocks of at most this size at a time and thread.
_TASK_BYTES = 1 << 22


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

    def __post_init__(self) -> None:
        validation.integer(self.block_size, "block_size", 1)


def block_backsolve(problem: Problem, start: Point, options: BlockBacksolve, monitor: Monitor) -> tuple[Point, Status]:
    """Solve every block on the start's support; blocks that a limit leaves out keep the start's values."""
    w = start.w.copy()
    everything = np.arange(problem.shape[1])
    remainder = problem.b - problem.matrix.matvec(everything, problem.w0) if problem.w0.any() else problem.b
    tasks = _tasks(problem, start.support, options.block_size, remainder, w)
    threads.run(tasks, monitor.n_threads, monitor.expired)
    point = problem.evaluate(start.support, w)
    monitor.record(point)
    return point, Status.CONVERGED


def _tasks(
    problem: Problem, support: IntArray, block_size: int, remainder: FloatArray, w: FloatArray
) -> Iterator[Callable[[], None]]:
    """Yield runs of consecutive blocks whose supported columns fit the memory of a task."""
    n, p = problem.shape
    edges: IntArray = np.append(np.arange(0, p, block_size), p)
    offsets = np.searchsorted(support, edges)
    most = max(1, _TASK_BYTES // (8 * n))
    first: int = 0
    while first < edges.size - 1:
        # A block also needs its target, a vector as long as a column.
        sizes = offsets[first + 1 :] - offsets[first] + np.arange(1, edges.size - first)
        last = first + max(1, int(np.searchsorted(sizes, most, side="right")))
        yield partial(_solve_run, problem, support, edges[first : last + 1], offsets[first : last + 1], remainder, w)
        first = last


def _solve_run(
    problem: Problem, support: IntArray, edges: IntArray, offsets: IntArray, remainder: FloatArray, w: FloatArray
) -> None:
    """Solve the blocks between these edges and write their values to ``w`` (aligned with ``support``)."""
    own = slice(int(offsets[0]), int(offsets[-1]))
    columns = np.ascontiguousarray(problem.matrix.take_dense(support[own]).T, dtype=np.float64)
    targets = np.empty((edges.size - 1, problem.shape[0]))
    for q in range(edges.size - 1):
        outside = np.setdiff1d(
            np.arange(edges[q], edges[q + 1]), support[offsets[q] : offsets[q + 1]], assume_unique=True
        )
        outside = outside[problem.w0[outside] != 0]
        # The other columns of the block go to zero, and the kept ones make up for them.
        targets[q] = remainder + problem.matrix.matvec(outside, problem.w0[outside]) if outside.size else remainder
    v, solved = np.zeros(columns.shape[0]), np.empty(edges.size - 1, dtype=np.bool_)
    local = offsets - offsets[0]
    solve_blocks(columns, local, targets, problem.mu, v, solved)
    for singular in np.flatnonzero(~solved):
        block = slice(int(local[singular]), int(local[singular + 1]))
        v[block] = minimum_norm(columns[block].T, targets[singular], problem.mu)
    w[own] = problem.w0[support[own]] + v
