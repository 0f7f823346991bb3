"""Gradient matrices: a row is the gradient of one sample's loss, or of the mean loss of a batch.

How per-sample gradients are computed, and what "auto" takes, stands in `l0quad_adapters.torch.network.ways`.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import nn

from l0quad_adapters.torch.checks import check_choice, check_integers
from l0quad_adapters.torch.network.data import Batch, Batches, LossFn, as_batch, on_device, part_of, regrouped
from l0quad_adapters.torch.network.processes import ended_together
from l0quad_adapters.torch.network.shards import RowFiles, Shards, digest, digest_of
from l0quad_adapters.torch.network.state import device_of, refuse_training
from l0quad_adapters.torch.network.trees import leaves, refuse_values, samples_in
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


@overload
def gradient_matrix(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Batches,
    *,
    weights: Choice | Iterable[Choice] | Weights | None = ...,
    columns: np.ndarray | None = ...,
    rows: str = ...,
    n_rows: int,
    dtype: DTypeLike = ...,
    out: str | PathLike[str],
    shards: int = ...,
    losses: np.ndarray | None = ...,
    chunk: int | str = ...,
    device: torch.device | str | None = ...,
    way: str = ...,
    progress: Callable[[int, int], object] | None = ...,
) -> list[Path]: ...


@overload
def gradient_matrix(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Batches,
    *,
    weights: Choice | Iterable[Choice] | Weights | None = ...,
    columns: np.ndarray | None = ...,
    rows: str = ...,
    n_rows: int | None = ...,
    dtype: DTypeLike = ...,
    out: np.ndarray | None = ...,
    shards: int = ...,
    losses: np.ndarray | None = ...,
    chunk: int | str = ...,
    device: torch.device | str | None = ...,
    way: str = ...,
    progress: Callable[[int, int], object] | None = ...,
) -> np.ndarray: ...


def gradient_matrix(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Batches,
    *,
    weights: Choice | Iterable[Choice] | Weights | None = None,
    columns: np.ndarray | None = None,
    rows: str = "sample",
    n_rows: int | None = None,
    dtype: DTypeLike = np.float32,
    out: np.ndarray | str | PathLike[str] | None = None,
    shards: int = 1,
    losses: np.ndarray | None = None,
    chunk: int | str = "auto",
    device: torch.device | str | None = None,
    way: str = "auto",
    progress: Callable[[int, int], object] | None = None,
) -> np.ndarray | list[Path]:
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
    out : ndarray of shape (n_rows, p), or path, optional
        An array is filled and returned; it may be a memory-mapped file. A folder gets .npy files that each hold some
        columns of all rows, for `l0quad.open_columns`, written chunk by chunk: called again in the same way after it
        was stopped, even killed, the call goes on with the chunks that are not there, to the same bytes. Where a
        process group (``torch.distributed``) is there, its processes share the rows, to the same bytes again. Model,
        weights, first batch and loss must be what they were; the loss and the rest of the samples are not looked at.
    shards : int
        How many files are in the folder.
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
    ndarray of shape (n_rows, p), or one column for each of ``columns``; of a folder, its files in that order

    Raises
    ------
    ValueError, TypeError
        Naming the argument: a module is in train mode, a weight requires no gradient, the loss is not a scalar, there
        are fewer samples than rows, a gradient or a loss is not finite, model and batches are on different devices, the
        folder holds other gradients or lacks a file, the processes of a group have different models or batches.
    RuntimeError
        Another process of the group ended with an error, which is told, or cannot be reached.

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
    how: dict[str, Any] = {"rows": rows, "chunk": chunk, "device": device, "way": way}
    if isinstance(out, (str, PathLike)):
        with ended_together():
            if losses is not None:
                raise ValueError("losses: must be None where out is a folder")
            check_integers(n_rows=n_rows, shards=shards)
            _checked_dtype(dtype)
            gradients = Gradients(model, loss_fn, choose(model, weights), **how)
            return gradients.fill_shards(batches, out, n_rows or 0, dtype, shards, columns, progress)
    if shards != 1:
        raise ValueError("shards: needs out=, a folder")
    gradients = Gradients(model, loss_fn, choose(model, weights), **how)
    out = _prepared(out, n_rows, gradients.width(columns), dtype)
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
        self._home = device_of(model)
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

    def width(self, columns: np.ndarray | None) -> int:
        """Return how many columns the rows have."""
        return self.weights.size if columns is None else len(columns)

    def fill(
        self,
        batches: Iterable[Any],
        out: np.ndarray | RowFiles,
        losses: np.ndarray | None = None,
        columns: np.ndarray | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Fill a matrix and perhaps the losses of its rows; arguments as for `gradient_matrix`, not checked."""
        done = 0
        for first, rows, values in self._chunks(batches, len(out), out.dtype, columns):
            done = first + len(rows)
            out[first:done] = rows
            if losses is not None:
                losses[first:done] = values
            if progress is not None:
                progress(done, len(out))

    def fill_shards(
        self,
        batches: Iterable[Any],
        folder: str | PathLike[str],
        n: int,
        dtype: Any,
        count: int,
        columns: np.ndarray | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Path]:
        """Write n rows to so many files in a folder, and return them; see `gradient_matrix`."""
        width = self.width(columns)
        if count > width:
            raise ValueError(f"shards: must be at most the {width} columns, got {count}")
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            raise ValueError(f"n_rows: {n} rows are asked for, but batches gives 0")
        inputs, targets = as_batch(first)
        about: dict[str, Any] = {"rows": self._rows, "way": self._way, "weights": self.weights.names}
        about["of"] = digest_of(self._model, inputs, targets)
        about["columns"] = None if columns is None else digest([torch.from_numpy(np.asarray(columns))])
        shards = Shards(folder, (n, width), dtype, count, self._at_once(inputs, n), about)
        wanted = shards.wanted()
        if wanted.any():
            for start, rows, _ in self._chunks(itertools.chain([first], batches), n, dtype, columns, wanted):
                shards.put(start, rows)
                if progress is not None:
                    progress(start + len(rows), n)
        return shards.finish()

    def _at_once(self, inputs: Any, n: int) -> int:
        """Return how many rows are computed at once."""
        if self._rows == "batch":
            return 1
        return min(n, chunk_size(self.weights, inputs) if self._chunk == "auto" else int(self._chunk))

    def _chunks(
        self,
        batches: Iterable[Any],
        n: int,
        dtype: Any,
        columns: np.ndarray | None = None,
        wanted: np.ndarray | None = None,
    ) -> Iterator["Chunk"]:
        """Yield n rows, checked, a chunk at a time; those chunks that are ``wanted`` (None: all), up to the last."""
        every = columns is None or len(columns) == self.weights.size
        picked = None if columns is None or every else torch.from_numpy(columns).to(self._home)
        wide = torch.from_numpy(np.empty(0, dtype)).dtype
        done = 0
        for number, batch in enumerate(self._cut(batches, n)):
            size = 1 if self._rows == "batch" else min(samples_in(batch[0]), n - done)
            if self._compute is None:
                self._compute = self._chosen(batch)
            if wanted is None or wanted[number]:
                part = batch if self._rows == "batch" else part_of(batch, 0, size)
                yield _checked(self._compute(part), part, done, self._home, picked, wide)
            done += size
            if done == n or (wanted is not None and not wanted[number + 1 :].any()):
                return
        raise ValueError(f"n_rows: {n} rows are asked for, but batches gives {done}")

    def _cut(self, batches: Iterable[Any], n: int) -> Iterator[Batch]:
        """Yield batches of as many samples as are computed at once."""
        moved = self._moved(batches)
        first = next(moved, None)
        if first is None:
            return iter(())
        whole = itertools.chain([first], moved)
        return whole if self._rows == "batch" else regrouped(whole, self._at_once(first[0], n))

    def _chosen(self, batch: Batch) -> Rows:
        """Return what computes rows, tried on the first samples."""
        if self._rows == "batch":
            warn_of_no_mean(self._model, self._loss_fn, batch)
            return functools.partial(batch_row, self._model, self._loss_fn, self.weights)
        if self._way == "auto":
            warn_of_no_mean(self._model, self._loss_fn, batch)
        return way_for(self._model, self._loss_fn, self.weights, self._way, part_of(batch, 0, 2))

    def _moved(self, batches: Iterable[Any]) -> Iterator[Batch]:
        for each in batches:
            batch = as_batch(each) if self._device is None else on_device(as_batch(each), self._device)
            for leaf in leaves(batch[0]):
                if leaf.device != self._home:
                    where = "device" if self._device is not None else "batches"
                    raise ValueError(f"{where}: the model is on {self._home}, the batches on {leaf.device}")
            yield batch


def _prepared(out: np.ndarray | None, n_rows: int | None, size: int, dtype: Any) -> np.ndarray:
    _checked_dtype(dtype)
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


def _checked_dtype(dtype: Any) -> None:
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise ValueError(f"dtype: must be float32 or float64, got {dtype!r}")


def _check_losses(losses: np.ndarray | None, rows: int) -> None:
    if losses is None:
        return
    if not isinstance(losses, np.ndarray) or losses.dtype.kind != "f":
        raise TypeError(f"losses: must be an array of floats, got {getattr(losses, 'dtype', type(losses))}")
    if losses.shape != (rows,):
        raise ValueError(f"losses: must have shape ({rows},), got {losses.shape}")
    if not losses.flags.writeable:
        raise ValueError("losses: must be writeable")


class Chunk(NamedTuple):
    """Rows from ``first`` on, and their losses."""

    first: int
    rows: np.ndarray
    losses: np.ndarray


def _checked(
    block: Block, batch: Batch, first: int, home: torch.device, picked: torch.Tensor | None, wide: torch.dtype
) -> Chunk:
    """Return the picked columns of a block, those of an accelerator through a pinned buffer."""
    rows, values = block[0].detach(), block[1].detach().cpu().double().numpy()
    rows = (rows if picked is None else rows.index_select(1, picked)).to(wide)
    if home.type != "cpu":
        rows = torch.empty(rows.shape, dtype=wide, pin_memory=home.type == "cuda").copy_(rows)
    found, last = rows.numpy(), first + len(rows) - 1
    if not (np.all(np.isfinite(found)) and np.all(np.isfinite(values))):
        refuse_values(batch, first, last)
    if not np.all(np.isfinite(found)):
        raise ValueError(f"model: a gradient among rows {first} to {last} is not finite")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"loss_fn: a loss among rows {first} to {last} is not finite")
    return Chunk(first, found, values)
