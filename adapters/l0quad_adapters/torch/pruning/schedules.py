"""How sparsity rises over the stages."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

import l0quad
from l0quad_adapters.torch.budgets import Budget
from l0quad_adapters.torch.checks import check_choice
from l0quad_adapters.torch.network.weights import Weights
from l0quad_adapters.torch.pruning.budget import budget_of

# The sparsity after the share t of the stages.
SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "poly": lambda first, final, t: final - (final - first) * (1 - t) ** 3,
    "geometric": lambda first, final, t: 1 - (1 - first) * ((1 - final) / (1 - first)) ** t,
    "linear": lambda first, final, t: first + (final - first) * t,
    "constant": lambda first, final, t: final,
}


def sparsities(schedule: str, initial: float, final: float, stages: int) -> list[float]:
    """Return the sparsity of each stage, the last one exactly ``final``.

    ``poly`` is the cubic rise of Zhu and Gupta ("To prune, or not to prune", 2017) that CHITA++ uses, ``geometric``
    multiplies the density by the same factor at each stage, ``linear`` adds the same sparsity, ``constant`` is
    ``final`` from the first stage on.

    Parameters
    ----------
    initial : float
        In [0, 1]. Where it is not below ``final``, every stage is at ``final``.
    final : float
        In [0, 1).
    """
    first = min(initial, final)
    # Rounding must not lead past the end.
    before = [min(final, SCHEDULES[schedule](first, final, stage / stages)) for stage in range(1, stages)]
    return [*before, final]


def targets_of(model: nn.Module, weights: Weights, sparsity: Any, schedule: str, stages: int) -> list[Budget]:
    """Return the budget of each stage for a resolved sparsity, rising from that of the model; patterns hold at once."""
    check_choice(schedule, "schedule", tuple(SCHEDULES))
    w = weights.read(model)
    if isinstance(sparsity, dict):
        first = {name: float(np.mean(w[part] == 0)) for name, part in weights.slices.items() if name in sparsity}
        paths = {
            name: [value] * stages
            if isinstance(value, l0quad.NofM)
            else sparsities(schedule, first[name], value, stages)
            for name, value in sparsity.items()
        }
        each: list[Any] = [{name: path[stage] for name, path in paths.items()} for stage in range(stages)]
    elif isinstance(sparsity, l0quad.NofM):
        each = [sparsity] * stages
    else:
        each = list(sparsities(schedule, float(np.mean(w == 0)), sparsity, stages))
    return [budget_of(weights, target) for target in each]
