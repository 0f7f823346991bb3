"""Gradient matrices: a row is the gradient of one sample's loss, or of the mean loss of a batch.

How per-sample gradients are computed, and what "auto" takes, stands in `l0quad_adapters.torch.network.ways`.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from l0quad_adapters.torch.checks import check_choice, check_integers
from l0quad_adapters.torch.network.data import Batch, LossFn, as_batch, on_device, part_of, regrouped
from l0quad_adapters.torch.network.trees import leaves, samples_in
from l0quad_adapters.torch.network.ways import (
    WAYS,
    Block,
    Rows,
    batch_row,
    chunk_size,
    scalar,
    warn_of_no_mean,
    way_for,
)
from l0quad_adapters.torch.network.weights import Choice, Weights, choose, require_gradients


def gradient_matrix(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Iterable[Batch],
    *,
    weights: Choice | Iterable[Choice] | Weights | None = None,
    columns: np.ndarray | None = None,
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
    model : Module
        In eval mode; on one device. It is not changed.
    loss_fn : callable
        ``loss_fn(outputs, targets)`` gives a scalar, the mean over the samples it is given. Of a single sample, that is
        its loss: ``cross_entropy(weight=...)`` divides by the sample's own class weight, which cancels; what works is
        ``(weight[targets] * cross_entropy(outputs, targets, reduction="none")).mean()``. With ``reduction="sum"``,
        rows of batches are as many times too long as there are samples. Where a few samples show that it is no mean,
        a warning says so.
    batches : iterable of (inputs, targets) or dicts
        Such as a DataLoader, or a list; tensors with one sample a row. Inputs in a tuple go to the model by position,
        in a dict by keyword; a batch that is one dict goes to the model and, as the targets, to the loss. How batches
        are cut matters for ``rows="batch"`` only.
    weights : optional
        What is pruned, see `choose`.
    columns : ndarray of int, optional
        Which entries of the flat vector of weights the rows have; all by default.
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
        How per-sample gradients are computed; "auto" takes the fastest that agrees with the loop, parameter by
        parameter, on two samples.
    progress : callable, optional
        Called with (rows done, rows in all).

    Returns
    -------
    ndarray of shape (n_rows, p), or one column for each of ``columns``

    Raises
    ------
    ValueError, TypeError
        Naming the argument: a module is in train mode, a weight requires no gradient, the loss is not a scalar, there
        are fewer samples than rows, a gradient or a loss is not finite, model and batches are on different devices.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import gradient_matrix
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> gradient_matrix(model, torch.nn.functional.cross_entropy, [data], n_rows=10).shape
    (10, 24)
    """
    gradients = Gradients(model, loss_fn, choose(model, weights), rows=rows, chunk=chunk, device=device, way=way)
    out = _prepared(out, n_rows, gradients.weights.size if columns is None else len(columns), dtype)
    _check_losses(losses, len(out))
    gradients.fill(batches, out, losses, columns, progress)
    return out


class Gradients:
    """The gradients of a model's loss, at whatever its weights are when they are computed; the way is chosen once.

    Parameters
    ----------
    rows, chunk, device, way
        As for `gradient_matrix`, checked here.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn,
        weights: Weights,
        *,
        rows: str = "sample",
        chunk: int | str = "auto",
        device: torch.device | str | None = None,
        way: str = "auto",
    ) -> None:
        require_gradients(model, weights)
        self._home = _device_of(model)
        check_choice(rows, "rows", ("sample", "batch"))
        check_choice(way, "way", WAYS)
        if isinstance(chunk, str):
            check_choice(chunk, "chunk", ("auto",))
        else:
            check_integers(chunk=chunk)
        refuse_training(model)
        self.weights = weights
        self._model, self._rows, self._chunk, self._device, self._way = model, rows, chunk, device, way
        self._loss_fn: LossFn = lambda outputs, targets: scalar(loss_fn(outputs, targets))
        self._compute: Rows | None = None

    def fill(
        self,
        batches: Iterable[Any],
        out: np.ndarray,
        losses: np.ndarray | None = None,
        columns: np.ndarray | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Fill a matrix and perhaps the losses of its rows; arguments as for `gradient_matrix`, not checked."""
        blocks = self._of_samples(batches, len(out)) if self._rows == "sample" else self._of_batches(batches)
        every = columns is None or len(columns) == self.weights.size
        picked = None if columns is None or every else torch.from_numpy(columns).to(self._home)
        _fill(out, losses, blocks, self._home, picked, progress)

    def _of_batches(self, batches: Iterable[Any]) -> Iterator[Block]:
        """Yield the gradient of the mean loss of each batch."""
        for batch in self._moved(batches):
            if self._compute is None:
                warn_of_no_mean(self._model, self._loss_fn, batch)
                self._compute = functools.partial(batch_row, self._model, self._loss_fn, self.weights)
            yield self._compute(batch)

    def _of_samples(self, batches: Iterable[Any], n: int) -> Iterator[Block]:
        """Yield the rows of a chunk of samples at a time, n in all."""
        moved = self._moved(batches)
        first = next(moved, None)
        if first is None:
            return
        size = min(n, chunk_size(self.weights, first[0]) if self._chunk == "auto" else int(self._chunk))
        left = n
        for batch in regrouped(itertools.chain([first], moved), size):
            part = part_of(batch, 0, left)
            if self._compute is None:
                if self._way == "auto":
                    warn_of_no_mean(self._model, self._loss_fn, first)
                self._compute = way_for(self._model, self._loss_fn, self.weights, self._way, part_of(part, 0, 2))
            yield self._compute(part)
            left -= samples_in(part[0])
            if left == 0:
                return

    def _moved(self, batches: Iterable[Any]) -> Iterator[Batch]:
        for each in batches:
            batch = as_batch(each) if self._device is None else on_device(as_batch(each), self._device)
            for leaf in leaves(batch[0]):
                if leaf.device != self._home:
                    where = "device" if self._device is not None else "batches"
                    raise ValueError(f"{where}: the model is on {self._home}, the batches on {leaf.device}")
            yield batch


def refuse_training(model: nn.Module) -> None:
    """Raise where a module is in training mode: gradients could be random, or coupled, whatever kind it is."""
    training = [(name, module) for name, module in model.named_modules() if module.training]
    # Of all in it, a layer says more than its container.
    for name, module in sorted(training, key=lambda each: bool(next(each[1].children(), None))):
        raise ValueError(
            f"model: {name or 'the model itself'} ({type(module).__name__}) is in train mode; call model.eval() first"
        )


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


def _fill(
    out: np.ndarray,
    losses: np.ndarray | None,
    blocks: Iterator[Block],
    home: torch.device,
    picked: torch.Tensor | None,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Copy the picked columns of the blocks into ``out``, those of an accelerator through one pinned buffer."""
    done = 0
    wide = torch.from_numpy(out[:0]).dtype
    for block, of_rows in blocks:
        rows = block.detach()[: len(out) - done]
        rows = (rows if picked is None else rows.index_select(1, picked)).to(wide)
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
