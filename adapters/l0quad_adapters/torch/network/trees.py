"""Inputs and targets of any form: a tensor, or tuples, lists and dicts of tensors, with one sample a row in each."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn


def call(model: nn.Module, inputs: Any) -> Any:
    """Return what a model makes of its inputs: a dict goes in by keyword, a tuple or list by position."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def leaves(tree: Any) -> list[torch.Tensor]:
    """Return the tensors of a tree."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, (tuple, list)) else ()
    return [leaf for part in parts for leaf in leaves(part)]


def refuse_values(batch: Any, first: int, last: int) -> None:
    """Raise where it is the data that have values that are not finite."""
    for name, part in zip(("inputs", "targets"), batch, strict=True):
        if not all(bool(leaf.isfinite().all()) for leaf in leaves(part)):
            raise ValueError(f"batches: the {name} of rows {first} to {last} have values that are not finite")


def mapped(change: Callable[[torch.Tensor], torch.Tensor], tree: Any) -> Any:
    """Return a tree whose tensors are changed; what is no tensor stays."""
    return joined([tree], lambda parts: change(parts[0]))


def joined(trees: Sequence[Any], join: Callable[[Any], torch.Tensor] = torch.cat) -> Any:
    """Return one tree of several of the same form, tensors joined along the samples."""
    first = trees[0]
    if isinstance(first, torch.Tensor):
        return join(trees)
    if isinstance(first, Mapping):
        # A copy, for what models give back may be more than a dict.
        found: Any = copy.copy(first)
        for key in first:
            found[key] = joined([tree[key] for tree in trees], join)
        return found
    if isinstance(first, (tuple, list)):
        parts = [joined(each, join) for each in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return first


def samples_in(tree: Any, what: str = "data") -> int:
    """Return how many samples a tree has, raised where its tensors do not agree, or are none."""
    sizes = {len(leaf) if leaf.ndim else -1 for leaf in leaves(tree)}
    if len(sizes) != 1 or min(sizes) < 0:
        found = "no tensors" if not sizes else f"lengths {sorted(sizes)}"
        raise ValueError(f"{what}: all tensors must have one sample a row, got {found}")
    return sizes.pop()
