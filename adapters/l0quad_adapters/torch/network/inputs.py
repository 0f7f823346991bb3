"""What a layer's weights multiply: its outputs as X W, X the rows of inputs that a call sees and W the weights.

A weight is one or more matrices of one shape (d x m, inputs by outputs): a linear layer one, a convolution one for each
of its groups, an attention's ``in_proj_weight`` three (query, key, value). A row of a convolution is what one place of
its output sees ("unfolding"), the channels of one place of the kernel side by side.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from l0quad_adapters.torch.network.kinds import is_conv1d, matrices
from l0quad_adapters.torch.network.named import named

# A chunk of unfolded inputs has about so many numbers.
_ENTRIES = 1 << 22
_ATTENTION = ("query", "key", "value")

# What a call saw, from its arguments by position and by name, and its output: chunks of (matrices, n, d).
Rows = Callable[[tuple[Any, ...], dict[str, Any], Any], Iterator[torch.Tensor]]


class Source(NamedTuple):
    """Where one weight's inputs are seen.

    Attributes
    ----------
    module : Module
        The one whose calls show them.
    places : int64 tensor of shape (matrices, d, m)
        Where each entry of the matrices lies in the weight, flattened.
    line : int
        Inputs of one place of the kernel, side by side: d, but for convolutions.
    rows : callable
    """

    module: nn.Module
    places: torch.Tensor
    line: int
    rows: Rows


def sources_of(model: nn.Module, parameter: nn.Parameter) -> list[Source] | None:
    """Return where a weight's inputs are seen, one for each layer that shares it; None where one is of no such kind."""
    attentions = {id(each.out_proj): each for each in model.modules() if isinstance(each, nn.MultiheadAttention)}
    found = []
    for each in named(model):
        # An embedding that shares a weight has no inputs of that kind: it reads whole rows.
        if each.parameter is not parameter or isinstance(each.module, (nn.Embedding, nn.EmbeddingBag)):
            continue
        attention = attentions.get(id(each.module))
        source = _of_attention(attention, "out_proj") if attention else _source(each.module, each.own)
        if source is None:
            return None
        found.append(source)
    return found or None


def _source(module: nn.Module, own: str) -> Source | None:
    if own not in matrices(module):
        return None
    if isinstance(module, nn.MultiheadAttention):
        return _of_attention(module, own)
    if isinstance(module, _ConvTransposeNd):
        return _of_transposed(module)
    if isinstance(module, _ConvNd):
        return _of_convolution(module)
    if isinstance(module, nn.Linear) or is_conv1d(module):
        places = _numbered(module.get_parameter("weight"))
        places = places.T if isinstance(module, nn.Linear) else places
        return Source(module, places[None], places.shape[0], lambda args, kwargs, _: _flat([_first(args, kwargs)]))
    return None


def _numbered(weight: torch.Tensor) -> torch.Tensor:
    return torch.arange(weight.numel()).reshape(weight.shape)


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    found: torch.Tensor = args[0] if args else next(iter(kwargs.values()))
    return found


def _flat(inputs: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield inputs, the last axis of which are their values; of attention the rows of each may be another number."""
    rows = [each.reshape(-1, each.shape[-1]) for each in inputs]
    if len({len(each) for each in rows}) > 1:
        # Rows of zeros add nothing to X'X.
        most = max(len(each) for each in rows)
        rows = [nn.functional.pad(each, (0, 0, 0, most - len(each))) for each in rows]
    yield torch.stack(rows)


def _of_attention(attention: nn.MultiheadAttention, own: str) -> Source:
    """Return the inputs of an attention's projections.

    Its output projection is no call of its own: with the identity in its place, the attention's output is what it sees.
    """
    if own == "out_proj":
        places = _numbered(attention.out_proj.weight).T
        width = places.shape[0]

        def seen(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> Iterator[torch.Tensor]:
            weight = attention.out_proj.weight
            plain = {"out_proj.weight": torch.eye(width, dtype=weight.dtype, device=weight.device)}
            if attention.out_proj.bias is not None:
                plain["out_proj.bias"] = torch.zeros_like(attention.out_proj.bias)
            return _flat([functional_call(attention, plain, args, kwargs)[0]])

        return Source(attention, places[None], width, seen)
    weight = attention.get_parameter(own)
    wanted = _ATTENTION if own == "in_proj_weight" else tuple(name for name in _ATTENTION if name[0] == own[0])
    places = _numbered(weight).reshape(len(wanted), -1, weight.shape[1]).transpose(1, 2)

    def given(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> Iterator[torch.Tensor]:
        told = dict(zip(_ATTENTION, args, strict=False)) | kwargs
        return _flat([told[name] for name in wanted])

    return Source(attention, places, weight.shape[1], given)


def _of_convolution(layer: _ConvNd) -> Source:
    groups, axes = layer.groups, len(layer.kernel_size)
    numbered = _numbered(layer.weight)
    channels = numbered.shape[1]
    numbered = numbered.reshape(groups, -1, *numbered.shape[1:]).movedim((1, 2), (-1, -2))
    places = numbered.reshape(groups, -1, numbered.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode

    def rows(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> Iterator[torch.Tensor]:
        x = _batched(_first(args, kwargs), axes)
        for some in _chunks(x, layer):
            padded = nn.functional.pad(some, layer._reversed_padding_repeated_twice, mode=mode)
            yield _unfolded(padded, layer, layer.stride)

    return Source(layer, places, channels, rows)


def _of_transposed(layer: _ConvTransposeNd) -> Source:
    """Return a transposed convolution's inputs: those of a convolution with the kernel turned round.

    Its images have ``stride - 1`` zeros between the values, and as many around as the output asks for.
    """
    groups, axes = layer.groups, len(layer.kernel_size)
    padding = tuple(map(int, layer.padding))
    spaced: Any = (..., *(slice(None, None, step) for step in layer.stride))
    numbered = _numbered(layer.weight).flip(tuple(range(2, 2 + axes)))
    channels = numbered.shape[0] // groups
    numbered = numbered.reshape(groups, channels, *numbered.shape[1:]).movedim((1, 2), (-2, -1))
    places = numbered.reshape(groups, -1, numbered.shape[-1])

    def rows(args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> Iterator[torch.Tensor]:
        x = _batched(_first(args, kwargs), axes)
        reach = [apart * (size - 1) for apart, size in zip(layer.dilation, layer.kernel_size, strict=True)]
        before = [far - pad for far, pad in zip(reach, padding, strict=True)]
        for some in _chunks(x, layer):
            spread = [(size - 1) * step + 1 for size, step in zip(some.shape[2:], layer.stride, strict=True)]
            image = some.new_zeros(*some.shape[:2], *spread)
            image[spaced] = some
            # Negative where the padding cuts the output.
            after = [
                out + far - first - there
                for out, far, first, there in zip(output.shape[-axes:], reach, before, spread, strict=True)
            ]
            around = [each for pair in zip(reversed(before), reversed(after), strict=True) for each in pair]
            yield _unfolded(nn.functional.pad(image, around), layer, (1,) * axes)

    return Source(layer, places, channels, rows)


def _batched(x: torch.Tensor, axes: int) -> torch.Tensor:
    return x if x.ndim == axes + 2 else x[None]


def _chunks(x: torch.Tensor, layer: _ConvNd) -> tuple[torch.Tensor, ...]:
    a_sample = x[0].numel() * layer.weight[0, 0].numel() if len(x) else 1
    return torch.split(x, max(1, _ENTRIES // a_sample))


def _unfolded(x: torch.Tensor, layer: _ConvNd, stride: tuple[int, ...]) -> torch.Tensor:
    """Return what each place of the output sees of padded images, (groups, n, places of the kernel x channels)."""
    for axis, (size, step, apart) in enumerate(zip(layer.kernel_size, stride, layer.dilation, strict=True), 2):
        x = x.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
    # (samples, channels, output, kernel) to (groups, samples, output, kernel, channels of a group).
    x = x.reshape(len(x), layer.groups, -1, *x.shape[2:]).movedim((1, 2), (0, -1))
    return x.reshape(layer.groups, x.shape[1:-1].numel() // layer.weight[0, 0].numel(), -1)
