"""prune: gradients, problem, solution, weights; once, or in the stages of CHITA++."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch.baselines.registry import BASELINES
from l0quad_adapters.torch.checks import check_choice, check_flags, check_integers, real
from l0quad_adapters.torch.network.batchnorm import has_batchnorm
from l0quad_adapters.torch.network.data import Data, Samples
from l0quad_adapters.torch.network.gradients import LossFn, refuse_training
from l0quad_adapters.torch.network.masks import flat_mask, refuse_masked
from l0quad_adapters.torch.network.weights import Choice, Weights, choose
from l0quad_adapters.torch.pruning.problem import Sparsity
from l0quad_adapters.torch.pruning.schedules import targets_of
from l0quad_adapters.torch.pruning.stages import Plan, Refit, Stage, Window, rows_of, run_stage, settle
from l0quad_adapters.torch.report.report import LayerReport, PruneReport, StageReport

T = TypeVar("T")

# Within 20 times of what was best for each method in docs/benchmarks/results/pruning-mlpnet.md.
DEFAULT_L2 = 1e-3
_AS_THE_STAGES = Refit()


def prune(
    model: nn.Module,
    loss_fn: LossFn,
    data: Data,
    sparsity: Sparsity,
    *,
    method: Any = "auto",
    l2: float | str = DEFAULT_L2,
    n_rows: int = 1000,
    batch_size: int = 1,
    stages: int = 1,
    schedule: str = "poly",
    refit_stages: int = 0,
    refit: Refit = _AS_THE_STAGES,
    weights: Choice | Iterable[Choice] | Weights | None = None,
    mask: Mapping[str, torch.Tensor] | None = None,
    first_order: bool | None = None,
    scale_rows: bool = False,
    recalibrate: bool = True,
    seed: int = 0,
    evaluate: Callable[[nn.Module], float] | None = None,
    callback: Callable[[StageReport], object] | None = None,
    progress: bool = False,
) -> PruneReport:
    """Prune a trained model in place.

    At each stage gradients are computed on fresh samples, the quadratic model at the current weights is minimised under
    the stage's budget, and the minimiser becomes the weights. One stage is CHITA, several are CHITA++
    (Benbaki et al., ICML 2023, Algorithm 1). If anything fails, and on Ctrl-C, the model has its old weights.

    Parameters
    ----------
    model : Module
        In eval mode; on one device.
    loss_fn : callable
        ``loss_fn(outputs, targets)``: the mean loss of a batch, a scalar of at least 0 (no row of negative loss has a
        first-order term).
    data : (inputs, targets), Dataset or iterable of batches
        What the gradients are computed on.
    sparsity : float, dict or NofM
        The share of zeros, exact: floor(sparsity p + 1/2) of the p weights. A dict gives it by layer.
    method : str or options
        A method of l0quad (``"auto"``, ``"backsolve"``, ``l0quad.Rounding()``, ...) or a published baseline:
        ``"magnitude"``, ``"woodfisher"``, ``"mfac"``, ``"cbs"``. CHITA's own are ``"active_set"``, ``"backsolve"`` and
        ``"block_backsolve"``.
    l2 : float or "auto"
        The damping that is added to the Fisher matrix of the rows, so it goes with ``batch_size``: mean gradients are
        shorter. ``"auto"`` tries several at the first stage and compares them on held-out samples.
    n_rows, batch_size : int
        Rows of gradients for a pruning stage, and the samples whose mean gradient is a row.
    stages, schedule : int, {"poly", "geometric", "linear", "constant"}
        How many stages, and how the sparsity rises over them.
    refit_stages : int
        Further stages that keep the support and renew its weights only, by the first-order term: without it they
        change nothing.
    refit : Refit
        What refits are like, and how many there are between pruning stages.
    weights : optional
        What is pruned, see `choose`; by default the weights of convolutional and linear layers.
    mask : dict of bool tensors, optional
        By parameter; where it is False the weight is zero at the end.
    first_order : bool, optional
        Whether the model of the loss has the gradient itself. By default with several stages only: one stage would go
        too far on the gradients of few samples.
    scale_rows : bool
        Divide each row g by the root of its loss l. The curvature of a small negative log-likelihood is that of gg'/l,
        not of gg': the empirical Fisher matrix hardly sees the samples that the model has learnt. Losses below 0.01
        count as 0.01.
    recalibrate : bool
        Whether batch normalisation gets new statistics after each stage.
    evaluate : callable, optional
        ``evaluate(model)``, a number (an accuracy, say) that the report keeps for before, after and each stage.
    callback : callable, optional
        Called with each stage's `StageReport`.
    progress : bool
        Show on stderr which stage runs and how long the rest will take.

    Returns
    -------
    PruneReport

    Raises
    ------
    ValueError, TypeError
        Naming the argument, before the model is changed.
    """
    chosen = choose(model, weights)
    check_integers(n_rows=n_rows, batch_size=batch_size, stages=stages)
    check_integers(0, refit_stages=refit_stages, seed=seed)
    check_flags(scale_rows=scale_rows)
    if first_order is not None:
        check_flags(first_order=first_order)
    if not isinstance(refit, Refit):
        raise TypeError(f"refit: must be a Refit, got {refit!r}")
    if refit.n_rows is not None and n_rows % refit.n_rows != 0:
        raise ValueError(f"refit.n_rows: must divide n_rows ({n_rows}), got {refit.n_rows}")
    if refit.average > refit_stages:
        raise ValueError(f"refit.average: must be at most refit_stages ({refit_stages}), got {refit.average}")
    targets = targets_of(model, chosen, sparsity, schedule, stages)
    allowed = None if mask is None else flat_mask(chosen, mask)
    damping = l2 if isinstance(l2, str) and l2 == "auto" else real(l2, "l2", kind="a number or 'auto'")
    plan = Plan(
        loss_fn, Samples(data), chosen, _method(method), damping, n_rows, batch_size,
        stages + refit_stages > 1 if first_order is None else first_order, refit, scale_rows,
        recalibrate and has_batchnorm(model), allowed, seed, evaluate,
    )  # fmt: skip
    refuse_training(model)
    refuse_masked(model)
    todo = _schedule(targets, refit.between, refit_stages)
    plan.samples.require(batch_size * max(rows_of(plan, stage) for stage in todo))
    # Not state_dict, which lacks buffers that are not persistent.
    before = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    try:
        return _run(model, plan, sparsity, todo, callback, progress)
    except BaseException:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        raise


def _schedule(targets: list[Sparsity], between: int, at_the_end: int) -> list[Stage]:
    """Return what each stage is to do; only the last pruning stage pays for a bound."""
    todo: list[Stage] = []
    shared = between > 0 and len(targets) > 1
    for i, target in enumerate(targets):
        last = i == len(targets) - 1
        bound = "fast" if last else "none"
        todo.append(Stage(len(todo), target, False, bound, reuses=shared and i > 0, descends=not shared))
        todo += [Stage(len(todo) + j, target, True, "none") for j in range(at_the_end if last else between)]
    return todo


def _method(method: Any) -> Any:
    """Return options of a baseline, or options or the name of a solver."""
    if isinstance(method, str):
        check_choice(method, "method", tuple(sorted({*l0quad.METHODS, *BASELINES})))
        return BASELINES[method]() if method in BASELINES else method
    options = (*BASELINES.values(), *(each.options for each in l0quad.METHODS.values()))
    if not isinstance(method, options):
        raise TypeError(f"method: must be a name or options such as l0quad.Backsolve(), got {method!r}")
    return method


def _run(
    model: nn.Module,
    plan: Plan,
    sparsity: Sparsity,
    todo: list[Stage],
    callback: Callable[[StageReport], object] | None,
    progress: bool,
) -> PruneReport:
    begin = time.perf_counter()
    metric_before = math.nan if plan.evaluate is None else float(plan.evaluate(model))
    window, reports = Window(max(1, *(rows_of(plan, stage) for stage in todo)), plan.weights.size), []
    step, mean = np.zeros(plan.weights.size), np.zeros(plan.weights.size)
    for stage in shown(todo, progress):
        before = plan.weights.read(model)
        report, answer = run_stage(model, plan, window, stage, step)
        if stage.is_refit:
            # Pruning has no part in the momentum: what it moves makes up for what it removes, once.
            step = answer.w - before
        else:
            # "auto" is settled by the first stage.
            plan = replace(plan, l2=answer.l2)
        if stage.number >= len(todo) - plan.refit.average:
            mean += answer.w / plan.refit.average
        reports.append(report)
        if callback is not None:
            callback(report)
    if plan.refit.average:
        reports[-1] = settle(model, plan, mean, reports[-1])
    return report_of(
        model, plan.weights, tuple(reports),
        method=plan.method if isinstance(plan.method, str) else plan.method.name,
        sparsity=sparsity, l2=float(plan.l2), seed=plan.seed, n_rows=plan.n_rows, batch_size=plan.batch_size,
        first_order=plan.first_order, metric_before=metric_before, seconds=time.perf_counter() - begin,
    )  # fmt: skip


def report_of(
    model: nn.Module, weights: Weights, stages: tuple[StageReport, ...], *, sparsity: Sparsity, **settings: Any
) -> PruneReport:
    """Return the report on a model that has been pruned in these stages."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in weights.tensors(model).items()}
    # Statistics of batch normalisation belong to the weights that they were computed with.
    buffers = dict(model.named_buffers()) if has_batchnorm(model) else {}
    return PruneReport(
        layers=tuple(LayerReport.of(name, tensor) for name, tensor in state.items()),
        stages=stages,
        sparsity=_told(sparsity),
        metric_after=stages[-1].metric,
        weights=state,
        buffers={name: value.detach().cpu().clone() for name, value in buffers.items()},
        **settings,
    )


def _told(sparsity: Sparsity) -> float | dict[str, float] | str:
    if isinstance(sparsity, Mapping):
        return {layer: float(value) for layer, value in sparsity.items()}
    return str(sparsity) if isinstance(sparsity, l0quad.NofM) else float(sparsity)


def shown(steps: Sequence[T], progress: bool) -> Iterable[T]:
    """Return the steps, on whose way progress is shown where it is asked for."""
    return l0quad.Progress().over(steps, "prune: stage") if progress else steps
