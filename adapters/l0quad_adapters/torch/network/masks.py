"""Masks: which weights a model uses, and what keeps the others at zero while it is trained on."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune
from torch.utils.hooks import RemovableHandle

from l0quad_adapters.torch.network.weights import Choice, Weights, choose

Masks = Mapping[str, torch.Tensor]


def masks(model: nn.Module, weights: Choice | Iterable[Choice] | Weights | None = None) -> dict[str, torch.Tensor]:
    """Return which weights of a model are nonzero.

    Parameters
    ----------
    weights : optional
        Which parameters, see `choose`. One that carries a mask of ``torch.nn.utils.prune`` goes by its own name
        (``"fc.weight"``, not ``"fc.weight_orig"``), and what its mask hides is zero.

    Returns
    -------
    dict of bool tensors
        By parameter, in its shape and on its device.
    """
    with _under_own_names(model) as hidden_by:
        tensors = choose(model, weights).tensors(model)
        nonzero = {name: tensor.detach() != 0 for name, tensor in tensors.items()}
        return {name: found & hidden_by.get(tensors[name], found) for name, found in nonzero.items()}


def attach_masks(
    model: nn.Module, masks: Masks | None = None, weights: Choice | Iterable[Choice] | Weights | None = None
) -> None:
    """Mask a model's weights with ``torch.nn.utils.prune``, so that no training brings a masked weight back.

    Each parameter ``name`` becomes ``name_orig`` with a buffer ``name_mask``, in every layer that shares it;
    ``torch.nn.utils.prune.is_pruned`` and ``remove`` work as after any of that module's own methods.

    Parameters
    ----------
    masks : dict of bool tensors, optional
        By parameter; True where the weight is used. By default the weights that are nonzero now.
    weights : optional
        Where ``masks`` is not given: the parameters to mask, see `choose`.

    Raises
    ------
    ValueError, TypeError
        A name that is no parameter of the model, a mask of another shape or not boolean; nothing is changed.
    """
    pairs = _parameters_with_masks(model, masks, weights)
    with _under_own_names(model):
        holders = [
            (module, name, mask)
            for parameter, mask in pairs
            for module in model.modules()
            for name, candidate in module.named_parameters(recurse=False)
            if candidate is parameter
        ]
    for module, name, mask in holders:
        torch_prune.custom_from_mask(module, name, mask)  # type: ignore[no-untyped-call]


def detach_masks(model: nn.Module) -> None:
    """Make the masks of ``torch.nn.utils.prune`` permanent: parameters have their own names again, and the zeros."""
    for module, name in _masked(model):
        torch_prune.remove(module, name)  # type: ignore[no-untyped-call]


def keep_masks(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    masks: Masks | None = None,
    weights: Choice | Iterable[Choice] | Weights | None = None,
) -> RemovableHandle:
    """Set masked weights back to zero after each step of an optimizer, in its own state too (momentum revives them).

    Parameters
    ----------
    masks, weights : optional
        As for `attach_masks`.

    Returns
    -------
    RemovableHandle
        Its ``remove()`` ends it.
    """
    zeros = [(parameter, ~mask) for parameter, mask in _parameters_with_masks(model, masks, weights)]

    @torch.no_grad()
    def reset(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for parameter, zero in zeros:
            parameter.masked_fill_(zero, 0)
            # Momentum too, or the next step would move the weight again.
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(zero, 0)

    return optimizer.register_step_post_hook(reset)


def flat_mask(weights: Weights, mask: Masks) -> np.ndarray:
    """Return a mask as one flat vector.

    Parameters
    ----------
    mask : dict of bool tensors
        By parameter; parameters that it does not name are unrestricted.

    Returns
    -------
    ndarray of bool, shape (p,)
        True where the weight may be nonzero.

    Raises
    ------
    ValueError, TypeError
        A name that is not among the weights, a mask of another shape or not boolean.
    """
    _check(mask, dict(zip(weights.names, weights.shapes, strict=True)), "mask")
    allowed = np.ones(weights.size, dtype=np.bool_)
    for name, part in weights.slices.items():
        if name in mask:
            allowed[part] = mask[name].cpu().numpy().reshape(-1)
    return allowed


def refuse_masked(model: nn.Module) -> None:
    """Raise where a parameter carries a mask of ``torch.nn.utils.prune``."""
    if masked := _masked(model):
        raise ValueError(f"model: carries masks of torch.nn.utils.prune ({masked[0][1]}); call detach_masks first")


def _parameters_with_masks(
    model: nn.Module, given: Masks | None, weights: Choice | Iterable[Choice] | Weights | None
) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Return each parameter that is given a mask (by default where it is nonzero), with the mask on its device."""
    if given is not None and weights is not None:
        raise ValueError("weights: must not be given together with masks, which names the parameters")
    with _under_own_names(model):
        # A tied parameter may be given under each of its names.
        parameters = dict(model.named_parameters(remove_duplicate=False))
    if given is None:
        given = masks(model, weights)
    _check(given, {name: tuple(parameter.shape) for name, parameter in parameters.items()}, "masks")
    return [(parameters[name], mask.to(parameters[name].device)) for name, mask in given.items()]


def _check(given: Masks, shapes: dict[str, tuple[int, ...]], argument: str) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{argument}: must be a dict of bool tensors, got {type(given).__name__}")
    for name, mask in given.items():
        if name not in shapes:
            raise ValueError(f"{argument}: names {name!r}, which is not among {', '.join(shapes)}")
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
            raise TypeError(f"{argument}: {name} must be a bool tensor, got {getattr(mask, 'dtype', type(mask))}")
        if tuple(mask.shape) != shapes[name]:
            raise ValueError(f"{argument}: {name} must have shape {shapes[name]}, got {tuple(mask.shape)}")


def _masked(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return the modules and names of the parameters that carry a mask of ``torch.nn.utils.prune``."""
    found = []
    for module in model.modules():
        buffers = {name for name, _ in module.named_buffers(recurse=False)}
        for name, _ in module.named_parameters(recurse=False):
            own = name.removesuffix("_orig")
            if own != name and f"{own}_mask" in buffers:
                found.append((module, own))
    return found


@contextmanager
def _under_own_names(model: nn.Module) -> Iterator[dict[nn.Parameter, torch.Tensor]]:
    """Let masked parameters have their own names for a while, as `choose` knows them; gives the mask of each."""
    masked = [(module, name, getattr(module, name)) for module, name in _masked(model)]
    hidden_by = {getattr(module, f"{name}_orig"): getattr(module, f"{name}_mask") != 0 for module, name, _ in masked}
    for module, name, _ in masked:
        _rename(module, f"{name}_orig", name)
    try:
        yield hidden_by
    finally:
        for module, name, product in masked:
            _rename(module, name, f"{name}_orig")
            setattr(module, name, product)


def _rename(module: nn.Module, old: str, new: str) -> None:
    parameter = getattr(module, old)
    delattr(module, old)
    # The product of weight and mask, a plain attribute, has the name otherwise.
    if hasattr(module, new):
        delattr(module, new)
    setattr(module, new, parameter)
