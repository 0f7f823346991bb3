"""The ways to compute per-sample gradients, which agree to rounding, and which of them is right and fast for a model.

* "layers": one ordinary backward pass for a chunk of samples; each linear or convolutional layer's rows come of its
  input and the gradient at its output (Goodfellow, "Efficient per-example gradient computations", 2015).
* "vmap": ``torch.func.vmap`` over ``torch.func.grad_and_value``, for any model.
* "loop": a backward pass a sample, for any model at all, and the reference of the others.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from l0quad_adapters.torch.network.data import Batch, LossFn, part_of
from l0quad_adapters.torch.network.layers import LayerGradients, layers_of
from l0quad_adapters.torch.network.trees import call, joined, leaves, mapped, samples_in
from l0quad_adapters.torch.network.weights import Weights

# The gradients of some rows, and the loss of each.
Block = tuple[torch.Tensor, torch.Tensor]
# A chunk of samples to its rows.
Rows = Callable[[Batch], Block]

WAYS = ("auto", "layers", "vmap", "loop")
# A chunk's gradients and what the layers keep for them may take about this much, some of which stays in the cache. Rows
# a second and memory with it stand in docs/benchmarks/results/gradients.md.
_CHUNK_BYTES = 1 << 25
_MOST_SAMPLES = 512
# A fast way is believed where it equals the loop on two samples to this share of each parameter's largest entry: by
# docs/benchmarks/results/gradients.md they differ by 1e-6, and by 1e-4 where rounding turns a ReLU on or off.
_AGREES = 1e-3
# Of more weights than this, a sample's backward pass takes longer than what vmap saves, which is the calls.
_MOST_FOR_VMAP = 1 << 20
# How many samples show whether a loss is a mean, and to which share.
_SHOWN, _IS_MEAN = 8, 1e-3


def scalar(loss: torch.Tensor) -> torch.Tensor:
    """Return the loss, refused where it is not a scalar."""
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"loss_fn: must return a scalar tensor, got {type(loss)}")
    if loss.numel() != 1 or loss.ndim > 1:
        raise ValueError(f"loss_fn: must return a scalar, got shape {tuple(loss.shape)}")
    return loss.reshape(())


def chunk_size(chosen: Weights, inputs: Any) -> int:
    """Return how many samples' gradients and unfolded inputs are taken to fit."""
    values = sum(math.prod(leaf.shape[1:]) for leaf in leaves(inputs))
    return max(1, min(_MOST_SAMPLES, _CHUNK_BYTES // (4 * (2 * chosen.size + 64 * values))))


def batch_row(model: nn.Module, loss_fn: LossFn, chosen: Weights, batch: Batch) -> Block:
    """Return the gradient of the mean loss of a batch, a row, and that loss."""
    tensors = list(chosen.tensors(model).values())
    with torch.enable_grad():
        loss = loss_fn(call(model, batch[0]), batch[1])
        found = torch.autograd.grad(loss, tensors, allow_unused=True)
    parts = [torch.zeros_like(w) if g is None else g for g, w in zip(found, tensors, strict=True)]
    return torch.cat([part.reshape(1, -1) for part in parts], dim=1), loss.detach().reshape(1)


def way_for(model: nn.Module, loss_fn: LossFn, chosen: Weights, way: str, few: Batch) -> Rows:
    """Return what computes the rows of a chunk; "auto" is tried on a few samples."""

    def by_loop(batch: Batch) -> Block:
        n = samples_in(batch[0])
        each = [batch_row(model, loss_fn, chosen, part_of(batch, i, i + 1)) for i in range(n)]
        return torch.cat([row for row, _ in each]), torch.cat([loss for _, loss in each])

    layers = layers_of(model, chosen)
    mapped_pays = chosen.size <= _MOST_FOR_VMAP and not _has_groups(model)
    if way == "loop" or (way == "auto" and layers is None and not mapped_pays):
        return by_loop
    if way == "vmap":
        return _by_vmap(model, loss_fn, chosen)
    if way == "layers":
        if layers is None:
            raise ValueError("way: 'layers' needs every chosen weight to be that of a linear or convolutional layer")
        return LayerGradients(model, loss_fn, layers)
    reference, by_vmap = by_loop(few), _by_vmap(model, loss_fn, chosen)
    # What vmap refuses may take another way through the model with each batch, which a few samples need not show.
    if not _agrees(by_vmap, few, reference, chosen):
        return by_loop
    by_layers = None if layers is None else LayerGradients(model, loss_fn, layers)
    if by_layers is not None and _agrees(by_layers, few, reference, chosen):
        return by_layers
    return by_vmap if mapped_pays else by_loop


def warn_of_no_mean(model: nn.Module, loss_fn: LossFn, batch: Batch) -> None:
    """Warn where the loss of a few samples is not the mean of their own losses, which rows then do not add up to.

    The outputs are those of single samples, so that the loss alone is judged, not what couples samples in the model.
    """
    few = part_of(batch, 0, _SHOWN)
    n = samples_in(few[0])
    if n < 2:
        return
    with torch.no_grad():
        parts = [part_of(few, i, i + 1) for i in range(n)]
        outputs = [call(model, inputs) for inputs, _ in parts]
        try:
            loss = loss_fn(joined(outputs), few[1])
            of_all, rounding = float(loss), 4 * torch.finfo(loss.dtype).eps
            mean = sum(float(loss_fn(o, y)) for o, (_, y) in zip(outputs, parts, strict=True)) / n
        except Exception:  # Outputs that cannot be joined; what is wrong with the loss itself shows later.
            return
    if abs(of_all - mean) > max(_IS_MEAN, rounding) * max(abs(of_all), abs(mean)):
        warnings.warn(
            f"loss_fn: the loss of {n} samples is {of_all:.6g}, but the mean of their own losses is {mean:.6g}: a row "
            "is a sample's gradient, or a batch's, and these rows are not those of the mean loss (class weights cancel "
            'on single samples: take (weight[targets] * losses).mean() with reduction="none")',
            UserWarning,
            stacklevel=2,
        )


def _agrees(rows: Rows, few: Batch, reference: Block, chosen: Weights) -> bool:
    """Return whether a way is right on these samples, in each parameter."""
    try:
        found, _ = rows(few)
    except Exception:  # A layer that is not called or called twice, what vmap refuses, outputs of another form, ...
        return False
    return all(
        bool((found[:, part] - reference[0][:, part]).abs().max() <= _AGREES * reference[0][:, part].abs().max())
        for part in chosen.slices.values()
        if part.stop > part.start
    )


def _has_groups(model: nn.Module) -> bool:
    """Return whether convolutions have groups, with which vmap makes as many more as there are samples."""
    return any(getattr(module, "groups", 1) != 1 for module in model.modules())


def _by_vmap(model: nn.Module, loss_fn: LossFn, chosen: Weights) -> Rows:
    taken = chosen.tensors(model)
    ids = {id(tensor) for tensor in taken.values()}
    fixed = {name: value.detach() for name, value in model.named_parameters() if id(value) not in ids}
    fixed |= dict(model.named_buffers())

    def sample_loss(tensors: dict[str, torch.Tensor], x: Any, y: Any) -> torch.Tensor:
        inputs = mapped(lambda part: part.unsqueeze(0), x)
        arguments, keywords = (inputs if isinstance(inputs, tuple) else (inputs,)), {}
        if isinstance(inputs, dict):
            arguments, keywords = (), inputs
        outputs = functional_call(model, {**fixed, **tensors}, arguments, keywords)
        return loss_fn(outputs, inputs if y is None else mapped(lambda part: part.unsqueeze(0), y))

    def rows(batch: Batch) -> Block:
        inputs, targets = batch
        values = {name: tensor.detach() for name, tensor in taken.items()}
        one = targets is inputs
        mapping = vmap(grad_and_value(sample_loss), in_dims=(None, 0, None if one else 0))
        with warnings.catch_warnings():
            # It still pays where some operation has no rule for many samples.
            warnings.filterwarnings("ignore", "There is a performance drop")
            found, losses = mapping(values, inputs, None if one else targets)
        n = samples_in(inputs)
        return torch.cat([found[name].reshape(n, -1) for name in chosen.names], dim=1), losses

    return rows
