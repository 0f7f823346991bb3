"""Which parameters of a model are pruned, and their values as one flat vector."""

import fnmatch
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from l0quad_adapters.torch.network.kinds import SHARED, Kind, kinds_of, matrices, parametrised
from l0quad_adapters.torch.network.named import parameters

Choice = str | type[nn.Module]

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Weights:
    """Chosen parameters of a model, one after the other in a flat vector of length p.

    Attributes
    ----------
    names : tuple of str
        As in ``model.named_parameters()``; a tied parameter stands there once.
    shapes : tuple of tuple of int
    inputs : tuple of int
        The axis of each along which its inputs run, where `choose` made them.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import choose
    >>> weights = choose(model)
    >>> weights.shapes, weights.inputs
    (((3, 8),), (1,))
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...] = ()

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
        there = parameters(model)
        return {name: there[name] for name in self.names}

    def read(self, model: nn.Module) -> np.ndarray:
        """Return the weights of a model, shape (p,), float64."""
        w = np.empty(self.size)
        for part, tensor in zip(self.slices.values(), self.tensors(model).values(), strict=True):
            w[part] = tensor.detach().cpu().double().reshape(-1).numpy()
        return w

    def write(self, model: nn.Module, w: np.ndarray) -> None:
        """Set the weights of a model, in place, in each parameter's own dtype and on its device."""
        with torch.no_grad():
            for part, tensor in zip(self.slices.values(), self.tensors(model).values(), strict=True):
                values = torch.from_numpy(np.array(w[part], dtype=np.float64)).reshape(tensor.shape)
                tensor.copy_(values)


class Dense(NamedTuple):
    """A parameter that is not pruned: its name and shape, why, and whether no one expects it to be."""

    name: str
    shape: tuple[int, ...]
    reason: str
    is_expected: bool


def choose(
    model: nn.Module,
    weights: "Choice | Iterable[Choice] | Weights | None" = None,
    exclude: "Choice | Iterable[Choice] | None" = None,
) -> Weights:
    """Choose the parameters that are pruned.

    By default the weights of linear, bilinear, convolutional, attention and recurrent layers, and of the ``Conv1D`` of
    transformers. What else has two dimensions or more and is neither chosen nor excluded is named in a warning: an
    embedding, also where a linear layer shares it; a weight that is parametrised (``weight_norm``, ``spectral_norm``),
    whose parts may be chosen by their own names; a parameter of a layer of another kind.

    Parameters
    ----------
    model : Module
        It is not changed.
    weights : str, type, list of these, or Weights, optional
        A parameter's name (any of those of a tied one), the name of a module (the weights in it), a pattern for either
        (``"layer1.*.weight"``), or a type of modules (``torch.nn.Linear``: the weights in each).
    exclude : str, type or list of these, optional
        In the same words, what is left out.

    Raises
    ------
    ValueError, TypeError
        A name, pattern or type that is nothing in the model, `Weights` of another model, nothing left to prune.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import choose
    >>> choose(model).names
    ('weight',)
    """
    kinds = kinds_of(model)
    out = {id(each.parameter) for each in _chosen(model, kinds, exclude, "exclude")} if exclude is not None else set()
    if isinstance(weights, Weights):
        by_name = {name: kind for kind in kinds for name in kind.names}
        chosen = [by_name[name] for name in weights.names if name in by_name]
        if tuple(tuple(kind.parameter.shape) for kind in chosen) != weights.shapes:
            raise ValueError(f"weights: must be parameters of the model in their shapes, got {weights}")
    elif weights is None:
        chosen = [kind for kind in kinds if not kind.reason]
        if not chosen:
            raise ValueError("weights: nothing in the model is a weight of a known layer; name what is to be pruned")
    else:
        wanted = {id(kind.parameter) for kind in _chosen(model, kinds, weights, "weights")}
        chosen = [kind for kind in kinds if id(kind.parameter) in wanted]
    taken = [kind for kind in chosen if id(kind.parameter) not in out]
    if not taken:
        raise ValueError("exclude: leaves nothing of the weights")
    names = weights.names if isinstance(weights, Weights) and not out else tuple(kind.names[0] for kind in taken)
    if weights is None:
        out |= {id(kind.parameter) for kind in taken}
        _warn_of([kind for kind in kinds if id(kind.parameter) not in out and not kind.is_expected])
    return Weights(
        names,
        tuple(tuple(kind.parameter.shape) for kind in taken),
        tuple(kind.inputs for kind in taken),
    )


def left_out(model: nn.Module, weights: Weights) -> list[Dense]:
    """Return the parameters that are not among the weights, and why."""
    return [
        Dense(kind.names[0], tuple(kind.parameter.shape), kind.reason or "not chosen", kind.is_expected)
        for kind in kinds_of(model)
        if not set(kind.names) & set(weights.names)
    ]


def names_of(model: nn.Module, weights: Weights, choice: Any, argument: str) -> list[str]:
    """Return which of the weights a name, a pattern or a type means, one of them at least."""
    found = {id(kind.parameter) for kind in _chosen(model, kinds_of(model), choice, argument)}
    names = [name for name, tensor in weights.tensors(model).items() if id(tensor) in found]
    if not names:
        raise ValueError(f"{argument}: names {choice!r}, which is not among the pruned weights {weights.names}")
    return names


def require_gradients(model: nn.Module, weights: Weights) -> None:
    """Raise where one of the weights has no gradient, which magnitude pruning alone can do without."""
    for name, parameter in weights.tensors(model).items():
        if not parameter.requires_grad:
            raise ValueError(f"weights: must require gradients, but {name} does not; magnitude needs none")


def _warn_of(kinds: list[Kind]) -> None:
    if not kinds:
        return
    told = [f"{kind.names[0]} ({kind.parameter.numel():,}, {kind.reason})" for kind in kinds[:_MOST_NAMED]]
    more = f" and {len(kinds) - _MOST_NAMED} more" if len(kinds) > _MOST_NAMED else ""
    warnings.warn(
        f"weights: left dense: {', '.join(told)}{more}; name them in weights= to prune them, in exclude= to leave them",
        UserWarning,
        stacklevel=3,
    )


def _chosen(model: nn.Module, kinds: list[Kind], choices: Any, argument: str) -> list[Kind]:
    found = [kind for choice in _choices(choices, argument) for kind in _found(model, kinds, choice, argument)]
    if not found:
        raise ValueError(f"{argument}: must not be empty")
    return found


def _choices(choices: Any, argument: str) -> list[Any]:
    listed = list(choices) if isinstance(choices, Iterable) and not isinstance(choices, str) else [choices]
    for choice in listed:
        if not isinstance(choice, str) and not (isinstance(choice, type) and issubclass(choice, nn.Module)):
            raise TypeError(f"{argument}: must be names, patterns or layer types, got {choice!r}")
    return listed


def _found(model: nn.Module, kinds: list[Kind], choice: Any, argument: str) -> list[Kind]:
    """Return the parameters that a name, a pattern or a type means."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(choice, str):
        found = _of_names(kinds, {choice}) or _of_modules(
            kinds, modules, [choice] if choice and choice in modules else []
        )
        if not found:
            found = [kind for kind in kinds if any(fnmatch.fnmatchcase(name, choice) for name in kind.names)]
        if not found:
            found = _of_modules(
                kinds, modules, [path for path in modules if path and fnmatch.fnmatchcase(path, choice)]
            )
    else:
        paths = [path for path, module in modules.items() if isinstance(module, choice)]
        found = _of_modules(kinds, modules, paths)
    if not found:
        raise ValueError(f"{argument}: nothing in the model is called, matches or is {choice!r}")
    return found


def _of_names(kinds: list[Kind], names: set[str]) -> list[Kind]:
    return [kind for kind in kinds if names & set(kind.names)]


def _of_modules(kinds: list[Kind], modules: dict[str, nn.Module], paths: list[str]) -> list[Kind]:
    """Return the weights of these modules, or else of what is in them."""
    names: set[str] = set()
    for path in paths:
        inside = {at: each for at, each in modules.items() if not path or at == path or at.startswith(f"{path}.")}
        # A norm or an embedding has a weight of its own that is pruned only when it is asked for.
        own = set(matrices(modules[path])) or {"weight"}
        names |= {f"{path}.{name}" if path else name for name in own}
        names |= {f"{at}.{name}" if at else name for at, each in inside.items() for name in matrices(each)}
        for at, each in inside.items():
            if missed := parametrised(each):
                warnings.warn(
                    f"weights: left dense: {at}.{missed[0]}, which is parametrised; its parts have names of their own",
                    UserWarning,
                    stacklevel=2,
                )
    found = _of_names(kinds, names)
    if shared := [kind.names[0] for kind in found if kind.reason == SHARED]:
        warnings.warn(f"weights: {shared[0]} is taken, which an embedding shares", UserWarning, stacklevel=2)
    return found
