"""What a sparsity means: how many weights may be kept, and where."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

import l0quad
from l0quad_adapters.torch.budgets import Budget, checked_sparsity, kept
from l0quad_adapters.torch.network.weights import Choice, Weights, choose, names_of

# Keys are `Choice`; written so, a variable of type dict[str, float] would be refused, for keys are invariant.
Sparsity = float | Mapping[Any, float | l0quad.NofM] | l0quad.NofM

# What a sparsity may be; for messages.
SPARSITIES = "a number, NofM, or a dict of these by layer"


def budget(model: nn.Module, sparsity: Sparsity, weights: Choice | Iterable[Choice] | Weights | None = None) -> Budget:
    """Return the budget over a model's weights, flattened one after the other, that a sparsity means.

    Parameters
    ----------
    model : Module
        It is not changed.
    sparsity : float, NofM or dict
        A share of zeros among all weights together; or a pattern of at most n of m along the inputs of each parameter;
        or either of these by layer, in the words of `choose`, where what is not named is kept whole. Groups of a
        pattern lie side by side along the inputs of one output (in a convolution, the input channels at one place of
        the kernel), never across outputs or parameters. Where m does not divide the inputs, the last group of each
        output has the rest of them, and may keep n too, as if zeros were appended.
    weights : optional
        See `choose`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import budget
    >>> budget(model, 0.5).k
    12
    """
    chosen = choose(model, weights)
    return budget_of(chosen, resolved(model, chosen, sparsity))


def resolved(model: nn.Module, weights: Weights, sparsity: Sparsity) -> Any:
    """Return a sparsity, checked, with layers by the names of their weights."""
    if isinstance(sparsity, l0quad.NofM):
        return _plain(sparsity, "sparsity")
    if not isinstance(sparsity, Mapping):
        return checked_sparsity(sparsity, kind=SPARSITIES)
    found: dict[str, float | l0quad.NofM] = {}
    for layer, value in sparsity.items():
        for name in names_of(model, weights, layer, "sparsity"):
            if name in found:
                raise ValueError(f"sparsity: must name each parameter once, got {name!r} again by {layer!r}")
            if isinstance(value, l0quad.NofM):
                found[name] = _plain(value, f"sparsity[{layer!r}]")
            else:
                found[name] = checked_sparsity(value, f"sparsity[{layer!r}]", "a number or NofM")
    return found


def budget_of(weights: Weights, sparsity: Any) -> Budget:
    """Return the budget that a resolved sparsity means."""
    if isinstance(sparsity, float):
        return l0quad.Cardinality(kept(sparsity, weights.size))
    if isinstance(sparsity, l0quad.NofM):
        sparsity = dict.fromkeys(weights.names, sparsity)
    labels, budgets = np.empty(weights.size, dtype=np.int64), []
    numbered = 0
    for name, shape, axis in zip(weights.names, weights.shapes, weights.inputs, strict=True):
        part = weights.slices[name]
        size = part.stop - part.start
        wanted = sparsity.get(name, 0.0)
        if isinstance(wanted, l0quad.NofM):
            groups, each = _groups(shape, axis, wanted)
        else:
            groups, each = np.zeros(size, dtype=np.int64), np.array([kept(wanted, size)])
        labels[part] = numbered + groups
        budgets.append(each)
        numbered += each.size
    return l0quad.PerBlock(labels, np.concatenate(budgets))


def restricted(k: Budget, columns: np.ndarray | None) -> Budget:
    """Return a budget of `budget_of` over some columns, the others being zero."""
    if columns is None:
        return k
    if isinstance(k, l0quad.Cardinality):
        return l0quad.Cardinality(min(int(k.k), columns.size))
    assert isinstance(k, l0quad.PerBlock)
    return l0quad.PerBlock(k.labels[columns], k.budgets)


def _groups(shape: tuple[int, ...], axis: int, pattern: l0quad.NofM) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each entry of a parameter, flattened, and the budgets of the groups."""
    entries = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape or (1,))
    lines = np.moveaxis(entries, axis, -1)
    lines = lines.reshape(-1, lines.shape[-1])
    n_lines, inputs = lines.shape
    a_line = -(-inputs // int(pattern.m))
    groups = np.empty(entries.size, dtype=np.int64)
    groups[lines] = np.arange(n_lines)[:, None] * a_line + np.arange(inputs) // int(pattern.m)
    return groups, np.full(n_lines * a_line, int(pattern.n))


def _plain(pattern: l0quad.NofM, name: str) -> l0quad.NofM:
    if pattern.order is not None or len(pattern.must) or len(pattern.never):
        raise ValueError(f"{name}: a pattern runs along the inputs: it must have no order, must or never (see mask=)")
    return pattern
