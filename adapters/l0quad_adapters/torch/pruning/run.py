"""The stages of a run, one after the other, and the report on them."""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch import packing
from l0quad_adapters.torch.network.batchnorm import has_batchnorm
from l0quad_adapters.torch.network.weights import Weights, left_out
from l0quad_adapters.torch.pruning.budget import Sparsity
from l0quad_adapters.torch.pruning.checkpoint import Checkpoint, Done
from l0quad_adapters.torch.pruning.stages import Plan, Stage, run_stage, settle
from l0quad_adapters.torch.pruning.window import Window
from l0quad_adapters.torch.report.parts import LayerReport, LeftOut, StageReport
from l0quad_adapters.torch.report.report import PruneReport

T = TypeVar("T")


def run_stages(
    model: nn.Module,
    plan: Plan,
    window: Window,
    todo: list[Stage],
    saved: Checkpoint | None,
    done: Done,
    callback: Callable[[StageReport], object] | None,
    progress: bool | None,
) -> tuple[Plan, Done]:
    """Run the stages that are not done yet; return what was done, and the plan with its damping settled."""
    begin = time.perf_counter() - done.seconds
    # As long as the weights, where they are asked for.
    step = np.zeros(plan.weights.size if plan.refit.momentum else 0)
    mean = np.zeros(plan.weights.size if plan.refit.average else 0)
    if done.stages:
        plan = replace(plan, l2=done.l2)
        step, mean = done.more["step"].numpy().copy(), done.more["mean"].numpy().copy()
        if "window" in done.more:
            window.state = done.more["window"]
    for stage in shown(todo[len(done.stages) :], progress):
        before = plan.weights.read(model) if stage.is_refit and plan.refit.momentum else np.empty(0)
        report, answer = run_stage(model, plan, window, stage, step)
        if stage.is_refit:
            # Pruning has no part in the momentum: what it moves makes up for what it removes, once.
            step = answer.w - before if plan.refit.momentum else step
        else:
            # "auto" is settled by the first stage.
            plan = replace(plan, l2=answer.l2)
        if stage.number >= len(todo) - plan.refit.average:
            mean += answer.w / plan.refit.average
        # As long as the weights, of which the next stage needs its own.
        del before, answer
        done.stages.append(report)
        done.l2, done.seconds = float(plan.l2), time.perf_counter() - begin
        if saved is not None:
            done.more |= {"step": torch.from_numpy(step), "mean": torch.from_numpy(mean)}
            # The rows, as many bytes as A has, only while a later stage takes them.
            done.more.pop("window", None)
            if any(later.reuses for later in todo[stage.number + 1 :]):
                done.more["window"] = window.state
            saved.write(model, done)
        if callback is not None:
            callback(report)
    if plan.refit.average:
        done.stages[-1] = settle(model, plan, mean, done.stages[-1])
    done.seconds = time.perf_counter() - begin
    return plan, done


def report_of(
    model: nn.Module, weights: Weights, stages: tuple[StageReport, ...], *, sparsity: Sparsity, **settings: Any
) -> PruneReport:
    """Return the report on a model that has been pruned in these stages, with a warning of what became empty."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in weights.tensors(model).items()}
    # Statistics of batch normalisation belong to the weights that they were computed with.
    buffers = dict(model.named_buffers()) if has_batchnorm(model) else {}
    layers = tuple(LayerReport.of(name, tensor) for name, tensor in state.items())
    if empty := [layer.name for layer in layers if layer.weights and not layer.kept]:
        warnings.warn(
            f"sparsity: nothing is left of {', '.join(empty)}; a sparsity by layer, or exclude=, can keep some of it",
            UserWarning,
            stacklevel=3,
        )
    return PruneReport(
        layers=layers,
        stages=stages,
        sparsity=_told(sparsity),
        metric_after=stages[-1].metric,
        weights=state,
        buffers={name: value.detach().cpu().clone() for name, value in buffers.items()},
        left_out=tuple(
            LeftOut(each.name, each.shape, math.prod(each.shape), each.reason, each.is_expected)
            for each in left_out(model, weights)
        ),
        others={name: packing.digest(tensor) for name, tensor in model.named_parameters() if name not in weights.names},
        **settings,
    )


def _told(sparsity: Sparsity) -> Any:
    if isinstance(sparsity, Mapping):
        names = {layer: layer if isinstance(layer, str) else layer.__name__ for layer in sparsity}
        return {names[layer]: _told(value) for layer, value in sparsity.items()}
    return f"{sparsity.n}:{sparsity.m}" if isinstance(sparsity, l0quad.NofM) else float(sparsity)


def shown(steps: Sequence[T], progress: bool | None, name: str = "prune: stage") -> Iterable[T]:
    """Return the steps, on whose way progress is shown: where it is asked for, or by default on a terminal."""
    wanted = sys.stderr.isatty() if progress is None else progress
    return l0quad.Progress().over(steps, name) if wanted else steps
