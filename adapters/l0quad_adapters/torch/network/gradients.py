"""Gradient matrices: a row is the gradient of one sample's loss, or of the mean loss of a batch.

Per-sample gradients come by one of three ways, which agree to rounding:

* "layers": one ordinary backward pass for a chunk of samples; each linear or convolutional layer's rows are products of
  its input and the gradient at its output (Goodfellow, "Efficient per-example gradient computations", 2015).
* "vmap": ``torch.func.vmap`` over ``torch.func.grad_and_value``, for any model.
* "loop": a backward pass a sample, for models that vmap refuses, and the reference of the others.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from l0quad_adapters.torch.checks import check_choice, check_integers
from l0quad_adapters.torch.network.data import Batch, regrouped
from l0quad_adapters.torch.network.layers import LayerGradients, layers_of
from l0quad_adapters.torch.network.weights import Choice, Weights, choose

LossFn = Callable[[Any, Any], torch.Tensor]
# The gradients of some rows, and the loss of each.
Block = tuple[torch.Tensor, torch.Tensor]
# Inputs and targets of a chunk of samples to their rows.
Rows = Callable[[torch.Tensor, torch.Tensor], Block]

# A chunk's gradients and what the layers keep for them may take about this much, some of which stays in the cache. Rows
# a second and memory with it stand in docs/benchmarks/results/gradients.md.
_CHUNK_BYTES = 1 << 25
_MOST_SAMPLES = 512
_WAYS = ("auto", "layers", "vmap", "loop")
# "auto" believes the closed form of the layers where it equals vmap on two samples to this share of the largest entry:
# by docs/benchmarks/results/gradients.md they differ by 1e-6, and by 1e-4 where rounding turns a ReLU on or off.
_AGREES = 1e-3


def gradient_matrix(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Iterable[Batch],
    *,
    weights: Choice | Iterable[Choice] | Weights | None = None,
    rows: str = "sample",
    n_rows: int | None = None,
    dtype: Any = np.float32,
    out: np.ndarray | None = None,
    losses: np.ndarray | None = None,
    chunk: int | str = "auto",
    device: torch.device | str | None = None,
    way: str = "auto",
    progress: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Compute the gradients of a model's loss at its current weights.

    Parameters
    ----------
    loss_fn : callable
        ``loss_fn(outputs, targets)`` gives a scalar, the mean over the samples it is given.
    batches : iterable of (inputs, targets)
        Such as a DataLoader; tensors with one sample a row. How they are cut matters for ``rows="batch"`` only.
    weights : optional
        What is pruned, see `choose`; by default the weights of convolutional and linear layers.
    rows : {"sample", "batch"}
        A row is a sample's gradient, or the gradient of the mean loss of one batch of ``batches``.
    n_rows : int, optional
        How many rows; needed unless ``out`` is given.
    dtype : float32 or float64
        Of the result; half precision is widened on the model's device.
    out : ndarray of shape (n_rows, p), optional
        Filled and returned; may be a memory-mapped file.
    losses : ndarray of shape (n_rows,), optional
        Filled with the loss of each row, which comes with its gradient.
    chunk : int or "auto"
        How many samples go through the model at once.
    device : optional
        Where the batches are moved to; they must be where the model is without.
    way : {"auto", "layers", "vmap", "loop"}
        How per-sample gradients are computed; "auto" takes "layers" where it applies and agrees with vmap.
    progress : callable, optional
        Called with (rows done, rows in all).

    Returns
    -------
    ndarray of shape (n_rows, p)

    Raises
    ------
    ValueError, TypeError
        Naming the argument: the model is in train mode with active dropout or batch normalisation, the loss is not a
        scalar, there are fewer samples than rows, a gradient or a loss is not finite, model and batches are on
        different devices.
    """
    chosen = choose(model, weights)
    home = _device_of(model)
    out = _prepared(out, n_rows, chosen.size, dtype)
    _check_losses(losses, len(out))
    check_choice(rows, "rows", ("sample", "batch"))
    check_choice(way, "way", _WAYS)
    if isinstance(chunk, str):
        check_choice(chunk, "chunk", ("auto",))
    else:
        check_integers(chunk=chunk)
    refuse_training(model)
    moved = _moved(batches, home, device)

    def loss_of(outputs: Any, targets: Any) -> torch.Tensor:
        return scalar(loss_fn(outputs, targets))

    if rows == "batch":
        blocks: Iterator[Block] = (_batch_row(model, loss_of, chosen, *batch) for batch in moved)
    else:
        blocks = _sample_rows(model, loss_of, chosen, moved, chunk, way, len(out))
    _fill(out, losses, blocks, home, progress)
    return out


def refuse_training(model: nn.Module) -> None:
    """Raise where dropout or batch normalisation is in training mode: gradients would be random, or coupled."""
    for name, module in model.named_modules():
        active = isinstance(module, (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm))
        if module.training and active:
            raise ValueError(f"model: {name or type(module).__name__} is in train mode; call model.eval() first")


def _device_of(model: nn.Module) -> torch.device:
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) != 1:
        raise ValueError(f"model: must be on one device, got {sorted(map(str, devices)) or 'no parameters'}")
    return devices.pop()


def _prepared(out: np.ndarray | None, n_rows: int | None, size: int, dtype: Any) -> np.ndarray:
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise ValueError(f"dtype: must be float32 or float64, got {dtype!r}")
    if out is None:
        check_integers(n_rows=n_rows)
        return np.empty((n_rows or 0, size), dtype=dtype)
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float32, np.float64):
        raise TypeError(f"out: must be a float32 or float64 array, got {getattr(out, 'dtype', type(out))}")
    if out.ndim != 2 or len(out) == 0 or out.shape != (len(out) if n_rows is None else n_rows, size):
        raise ValueError(f"out: must have shape ({n_rows or 'n_rows'}, {size}), got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out: must be writeable")
    return out


def _check_losses(losses: np.ndarray | None, rows: int) -> None:
    if losses is None:
        return
    if not isinstance(losses, np.ndarray) or losses.dtype.kind != "f":
        raise TypeError(f"losses: must be an array of floats, got {getattr(losses, 'dtype', type(losses))}")
    if losses.shape != (rows,):
        raise ValueError(f"losses: must have shape ({rows},), got {losses.shape}")
    if not losses.flags.writeable:
        raise ValueError("losses: must be writeable")


def _moved(batches: Iterable[Batch], home: torch.device, device: torch.device | str | None) -> Iterator[Batch]:
    for inputs, targets in batches:
        if device is not None:
            inputs, targets = inputs.to(device), targets.to(device)  # noqa: PLW2901
        if inputs.device != home:
            where = "device" if device is not None else "batches"
            raise ValueError(f"{where}: the model is on {home}, the batches on {inputs.device}")
        yield inputs, targets


def scalar(loss: torch.Tensor) -> torch.Tensor:
    """Return the loss, refused where it is not a scalar."""
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"loss_fn: must return a scalar tensor, got {type(loss)}")
    if loss.numel() != 1 or loss.ndim > 1:
        raise ValueError(f"loss_fn: must return a scalar, got shape {tuple(loss.shape)}")
    return loss.reshape(())


def _batch_row(model: nn.Module, loss_fn: LossFn, chosen: Weights, inputs: Any, targets: Any) -> Block:
    tensors = list(chosen.tensors(model).values())
    with torch.enable_grad():
        loss = loss_fn(model(inputs), targets)
        found = torch.autograd.grad(loss, tensors, allow_unused=True)
    parts = [torch.zeros_like(w) if g is None else g for g, w in zip(found, tensors, strict=True)]
    return torch.cat([part.reshape(1, -1) for part in parts], dim=1), loss.detach().reshape(1)


def _sample_rows(
    model: nn.Module, loss_fn: LossFn, chosen: Weights, batches: Iterator[Batch], chunk: int | str, way: str, n: int
) -> Iterator[Block]:
    """Yield the rows of a chunk of samples at a time, n in all."""
    first = next(batches, None)
    if first is None:
        return
    size = min(n, _chunk_size(chosen, first[0]) if chunk == "auto" else int(chunk))
    compute, left = None, n
    for inputs, targets in regrouped(itertools.chain([first], batches), size):
        x, y = inputs[:left], targets[:left]
        compute = compute or _way(model, loss_fn, chosen, way, x[:2], y[:2])
        yield compute(x, y)
        left -= len(x)
        if left == 0:
            return


def _chunk_size(chosen: Weights, inputs: torch.Tensor) -> int:
    """Return how many samples' gradients and unfolded inputs are taken to fit."""
    a_sample = 4 * (2 * chosen.size + 64 * math.prod(inputs.shape[1:]))
    return max(1, min(_MOST_SAMPLES, _CHUNK_BYTES // a_sample))


def _way(
    model: nn.Module, loss_fn: LossFn, chosen: Weights, way: str, inputs: torch.Tensor, targets: torch.Tensor
) -> Rows:
    """Return what computes the rows of a chunk, tried on two samples."""

    def by_loop(x: torch.Tensor, y: torch.Tensor) -> Block:
        each = [_batch_row(model, loss_fn, chosen, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        return torch.cat([row for row, _ in each]), torch.cat([loss for _, loss in each])

    if way == "loop":
        return by_loop
    mapped = _by_vmap(model, loss_fn, chosen)
    if way == "vmap":
        return mapped
    by_layers = None if (layers := layers_of(model, chosen)) is None else LayerGradients(model, loss_fn, layers)
    if way == "layers":
        if by_layers is None:
            raise ValueError("way: 'layers' needs every chosen weight to be that of a linear or convolutional layer")
        return by_layers
    return _best_of(by_layers, mapped, by_loop, inputs, targets)


def _best_of(by_layers: Rows | None, mapped: Rows, by_loop: Rows, inputs: torch.Tensor, targets: torch.Tensor) -> Rows:
    """Return the fastest of three ways that is right for the model, as far as these samples show."""
    try:
        reference, _ = mapped(inputs, targets)
    except Exception:  # Whatever vmap refuses, samples may take different ways through; the model's own errors recur.
        return by_loop
    if by_layers is None:
        return mapped
    try:
        rows, _ = by_layers(inputs, targets)
    except Exception:  # A layer that is not called or called twice, outputs that are no tensor, ...
        return mapped
    agrees = bool((rows - reference).abs().max() <= _AGREES * reference.abs().max())
    return by_layers if agrees else mapped


def _by_vmap(model: nn.Module, loss_fn: LossFn, chosen: Weights) -> Rows:
    taken = chosen.tensors(model)
    fixed = {name: value.detach() for name, value in model.named_parameters() if name not in taken}
    fixed |= dict(model.named_buffers())

    def sample_loss(tensors: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        outputs = functional_call(model, {**fixed, **tensors}, (x.unsqueeze(0),))
        return loss_fn(outputs, y.unsqueeze(0))

    def rows(inputs: torch.Tensor, targets: torch.Tensor) -> Block:
        values = {name: tensor.detach() for name, tensor in taken.items()}
        found, losses = vmap(grad_and_value(sample_loss), in_dims=(None, 0, 0))(values, inputs, targets)
        return torch.cat([found[name].reshape(len(inputs), -1) for name in chosen.names], dim=1), losses

    return rows


def _fill(
    out: np.ndarray,
    losses: np.ndarray | None,
    blocks: Iterator[Block],
    home: torch.device,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Copy the blocks into ``out``; those of an accelerator through one pinned buffer, never all at once."""
    done = 0
    wide = torch.from_numpy(out[:0]).dtype
    for block, of_rows in blocks:
        rows = block.detach()[: len(out) - done].to(wide)
        if home.type != "cpu":
            pinned = torch.empty(rows.shape, dtype=wide, pin_memory=home.type == "cuda")
            rows = pinned.copy_(rows)
        out[done : done + len(rows)] = rows.numpy()
        if not np.all(np.isfinite(out[done : done + len(rows)])):
            raise ValueError(f"model: a gradient among rows {done} to {done + len(rows) - 1} is not finite")
        values = of_rows.detach()[: len(rows)].cpu().double().numpy()
        if not np.all(np.isfinite(values)):
            raise ValueError(f"loss_fn: a loss among rows {done} to {done + len(rows) - 1} is not finite")
        if losses is not None:
            losses[done : done + len(rows)] = values
        done += len(rows)
        if progress is not None:
            progress(done, len(out))
        if done == len(out):
            return
    raise ValueError(f"n_rows: {len(out)} rows are asked for, but batches gives {done}")
