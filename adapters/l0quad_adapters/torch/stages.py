"""One stage of pruning: gradients on fresh samples, a solve, new weights."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch.baselines import Baseline, MagnitudePruning, pruned
from l0quad_adapters.torch.batchnorm import recalibrate_batchnorm
from l0quad_adapters.torch.data import Samples
from l0quad_adapters.torch.gradients import LossFn, gradient_matrix
from l0quad_adapters.torch.instance import Constraint, Sparsity, budget, pruning_problem
from l0quad_adapters.torch.report import StageReport
from l0quad_adapters.torch.weights import Weights

# What l2="auto" tries, and on how many samples at most it compares.
L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_HELD_OUT = 1000
# Samples behind the statistics of batch normalisation: with 256 in a batch, they differ little from those of all.
_STATISTICS = 1024
_LOSS_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What the stages of one run have in common; validated."""

    loss_fn: LossFn
    samples: Samples
    weights: Weights
    method: Any
    l2: float | str
    n_rows: int
    batch_size: int
    first_order: bool
    recalibrate: bool
    allowed: np.ndarray | None
    seed: int
    evaluate: Callable[[nn.Module], float] | None


class Stage(NamedTuple):
    """What one stage is to do: prune to ``target``, or renew the weights on the support that there is."""

    number: int
    target: Sparsity
    refit: bool
    bound: str
    first_order: float = 0.0


class Answer(NamedTuple):
    """New weights, and what is known of them."""

    w: np.ndarray
    l2: float
    objective: float
    lower_bound: float
    relative_gap: float
    status: str


def run_stage(model: nn.Module, plan: Plan, A: np.ndarray, stage: Stage) -> tuple[StageReport, float]:
    """Give the model the weights of this stage; return its report and the l2 used. ``A`` is overwritten."""
    begin = time.perf_counter()
    seed = (plan.seed, stage.number)
    if needs_gradients(plan, stage):
        samples = plan.samples.batches(plan.n_rows, plan.batch_size, seed)
        rows = "sample" if plan.batch_size == 1 else "batch"
        gradient_matrix(model, plan.loss_fn, samples, weights=plan.weights, rows=rows, out=A)
        stage = stage._replace(first_order=_first_order(model, plan, seed))
    w0 = plan.weights.read(model)
    if plan.allowed is not None:
        # A column of zeros has nothing to gain: the solver leaves it out.
        A[:, ~plan.allowed] = 0.0
        w0[~plan.allowed] = 0.0
    solved = time.perf_counter()
    constraint = budget(plan.weights, stage.target)
    if plan.l2 == "auto":
        answer = _best(model, plan, A, w0, constraint, stage)
    else:
        answer = _solve(plan, A, w0, constraint, float(plan.l2), stage)
    plan.weights.write(model, answer.w)
    done = time.perf_counter()
    if plan.recalibrate:
        recalibrate_batchnorm(model, plan.samples, n_samples=_STATISTICS, seed=seed)
    report = StageReport(
        stage=stage.number + 1,
        sparsity=1 - constraint.bind(w0.size).total / w0.size,
        kept=int(np.count_nonzero(plan.weights.read(model))),
        objective=answer.objective,
        lower_bound=answer.lower_bound,
        relative_gap=answer.relative_gap,
        status=answer.status,
        rows=plan.n_rows if needs_gradients(plan, stage) else 0,
        gradient_seconds=solved - begin,
        solve_seconds=done - solved,
        metric=float("nan") if plan.evaluate is None else float(plan.evaluate(model)),
    )
    return report, answer.l2


def needs_gradients(plan: Plan, stage: Stage) -> bool:
    """Return whether a stage depends on more than the weights."""
    return stage.refit or not isinstance(plan.method, MagnitudePruning)


def _first_order(model: nn.Module, plan: Plan, seed: tuple[int, int]) -> float:
    """Return the share of the gradient's term: 1, or so much that no row's mean loss is asked to fall below zero.

    The whole of it asks every row's linearised loss to fall by 1 / m, which is more than a well trained model has.
    """
    if not plan.first_order:
        return 0.0
    samples = min(_LOSS_SAMPLES, plan.n_rows * plan.batch_size)
    inputs, targets = next(plan.samples.batches(1, samples, seed))
    with torch.no_grad():
        return min(1.0, plan.batch_size * float(plan.loss_fn(model(inputs), targets)))


def _solve(plan: Plan, A: np.ndarray, w0: np.ndarray, constraint: Constraint, l2: float, stage: Stage) -> Answer:
    problem = pruning_problem(A, w0, constraint, l2, stage.first_order, plan.batch_size)
    if stage.refit:
        fixed = l0quad.Backsolve(steps=0)
        result = l0quad.solve(problem, fixed, start=np.flatnonzero(w0), bound=stage.bound, seed=plan.seed)
    elif isinstance(plan.method, Baseline):
        w = pruned(plan.method, A, w0, constraint, l2, plan.allowed, plan.weights.starts)
        objective = problem.objective(w) if needs_gradients(plan, stage) else math.nan
        return Answer(w, l2, objective, math.nan, math.nan, "baseline")
    else:
        result = l0quad.solve(problem, plan.method, bound=stage.bound, seed=plan.seed)
    if result.status is l0quad.Status.INTERRUPTED:
        raise KeyboardInterrupt
    w = np.asarray(result.w, dtype=np.float64)
    bound, gap = (math.nan, math.nan) if stage.bound == "none" else (result.lower_bound, result.relative_gap)
    return Answer(w, l2, result.objective, bound, gap, result.status.name.lower())


def _best(model: nn.Module, plan: Plan, A: np.ndarray, w0: np.ndarray, constraint: Constraint, stage: Stage) -> Answer:
    """Solve for each damping of the grid; return the answer of least loss on held-out samples."""
    # The samples after those of the gradients in the same order, so that none is in both.
    used = plan.n_rows * plan.batch_size
    spare = min(_HELD_OUT, used if plan.samples.size is None else plan.samples.size - used)
    if spare < 1:
        raise ValueError(f"l2: 'auto' needs samples beside the {used} of the gradients, but data has no more")
    inputs, targets = next(plan.samples.batches(1, spare, (plan.seed, stage.number), skip=used))
    answers = []
    for l2 in L2_GRID:
        answer = _solve(plan, A, w0, constraint, l2, stage)
        plan.weights.write(model, answer.w)
        with torch.no_grad():
            answers.append((float(plan.loss_fn(model(inputs), targets)), answer))
    # A loss that is not a number is the worst.
    return min(answers, key=lambda each: (math.isnan(each[0]), each[0]))[1]
