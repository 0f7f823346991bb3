"""Local search over exact swaps: the whole table where it fits, batches of swaps where it does not."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad import validation
from l0quad.linalg.cholesky import cholesky_factor
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.monitor import Monitor
from l0quad.run.outcome import Outcome, Status
from l0quad.solvers.forward import fill
from l0quad.solvers.group_moves import group_scores, tableau_of
from l0quad.solvers.needs import Needs
from l0quad.solvers.pairs import best_pair_exchange, exchange_pair
from l0quad.solvers.settle import LEAST_GAIN, settle, threshold
from l0quad.solvers.tableau import Tableau
from l0quad.types import FloatArray, IntArray

# The table of |S| x p costs is kept where it has at most this many entries.
_TABLE_ENTRIES = 1 << 24
# The table is computed from scratch when it has drifted by more than this; less is asked of one that proves something.
_MOST_DRIFT = 1e-7
_PROVEN_DRIFT = 1e-9
# A fall of the objective to this share of what it was pays for more work, up to so many times as much.
_MUCH = 0.9
_MOST_DOUBLED = 16
# A kick takes out this many columns, as many as there are at most, and bars them from coming straight back.
_KICK = 3
# An exchange that the table had no digits for may be followed by others that it has.
_CONCLUSIONS = 20


def table_fits(problem: CoreProblem) -> bool:
    """Whether the costs of all swaps can be kept."""
    k = problem.constraint.total
    blocks = sum(each.size**2 for each in problem.constraint.units or ())
    return max(k * problem.shape[1], blocks) <= _TABLE_ENTRIES and (k <= problem.shape[0] or not problem.ridge_is_lost)


@dataclass(frozen=True, slots=True)
class Swap:
    """Exchange columns (whole groups under `Groups`) while the refitted objective falls.

    The exact change of every single swap is known from the support's factor (`l0quad.solvers.tableau`), so each step
    takes the best of all |S| (p - |S|); the end is swap-optimal (`l0quad.solvers.settle`). Where that table is too
    large, as many swaps as promise a gain are made at once, halved until the refitted objective falls (in the manner of
    splicing, Zhu et al., PNAS 2020, with exact costs); its end is not proven. Never above its start's refit.

    Parameters
    ----------
    max_iter : int
        The largest number of swaps, or of batches.
    kicks : int
        How often to go on from the best point with one to three columns, or groups, taken out and one brought in at
        random (`seed` of solve); table only.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - 2 * A[:, 5], k=2, method=l0quad.Swap(kicks=5)).support
    array([2, 5])
    """

    max_iter: int = 1000
    kicks: int = 0
    name: ClassVar[str] = "swap"
    # Batches need an n x n factorization.
    needs: ClassVar[Needs] = Needs(
        in_memory=True, ridge=True, most_rows=8192, unless=table_fits, solves_start=True, resumes=True
    )

    def __post_init__(self) -> None:
        validation.integer(self.max_iter, "max_iter", 0)
        validation.integer(self.kicks, "kicks", 0)


def swap(problem: CoreProblem, start: Point, options: Swap, monitor: Monitor) -> Outcome:
    """Run the local search from the refit of the start."""
    if table_fits(problem):
        return _by_table(problem, start, options, monitor)
    return _by_batches(problem, start, options, monitor)


def _by_table(problem: CoreProblem, start: Point, options: Swap, monitor: Monitor) -> Outcome:
    monitor, saved = monitor.begin()
    tableau = tableau_of(problem, problem.constraint.closed(start.support))
    known_rows = problem.matrix.prepared.known_rows
    if saved is None:
        status = descend(tableau, options.max_iter, monitor)
        best = min(tableau.point(), problem.optimised(start), key=lambda each: each.objective)
        if monitor.expired() or monitor.record(best):
            return Outcome(best, Status.CONVERGED)
        found, kicks = Outcome(best, status), options.kicks
        monitor.save(rows=known_rows, found=found, kicks=kicks)
    else:
        problem.matrix.know_rows(*saved["rows"])
        found, kicks = saved["found"], saved["kicks"]
    if kicks > 0:
        found = kicked(tableau, found.point, found.status, kicks, options.max_iter, monitor)
        monitor.save(rows=known_rows, found=found, kicks=0)
    return concluded(tableau, found, options.max_iter, monitor)


def kicked(tableau: Tableau, best: Point, status: Status, kicks: int, max_iter: int, monitor: Monitor) -> Outcome:
    """Kick and descend this many times, always from the best point so far; return it and how it ended."""
    monitor, saved = monitor.begin()
    if saved is not None:
        tableau.restore(saved["tableau"])
        best, status = saved["best"], saved["status"]
    elif kicks > 0:
        tableau.reset(best.support)
    for done in range(saved["done"] if saved else 0, kicks):
        trial = tableau.copy()
        kick(trial, monitor.rng)
        ended = descend(trial, max_iter, monitor)
        # What updates say is believed when a refit says so too.
        target = best.objective - LEAST_GAIN * abs(best.objective)
        if trial.objective < target and (point := trial.point()).objective < target:
            tableau, best, status = trial, point, ended
        if monitor.expired():
            break
        if monitor.due():
            monitor.save(tableau=tableau.state, best=best, status=status, done=done + 1)
    return Outcome(best, status)


def concluded(tableau: Tableau, outcome: Outcome, max_iter: int, monitor: Monitor) -> Outcome:
    """Return the outcome as swap-optimal where every exchange is settled; where one gains, go on from there."""
    point, status = outcome.point, outcome.status
    for _ in range(_CONCLUSIONS):
        if status is Status.ITERATION_LIMIT or monitor.expired():
            return Outcome(point, status)
        found, settled = settle(tableau, point, monitor)
        if found is point:
            return Outcome(point, Status.SWAP_OPTIMAL if settled else Status.CONVERGED)
        tableau.reset(found.support)
        status = descend(tableau, max_iter, monitor)
        point = min(found, tableau.point(), key=lambda each: each.objective)
        monitor.record(point)
    return Outcome(point, Status.CONVERGED)


def paired(
    tableau: Tableau, best: Point, status: Status, flops: float, max_iter: int, monitor: Monitor
) -> tuple[Point, Status]:
    """Exchange two columns at once and descend from there, as long as that lowers the objective.

    Where that is by much, the starts were bad ones, and twice as much work is allowed from then on.
    """
    tableau.reset(best.support)
    most = _MOST_DOUBLED * flops
    for _ in range(max_iter):
        pair = best_pair_exchange(tableau, flops, monitor)
        target = best.objective - threshold(tableau.problem, best.objective)
        if pair is None or tableau.objective + pair.change > target:
            break
        exchange_pair(tableau, pair)
        ended = descend(tableau, max_iter, monitor)
        point = tableau.point()
        if point.objective > target:
            break
        if point.objective < _MUCH * best.objective:
            flops = min(2 * flops, most)
        best, status = point, ended
    return best, status


def descend(tableau: Tableau, max_iter: int, monitor: Monitor) -> Status:
    """Fill the budget, then take the best swap until the table shows none; whether that is so, `settle` decides."""
    monitor, saved = monitor.begin()
    if saved is None:
        fill(tableau)
    else:
        tableau.restore(saved["tableau"])
    fresh: bool = saved["fresh"] if saved else False
    for done in range(saved["done"] if saved else 0, max_iter):
        slot, j, change = tableau.best_swap()
        if slot < 0 or change > -threshold(tableau.problem, tableau.objective):
            size = tableau.size
            fill(tableau)
            if tableau.size > size:
                continue
            if fresh or tableau.drift <= _PROVEN_DRIFT:
                return Status.CONVERGED
            tableau.reset(tableau.support)
            fill(tableau)
            fresh = True
            continue
        fresh = not tableau.exchange(slot, j)
        if fresh or tableau.drift > _MOST_DRIFT:
            # The table has lost its digits: begin anew from what is left.
            tableau.reset(tableau.support)
            fill(tableau)
        if monitor.record(tableau.snapshot()):
            return Status.CONVERGED
        if monitor.due():
            monitor.save(tableau=tableau.state, fresh=fresh, done=done + 1)
    return Status.ITERATION_LIMIT


def kick(tableau: Tableau, rng: np.random.Generator) -> None:
    """Take a few random columns (or groups) out and a random one in, and fill up with the best others."""
    barred: list[int] = []
    for _ in range(int(rng.integers(1, _KICK + 1))):
        if (places := tableau.removable()).size:
            barred += tableau.take_out(int(places[rng.integers(places.size)]))
    tableau.bar(barred)
    moves = np.flatnonzero(tableau.allowed_gains() > 0)
    if moves.size:
        tableau.join(int(moves[rng.integers(moves.size)]))
    fill(tableau)
    tableau.admit(barred)


def _by_batches(problem: CoreProblem, start: Point, options: Swap, monitor: Monitor) -> Outcome:
    monitor, saved = monitor.begin()
    point: Point = saved["point"] if saved else problem.optimised(start)
    if saved is None:
        if monitor.record(point):
            return Outcome(point, Status.CONVERGED)
        if point.support.size < problem.constraint.total and (values := _worth(problem, point)) is not None:
            point = problem.restricted(problem.constraint.select(values, fixed_in=point.support))
    for done in range(saved["done"] if saved else 0, options.max_iter):
        better = _best_batch(problem, point, monitor)
        if better is None:
            return Outcome(point, Status.CONVERGED)
        gain, point = point.objective - better.objective, better
        if monitor.record(point) or gain <= LEAST_GAIN * abs(point.objective):
            return Outcome(point, Status.CONVERGED)
        monitor.save(point=point, done=done + 1)
    return Outcome(point, Status.ITERATION_LIMIT)


def _best_batch(problem: CoreProblem, point: Point, monitor: Monitor) -> Point | None:
    """Return the refit after the largest batch of promising swaps that lowers the objective, None without."""
    pairs = _promising_pairs(problem, point)
    if pairs is None:
        return None
    leaving, joining = pairs
    size, closed = leaving.size, problem.constraint.closed
    while size > 0 and not monitor.expired():
        kept = np.setdiff1d(point.support, closed(leaving[:size]), assume_unique=True)
        found = problem.restricted(closed(np.sort(np.concatenate([kept, joining[:size]]))))
        if found.objective < point.objective:
            return found
        size //= 2
    return None


def _promising_pairs(problem: CoreProblem, point: Point) -> tuple[IntArray, IntArray] | None:
    """Return columns to take out and columns to put in, the pair that promises most first; of groups the first ones."""
    values = _worth(problem, point)
    if values is None:
        return None
    constraint = problem.constraint
    best = constraint.select(values)
    leaving = np.setdiff1d(point.support, best, assume_unique=True)
    joining = np.setdiff1d(best, point.support, assume_unique=True)
    part = np.zeros(values.size, dtype=np.int64)
    if constraint.units is not None:
        first = np.array([each[0] for each in constraint.units])
        leaving, joining = leaving[np.isin(leaving, first)], joining[np.isin(joining, first)]
    elif (parts := constraint.exchanges(point.support).part).size:
        part = parts
    leaving = leaving[np.lexsort((values[leaving], part[leaving]))]
    joining = joining[np.lexsort((-values[joining], part[joining]))]
    if leaving.size != joining.size:
        return None
    order = np.argsort(values[leaving] - values[joining], kind="stable")
    return leaving[order], joining[order]


def _worth(problem: CoreProblem, point: Point) -> FloatArray | None:
    """Return what each column, or each group on its first column, is worth after refit; None where that is lost."""
    units = problem.constraint.units
    return exact_scores(problem, point) if units is None else group_scores(problem, point, units)


def exact_scores(problem: CoreProblem, point: Point) -> FloatArray | None:
    """Return what each column is worth after refit: the cost of removing it, or the gain of adding it.

    With M = A_S A_S' + mu I and q_j = a_j'M^-1 a_j: E_jj = (1 - q_j) / mu on the support, s_j = mu (1 + q_j) outside.
    """
    factor = cholesky_factor(problem.matrix.outer(point.support, problem.pause), problem.mu, problem.pause)
    if factor is None:
        return None
    q, mu = problem.matrix.column_quad(factor, pause=problem.pause), problem.mu
    w = np.zeros(problem.shape[1])
    w[point.support] = point.w
    r = mu * (problem.w0 - w) - problem.matrix.rmatvec(problem.residual(point.support, point.w))
    values: FloatArray = r * r / (2 * mu * (1 + q))
    values[point.support] = _saliency(q[point.support], point.w, mu)
    return values


def saliency(problem: CoreProblem, point: Point) -> FloatArray | None:
    """Return the exact cost of removing each column of the support."""
    factor = cholesky_factor(problem.matrix.outer(point.support, problem.pause), problem.mu, problem.pause)
    if factor is None:
        return None
    return _saliency(problem.matrix.column_quad(factor, point.support, problem.pause), point.w, problem.mu)


def _saliency(q: FloatArray, w: FloatArray, mu: float) -> FloatArray:
    return mu * w * w / (2 * np.maximum(1 - q, np.finfo(np.float64).eps))
