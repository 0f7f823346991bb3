"""What kind each parameter of a model is: whether it is pruned unless told otherwise, and where its inputs run."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from l0quad_adapters.torch.network.named import named

# What no one expects to be pruned, and no warning names.
BIAS, SHORT = "a bias", "of one dimension"
# What a name or a type may still choose, with a word of warning.
SHARED = "shared with an embedding"
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True, slots=True)
class Kind:
    """A parameter, once, whatever holds it.

    Attributes
    ----------
    names : tuple of str
        Those it has, the first as in ``model.named_parameters()``.
    inputs : int
        The axis along which the inputs run that its values multiply.
    reason : str
        Why it is not pruned by default; empty where it is.
    """

    names: tuple[str, ...]
    parameter: nn.Parameter
    inputs: int
    reason: str

    @property
    def is_expected(self) -> bool:
        """Whether all expect it to stay dense: biases, scales of normalisations."""
        return self.reason in (BIAS, SHORT)


def kinds_of(model: nn.Module) -> list[Kind]:
    """Return every parameter with its kind, in the order of ``model.named_parameters()``."""
    held: dict[int, list[tuple[str, nn.Module, str]]] = {}
    found = {}
    for each in named(model):
        held.setdefault(id(each.parameter), []).append((each.name, each.module, each.own))
        found[id(each.parameter)] = each.parameter
    return [_kind(found[key], places) for key, places in held.items()]


def matrices(module: nn.Module) -> dict[str, int]:
    """Return the names of a layer's weights that are pruned by default, and the axis of each one's inputs."""
    if isinstance(module, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return dict.fromkeys(names, 1)
    if isinstance(module, _RECURRENT):
        return {name: 1 for name in _own_tensors(module) if name.startswith("weight")}
    if isinstance(module, _ConvTransposeNd) or is_conv1d(module):
        return {"weight": 0}
    if isinstance(module, nn.Bilinear):
        return {"weight": 2}
    return {"weight": 1} if isinstance(module, (nn.Linear, _ConvNd)) else {}


def parametrised(module: nn.Module) -> list[str]:
    """Return those of a layer's weights that other tensors make, as weight and spectral norm do."""
    if not parametrize.is_parametrized(module):
        return []
    there = {each.own for each in named(module) if each.module is module}
    return [name for name in matrices(module) if parametrize.is_parametrized(module, name) and name not in there]


def _own_tensors(module: nn.Module) -> Iterator[str]:
    for each in named(module):
        if each.module is module:
            yield each.own


def is_conv1d(module: nn.Module) -> bool:
    """Return whether it is the linear layer of transformers' GPT-2, whose weight is (inputs, outputs)."""
    return any(
        each.__name__ == "Conv1D" and each.__module__.partition(".")[0] == "transformers"
        for each in type(module).__mro__
    )


def _kind(parameter: nn.Parameter, places: list[tuple[str, nn.Module, str]]) -> Kind:
    axes = [axis for _, module, own in places for name, axis in matrices(module).items() if name == own]
    embedded = any(isinstance(module, _EMBEDDINGS) for _, module, _ in places)
    _, module, own = places[0]
    if axes and not embedded:
        reason = ""
    elif embedded:
        reason = SHARED if axes else "an embedding"
    elif "bias" in own:
        reason = BIAS
    elif isinstance(module, parametrize.ParametrizationList):
        reason = "parametrised"
    elif parameter.ndim < 2:
        reason = SHORT
    else:
        reason = f"of a layer of unknown kind, {type(module).__name__}"
    inputs = axes[0] if axes else max(0, parameter.ndim - 1)
    return Kind(tuple(name for name, _, _ in places), parameter, inputs, reason)
