"""Batches of samples from whatever the caller has: tensors, a data set, a loader, or a list of batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, default_collate

from l0quad_adapters.torch.network.trees import joined, leaves, mapped, samples_in

Batch = tuple[Any, Any]
# What the caller's own loader yields: pairs, or dicts.
Batches = Iterable[Sequence[Any] | Mapping[str, torch.Tensor]]
LossFn = Callable[[Any, Any], torch.Tensor]
Data = tuple[Any, torch.Tensor] | Mapping[str, torch.Tensor] | Dataset[Any] | Iterable[Any]

_FORMS = "(inputs, targets), a dict of tensors, a Dataset, a loader, or a list of batches"
# Containers that might be samples, batches or something else.
_UNCLEAR = (tuple, list, Mapping, str, np.ndarray, torch.Tensor)


class Samples:
    """The samples behind ``data``, drawn at random where they can be indexed.

    A batch is ``(inputs, targets)``, or a dict, which goes to the model by keyword and to the loss as its targets.
    Inputs are a tensor, or a tuple, list or dict of tensors for a model of several inputs.

    Parameters
    ----------
    data : (inputs, targets), dict of tensors, Dataset, list or other iterable of batches
        Tensors with one sample a row; a data set of samples with a length; or an iterable of batches such as a
        DataLoader, which is then read in its own order, from where it was left.
    """

    def __init__(self, data: Data) -> None:
        # The number of samples; None where only reading them all would tell.
        self.size = _size(data)
        self._tensors = as_batch(data) if _is_whole(data) else None
        self._data: Any = data
        self._rest: Iterator[Any] = iter(())

    def batches(self, n_batches: int, batch_size: int, seed: int | Sequence[int], skip: int = 0) -> Iterator[Batch]:
        """Yield batches of samples drawn without repetition, after ``skip`` others of the same seed.

        Raises
        ------
        ValueError
            There are fewer samples than asked for.
        """
        wanted = n_batches * batch_size
        if self.size is None:
            return self._read(n_batches, batch_size)
        self.require(skip + wanted)
        return self._indexed(self._permutation(seed)[skip : skip + wanted], batch_size)

    @property
    def about(self) -> int | None:
        """How many samples there seem to be, also where they cannot be indexed; None where nothing tells."""
        if self.size is not None:
            return self.size
        if isinstance(self._data, list):
            return sum(samples_in(as_batch(batch)[0]) for batch in self._data)
        try:
            return len(self._data.dataset)
        except (AttributeError, TypeError):
            return None

    def require(self, samples: int) -> None:
        """Raise where there are fewer samples than this, as far as that can be known without reading them."""
        if self.size is not None and samples > self.size:
            raise ValueError(f"n_rows: needs {samples} samples (rows x batch_size), but data has {self.size}")

    def all_batches(self, batch_size: int, seed: int | Sequence[int] | None = None) -> Iterator[Batch]:
        """Yield every sample once, shuffled where a seed is given (a loader keeps its own batches and order)."""
        if self.size is None:
            return (as_batch(batch) for batch in self._data)
        order = torch.arange(self.size) if seed is None else self._permutation(seed)
        return self._indexed(order, batch_size)

    def _permutation(self, seed: int | Sequence[int]) -> torch.Tensor:
        assert self.size is not None
        return torch.from_numpy(np.random.default_rng(seed).permutation(self.size))

    def _indexed(self, order: torch.Tensor, batch_size: int) -> Iterator[Batch]:
        for chosen in torch.split(order, batch_size):
            if self._tensors is not None:
                yield _one_dict(self._tensors, lambda part, at=chosen: part[at.to(part.device)])
            else:
                yield as_batch(default_collate([self._data[i] for i in chosen.tolist()]))

    def _read(self, n_batches: int, batch_size: int) -> Iterator[Batch]:
        batches = regrouped(self._onwards(), batch_size)
        for _ in range(n_batches):
            batch = next(batches, None)
            if batch is None or samples_in(batch[0]) < batch_size:
                raise ValueError(f"n_rows: needs {n_batches * batch_size} samples, but data ends before")
            yield batch

    def _onwards(self) -> Iterator[Batch]:
        """Read on in a loader from where it was left, and once from its beginning."""
        # No `yield from`, which would close the caller's iterator when this one is given up.
        for batch in self._rest:
            yield as_batch(batch)
        self._rest = iter(self._data)
        for batch in self._rest:
            yield as_batch(batch)


def regrouped(batches: Iterable[Any], size: int) -> Iterator[Batch]:
    """Join and cut batches of tensors to ``size`` samples each; the last one may be smaller."""
    held: list[Batch] = []
    count = 0
    for each in batches:
        batch = as_batch(each)
        held.append(batch)
        count += samples_in(batch[0])
        while count >= size:
            whole = _joined(held)
            yield part_of(whole, 0, size)
            held, count = [part_of(whole, size, count)], count - size
    if count > 0:
        yield _joined(held)


def part_of(batch: Batch, first: int, last: int) -> Batch:
    """Return the samples of a batch from ``first`` to before ``last``."""
    return _one_dict(batch, lambda part: part[first:last])


def on_device(batch: Batch, device: torch.device | str) -> Batch:
    """Return a batch on a device."""
    return _one_dict(batch, lambda part: part.to(device))


def _one_dict(batch: Batch, change: Any) -> Batch:
    """Return a changed batch; where inputs and targets are one dict, they stay one."""
    inputs, targets = batch
    changed = mapped(change, inputs)
    return changed, changed if targets is inputs else mapped(change, targets)


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    inputs = joined([inputs for inputs, _ in batches])
    return inputs, inputs if batches[0][1] is batches[0][0] else joined([targets for _, targets in batches])


def as_batch(batch: Any) -> Batch:
    """Return a batch as inputs and targets, refused where it has another form."""
    if isinstance(batch, Mapping):
        return batch, batch
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    got = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
    raise TypeError(
        f"data: a batch must be (inputs, targets), of several inputs ((a, b), targets), or a dict, got {got}"
    )


def _size(data: Any) -> int | None:
    if _is_whole(data):
        inputs, targets = as_batch(data)
        found, of_targets = samples_in(inputs), samples_in(targets)
        if found != of_targets:
            raise ValueError(f"data: inputs and targets must be of one length, got {found} and {of_targets}")
    elif _is_indexed(data):
        found = len(data)
    elif isinstance(data, list) and all(isinstance(batch, (tuple, list, Mapping)) for batch in data):
        found = len(data)
        for batch in data:
            as_batch(batch)
        if found:
            return None
    elif isinstance(data, Iterable) and not isinstance(data, _UNCLEAR):
        return None
    else:
        raise TypeError(f"data: must be {_FORMS}, got {type(data).__name__} of {_told(data)}")
    if found == 0:
        raise ValueError("data: must have samples, got none")
    return found


def _is_whole(data: object) -> bool:
    """Return whether this holds all samples: one dict of tensors, or inputs and targets.

    A list of two is inputs and targets where the latter are a tensor, for a batch is never one.
    """
    if isinstance(data, Mapping):
        return bool(leaves(data))
    if not isinstance(data, (tuple, list)) or len(data) != 2 or not leaves(data[0]):
        return False
    return isinstance(data[1], torch.Tensor) or (isinstance(data, tuple) and isinstance(data[1], Mapping))


def _is_indexed(data: object) -> bool:
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return indexed and not isinstance(data, (*_UNCLEAR, IterableDataset, type))


def _told(data: Any) -> str:
    return ", ".join(type(part).__name__ for part in data) if isinstance(data, (tuple, list)) else "no known form"
