"""Training under masks, in parts: each goes on where the one before ended, also in another process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from l0quad_adapters.torch.network.data import Batch, LossFn, Samples
from l0quad_adapters.torch.network.masks import keep_masks, masks
from l0quad_adapters.torch.network.trees import call
from l0quad_adapters.torch.network.ways import scalar
from l0quad_adapters.torch.network.weights import Weights

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
LearningRate = Callable[[float], float]


class Training:
    """An optimizer, its learning rate and a stream of batches, ``total`` of them in all.

    Parameters
    ----------
    optimizer : callable
        Makes one of the parameters.
    learning_rate : callable
        Of the share of the training that is done: what the optimizer's own rates are multiplied by.
    n_batches : int
        In an epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn,
        samples: Samples,
        weights: Weights,
        *,
        optimizer: Optimizer,
        learning_rate: LearningRate,
        batch_size: int,
        n_batches: int,
        total: int,
        seed: int,
    ) -> None:
        self._model, self._loss_fn, self._samples, self._weights = model, loss_fn, samples, weights
        self._learning_rate, self._batch_size, self._seed = learning_rate, batch_size, seed
        self._n_batches, self._total = n_batches, total
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = optimizer(self._trained)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._done = 0
        self._batches: Iterator[Batch] = iter(())

    def until(self, last: int) -> None:
        """Train up to this batch, with the zeros that there are now."""
        handle = keep_masks(self._optimizer, self._model, masks(self._model, self._weights))
        self._model.train()
        try:
            while self._done < last:
                inputs, targets = self._next()
                for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                    group["lr"] = rate * self._learning_rate(self._done / self._total)
                with torch.enable_grad():
                    self._optimizer.zero_grad()
                    scalar(self._loss_fn(call(self._model, inputs), targets)).backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
                self._done += 1
        finally:
            handle.remove()
            self._optimizer.zero_grad()
            self._model.eval()
        if not all(bool(parameter.isfinite().all()) for parameter in self._trained):
            raise ValueError(f"optimizer: the training diverged before batch {last}; the weights are not finite")

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"done": self._done, "optimizer": self._optimizer.state_dict()}

    @state.setter
    def state(self, kept: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(kept["optimizer"])
        self._done = kept["done"]
        epoch, batch = divmod(self._done, self._n_batches)
        if batch:
            self._batches = self._epoch(epoch, batch)

    def _next(self) -> Batch:
        epoch, batch = divmod(self._done, self._n_batches)
        if batch == 0:
            self._batches = self._epoch(epoch, 0)
        found = next(self._batches, None)
        if found is None:
            raise ValueError(f"data: must have {self._n_batches} batches each time it is read, got {batch}")
        return found

    def _epoch(self, epoch: int, skip: int) -> Iterator[Batch]:
        """Return the batches of an epoch after some; what is random in a loader is so by the epoch's number."""
        torch.manual_seed(self._seed + epoch)
        # From 1, because the gradients of a first stage are drawn in the order of (seed, 0).
        batches = self._samples.all_batches(self._batch_size, (self._seed, epoch + 1))
        for _ in range(skip):
            next(batches)
        return batches


def batches_of(samples: Samples, batch_size: int, data: Any) -> int:
    """Return how many batches an epoch has; where the data does not tell, by reading it once."""
    if samples.size is not None:
        return -(-samples.size // batch_size)
    try:
        found = len(data)
    except TypeError:
        found = sum(1 for _ in samples.all_batches(batch_size))
    if found == 0:
        raise ValueError("data: must have samples, got none")
    return found
