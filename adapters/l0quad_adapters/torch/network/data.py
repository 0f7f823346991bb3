"""Batches of samples from whatever the caller has: tensors, a data set, or a loader."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, default_collate

Batch = tuple[Any, Any]
Data = tuple[torch.Tensor, torch.Tensor] | Dataset[Any] | Iterable[Batch]

# Containers that might be samples, batches or something else.
_UNCLEAR = (tuple, list, Mapping, str, np.ndarray, torch.Tensor)


class Samples:
    """The samples behind ``data``, drawn at random where they can be indexed.

    Parameters
    ----------
    data : (inputs, targets), Dataset or iterable of batches
        A pair of tensors with one sample a row; a data set of (input, target) with a length; or an iterable of
        (inputs, targets) batches such as a DataLoader, which is then read in its own order, from where it was left.
    """

    def __init__(self, data: Data) -> None:
        # The number of samples; None where only reading them all would tell.
        self.size = _size(data)
        self._tensors = data if _is_pair(data) else None
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

    def require(self, samples: int) -> None:
        """Raise where there are fewer samples than this, as far as that can be known without reading them."""
        if self.size is not None and samples > self.size:
            raise ValueError(f"n_rows: needs {samples} samples (rows x batch_size), but data has {self.size}")

    def all_batches(self, batch_size: int, seed: int | Sequence[int] | None = None) -> Iterator[Batch]:
        """Yield every sample once, shuffled where a seed is given (a loader keeps its own batches and order)."""
        if self.size is None:
            return ((batch[0], batch[1]) for batch in self._data)
        order = torch.arange(self.size) if seed is None else self._permutation(seed)
        return self._indexed(order, batch_size)

    def _permutation(self, seed: int | Sequence[int]) -> torch.Tensor:
        assert self.size is not None
        return torch.from_numpy(np.random.default_rng(seed).permutation(self.size))

    def _indexed(self, order: torch.Tensor, batch_size: int) -> Iterator[Batch]:
        for chosen in torch.split(order, batch_size):
            if self._tensors is not None:
                inputs, targets = self._tensors
                yield inputs[chosen.to(inputs.device)], targets[chosen.to(targets.device)]
            else:
                inputs, targets = default_collate([self._data[i] for i in chosen.tolist()])
                yield inputs, targets

    def _read(self, n_batches: int, batch_size: int) -> Iterator[Batch]:
        batches = regrouped(self._onwards(), batch_size)
        for _ in range(n_batches):
            inputs, targets = next(batches, ((), ()))
            if len(inputs) < batch_size:
                raise ValueError(f"n_rows: needs {n_batches * batch_size} samples, but data ends before")
            yield inputs, targets

    def _onwards(self) -> Iterator[Batch]:
        """Read on in a loader from where it was left, and once from its beginning."""
        # No `yield from`, which would close the caller's iterator when this one is given up.
        for batch in self._rest:
            yield batch[0], batch[1]
        self._rest = iter(self._data)
        for batch in self._rest:
            yield batch[0], batch[1]


def regrouped(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Join and cut batches of tensors to ``size`` samples each; the last one may be smaller."""
    held: list[Batch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch[0])
        while count >= size:
            inputs, targets = _joined(held)
            yield inputs[:size], targets[:size]
            held, count = [(inputs[size:], targets[size:])], count - size
    if count > 0:
        yield _joined(held)


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    return torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])


def _size(data: Any) -> int | None:
    if _is_pair(data):
        if len(data[0]) != len(data[1]):
            raise ValueError(f"data: inputs and targets must be of one length, got {len(data[0])} and {len(data[1])}")
        found = len(data[0])
    elif _is_indexed(data):
        found = len(data)
    elif isinstance(data, Iterable) and not isinstance(data, _UNCLEAR):
        return None
    else:
        raise TypeError(f"data: must be two tensors, a Dataset or a loader of batches, got {type(data)}")
    if found == 0:
        raise ValueError("data: must have samples, got none")
    return found


def _is_pair(data: object) -> TypeGuard[tuple[torch.Tensor, torch.Tensor]]:
    return isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(part, torch.Tensor) for part in data)


def _is_indexed(data: object) -> bool:
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return indexed and not isinstance(data, (*_UNCLEAR, IterableDataset, type))
