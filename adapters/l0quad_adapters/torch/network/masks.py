"""Masks: which weights a model uses, and what keeps the others at zero while it is trained on."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torch.utils.hooks import RemovableHandle

from l0quad_adapters.torch.network.named import Mask, Named, mask_of, named
from l0quad_adapters.torch.network.weights import Choice, Weights, choose

Masks = Mapping[str, torch.Tensor]


def masks(model: nn.Module, weights: Choice | Iterable[Choice] | Weights | None = None) -> dict[str, torch.Tensor]:
    """Return which weights of a model are nonzero.

    Parameters
    ----------
    model : Module
        It is not changed.
    weights : optional
        Which parameters, see `choose`. One that carries a mask, of `attach_masks` or of ``torch.nn.utils.prune``, goes
        by its own name (``"fc.weight"``, not ``"fc.weight_orig"``), and what its mask hides is zero.

    Returns
    -------
    dict of bool tensors
        By parameter, in its shape and on its device.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import masks
    >>> with torch.no_grad():
    ...     model.weight[:, :4] = 0
    >>> int(masks(model)["weight"].sum())
    12
    """
    hidden_by = {id(each.parameter): each.mask for each in named(model) if each.mask is not None}
    found = {}
    for name, tensor in choose(model, weights).tensors(model).items():
        nonzero = tensor.detach() != 0
        found[name] = nonzero & hidden_by.get(id(tensor), nonzero)
    return found


def attach_masks(
    model: nn.Module, masks: Masks | None = None, weights: Choice | Iterable[Choice] | Weights | None = None
) -> None:
    """Mask a model's weights, so that no training brings a masked weight back.

    Each is parametrised (``torch.nn.utils.parametrize``) in every layer that shares it: whatever reads the layer's
    weight, attention too, gets it with the mask's zeros, and masked weights get no gradient. So the model can be
    trained, copied (``copy.deepcopy``, moving averages) and saved by its ``state_dict``; its parameters are the same
    objects, so an optimizer that was made before still has them. A mask that is there already, also of
    ``torch.nn.utils.prune``, holds as well.

    Parameters
    ----------
    model : Module
        Its layers are changed, its parameters stay the same objects.
    masks : dict of bool tensors, optional
        By parameter; True where the weight is used. By default the weights that are nonzero now.
    weights : optional
        Where ``masks`` is not given: the parameters to mask, see `choose`.

    Raises
    ------
    ValueError, TypeError
        A name that is no parameter of the model, a mask of another shape or not boolean; nothing is changed.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import attach_masks, detach_masks
    >>> with torch.no_grad():
    ...     model.weight[:, :4] = 0
    >>> attach_masks(model)
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> model(torch.randn(20, 8)).sum().backward()
    >>> optimizer.step()
    >>> detach_masks(model)
    >>> int((model.weight == 0).sum())
    12
    """
    wanted = {id(parameter): mask for parameter, mask in _parameters_with_masks(model, masks, weights)}
    for each in [each for each in named(model) if id(each.parameter) in wanted]:
        mask = wanted[id(each.parameter)] if each.mask is None else wanted[id(each.parameter)] & each.mask
        if _is_attached(each):
            attached = mask_of(each.module.parametrizations[each.own])  # type: ignore[index, arg-type]
            assert attached is not None
            attached.mask.copy_(mask)
            continue
        if each.mask is not None:
            torch_prune.remove(each.module, each.own)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            each.parameter.masked_fill_(~mask, 0)
        parametrize.register_parametrization(each.module, each.own, Mask(mask))
        if isinstance(each.module, nn.RNNBase) and not _hooked(each.module):
            each.module.register_forward_pre_hook(_show_masked)
            each.module.register_forward_hook(_show_parameters, always_call=True)


def detach_masks(model: nn.Module) -> None:
    """Make masks permanent, of `attach_masks` and of ``torch.nn.utils.prune``: parameters are plain, with the zeros.

    Parameters
    ----------
    model : Module
        Without masks it stays as it is.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import detach_masks
    >>> _ = torch.nn.utils.prune.l1_unstructured(model, "weight", 0.5)
    >>> detach_masks(model)
    >>> sorted(name for name, _ in model.named_parameters())
    ['bias', 'weight']
    """
    for each in [each for each in named(model) if each.mask is not None]:
        if not _is_attached(each):
            torch_prune.remove(each.module, each.own)  # type: ignore[no-untyped-call]
            continue
        with torch.no_grad():
            each.parameter.masked_fill_(~each.mask, 0)  # type: ignore[operator]
        parametrize.remove_parametrizations(each.module, each.own, leave_parametrized=False)
        if isinstance(each.module, nn.RNNBase):
            _show_parameters(each.module)
            if not parametrize.is_parametrized(each.module):
                _unhook(each.module)


def keep_masks(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    masks: Masks | None = None,
    weights: Choice | Iterable[Choice] | Weights | None = None,
) -> RemovableHandle:
    """Set masked weights back to zero after each step of an optimizer, in its own state too (momentum revives them).

    Parameters
    ----------
    optimizer : Optimizer
        What trains the model.
    model : Module
        Whose parameters it trains.
    masks, weights : optional
        As for `attach_masks`.

    Returns
    -------
    RemovableHandle
        Its ``remove()`` ends it.

    Raises
    ------
    ValueError, TypeError
        As for `attach_masks`.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import keep_masks
    >>> with torch.no_grad():
    ...     model.weight[:, :4] = 0
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> handle = keep_masks(optimizer, model)
    >>> model(torch.randn(20, 8)).sum().backward()
    >>> optimizer.step()
    >>> int((model.weight == 0).sum())
    12
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
    """Raise where a parameter carries a mask."""
    if carried := [each.name for each in named(model) if each.mask is not None]:
        raise ValueError(f"model: carries masks ({carried[0]}); call detach_masks first")


def _parameters_with_masks(
    model: nn.Module, given: Masks | None, weights: Choice | Iterable[Choice] | Weights | None
) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Return each parameter that is given a mask (by default where it is nonzero), with the mask on its device."""
    if given is not None and weights is not None:
        raise ValueError("weights: must not be given together with masks, which names the parameters")
    # A tied parameter may be given under each of its names.
    parameters = {each.name: each.parameter for each in named(model)}
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


def _is_attached(each: Named) -> bool:
    return parametrize.is_parametrized(each.module, each.own)


# A recurrent layer computes with a list of its parameters, made once. It gets the masked ones for the time of a call:
# between calls a list of tensors that belong to a graph could not be copied.


def _show_masked(layer: nn.Module, *_: Any) -> None:
    layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]  # type: ignore[assignment, union-attr]


def _show_parameters(layer: nn.Module, *_: Any) -> None:
    own = {each.own: each.parameter for each in named(layer) if each.module is layer}
    layer._flat_weights = [own[name] for name in layer._flat_weights_names]  # type: ignore[assignment, union-attr]


def _hooked(layer: nn.Module) -> bool:
    return _show_masked in layer._forward_pre_hooks.values()


def _unhook(layer: nn.Module) -> None:
    for hooks, ours in ((layer._forward_pre_hooks, _show_masked), (layer._forward_hooks, _show_parameters)):
        for key in [key for key, hook in hooks.items() if hook is ours]:
            del hooks[key]
            layer._forward_hooks_always_called.pop(key, None)
