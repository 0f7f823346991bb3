"""One stage of pruning or refitting: gradients, a problem, its solution as new weights.

What removing weights does, and how the others make up for it, is a linear problem whose right-hand side is known:
little damping and many rows are best. Descent by the gradient's term has one that is as noisy as its rows are few: it
needs more damping, and gains by momentum. So refits have settings of their own, and where some come between the
pruning stages, these leave the descent to them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from torch import nn

import l0quad
from l0quad_adapters.torch.baselines.magnitude import MagnitudePruning
from l0quad_adapters.torch.baselines.registry import Baseline, pruned
from l0quad_adapters.torch.budgets import Budget
from l0quad_adapters.torch.network.batchnorm import (
    better_statistics,
    has_batchnorm,
    mean_loss,
    recalibrate_batchnorm,
)
from l0quad_adapters.torch.network.data import Batch, LossFn, Samples
from l0quad_adapters.torch.network.gradients import Gradients
from l0quad_adapters.torch.network.weights import Weights
from l0quad_adapters.torch.pruning.budget import restricted
from l0quad_adapters.torch.pruning.problem import pruning_problem
from l0quad_adapters.torch.pruning.refit import Refit
from l0quad_adapters.torch.pruning.window import Window
from l0quad_adapters.torch.report.parts import StageReport

# What l2="auto" tries, and on how many samples at most it compares. Those of the single stages in
# docs/benchmarks/results/pruning-*.md, chosen by accuracy, are 1e-5 to 2e-2.
L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_HELD_OUT = 1000
# Samples behind the statistics of batch normalisation: with 256 in a batch, they differ little from those of all. The
# seconds of ResNet20's magnitude pruning, with and without, in docs/benchmarks/results/pruning-resnet20.md are theirs.
STATISTICS = 1024
# Rows of smaller losses are scaled as those of this one. The runs with scale_rows=True in
# docs/benchmarks/results/pruning-*.md have it.
_LEAST_LOSS = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """What the stages of one run have in common; validated.

    ``columns``: the weights that may be nonzero, None for all; the others are in no problem.
    """

    loss_fn: LossFn
    samples: Samples
    weights: Weights
    gradients: Gradients | None
    method: Any
    l2: float | str
    n_rows: int
    batch_size: int
    first_order: bool
    refit: Refit
    scale_rows: bool
    recalibrate: bool
    columns: np.ndarray | None
    seed: int
    evaluate: Callable[[nn.Module], float] | None


class Stage(NamedTuple):
    """What one stage is to do: prune to ``target``, or as a refit renew the weights on the support that there is.

    ``reuses``: with the rows computed before. ``shares``: its rows are for later stages too. ``descends``: with the
    gradient's term, where the plan has one.
    """

    number: int
    target: Budget
    is_refit: bool
    bound: str
    reuses: bool = False
    shares: bool = False
    descends: bool = True


class Answer(NamedTuple):
    """New weights, and what is known of them."""

    w: np.ndarray
    l2: float
    objective: float
    lower_bound: float
    relative_gap: float
    status: str


class _Task(NamedTuple):
    """The numbers of one stage's problem, on some columns of all weights (None: all of them)."""

    A: Any
    w0: np.ndarray
    first_order: np.ndarray
    columns: np.ndarray | None
    stage: Stage


def run_stage(
    model: nn.Module, plan: Plan, window: Window, stage: Stage, step: np.ndarray
) -> tuple[StageReport, Answer]:
    """Give the model the weights of this stage. ``step`` is that of the last refit, whose momentum this one has."""
    begin = time.perf_counter()
    w0 = plan.weights.read(model)
    columns = plan.columns
    if stage.is_refit and not stage.shares:
        # Where nothing is left, one column: a problem has one at least.
        support = np.flatnonzero(w0)
        columns = support if support.size else np.arange(1)
    A, first_order = _rows(plan, window, stage, columns)
    solved = time.perf_counter()
    task, size = _Task(A, _at(w0, columns), first_order, columns, stage), w0.size
    del w0
    if stage.is_refit:
        answer = _renewed(plan, task, _at(step, columns) if plan.refit.momentum else None)
    elif plan.l2 == "auto":
        answer = _best(model, plan, task)
    else:
        answer = _solve(plan, task, float(plan.l2))
    answer = answer._replace(w=_spread(answer.w, columns, size))
    plan.weights.write(model, answer.w)
    done = time.perf_counter()
    if plan.recalibrate:
        recalibrate_batchnorm(model, plan.samples, n_samples=STATISTICS, seed=(plan.seed, stage.number))
    report = StageReport(
        stage=stage.number + 1,
        sparsity=1 - stage.target.bind(size).total / size,
        kept=int(np.count_nonzero(plan.weights.read(model))),
        objective=answer.objective,
        lower_bound=answer.lower_bound,
        relative_gap=answer.relative_gap,
        status=answer.status,
        rows=rows_of(plan, stage),
        gradient_seconds=solved - begin,
        solve_seconds=done - solved,
        metric=float("nan") if plan.evaluate is None else float(plan.evaluate(model)),
    )
    return report, answer


def settle(model: nn.Module, plan: Plan, w: np.ndarray, last: StageReport) -> StageReport:
    """Give the model its weights at the end, where they are not those of the last stage; return that one's report."""
    plan.weights.write(model, w)
    if plan.recalibrate:
        recalibrate_batchnorm(model, plan.samples, n_samples=STATISTICS, seed=(plan.seed, last.stage))
    return last if plan.evaluate is None else replace(last, metric=float(plan.evaluate(model)))


def rows_of(plan: Plan, stage: Stage) -> int:
    """Return how many rows of gradients a stage sees; 0 where it depends on the weights alone."""
    if stage.is_refit:
        return plan.refit.n_rows or plan.n_rows
    return 0 if isinstance(plan.method, MagnitudePruning) else plan.n_rows


def held_out(plan: Plan, seed: tuple[int, int]) -> Batch | None:
    """Return samples beside those of the gradients of a stage; None where there are none."""
    # The samples after those of the gradients in the same order, so that none is in both.
    used = plan.n_rows * plan.batch_size
    spare = min(_HELD_OUT, used if plan.samples.size is None else plan.samples.size - used)
    return None if spare < 1 else next(plan.samples.batches(1, spare, seed, skip=used))


def statistics(
    model: nn.Module, plan: Plan, wanted: bool | None, seed: Any, compared_on: Callable[[], tuple[Batch, str]]
) -> tuple[bool, str]:
    """Return whether batch normalisation is to get new statistics, and a line for the report.

    Where ``wanted`` is None, the loss on the samples of ``compared_on`` decides, which also says whose loss it is.
    """
    if not has_batchnorm(model):
        return False, ""
    if wanted is not None:
        return wanted, f"batch statistics {'renewed' if wanted else 'kept'}, as asked"
    batch, loss = compared_on()
    better, own, new = better_statistics(model, plan.loss_fn, plan.samples, batch, n_samples=STATISTICS, seed=seed)
    told = f"{loss} is {own:.4g} with its own and {new:.4g} with new ones"
    return better, f"batch statistics {'renewed' if better else 'kept'}: {told}"


def _rows(plan: Plan, window: Window, stage: Stage, columns: np.ndarray | None) -> tuple[Any, np.ndarray]:
    """Return the rows that a stage sees on these columns, at the model's weights, and the first-order term of each."""
    n_rows, width = rows_of(plan, stage), plan.weights.size if columns is None else columns.size
    if n_rows == 0:
        # No matter what: nothing reads it.
        return np.broadcast_to(np.float32(0), (1, width)), np.zeros(())
    if stage.reuses:
        return window.fresh(window.n_rows, width), np.zeros(())
    if stage.shares:
        part = window.oldest(n_rows)
        A = window.fresh(window.n_rows, width)[part]
    else:
        part, A = slice(0, n_rows), window.fresh(n_rows, width)
    losses = np.zeros(n_rows)
    assert plan.gradients is not None
    batches = plan.samples.batches(n_rows, plan.batch_size, (plan.seed, stage.number))
    plan.gradients.fill(batches, A, losses, columns)
    # The whole gradient would ask each row's loss to fall by 1 / m, more than a well trained model has. A pruning
    # stage, little damped, fits what it asks: there, differences between rows would be those of single samples.
    falls = losses if stage.is_refit else np.full(n_rows, losses.mean())
    window.first_order[part] = np.clip(plan.batch_size * falls, 0.0, 1.0)
    if plan.scale_rows:
        scale = 1 / np.sqrt(np.maximum(losses, _LEAST_LOSS))
        A *= scale[:, None].astype(np.float32)
        window.first_order[part] = np.maximum(losses, 0.0) * scale
    return window.filled(A), window.first_order[part] if plan.first_order and stage.descends else np.zeros(())


def _renewed(plan: Plan, task: _Task, step: np.ndarray | None) -> Answer:
    """Return the best weights on the support that there is."""
    l2 = float(plan.l2 if plan.refit.l2 is None else plan.refit.l2)
    kept, centre = task.w0 != 0, None
    if step is not None:
        centre = np.where(kept, task.w0 + plan.refit.momentum * step, 0.0)
    k = l0quad.Cardinality(int(np.count_nonzero(kept)))
    problem = pruning_problem(task.A, task.w0, k, l2, task.first_order, plan.batch_size, centre)
    # Where all columns are kept, that is where a solve begins, and its numbers are as long as the weights.
    support = None if kept.all() else np.flatnonzero(kept)
    del step, centre, kept
    result = l0quad.solve(problem, l0quad.Backsolve(steps=0), start=support, bound="none", seed=plan.seed)
    return _answer(result, l2, False)


def _solve(plan: Plan, task: _Task, l2: float) -> Answer:
    k = restricted(task.stage.target, task.columns)
    if isinstance(plan.method, MagnitudePruning):
        w = pruned(plan.method, task.A, task.w0, k, max(l2, 1.0))
        return Answer(w, l2, math.nan, math.nan, math.nan, "baseline")
    problem = pruning_problem(task.A, task.w0, k, l2, task.first_order, plan.batch_size)
    if isinstance(plan.method, Baseline):
        edges = plan.weights.starts if task.columns is None else np.searchsorted(task.columns, plan.weights.starts)
        w = pruned(plan.method, task.A, task.w0, k, l2, layers=np.unique(edges))
        return Answer(w, l2, problem.objective(w), math.nan, math.nan, "baseline")
    bound = task.stage.bound
    return _answer(l0quad.solve(problem, plan.method, bound=bound, seed=plan.seed), l2, bound != "none")


def _answer(result: l0quad.Result, l2: float, bounded: bool) -> Answer:
    if result.status is l0quad.Status.INTERRUPTED:
        raise KeyboardInterrupt
    bound, gap = (result.lower_bound, result.relative_gap) if bounded else (math.nan, math.nan)
    w = np.asarray(result.w, dtype=np.float64)
    return Answer(w, l2, result.objective, bound, gap, result.status.name.lower())


def _best(model: nn.Module, plan: Plan, task: _Task) -> Answer:
    """Solve for each damping of the grid; return the answer of least loss on held-out samples."""
    batch = held_out(plan, (plan.seed, task.stage.number))
    assert batch is not None
    answers = []
    for l2 in L2_GRID:
        answer = _solve(plan, task, l2)
        plan.weights.write(model, _spread(answer.w, task.columns, plan.weights.size))
        if plan.recalibrate:
            recalibrate_batchnorm(model, plan.samples, n_samples=STATISTICS, seed=(plan.seed, task.stage.number))
        answers.append((mean_loss(model, plan.loss_fn, batch), answer))
    # A loss that is not a number is the worst.
    return min(answers, key=lambda each: (math.isnan(each[0]), each[0]))[1]


def _at(values: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
    return values if columns is None else values[columns]


def _spread(values: np.ndarray, columns: np.ndarray | None, size: int) -> np.ndarray:
    """Return a vector over all weights, zero outside of the columns."""
    if columns is None:
        return values
    w = np.zeros(size)
    w[columns] = values
    return w
