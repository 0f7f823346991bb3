"""Which parameters of a model are pruned, and their values as one flat vector."""

import fnmatch
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

# What is pruned by default: the weights of these layers, never biases or normalisations.
_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)

Choice = str | type[nn.Module]


@dataclass(frozen=True, slots=True)
class Weights:
    """Chosen parameters of a model, one after the other in a flat vector of length p.

    Attributes
    ----------
    names : tuple of str
        As in ``model.named_parameters()``; a tied parameter stands there once.
    shapes : tuple of tuple of int
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """The number of weights, p."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def starts(self) -> np.ndarray:
        """Where each parameter begins in the flat vector, with p at the end."""
        return np.concatenate([[0], np.cumsum([math.prod(shape) for shape in self.shapes])]).astype(np.int64)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector."""
        starts = self.starts.tolist()
        return {name: slice(a, b) for name, a, b in zip(self.names, starts[:-1], starts[1:], strict=True)}

    def tensors(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the model's chosen parameters."""
        return {name: model.get_parameter(name) for name in self.names}

    def read(self, model: nn.Module) -> np.ndarray:
        """Return the weights of a model, shape (p,), float64."""
        parts = [tensor.detach().cpu().double().reshape(-1) for tensor in self.tensors(model).values()]
        return np.asarray(torch.cat(parts).numpy())

    def write(self, model: nn.Module, w: np.ndarray) -> None:
        """Set the weights of a model, in place, in each parameter's own dtype and on its device."""
        with torch.no_grad():
            for (name, part), shape in zip(self.slices.items(), self.shapes, strict=True):
                values = torch.from_numpy(np.array(w[part], dtype=np.float64)).reshape(shape)
                model.get_parameter(name).copy_(values)


def choose(model: nn.Module, weights: "Choice | Iterable[Choice] | Weights | None" = None) -> Weights:
    """Choose the parameters that are pruned.

    Parameters
    ----------
    weights : str, type, list of these, or Weights, optional
        A parameter's or module's name, a pattern (``"layer1.*.weight"``) or a layer type (``torch.nn.Linear``: its
        weight). By default the weights of all convolutional and linear layers.

    Raises
    ------
    ValueError, TypeError
        A name, pattern or type that chooses nothing, `Weights` of another model, a parameter that does not require
        gradients.
    """
    parameters = dict(model.named_parameters())
    if isinstance(weights, Weights):
        chosen = {name: parameters[name] for name in weights.names if name in parameters}
        if tuple(tuple(parameter.shape) for parameter in chosen.values()) != weights.shapes:
            raise ValueError(f"weights: must be parameters of the model in their shapes, got {weights}")
    else:
        wanted = {id(parameter) for choice in _choices(weights) for parameter in _found(model, choice)}
        # A shared parameter is once among these, under its first name.
        chosen = {name: parameter for name, parameter in parameters.items() if id(parameter) in wanted}
    for name, parameter in chosen.items():
        if not parameter.requires_grad:
            raise ValueError(f"weights: must require gradients, but {name} does not")
    return Weights(tuple(chosen), tuple(tuple(parameter.shape) for parameter in chosen.values()))


def _choices(weights: "Choice | Iterable[Choice] | None") -> list[Any]:
    if weights is None:
        return [_LAYERS]
    choices: list[Any] = list(weights) if isinstance(weights, Iterable) and not isinstance(weights, str) else [weights]
    for choice in choices:
        if not isinstance(choice, str) and not (isinstance(choice, type) and issubclass(choice, nn.Module)):
            raise TypeError(f"weights: must be names, patterns, layer types or Weights, got {choice!r}")
    if not choices:
        raise ValueError("weights: must not be empty")
    return choices


def _found(model: nn.Module, choice: Any) -> list[nn.Parameter]:
    """Return the parameters that a name, a pattern, or one or more layer types choose."""
    if isinstance(choice, str):
        named = dict(model.named_parameters(remove_duplicate=False))
        exact = [named[name] for name in (choice, f"{choice}.weight") if name in named][:1]
        found = exact or [named[name] for name in named if fnmatch.fnmatchcase(name, choice)]
    else:
        own = [getattr(module, "weight", None) for module in model.modules() if isinstance(module, choice)]
        found = [weight for weight in own if isinstance(weight, nn.Parameter)]
    if not found:
        raise ValueError(f"weights: nothing in the model is called, matches or is {choice!r}")
    return found
