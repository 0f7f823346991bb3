"""gradual_prune: pruning steps at rising sparsity, each followed by training under the masks."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from l0quad_adapters.torch.checks import check_integers, real
from l0quad_adapters.torch.files import PathLike
from l0quad_adapters.torch.network.batchnorm import modes_kept
from l0quad_adapters.torch.network.data import Data, Samples
from l0quad_adapters.torch.network.gradients import LossFn, scalar
from l0quad_adapters.torch.network.masks import keep_masks, masks
from l0quad_adapters.torch.network.weights import Choice, Weights, choose
from l0quad_adapters.torch.pruning.checkpoint import Checkpoint, Done
from l0quad_adapters.torch.pruning.problem import Sparsity
from l0quad_adapters.torch.pruning.prune import DEFAULT_L2, prune, report_of, shown
from l0quad_adapters.torch.pruning.schedules import targets_of
from l0quad_adapters.torch.report.report import PruneReport, StageReport

LearningRate = Callable[[float, float, float], float]


# The accuracies in docs/benchmarks/results/gradual.md come of this rate.
def cosine(epoch: float, first: float, last: float) -> float:
    """Return the learning rate of a cosine from 0.1 at epoch ``first`` down to 1e-5 at ``last``."""
    return 1e-5 + 0.5 * (0.1 - 1e-5) * (1 + math.cos(math.pi * (epoch - first) / (last - first)))


@dataclass(frozen=True, slots=True)
class _Course:
    """What the steps of one run have in common; validated."""

    loss_fn: LossFn
    data: Data
    sparsity: Sparsity
    schedule: str
    targets: list[Sparsity]
    weights: Weights
    epochs: int
    train_batch_size: int
    n_batches: int
    momentum: float
    weight_decay: float
    learning_rate: LearningRate
    seed: int
    evaluate: Callable[[nn.Module], float]
    options: dict[str, Any]


def gradual_prune(
    model: nn.Module,
    loss_fn: LossFn,
    data: Data,
    sparsity: Sparsity,
    *,
    steps: int = 10,
    epochs: int = 2,
    schedule: str = "poly",
    method: Any = "auto",
    l2: float | str = DEFAULT_L2,
    n_rows: int = 1000,
    batch_size: int = 1,
    train_batch_size: int = 128,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    learning_rate: LearningRate = cosine,
    weights: Choice | Iterable[Choice] | Weights | None = None,
    seed: int = 0,
    checkpoint: PathLike | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    callback: Callable[[StageReport], object] | None = None,
    progress: bool = False,
) -> PruneReport:
    """Prune a trained model in place in several steps, and train it on after each, the last one included.

    The gradual pruning of Benbaki et al. (CHITA, ICML 2023): each step prunes the model to its sparsity by one stage of
    `prune`, then trains all its parameters with SGD while the pruned weights, and their momentum, are held at zero. A
    weight that is zero stays zero. If anything fails, and on Ctrl-C, the model has its old weights.

    With ``checkpoint``, called again in the same way after it was stopped, even killed, it goes on after the last
    finished step, and ends with the same bytes as a run that was not stopped, where training is deterministic at all:
    what is random in ``model`` and ``data`` must come from torch's default generators, which each step seeds.

    Parameters
    ----------
    model : Module
        On one device; its modes, training or not, are at the end what they were.
    loss_fn : callable
        ``loss_fn(outputs, targets)``: the mean loss of a batch, a scalar.
    data : (inputs, targets), Dataset or iterable of batches
        For the gradients and the training; on the model's device. Not an iterator, since it is read again and again.
    sparsity : float, dict or NofM
        After the last step, as for `prune`.
    steps, schedule : int, {"poly", "geometric", "linear", "constant"}
        How many pruning steps, and how the sparsity rises over them.
    epochs : int
        How long to train after each step.
    method, l2, n_rows, batch_size, weights
        As for `prune`.
    train_batch_size : int
        Of the training; an iterable of batches keeps its own.
    momentum, weight_decay : float
        Of the SGD, whose momentum is forgotten at each pruning step.
    learning_rate : callable
        ``learning_rate(epoch, first, last)``, asked before each batch; ``epoch`` counts the training from the start of
        the run, in fractions, and is at least ``first`` and below ``last``, where the present step's training begins
        and ends. The default falls from 0.1 to 1e-5 by a cosine after each step.
    checkpoint : path, optional
        A file that is replaced, atomically, after each step.
    evaluate : callable, optional
        ``evaluate(model)``, a number that the report keeps for before, after and each step; in eval mode.
    callback : callable, optional
        Called with each step's `StageReport`, after its checkpoint is written.
    progress : bool
        Show on stderr which step runs and how long the rest will take.

    Returns
    -------
    PruneReport
        Of the whole run; its stages are the steps, their metrics those after training. It has the pruned parameters
        and the buffers, but no others that were trained, such as biases: keep ``model.state_dict()`` for these.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; ``checkpoint`` where it is that of another model or of other settings, or no checkpoint;
        ``learning_rate`` where the training diverged.
    OSError
        The checkpoint cannot be read or written.
    """
    chosen = choose(model, weights)
    check_integers(steps=steps, epochs=epochs, train_batch_size=train_batch_size, n_rows=n_rows, batch_size=batch_size)
    check_integers(0, seed=seed)
    _check_training(momentum, weight_decay, learning_rate)
    if isinstance(data, Iterator):
        raise TypeError(f"data: must not be an iterator, for it is read several times, got {type(data).__name__}")
    course = _Course(
        loss_fn, data, sparsity, schedule, targets_of(model, chosen, sparsity, schedule, steps), chosen, epochs,
        train_batch_size, _batches_of(data, train_batch_size), momentum, weight_decay, learning_rate, seed,
        evaluate or (lambda _: math.nan), {"method": method, "l2": l2, "n_rows": n_rows, "batch_size": batch_size},
    )  # fmt: skip
    saved = None if checkpoint is None else Checkpoint.of(checkpoint, model, _told(course))
    # With buffers, for training moves the statistics of batch normalisation too.
    before = copy.deepcopy(model.state_dict())
    try:
        with modes_kept(model):
            return _run(model, course, saved, callback, progress)
    except BaseException:
        model.load_state_dict(before)
        raise


def _check_training(momentum: float, weight_decay: float, learning_rate: LearningRate) -> None:
    real(momentum, "momentum", below=1.0)
    real(weight_decay, "weight_decay")
    if not callable(learning_rate):
        raise TypeError(f"learning_rate: must be callable with (epoch, first, last), got {learning_rate!r}")


def _batches_of(data: Data, batch_size: int) -> int:
    """Return how many batches an epoch has; where the data does not tell, by reading it once."""
    samples = Samples(data)
    if samples.size is not None:
        return -(-samples.size // batch_size)
    try:
        found = len(data)  # type: ignore[arg-type]
    except TypeError:
        found = sum(1 for _ in samples.all_batches(batch_size))
    if found == 0:
        raise ValueError("data: must have samples, got none")
    return found


def _run(
    model: nn.Module,
    course: _Course,
    saved: Checkpoint | None,
    callback: Callable[[StageReport], object] | None,
    progress: bool,
) -> PruneReport:
    begin = time.perf_counter()
    model.eval()
    done = None if saved is None else saved.restore(model)
    if done is None:
        done = Done(float(course.evaluate(model)), [], math.nan, 0.0)
    begin -= done.seconds
    for step in shown(range(len(done.stages), len(course.targets)), progress):
        stage, done.l2 = _step(model, course, step)
        done.stages.append(stage)
        done.seconds = time.perf_counter() - begin
        if saved is not None:
            saved.write(model, done)
        if callback is not None:
            callback(stage)
    method = course.options["method"]
    return report_of(
        model, course.weights, tuple(done.stages),
        method=method if isinstance(method, str) else method.name,
        sparsity=course.sparsity, l2=done.l2, seed=course.seed, n_rows=course.options["n_rows"],
        batch_size=course.options["batch_size"], first_order=True,
        metric_before=done.metric_before, seconds=time.perf_counter() - begin,
    )  # fmt: skip


def _step(model: nn.Module, course: _Course, step: int) -> tuple[StageReport, float]:
    """Prune once and train; what it does depends on the model, the course and the step alone."""
    seed = int(np.random.SeedSequence((course.seed, step)).generate_state(1)[0])
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    # Dropout, and loaders that shuffle, draw from the default generators, which the caller gets back as they were.
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        model.eval()
        used = masks(model, course.weights)
        report = prune(
            model, course.loss_fn, course.data, course.targets[step],
            weights=course.weights, mask=used, first_order=True, recalibrate=False, seed=seed, **course.options,
        )  # fmt: skip
        model.train()
        _train(model, course, step, seed)
    model.eval()
    return replace(report.stages[0], stage=step + 1, metric=float(course.evaluate(model))), report.l2


def _train(model: nn.Module, course: _Course, step: int, seed: int) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, momentum=course.momentum, weight_decay=course.weight_decay)
    keep_masks(optimizer, model, weights=course.weights)
    samples = Samples(course.data)
    first, last = float(step * course.epochs), float((step + 1) * course.epochs)
    for epoch in range(course.epochs):
        # From 1, because the gradients were drawn in the order of (seed, 0).
        for batch, (inputs, targets) in enumerate(samples.all_batches(course.train_batch_size, (seed, epoch + 1))):
            rate = course.learning_rate(first + epoch + batch / course.n_batches, first, last)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.enable_grad():
                optimizer.zero_grad()
                scalar(course.loss_fn(model(inputs), targets)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    optimizer.zero_grad()
    if not all(bool(parameter.isfinite().all()) for parameter in trained):
        raise ValueError(f"learning_rate: the training after step {step + 1} diverged; the weights are not finite")


def _told(course: _Course) -> dict[str, Any]:
    """Return what tells a run from others, beside the model that it begins with."""
    last = float(course.epochs)
    told = {
        "samples": Samples(course.data).size,
        "steps": len(course.targets),
        # A callable cannot be compared, but some of its values can.
        "learning_rate": [course.learning_rate(share * last, 0.0, last) for share in (0.0, 0.25, 0.5, 0.75)],
    }
    names = ("sparsity", "schedule", "weights", "epochs", "train_batch_size", "momentum", "weight_decay", "seed")
    return told | {name: getattr(course, name) for name in names} | course.options
