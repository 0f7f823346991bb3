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
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch.baselines.magnitude import MagnitudePruning
from l0quad_adapters.torch.baselines.registry import Baseline, pruned
from l0quad_adapters.torch.budgets import Budget
from l0quad_adapters.torch.checks import check_integers, real
from l0quad_adapters.torch.network.batchnorm import recalibrate_batchnorm
from l0quad_adapters.torch.network.data import Samples
from l0quad_adapters.torch.network.gradients import LossFn, gradient_matrix
from l0quad_adapters.torch.network.weights import Weights
from l0quad_adapters.torch.pruning.problem import Sparsity, budget, pruning_problem
from l0quad_adapters.torch.report.report import StageReport

# What l2="auto" tries, and on how many samples at most it compares. Those of the single stages in
# docs/benchmarks/results/pruning-*.md, chosen by accuracy, are 1e-5 to 2e-2.
L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_HELD_OUT = 1000
# Samples behind the statistics of batch normalisation: with 256 in a batch, they differ little from those of all. The
# seconds of ResNet20's magnitude pruning, with and without, in docs/benchmarks/results/pruning-resnet20.md are theirs.
_STATISTICS = 1024
# Rows of smaller losses are scaled as those of this one. The runs with scale_rows=True in
# docs/benchmarks/results/pruning-*.md have it.
_LEAST_LOSS = 0.01


@dataclass(frozen=True, slots=True)
class Refit:
    """How refit stages renew the weights on the support that there is.

    A step of natural gradient descent: the gradient's term asks each row's loss to fall (by 1 / m, yet not below zero),
    and the ridge pulls towards the weights moved on by a share of the last refit's step: Goldshlager, Abrahamsen and
    Lin, "A Kaczmarz-inspired approach to accelerate the optimization of neural network wavefunctions", J. Comput. Phys.
    2024 (SPRING), on the support.

    Parameters
    ----------
    between : int
        How many refits follow each pruning stage but the last. Where there are any, no pruning stage has the gradient's
        term, and those after the first compute no rows: they take the last n_rows computed, which are a little old.
    n_rows : int, optional
        The fresh rows of a refit, a divisor of those of a pruning stage; as many by default.
    l2 : float, optional
        The damping of a refit; that of the pruning stages by default.
    momentum : float
        The share of the last step, in [0, 1).
    average : int
        The weights at the end are the mean of those after so many of the last refits, in which the noise of their steps
        cancels (Polyak and Juditsky, SIAM J. Control Optim. 1992); 0 takes those of the last one.
    """

    between: int = 0
    n_rows: int | None = None
    l2: float | None = None
    momentum: float = 0.0
    average: int = 0

    def __post_init__(self) -> None:
        check_integers(0, **{"refit.between": self.between, "refit.average": self.average})
        if self.n_rows is not None:
            check_integers(**{"refit.n_rows": self.n_rows})
        if self.l2 is not None:
            real(self.l2, "refit.l2")
        real(self.momentum, "refit.momentum", below=1.0)


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
    refit: Refit
    scale_rows: bool
    recalibrate: bool
    allowed: np.ndarray | None
    seed: int
    evaluate: Callable[[nn.Module], float] | None


class Stage(NamedTuple):
    """What one stage is to do: prune to ``target``, or as a refit renew the weights on the support that there is.

    ``reuses``: with the rows computed before. ``descends``: with the gradient's term, where the plan has one.
    """

    number: int
    target: Sparsity
    is_refit: bool
    bound: str
    reuses: bool = False
    descends: bool = True


class Window:
    """The last rows of gradients, and how much of the first-order term each has; new ones replace the oldest."""

    def __init__(self, n_rows: int, size: int) -> None:
        self.A, self.first_order = np.zeros((n_rows, size), dtype=np.float32), np.zeros(n_rows)
        self._next = 0

    def refill(self, model: nn.Module, plan: Plan, stage: Stage) -> slice:
        """Compute a stage's rows, a divisor of all, at the model's weights; return which they are."""
        n_rows = rows_of(plan, stage)
        part = slice(self._next, self._next + n_rows)
        A, losses = self.A[part], np.zeros(n_rows)
        gradient_matrix(
            model,
            plan.loss_fn,
            plan.samples.batches(n_rows, plan.batch_size, (plan.seed, stage.number)),
            weights=plan.weights,
            rows="sample" if plan.batch_size == 1 else "batch",
            out=A,
            losses=losses,
        )
        if plan.allowed is not None:
            # A column of zeros has nothing to gain: the solver leaves it out.
            A[:, ~plan.allowed] = 0.0
        # The whole gradient would ask each row's loss to fall by 1 / m, more than a well trained model has. A pruning
        # stage, little damped, fits what it asks: there, differences between rows would be those of single samples.
        falls = losses if stage.is_refit else np.full(n_rows, losses.mean())
        self.first_order[part] = np.clip(plan.batch_size * falls, 0.0, 1.0)
        if plan.scale_rows:
            scale = 1 / np.sqrt(np.maximum(losses, _LEAST_LOSS))
            A *= scale[:, None].astype(np.float32)
            self.first_order[part] = np.maximum(losses, 0.0) * scale
        self._next = part.stop % len(self.A)
        return part


class Answer(NamedTuple):
    """New weights, and what is known of them."""

    w: np.ndarray
    l2: float
    objective: float
    lower_bound: float
    relative_gap: float
    status: str


def run_stage(
    model: nn.Module, plan: Plan, window: Window, stage: Stage, step: np.ndarray
) -> tuple[StageReport, Answer]:
    """Give the model the weights of this stage. ``step`` is that of the last refit, whose momentum this one has."""
    begin = time.perf_counter()
    rows, first_order = slice(None), np.zeros(())
    if rows_of(plan, stage) and not stage.reuses:
        rows = window.refill(model, plan, stage)
        if plan.first_order and stage.descends:
            first_order = window.first_order[rows]
    w0 = plan.weights.read(model)
    if plan.allowed is not None:
        w0[~plan.allowed] = 0.0
    solved = time.perf_counter()
    k = budget(plan.weights, stage.target)
    if stage.is_refit:
        answer = _renewed(plan, window.A[rows], w0, first_order, step)
    elif plan.l2 == "auto":
        answer = _best(model, plan, window.A[rows], w0, k, first_order, stage)
    else:
        answer = _solve(plan, window.A[rows], w0, k, float(plan.l2), first_order, stage.bound)
    plan.weights.write(model, answer.w)
    done = time.perf_counter()
    if plan.recalibrate:
        recalibrate_batchnorm(model, plan.samples, n_samples=_STATISTICS, seed=(plan.seed, stage.number))
    report = StageReport(
        stage=stage.number + 1,
        sparsity=1 - k.bind(w0.size).total / w0.size,
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
        recalibrate_batchnorm(model, plan.samples, n_samples=_STATISTICS, seed=(plan.seed, last.stage))
    return last if plan.evaluate is None else replace(last, metric=float(plan.evaluate(model)))


def rows_of(plan: Plan, stage: Stage) -> int:
    """Return how many rows of gradients a stage sees; 0 where it depends on the weights alone."""
    if stage.is_refit:
        return plan.refit.n_rows or plan.n_rows
    return 0 if isinstance(plan.method, MagnitudePruning) else plan.n_rows


def _renewed(plan: Plan, A: np.ndarray, w0: np.ndarray, first_order: np.ndarray, step: np.ndarray) -> Answer:
    """Return the best weights on the support that there is, whose columns alone make the problem."""
    l2 = float(plan.l2 if plan.refit.l2 is None else plan.refit.l2)
    support = np.flatnonzero(w0)
    w = np.zeros_like(w0)
    # Where nothing is left, one column: a problem has one at least.
    columns = support if support.size else np.arange(1)
    centre = (w0 + plan.refit.momentum * step)[columns]
    k = l0quad.Cardinality(support.size)
    problem = pruning_problem(A[:, columns], w0[columns], k, l2, first_order, plan.batch_size, centre)
    start = np.arange(support.size)
    result = l0quad.solve(problem, l0quad.Backsolve(steps=0), start=start, bound="none", seed=plan.seed)
    answer = _answer(result, l2, False)
    w[columns] = answer.w
    return answer._replace(w=w)


def _solve(
    plan: Plan, A: np.ndarray, w0: np.ndarray, k: Budget, l2: float, first_order: np.ndarray, bound: str
) -> Answer:
    problem = pruning_problem(A, w0, k, l2, first_order, plan.batch_size)
    if isinstance(plan.method, Baseline):
        w = pruned(plan.method, A, w0, k, l2, plan.allowed, plan.weights.starts)
        objective = math.nan if isinstance(plan.method, MagnitudePruning) else problem.objective(w)
        return Answer(w, l2, objective, math.nan, math.nan, "baseline")
    return _answer(l0quad.solve(problem, plan.method, bound=bound, seed=plan.seed), l2, bound != "none")


def _answer(result: l0quad.Result, l2: float, bounded: bool) -> Answer:
    if result.status is l0quad.Status.INTERRUPTED:
        raise KeyboardInterrupt
    bound, gap = (result.lower_bound, result.relative_gap) if bounded else (math.nan, math.nan)
    w = np.asarray(result.w, dtype=np.float64)
    return Answer(w, l2, result.objective, bound, gap, result.status.name.lower())


def _best(
    model: nn.Module,
    plan: Plan,
    A: np.ndarray,
    w0: np.ndarray,
    k: Budget,
    first_order: np.ndarray,
    stage: Stage,
) -> Answer:
    """Solve for each damping of the grid; return the answer of least loss on held-out samples."""
    # The samples after those of the gradients in the same order, so that none is in both.
    used = plan.n_rows * plan.batch_size
    spare = min(_HELD_OUT, used if plan.samples.size is None else plan.samples.size - used)
    if spare < 1:
        raise ValueError(f"l2: 'auto' needs samples beside the {used} of the gradients, but data has no more")
    inputs, targets = next(plan.samples.batches(1, spare, (plan.seed, stage.number), skip=used))
    answers = []
    for l2 in L2_GRID:
        answer = _solve(plan, A, w0, k, l2, first_order, stage.bound)
        plan.weights.write(model, answer.w)
        with torch.no_grad():
            answers.append((float(plan.loss_fn(model(inputs), targets)), answer))
    # A loss that is not a number is the worst.
    return min(answers, key=lambda each: (math.isnan(each[0]), each[0]))[1]
