"""Batch normalisation: running statistics that fit the pruned weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from l0quad_adapters.torch.checks import check_integers
from l0quad_adapters.torch.network.data import Batch, Data, LossFn, Samples, part_of
from l0quad_adapters.torch.network.trees import call, samples_in

# How many samples go through the model at once.
_AT_ONCE = 250


def has_batchnorm(model: nn.Module) -> bool:
    """Return whether a model has batch normalisation with running statistics that are not frozen."""
    return bool(_layers(model))


def recalibrate_batchnorm(
    model: nn.Module,
    data: Data | Samples,
    *,
    n_samples: int = 4096,
    batch_size: int = 256,
    seed: int | Sequence[int] = 0,
) -> None:
    """Compute the running mean and variance of every batch normalisation anew.

    They become the averages over the batches of the batches' own statistics, as training with ``momentum=None`` would
    leave them. Weights and all other layers stay as they are, in eval mode; so do statistics that are frozen (a
    momentum of 0), and without batch normalisation nothing is done. If anything fails, and on Ctrl-C, the old
    statistics are back; modes and momentum are in any case.

    Parameters
    ----------
    model : Module
        Its weights stay.
    data : (inputs, targets), dict of tensors, Dataset, list or other iterable of batches
        On the model's device.
    n_samples : int
        At most so many are used, in whole batches, drawn at random where data can be indexed.
    batch_size : int
        Of the data; an iterable of batches keeps its own.
    seed : int or sequence of int
        Of the draw; the same one gives the same samples.

    Raises
    ------
    ValueError
        There are no samples, or a batch has one value a channel only.

    Examples
    --------
    >>> import torch
    >>> from l0quad_adapters.torch import recalibrate_batchnorm
    >>> model = torch.nn.BatchNorm1d(2).eval()
    >>> recalibrate_batchnorm(model, (3 * torch.ones(40, 2), torch.zeros(40)))
    >>> model.running_mean.tolist()
    [3.0, 3.0]
    """
    check_integers(n_samples=n_samples, batch_size=batch_size)
    layers = _layers(model)
    if not layers:
        return
    samples = data if isinstance(data, Samples) else Samples(data)
    before = [(layer, layer.momentum, _statistics(layer)) for layer in layers]
    try:
        with modes_kept(model), torch.no_grad():
            model.eval()
            for layer in layers:
                layer.train()
                layer.reset_running_stats()
                layer.momentum = None
            _run(model, samples, n_samples, batch_size, seed)
    except BaseException:
        for layer, _, statistics in before:
            _restore(layer, statistics)
        raise
    finally:
        for layer, momentum, statistics in before:
            layer.momentum = momentum
            # The forward pass may leave a layer out, such as those of an auxiliary output.
            if layer.num_batches_tracked == 0:
                _restore(layer, statistics)


def better_statistics(
    model: nn.Module,
    loss_fn: LossFn,
    samples: Samples,
    compared_on: Batch,
    *,
    n_samples: int,
    seed: int | Sequence[int],
) -> tuple[bool, float, float]:
    """Return whether new statistics are better for a model than its own, and its loss with its own and with new ones.

    The model is left as it was. A network that was fine-tuned with frozen statistics relies on these.
    """
    own = mean_loss(model, loss_fn, compared_on)
    before = [(layer, _statistics(layer)) for layer in _layers(model)]
    try:
        recalibrate_batchnorm(model, samples, n_samples=n_samples, seed=seed)
        new = mean_loss(model, loss_fn, compared_on)
    finally:
        for layer, statistics in before:
            _restore(layer, statistics)
    return new < own, own, new


def mean_loss(model: nn.Module, loss_fn: LossFn, batch: Batch) -> float:
    """Return a model's mean loss over samples, a part of them at a time."""
    total, n = 0.0, samples_in(batch[0])
    with torch.no_grad():
        for first in range(0, n, _AT_ONCE):
            inputs, targets = part_of(batch, first, first + _AT_ONCE)
            total += samples_in(inputs) * float(loss_fn(call(model, inputs), targets))
    return total / n


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Give every module its present mode, training or not, back at the end."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.momentum != 0
    ]


def _statistics(layer: _BatchNorm) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)}


def _restore(layer: _BatchNorm, statistics: dict[str, torch.Tensor]) -> None:
    for name, value in statistics.items():
        layer.get_buffer(name).copy_(value)


def _run(model: nn.Module, samples: Samples, n_samples: int, batch_size: int, seed: int | Sequence[int]) -> None:
    size = seen = 0
    for batch in samples.all_batches(batch_size, seed):
        there = samples_in(batch[0])
        size = size or min(there, n_samples)
        # Every batch counts the same, so a smaller last one, noisier than the others, is left out.
        if there < size or seen + size > n_samples:
            break
        call(model, part_of(batch, 0, size)[0])
        seen += size
    if seen == 0:
        raise ValueError("data: must have samples, got none")
