"""ADMM: the quadratic through a factorization, the budget by thresholding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.bounds.dual import proven, with_bound
from l0quad.linalg.cholesky import cholesky
from l0quad.linalg.pieces import pieces
from l0quad.matrix.sweeps import Columns, Outer, Swept, Wanted, as_numbers, compact, size_of, union
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.counted import TwoSweeps, first_sweep
from l0quad.run.checkpoint import Saved
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.needs import Needs
from l0quad.types import ColumnSet, FloatArray, Pause

# rho starts at max(ridge, this share of the mean squared column norm).
_FIRST_RHO = 1e-3
# The support is refitted on every so many iterations, and it counts as settled when it has not changed for as long.
_SOLVE_EVERY = 5
# A factor serves for a tau that differs by this share; corrections end when they are this small.
_CLOSE = 0.12
_EXACT = 1e-9
_MOST_CORRECTIONS = 20


@dataclass(frozen=True, slots=True)
class ADMM:
    """Split w = z, z in budget: ridge-regularised solves for w and thresholding for z, rho rising slowly.

    Boyd et al. ("Distributed optimization and statistical learning via ADMM", 2011, section 9.1); for pruning, Meng
    et al. ("ALPS", NeurIPS 2024). (A'A + (mu + rho) I)^-1 comes from a Cholesky factorization of A A' (or A'A), a
    new one whenever rho has risen by a fifth or so; an iteration is two passes, A'y over all of A and A_S z. Every few
    iterations the support is refitted, and the best refit is returned. No guarantee beyond: never above the refit of
    its start. On files (`l0quad.open_columns`): 3 sweeps and 2 an iteration at most. The refits ride along, but for
    the second sweep of a last one; A A' and A'b come with the refit of the start.

    Parameters
    ----------
    max_iter : int
        The largest number of iterations.
    growth : float
        The factor by which rho rises at each.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> w0 = np.linspace(-1, 1, 12)
    >>> problem = l0quad.Problem(A, A @ w0, k=6, ridge=0.1, w0=w0)
    >>> l0quad.solve(problem, l0quad.ADMM()).support
    array([ 0,  1,  2,  8, 10, 11])
    """

    max_iter: int = 100
    growth: float = 1.05
    name: ClassVar[str] = "admm"
    needs: ClassVar[Needs] = Needs(most_order=8192, solves_start=True, reducible=True, resumes=True)

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        validation.real(self.growth, "growth", minimum=1.0)


def admm(problem: CoreProblem, start: Point, options: ADMM, monitor: Monitor) -> Outcome:
    """Iterate from the dense centre w0 until the support has settled."""
    monitor, saved = monitor.begin()
    wide = problem.shape[1] >= problem.shape[0]
    begin = saved["best"] if saved else start
    passes = (_CountedPasses if wide and problem.in_large_files else _Passes)(problem, begin)
    del start, begin
    rho = max(0.5 * problem.mu, _FIRST_RHO * float(problem.column_sq_norms.mean()))
    if saved is None and (monitor.record(passes.best) or rho == 0):
        return Outcome(passes.best, Status.CONVERGED)
    split = (_Wide if wide else _Tall)(problem, passes)
    support: ColumnSet = compact(union((passes.best.support,), problem.shape[1]))
    settled, solved_on, first = 0, support, 0
    if saved is not None:
        passes.best, rho, support, settled = saved["best"], saved["rho"], saved["support"], saved["settled"]
        solved_on, first = saved["solved_on"], saved["done"]
        split.restore(saved["split"])
    for iteration in range(first, options.max_iter):
        previous, support = support, split.step(rho, options.growth)
        settled = settled + 1 if np.array_equal(previous, support) else 0
        rho *= options.growth
        done = settled >= _SOLVE_EVERY
        due = (done or (iteration + 1) % _SOLVE_EVERY == 0) and not np.array_equal(support, solved_on)
        solved_on = support if due else solved_on
        if due:
            passes.refit(support)
        if done or iteration == options.max_iter - 1:
            passes.finish()
        else:
            split.look()
        if monitor.record(passes.best) or done:
            return Outcome(passes.best, Status.CONVERGED)
        # Not while a refit is on its way, which the next iteration completes.
        if passes.idle:
            kept = {"support": support, "settled": settled, "solved_on": solved_on, "done": iteration + 1}
            monitor.save(best=passes.best, rho=rho, split=split.state(), **kept)
    return Outcome(passes.best, Status.ITERATION_LIMIT)


class _Passes:
    """Passes over A, each by itself, and ``best``, the best refit so far; that of the start is made at once."""

    def __init__(self, problem: CoreProblem, start: Point) -> None:
        self.problem, self.best = problem, problem.optimised(start)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return True

    def gram(self) -> FloatArray:
        """Return the smaller of A A' and A'A."""
        n, p = self.problem.shape
        return (self.problem.matrix.outer if p >= n else self.problem.matrix.inner)(pause=self.problem.pause)

    def target(self) -> FloatArray:
        """Return A'b."""
        return self.problem.matrix.prepared.product(self.problem.b)

    def at_centre(self) -> FloatArray:
        """Return A w0."""
        return self.problem.matrix.matvec(None, self.problem.w0)

    def transposed(self, y: FloatArray) -> FloatArray:
        """Return A'y."""
        return self.problem.matrix.rmatvec(y)

    def product(self, support: ColumnSet, z: FloatArray) -> FloatArray:
        """Return A_S z_S, z dense."""
        columns = as_numbers(support)
        return self.problem.matrix.matvec(columns, z[columns])

    def refit(self, support: ColumnSet) -> None:
        """Keep the best point on a support, where it is better."""
        self._take(self.problem.restricted(as_numbers(support)))

    def finish(self) -> None:
        """Complete what is on its way."""

    def _take(self, candidate: Point) -> None:
        self.best = min(candidate, self.best, key=lambda each: each.objective)


class _CountedPasses(_Passes):
    """The same, for p >= n, where passes are counted: refits, of the start too, share their two with what else is due.

    A refit is asked for before the `product` with its support, and completed by the next `transposed`.
    """

    def __init__(self, problem: CoreProblem, start: Point) -> None:
        self.problem, self.best = problem, problem.zero()
        self._due: TwoSweeps | None = None
        every = np.ones(problem.shape[1], dtype=np.bool_)
        self.refit(start.support)
        del start
        swept = self._first(Wanted(rows=(problem.b,), weights=(Columns(every, problem.w0),), outers=(Outer(every),)))
        self._target, self._centre, self._gram = swept.rows[0], swept.products[-1], swept.outers[-1]
        self.finish()

    @property
    def idle(self) -> bool:
        return self._due is None

    def gram(self) -> FloatArray:
        return self._gram

    def target(self) -> FloatArray:
        target, self._target = self._target, np.empty(0)
        return target

    def at_centre(self) -> FloatArray:
        return self._centre

    def transposed(self, y: FloatArray) -> FloatArray:
        return self._second((y,))[-1]

    def product(self, support: ColumnSet, z: FloatArray) -> FloatArray:
        mask = union((support,), z.size)
        return self._first(Wanted(weights=(Columns(mask, z),))).products[-1]

    def refit(self, support: ColumnSet) -> None:
        problem, self._support = self.problem, compact(union((support,), self.problem.shape[1]))
        self._due = TwoSweeps(problem.matrix, problem.b, problem.w0, problem.mu, support) if size_of(support) else None

    def finish(self) -> None:
        if self._due is not None:
            if not self._due.solved:
                self._first(Wanted())
            self._second(())

    def _first(self, wanted: Wanted) -> Swept:
        """Make a sweep, the first of a refit that is due among it."""
        problem, due = self.problem, self._due
        if due is not None:
            wanted = wanted._replace(
                weights=(*due.first.weights, *wanted.weights),
                outers=(*due.first.outers, *wanted.outers),
                gather=due.first.gather,
            )
        swept = first_sweep(problem.matrix, wanted, problem.pause)
        if due is not None:
            due.take_first(swept, problem.pause)
        return swept

    def _second(self, rows: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Return A'r for each of these, from a sweep that completes the refit that is due."""
        problem, due, self._due = self.problem, self._due, None
        wanted = Wanted() if due is None else due.second
        swept = problem.matrix.swept(wanted._replace(rows=(*wanted.rows, *rows)), problem.pause)
        brought = swept.rows[len(wanted.rows) :]
        if due is None:
            return brought
        found = due.take_second(swept) if due.solved else None
        del swept
        # A'nu is let go of before the objective is computed.
        found = None if found is None else proven(problem, found)
        support = as_numbers(self._support)
        self._take(
            with_bound(problem, problem.restricted(support)) if found is None else problem.refitted(support, found)
        )
        return brought


class _Split:
    """The iterates z and u, with what they are updated from: ``_names`` are those of all that changes.

    u is 0 on the support of z, so that one vector ``_both`` holds z there, and u elsewhere. None of the arrays is
    changed; each iteration makes new ones.
    """

    _names: ClassVar[tuple[str, ...]] = ("_both", "_support")
    _inverse: "_ShiftedInverse"
    _both: FloatArray
    _support: ColumnSet

    def _start(self, point: Point, n_columns: int) -> None:
        """Begin with z = w and u = 0."""
        self._both = np.zeros(n_columns)
        self._both[point.support] = point.w
        self._support = compact(union((point.support,), n_columns))

    def state(self) -> Saved:
        """Return all that further iterations depend on."""
        return {name: getattr(self, name) for name in self._names} | {"tau": self._inverse.tau}

    def restore(self, state: Saved) -> None:
        """Go on from a state."""
        for name in self._names:
            setattr(self, name, state[name])
        self._inverse.factor(state["tau"])


class _Wide(_Split):
    """Iterates for p >= n, through n x n, with n-vectors that spare passes over A.

    With v = g + rho (z - u) and y = (A A' + tau I)^-1 A v the new x is (v - A'y) / tau + u, and A x follows from A A'.
    """

    _names = (*_Split._names, "_Az", "_Au", "_Ax", "_growth")

    def __init__(self, problem: CoreProblem, passes: _Passes) -> None:
        best, self._mu, self._passes = passes.best, problem.mu, passes
        self._gram, Aw0 = passes.gram(), passes.at_centre()
        self._inverse = _ShiftedInverse(self._gram, problem.pause)
        self._g = problem.mu * problem.w0
        self._g += passes.target()
        self._Ag = self._gram @ problem.b + problem.mu * Aw0
        self._start(best, problem.shape[1])
        self._Az = problem.residual_at(best) + problem.b
        self._Au, self._Ax = np.zeros(problem.shape[0]), np.zeros(problem.shape[0])
        self._constraint, self._growth = problem.constraint, 1.0

    def step(self, rho: float, growth: float) -> ColumnSet:
        """Return the support of the next z."""
        tau = self._mu + rho
        Av = self._Ag + rho * (self._Az - self._Au)
        y = self._inverse.solve(Av, tau)
        x = self._passes.transposed(y)
        self._overwrite(x, rho, tau)
        self._both = x
        self._Ax = (Av - self._gram @ y) / tau + self._Au
        inside = self._constraint.marked_nearest(x.copy())
        for here in pieces(x.size):
            # u = (x - z) / growth.
            np.divide(x[here], growth, out=x[here], where=~inside[here])
        self._support, self._growth = compact(inside), growth
        return self._support

    def _overwrite(self, x: FloatArray, rho: float, tau: float) -> None:
        """Put (v - A'y) / tau + u in place of A'y."""
        inside = union((self._support,), x.size)
        for here in pieces(x.size):
            part, both, kept = x[here], self._both[here], inside[here]
            np.subtract(self._g[here], part, out=part)
            part -= rho * np.where(kept, -both, both)
            part /= tau
            part += np.where(kept, 0.0, both)

    def look(self) -> None:
        """Make the pass that the next step needs."""
        self._Az = self._passes.product(self._support, self._both)
        self._Au = (self._Ax - self._Az) / self._growth


class _Tall(_Split):
    """Iterates for p < n, through p x p."""

    def __init__(self, problem: CoreProblem, passes: _Passes) -> None:
        best, self._mu = passes.best, problem.mu
        self._inverse = _ShiftedInverse(passes.gram(), problem.pause)
        self._g = passes.target() + problem.mu * problem.w0
        self._start(best, problem.shape[1])
        self._constraint = problem.constraint

    def step(self, rho: float, growth: float) -> ColumnSet:
        """Return the support of the next z."""
        both, kept = self._both, union((self._support,), self._both.size)
        # z - u, and u.
        x = self._inverse.solve(self._g + rho * np.where(kept, both, -both), self._mu + rho)
        x += np.where(kept, 0.0, both)
        kept = union((self._constraint.nearest(x),), x.size)
        # z, and u = (x - z) / growth.
        self._both, self._support = np.where(kept, x, x / growth), compact(kept)
        return self._support

    def look(self) -> None:
        """Nothing: no pass is needed."""


class _ShiftedInverse:
    """(M + tau I)^-1 for any tau > 0; ``tau`` is the one that is factored, 0 at first."""

    def __init__(self, gram: FloatArray, pause: Pause) -> None:
        self._gram, self._pause = gram, pause
        self.tau = 0.0
        self._factored: Callable[[FloatArray], FloatArray] | None = None

    def factor(self, tau: float) -> None:
        """Factor M + tau I."""
        self.tau = tau
        self._factored = cholesky(self._gram, tau, self._pause)

    def solve(self, v: FloatArray, tau: float) -> FloatArray:
        """Solve by the factor of a tau close by; each correction takes off nine tenths of the error or so."""
        if self._factored is None or abs(tau / self.tau - 1) > _CLOSE:
            self.factor(tau * (1 + _CLOSE))
        # rho is at least a thousandth of the mean squared column norm.
        assert self._factored is not None
        y = self._factored(v)
        for _ in range(_MOST_CORRECTIONS):
            change = self._factored(v - self._gram @ y - tau * y)
            y += change
            if float(np.linalg.norm(change)) <= _EXACT * float(np.linalg.norm(y)):
                break
        return y
