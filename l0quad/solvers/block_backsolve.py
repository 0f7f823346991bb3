"""Block back-solve: one small exact solve for each diagonal block of the Hessian, the blocks in parallel."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from l0quad import validation
from l0quad.errors import Unsuited
from l0quad.kernels.blocks import solve_blocks
from l0quad.matrix import DenseMatrix, Matrix
from l0quad.matrix.base import CHUNK_BYTES
from l0quad.matrix.sweeps import Columns, Outer, Wanted, union
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.counted import Refit, first_sweep
from l0quad.problem.restricted import DIRECT_LIMIT, dual_solution, orthogonal_solve
from l0quad.run import threads
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray, IntArray

# Columns are gathered (as float64) for a run of blocks of at most this size at a time and thread.
_TASK_BYTES = 1 << 20
# A block that is read from files is held as a whole.
_MOST_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class BlockBacksolve:
    """Minimise the block-diagonal model of the objective around w0, on the support of the start.

    With the columns in consecutive blocks B of ``block_size`` and H_BB the diagonal blocks of the Hessian, it minimises

        F(w0) + gradient(w0)'(w - w0) + 1/2 sum_B (w - w0)_B' H_BB (w - w0)_B

    over the support, exactly: CHITA-BSO with blocks (Benbaki et al., ICML 2023, Algorithm 6). Each block keeps as many
    columns as the start has in it, so the budgets add up to k. Two passes over A, one block at a time, and the blocks
    are independent; on files (`l0quad.open_columns`) two sweeps, which also bring the lower bound that the best w on
    the support proves, and a block must fit 64 MB as float64. The global refit is left out on purpose (`Backsolve` has
    it), so the objective may be larger than the start's where blocks interact strongly; use it for pruning-shaped
    problems (w0 dense, b = A w0).

    Parameters
    ----------
    block_size : int
        Columns per block; the last one may be smaller.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> w0 = np.linspace(-1, 1, 12)
    >>> problem = l0quad.Problem(A, A @ w0, k=6, ridge=0.1, w0=w0)
    >>> l0quad.solve(problem, l0quad.BlockBacksolve(block_size=4)).support
    array([ 0,  1,  2,  9, 10, 11])
    """

    block_size: int = 500
    name: ClassVar[str] = "block_backsolve"
    needs: ClassVar[Needs] = Needs(solves_start=True, final_solve=False, resumes=True)

    def __post_init__(self) -> None:
        validation.integer(self.block_size, "block_size", 1)


def block_backsolve(problem: CoreProblem, start: Point, options: BlockBacksolve, monitor: Monitor) -> Outcome:
    """Solve every block on the start's support; blocks that a limit leaves out keep the start's values."""
    if problem.matrix.counted:
        return _from_files(problem, start, options.block_size, monitor)
    dense = problem.w0.any()
    at_w0 = problem.matrix.matvec(np.arange(problem.shape[1]), problem.w0) if dense else np.zeros(problem.shape[0])
    model = _Model(problem.mu, problem.b - at_w0, problem.dtype, options.block_size)
    blocks = _Blocks(model, problem.matrix, problem.w0, start.support, start.w.copy())
    product = blocks.solve(monitor)
    point = problem.evaluate(start.support, blocks.w, None if product is None else product - problem.b)
    monitor.record(point)
    return Outcome(point, Status.CONVERGED)


def _from_files(problem: CoreProblem, start: Point, block_size: int, monitor: Monitor) -> Outcome:
    """Do so in two sweeps; the first brings the dual point nu of the start's support too, the second A'nu."""
    (n, p), b = problem.shape, problem.b
    most = max(1, _MOST_BLOCK_BYTES // (8 * n))
    if min(block_size, p) > most:
        raise Unsuited(f"method: 'block_backsolve' needs blocks of at most {most} columns on these files")
    monitor, saved = monitor.begin()
    if saved is None:
        begun, nu, at_w0 = _first_sweep(problem, start)
        if monitor.record(begun):
            return Outcome(begun, Status.CONVERGED)
        monitor.save(begun=begun, nu=nu, at_w0=at_w0)
    else:
        begun, nu, at_w0 = saved["begun"], saved["nu"], saved["at_w0"]
    support = begun.support
    model = _Model(problem.mu, b - at_w0, problem.dtype, block_size)
    w, residual, Atnu = begun.w.copy(), -b, np.empty(p)
    for first, A_part in _whole_blocks(problem.matrix, block_size):
        problem.pause()
        last = first + A_part.shape[1]
        Atnu[first:last] = nu @ A_part
        own = slice(*np.searchsorted(support, [first, last]).tolist())
        part = _Blocks(model, DenseMatrix(A_part), problem.w0[first:last], support[own] - first, w[own])
        product = part.solve(monitor)
        if product is None:
            return Outcome(begun, Status.CONVERGED)
        residual = residual + product
    point = replace(problem.evaluate(support, w, residual), refit=Refit(w, residual, nu, Atnu))
    monitor.record(point)
    return Outcome(point, Status.CONVERGED)


def _first_sweep(problem: CoreProblem, start: Point) -> tuple[Point, FloatArray, FloatArray]:
    """Return the start with its objective, the dual point of its support, and A w0."""
    (n, p), b, support = problem.shape, problem.b, start.support
    direct = problem.mu > 0 and n <= DIRECT_LIMIT
    every, chosen = np.ones(p, dtype=np.bool_), union((support,), p)
    weights = (Columns(every, problem.w0), Columns(support, start.w), Columns(chosen, problem.w0))
    wanted = Wanted(weights=weights, outers=(Outer(chosen),) if direct else ())
    swept = first_sweep(problem.matrix, wanted, problem.pause)
    at_w0, at_start, kept = swept.products
    y = dual_solution(swept.outers[0], b - kept, problem.mu, problem.pause) if direct else None
    nu = at_start - b if y is None else -problem.mu * y
    return problem.evaluate(support, start.w, at_start - b), nu, at_w0


def _whole_blocks(matrix: Matrix, block_size: int) -> Iterator[tuple[int, FloatArray]]:
    """Read A once: yield whole blocks of columns, a few together, each with its first column.

    What is yielded may be used until the next one is asked for.
    """
    n, p = matrix.shape
    width = block_size * max(1, CHUNK_BYTES // (8 * n * block_size))
    buffer, filled = np.empty((min(width, p), n)), 0
    for piece, columns in matrix.sweep():
        taken = 0
        while taken < columns.shape[1]:
            more = columns[:, taken : taken + buffer.shape[0] - filled]
            buffer[filled : filled + more.shape[1]] = more.T
            filled, taken = filled + more.shape[1], taken + more.shape[1]
            end = piece.start + taken
            if filled == buffer.shape[0] or end == p:
                yield end - filled, buffer[:filled].T
                filled = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """What all blocks have in common; ``remainder`` is b - A w0, and w is rounded to ``dtype``."""

    mu: float
    remainder: FloatArray
    dtype: np.dtype[Any]
    block_size: int


class _Blocks:
    """Consecutive blocks of columns, solved in runs whose supported columns fit a task's memory, written to ``w``."""

    def __init__(self, model: _Model, matrix: Matrix, w0: FloatArray, support: IntArray, w: FloatArray) -> None:
        n, p = matrix.shape
        self.model, self.matrix, self.w0, self.support, self.w = model, matrix, w0, support, w
        self.edges: IntArray = np.append(np.arange(0, p, model.block_size), p)
        self.offsets = np.searchsorted(support, self.edges)
        self.runs = list(self._split(max(1, _TASK_BYTES // (8 * n))))
        self._products: list[FloatArray | None] = [None] * len(self.runs)

    def solve(self, monitor: Monitor) -> FloatArray | None:
        """Solve all blocks and return A w, its parts added in order; None where a limit left blocks out."""
        tasks = (partial(self._solve_run, run) for run in range(len(self.runs)))
        threads.run(tasks, monitor.n_threads, monitor.expired)
        products = [each for each in self._products if each is not None]
        return np.sum(products, axis=0) if len(products) == len(self.runs) else None

    def _split(self, most: int) -> Iterator[slice]:
        first: int = 0
        while first < self.edges.size - 1:
            # A block also needs its target, a vector as long as a column.
            after = np.arange(first + 1, self.edges.size)
            sizes = self.offsets[after] - self.offsets[first] + (after - first)
            last = first + max(1, int(np.searchsorted(sizes, most, side="right")))
            yield slice(first, last + 1)
            first = last

    def _solve_run(self, run: int) -> None:
        """Solve one run of blocks, write its part of ``w`` and keep its part of A w."""
        model, edges, offsets = self.model, self.edges[self.runs[run]], self.offsets[self.runs[run]]
        own = slice(int(offsets[0]), int(offsets[-1]))
        columns = np.ascontiguousarray(self.matrix.take(self.support[own]).T, dtype=np.float64)
        targets, offsets = self._targets(edges, self.support[own]), offsets - offsets[0]
        v, solved = np.zeros(columns.shape[0]), np.empty(edges.size - 1, dtype=np.bool_)
        solve_blocks(columns, offsets, targets, model.mu, v, solved)
        for q in np.flatnonzero(~solved):
            block = slice(int(offsets[q]), int(offsets[q + 1]))
            v[block] = orthogonal_solve(DenseMatrix(columns[block].T), None, targets[q], model.mu)
        self.w[own] = (self.w0[self.support[own]] + v).astype(model.dtype)
        self._products[run] = self.w[own] @ columns

    def _targets(self, edges: IntArray, kept: IntArray) -> FloatArray:
        """Return what each block's kept columns must add up to, as its others go to zero."""
        dropped = self.w0[edges[0] : edges[-1]].copy()
        dropped[kept - edges[0]] = 0.0
        targets = np.tile(self.model.remainder, (edges.size - 1, 1))
        for q, (first, last) in enumerate(pairwise(edges)):
            w0 = dropped[first - edges[0] : last - edges[0]]
            if w0.any():
                targets[q] += self.matrix.block_matvec(first, last, w0)
        return targets
