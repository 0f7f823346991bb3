"""Per-sample gradients of linear and convolutional layers in closed form.

With x the input of a layer and d the gradient of the summed loss at its output, a sample's weight gradient is d x' for
a linear layer, and for a convolution the same with the x that each place of the kernel sees. Source: Goodfellow,
"Efficient per-example gradient computations", 2015; Rochette, Manoel and Tramel, "Efficient per-example gradient
computations in convolutional neural networks", 2019.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import vmap

from l0quad_adapters.torch.weights import Weights


def layers_of(model: nn.Module, chosen: Weights) -> list[nn.Module] | None:
    """Return the layer of each chosen weight, None where one is not of a kind that has a closed form here."""
    modules = dict(model.named_modules())
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    found = []
    for name, parameter in chosen.tensors(model).items():
        path, _, own = name.rpartition(".")
        layer = modules[path]
        plain = type(layer) is nn.Linear or (
            type(layer) is nn.Conv2d
            and layer.groups == 1
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

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of these samples, a row each, and their losses."""
        seen: dict[nn.Module, tuple[torch.Tensor, GradientEdge]] = {}

        def keep(layer: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if layer in seen:
                raise RuntimeError(f"way: 'layers' needs each layer to be called once, {layer} is called again")
            # The place in the graph: the tensor itself may be changed in place afterwards.
            seen[layer] = (arguments[0].detach(), get_gradient_edge(output))

        hooks = [layer.register_forward_hook(keep) for layer in self._layers]
        try:
            with torch.enable_grad():
                outputs = self._model(inputs)
                losses = vmap(lambda o, y: self._loss_fn(o.unsqueeze(0), y.unsqueeze(0)))(outputs, targets)
                at_outputs = torch.autograd.grad(losses.sum(), [seen[layer][1] for layer in self._layers])
        finally:
            for hook in hooks:
                hook.remove()
        rows = [_rows(layer, seen[layer][0], d) for layer, d in zip(self._layers, at_outputs, strict=True)]
        return torch.cat(rows, dim=1), losses.detach()


def _rows(layer: nn.Module, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Return each sample's gradient of the layer's weight, raveled, from its input and the gradient at its output."""
    if isinstance(layer, nn.Conv2d):
        return _convolution_rows(layer, x, d)
    # Axes between the first and the last (a sequence's places) are summed over.
    x, d = x.reshape(len(x), -1, x.shape[-1]), d.reshape(len(d), -1, d.shape[-1])
    return torch.bmm(d.transpose(1, 2), x).flatten(1)


def _convolution_rows(layer: nn.Conv2d, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Return the rows of a convolution: for each place in the kernel, d times the input that this place has seen.

    Unfolding the input would move as many numbers as there are places; products of shifted views stay in the cache.
    """
    (high, wide), (down, right) = d.shape[2:], layer.stride
    padding, dilation = tuple(map(int, layer.padding)), layer.dilation
    x = nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    rows = x.new_empty(len(x), d.shape[1], x.shape[1], *layer.kernel_size)
    for i in range(layer.kernel_size[0]):
        for j in range(layer.kernel_size[1]):
            top, left = i * dilation[0], j * dilation[1]
            seen = x[:, :, top : top + down * (high - 1) + 1 : down, left : left + right * (wide - 1) + 1 : right]
            rows[..., i, j] = torch.bmm(d.flatten(2), seen.flatten(2).transpose(1, 2))
    return rows.flatten(1)
