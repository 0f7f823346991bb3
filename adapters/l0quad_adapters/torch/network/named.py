"""The parameters of a model under the names that they have without masks."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize


class Mask(nn.Module):
    """The parametrisation that `attach_masks` puts on a parameter: what the mask hides is zero, and gets no gradient.

    Parameters
    ----------
    mask : bool tensor
        In the parameter's shape and on its device; True where the weight is used.
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone())

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights that are used, zero elsewhere."""
        # Not a product, which would have zeros of either sign.
        return weight.masked_fill(~self.mask, 0.0)


class Named(NamedTuple):
    """A parameter where one module holds it; a tied one has several of these.

    Attributes
    ----------
    name : str
        That which it has, or would have without its mask, in ``model.named_parameters()``.
    module, own : Module, str
        What holds it, and its name there.
    mask : bool tensor or None
        The mask on it, of `attach_masks` or of ``torch.nn.utils.prune``.
    """

    name: str
    module: nn.Module
    own: str
    parameter: nn.Parameter
    mask: torch.Tensor | None


def named(model: nn.Module) -> Iterator[Named]:
    """Yield every parameter of a model at every place that holds it."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        for own, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if isinstance(module, parametrize.ParametrizationList) and own == "original" and (mask := mask_of(module)):
                # The path is that of the holder, then "parametrizations", then the parameter's own name.
                *holder, _, tensor = path.split(".")
                yield Named(_joined(".".join(holder), tensor), modules[".".join(holder)], tensor, parameter, mask.mask)
                continue
            plain = own.removesuffix("_orig")
            hidden = getattr(module, f"{plain}_mask", None) if plain != own else None
            if isinstance(hidden, torch.Tensor):
                yield Named(_joined(path, plain), module, plain, parameter, hidden != 0)
            else:
                yield Named(_joined(path, own), module, own, parameter, None)


def mask_of(parametrizations: nn.Module) -> Mask | None:
    """Return the mask among the parametrisations of one tensor."""
    return next((each for each in parametrizations.children() if isinstance(each, Mask)), None)


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return every parameter under each of its names."""
    return {each.name: each.parameter for each in named(model)}


def _joined(path: str, own: str) -> str:
    return f"{path}.{own}" if path else own
