"""Per-sample gradients of linear and convolutional layers in closed form.

With x the input of a layer and d the gradient of the summed loss at its output, a sample's weight gradient is d x' for
a linear layer, and for a convolution the same with the x that each place of the kernel sees (of one with groups, what
autograd computes for one sample). Source: Goodfellow,
"Efficient per-example gradient computations", 2015; Rochette, Manoel and Tramel, "Efficient per-example gradient
computations in convolutional neural networks", 2019.
"""

from collections import Counter
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import vmap
from torch.nn.modules.conv import _ConvNd

from l0quad_adapters.torch.network.trees import call, mapped
from l0quad_adapters.torch.network.weights import Weights


def layers_of(model: nn.Module, chosen: Weights) -> list[nn.Module] | None:
    """Return the layer of each chosen weight, None where one is not of a kind that has a closed form here."""
    modules = dict(model.named_modules())
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    found = []
    for name, parameter in chosen.tensors(model).items():
        path, _, own = name.rpartition(".")
        layer = modules[path]
        plain = type(layer) is nn.Linear or (
            type(layer) in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
            and not isinstance(layer.padding, str)
            and layer.padding_mode == "zeros"
        )
        if own != "weight" or not plain or uses[id(parameter)] > 1:
            return None
        found.append(layer)
    return found


class LayerGradients:
    """One forward and one backward pass for a chunk of samples; gradients from what the layers saw.

    Right where the samples of a chunk do not influence each other and each weight is used in one call of its layer.
    """

    def __init__(self, model: nn.Module, loss_fn: Callable[[Any, Any], torch.Tensor], layers: list[nn.Module]) -> None:
        self._model, self._loss_fn, self._layers = model, loss_fn, layers

    def __call__(self, batch: tuple[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of these samples, a row each, and their losses."""
        inputs, targets = batch
        seen: dict[nn.Module, tuple[torch.Tensor, GradientEdge]] = {}

        def keep(layer: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if layer in seen:
                raise RuntimeError(f"way: 'layers' needs each layer to be called once, {layer} is called again")
            # The place in the graph: the tensor itself may be changed in place afterwards.
            seen[layer] = (arguments[0].detach(), get_gradient_edge(output))

        hooks = [layer.register_forward_hook(keep) for layer in self._layers]
        try:
            with torch.enable_grad():
                losses = vmap(self._loss_of_one)(call(self._model, inputs), targets)
                at_outputs = torch.autograd.grad(losses.sum(), [seen[layer][1] for layer in self._layers])
        finally:
            for hook in hooks:
                hook.remove()
        sizes = [layer.get_parameter("weight").numel() for layer in self._layers]
        dtype = reduce(torch.promote_types, (d.dtype for d in at_outputs))
        rows = losses.new_empty((len(losses), sum(sizes)), dtype=dtype)
        for layer, d, part in zip(self._layers, at_outputs, torch.split(rows, sizes, dim=1), strict=True):
            _fill(part, layer, seen[layer][0], d)
        return rows, losses.detach()

    def _loss_of_one(self, outputs: Any, targets: Any) -> torch.Tensor:
        return self._loss_fn(*(mapped(lambda part: part.unsqueeze(0), each) for each in (outputs, targets)))


def _fill(rows: torch.Tensor, layer: nn.Module, x: torch.Tensor, d: torch.Tensor) -> None:
    """Fill in each sample's gradient of the layer's weight, raveled, from its input and the gradient at its output."""
    if isinstance(layer, nn.Conv2d) and layer.groups == 1:
        _fill_convolution(rows, layer, x, d)
        return
    if isinstance(layer, _ConvNd):
        _fill_one_by_one(rows, layer, x, d)
        return
    # Axes between the first and the last (a sequence's places) are summed over.
    x, d = x.reshape(len(x), -1, x.shape[-1]), d.reshape(len(d), -1, d.shape[-1])
    rows.view(len(x), d.shape[-1], x.shape[-1]).copy_(torch.bmm(d.transpose(1, 2), x))


def _fill_one_by_one(rows: torch.Tensor, layer: _ConvNd, x: torch.Tensor, d: torch.Tensor) -> None:
    """Fill in the rows of any convolution without circular padding, a sample at a time."""
    weight = layer.weight.detach()
    for row, one, at_output in zip(rows, x, d, strict=True):
        _, gradient, _ = torch.ops.aten.convolution_backward(
            at_output[None], one[None], weight, None, layer.stride, layer.padding, layer.dilation,
            False, [0] * len(layer.stride), layer.groups, [False, True, False],
        )  # fmt: skip
        row.copy_(gradient.reshape(-1))


def _fill_convolution(rows: torch.Tensor, layer: nn.Conv2d, x: torch.Tensor, d: torch.Tensor) -> None:
    """Fill in the rows of a convolution: for each place in the kernel, d times the input that this place has seen.

    In an image raveled line by line, what a place sees begins at its offset; where d has as many columns as the image
    (zeros in those that it lacks), that is one slice, and nothing is unfolded or copied. With strides, it is a slice of
    every so many lines and columns.
    """
    (high, wide), (down, right) = d.shape[2:], layer.stride
    (above, beside), dilation = tuple(map(int, layer.padding)), layer.dilation
    odd = -(x.shape[2] + 2 * above) % down, -(x.shape[3] + 2 * beside) % right
    x = nn.functional.pad(x, (beside, beside + odd[1], above, above + odd[0]))
    line = x.shape[3] // right
    length = (high - 1) * line + wide
    d = nn.functional.pad(d, (0, line - wide)).flatten(2)[..., :length]
    places = rows.view(len(x), d.shape[1], x.shape[1], *layer.kernel_size)
    for i in range(layer.kernel_size[0]):
        for j in range(layer.kernel_size[1]):
            top, left = i * dilation[0], j * dilation[1]
            seen = x[:, :, top % down :: down, left % right :: right].flatten(2)
            start = top // down * line + left // right
            places[..., i, j] = torch.bmm(d, seen[..., start : start + length].transpose(1, 2))
