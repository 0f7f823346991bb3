"""gradual_prune: an optimizer with pruning at rising sparsity under way, and refits at the end."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch.baselines.magnitude import MagnitudePruning
from l0quad_adapters.torch.baselines.registry import Baseline
from l0quad_adapters.torch.budgets import Budget
from l0quad_adapters.torch.checks import check_flags, check_integers, real
from l0quad_adapters.torch.files import PathLike
from l0quad_adapters.torch.network.batchnorm import mean_loss, modes_kept, recalibrate_batchnorm
from l0quad_adapters.torch.network.data import Batch, Data, LossFn, Samples
from l0quad_adapters.torch.network.gradients import Gradients
from l0quad_adapters.torch.network.masks import refuse_masked
from l0quad_adapters.torch.network.weights import Choice, Weights, choose
from l0quad_adapters.torch.pruning.budget import Sparsity, resolved
from l0quad_adapters.torch.pruning.checkpoint import Checkpoint, Done
from l0quad_adapters.torch.pruning.prune import DEFAULT_L2, method_of, name_of, unchanged_by_failure
from l0quad_adapters.torch.pruning.refit import Refit
from l0quad_adapters.torch.pruning.run import report_of, run_stages, shown
from l0quad_adapters.torch.pruning.schedules import targets_of
from l0quad_adapters.torch.pruning.stages import STATISTICS, Plan, Stage, rows_of, statistics
from l0quad_adapters.torch.pruning.training import LearningRate, Optimizer, Training, batches_of
from l0quad_adapters.torch.pruning.window import Window
from l0quad_adapters.torch.report.parts import StageReport
from l0quad_adapters.torch.report.report import PruneReport

# The accuracies in docs/benchmarks/results/gradual.md come of these.
_RISE = 0.65
_REFIT = Refit(l2=1e-2, momentum=0.9)
_MOST_REFITS, _REFITS_SHARE = 40, 0.25
# So few cost more training than they gain: ResNet20 there.
_FEW_REFITS = 10
_MOST_ROWS, _ROW = 500, 64
# Of how many samples the loss tells whether refits are kept.
_COMPARED = 1000


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer that is used by default."""
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)


def cosine(share: float) -> float:
    """Return the learning rate's factor after a share of the training: a cosine from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, slots=True)
class _Course:
    """What the steps of one run have in common; validated. ``starts``: the batch before which each step prunes."""

    plan: Plan
    data: Data
    targets: list[Budget]
    starts: list[int]
    total: int
    n_refits: int
    recalibrate: bool | None
    seed: int
    evaluate: Callable[[nn.Module], float]


def gradual_prune(
    model: nn.Module,
    loss_fn: LossFn,
    data: Data,
    sparsity: Sparsity,
    *,
    optimizer: Optimizer = sgd,
    epochs: float = 20,
    learning_rate: LearningRate = cosine,
    train_batch_size: int = 128,
    steps: int = 40,
    rise: float = _RISE,
    schedule: str = "poly",
    method: str | l0quad.Options | Baseline = "magnitude",
    l2: float | str = DEFAULT_L2,
    n_rows: int | None = None,
    batch_size: int = _ROW,
    refit_stages: int | None = None,
    refit: Refit = _REFIT,
    weights: Choice | Iterable[Choice] | Weights | None = None,
    exclude: Choice | Iterable[Choice] | None = None,
    recalibrate: bool | None = None,
    seed: int = 0,
    checkpoint: PathLike | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    callback: Callable[[StageReport], object] | None = None,
    progress: bool | None = None,
) -> PruneReport:
    """Prune a trained model in place while an optimizer trains it on, then refit what is left.

    First the gradual pruning of Zhu and Gupta ("To prune, or not to prune", 2017): all parameters are trained, and in
    the first part of the training the weights are pruned, step by step, to the sparsity; a weight that is zero stays
    zero, its momentum too. Then refits (`Refit`), each by the gradients of the weights that are left, which are kept
    where they lower the loss; last, new statistics of batch normalisation, likewise. If anything fails, and on Ctrl-C,
    the model has its old weights.

    With ``checkpoint``, called again in the same way after it was stopped, even killed, it goes on after the last
    finished step, and ends with the same bytes as a run that was not stopped, where training is deterministic at all:
    what is random in ``model`` and ``data`` must come from torch's default generators, which are seeded.

    Parameters
    ----------
    model : Module
        On one device; its modes, training or not, are at the end what they were.
    loss_fn : callable
        ``loss_fn(outputs, targets)``: the mean loss of a batch, a scalar.
    data : (inputs, targets), dict of tensors, Dataset, list or other iterable of batches
        For the training and the gradients; on the model's device. Not an iterator, since it is read again and again.
    sparsity : float, NofM or dict
        At the end, as for `prune`.
    optimizer : callable
        Makes one of the parameters: ``functools.partial(torch.optim.Adam, lr=1e-3)``, say. By default SGD with a rate
        of 0.1, momentum 0.9 and weight decay 5e-4.
    epochs : float
        How long to train, in passes over the data, a fraction too.
    learning_rate : callable
        Of the share of the training that is done, before each batch: what the optimizer's rates are multiplied by.
        The default falls from 1 to 0 by a cosine.
    train_batch_size : int
        Of the training; an iterable of batches keeps its own.
    steps, rise, schedule : int, float, {"poly", "geometric", "linear", "constant"}
        How many pruning steps, in which share of the training, and how the sparsity rises over them.
    method, l2 : str or options, float or "auto"
        What chooses the weights that are left, as for `prune`; all but ``"magnitude"`` compute gradients at each step.
    n_rows, batch_size : int
        Of those steps and of the refits: rows of gradients (500 by default, or as many as the data have), and the
        samples whose mean gradient is a row.
    refit_stages, refit : int, Refit
        How many refits there are, and what they are like. By default as many as see a quarter of the samples that the
        training has seen, at most 40; none where that is fewer than ten.
    weights, exclude : optional
        As for `prune`.
    recalibrate : bool, optional
        Whether batch normalisation gets new statistics at the end. By default where the pruned network has the smaller
        loss with new ones, on samples of the training; the report says which. Frozen statistics (a momentum of 0) stay.
    seed : int
        Of what is drawn at random; the same one gives the same answer.
    checkpoint : path, optional
        A file that is replaced, atomically, after each step.
    evaluate : callable, optional
        ``evaluate(model)``, a number that the report keeps for before, after and each step; in eval mode.
    callback : callable, optional
        Called with the `StageReport` of each step and of each refit, after the checkpoint is written.
    progress : bool, optional
        Show on stderr which step runs and how long the rest will take; by default where that is a terminal.

    Returns
    -------
    PruneReport
        Of the whole run; its stages are the steps, their metrics those after the training that follows, and the refits.
        The last metric is that of the network as it is returned.
        It has the pruned parameters and the buffers, but no others that were trained, such as biases: keep the network
        by `save_sparse`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; ``checkpoint`` where it is that of another model or of other settings, or no checkpoint;
        ``optimizer`` where the training diverged.
    OSError
        The checkpoint cannot be read or written.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import gradual_prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = gradual_prune(model, torch.nn.functional.cross_entropy, data, 0.5, epochs=2)
    >>> int((model.weight == 0).sum())
    12
    """
    chosen = choose(model, weights, exclude)
    check_integers(steps=steps, train_batch_size=train_batch_size, batch_size=batch_size)
    check_integers(0, seed=seed)
    _check_training(optimizer, epochs, learning_rate, rise)
    if isinstance(data, Iterator):
        raise TypeError(f"data: must not be an iterator, for it is read several times, got {type(data).__name__}")
    if recalibrate is not None:
        check_flags(recalibrate=recalibrate)
    if not isinstance(refit, Refit):
        raise TypeError(f"refit: must be a Refit, got {refit!r}")
    refuse_masked(model)
    samples = Samples(data)
    n_batches = batches_of(samples, train_batch_size, data)
    total = max(1, round(epochs * n_batches))
    about = samples.about or n_batches * train_batch_size
    n_rows = max(1, min(_MOST_ROWS, about // batch_size)) if n_rows is None else n_rows
    check_integers(n_rows=n_rows)
    if refit_stages is None:
        refit_stages = _refits(epochs * about, (refit.n_rows or n_rows) * batch_size)
    check_integers(0, refit_stages=refit_stages)
    refit = replace(refit, average=min(refit_stages, refit.average or refit_stages // 2))
    targets = targets_of(model, chosen, resolved(model, chosen, sparsity), schedule, steps)
    damping = l2 if isinstance(l2, str) and l2 == "auto" else real(l2, "l2", kind="a number or 'auto'")
    plan = Plan(
        loss_fn, samples, chosen, None, method_of(method), damping, n_rows, batch_size, True, refit, False, False, None,
        seed, None,
    )  # fmt: skip
    told = {
        "sparsity": sparsity, "samples": samples.size, "weights": chosen, "epochs": epochs, "steps": steps,
        "train_batch_size": train_batch_size, "rise": rise, "schedule": schedule, "seed": seed,
        # A callable cannot be compared, but some of its values can.
        "learning_rate": [learning_rate(share) for share in (0.0, 0.25, 0.5, 0.75)],
        "optimizer": str(optimizer([nn.Parameter(torch.zeros(1))])),
        "refit": refit, "refit_stages": refit_stages, "method": plan.method, "l2": l2, "n_rows": n_rows,
        "batch_size": batch_size, "recalibrate": recalibrate,
    }  # fmt: skip
    saved = None if checkpoint is None else Checkpoint.of(checkpoint, model, told)
    devices = list({parameter.device for parameter in model.parameters() if parameter.is_cuda})
    # Dropout, and loaders that shuffle, draw from the default generators, which the caller gets back as they were.
    with unchanged_by_failure(model), modes_kept(model), torch.random.fork_rng(devices=devices):
        model.eval()
        if refit_stages or not isinstance(plan.method, MagnitudePruning):
            gradients = Gradients(model, loss_fn, chosen, rows="sample" if batch_size == 1 else "batch")
            plan = replace(plan, gradients=gradients)
        starts = [int(rise * total * step / steps) for step in range(steps)]
        metric = evaluate or (lambda _: math.nan)
        course = _Course(plan, data, targets, starts, total, refit_stages, recalibrate, seed, metric)
        training = Training(
            model, loss_fn, samples, chosen, optimizer=optimizer, learning_rate=learning_rate,
            batch_size=train_batch_size, n_batches=n_batches, total=total, seed=seed,
        )  # fmt: skip
        done = _run(model, course, training, saved, callback, progress)
        return report_of(
            model, chosen, tuple(done.stages), sparsity=sparsity, method=name_of(plan.method),
            l2=done.l2, seed=seed, n_rows=n_rows, batch_size=batch_size, first_order=True,
            metric_before=done.metric_before, seconds=done.seconds, statistics=done.more["statistics"],
        )  # fmt: skip


def _refits(seen: float, each: int) -> int:
    """Return how many refits there are by default, after a training on so many samples."""
    found = min(_MOST_REFITS, int(_REFITS_SHARE * seen / each))
    return found if found >= _FEW_REFITS else 0


def _check_training(optimizer: object, epochs: object, learning_rate: object, rise: object) -> None:
    for name, value, form in (("optimizer", optimizer, "(parameters)"), ("learning_rate", learning_rate, "(share)")):
        if not callable(value):
            raise TypeError(f"{name}: must be callable with {form}, got {value!r}")
    if real(epochs, "epochs") == 0:
        raise ValueError(f"epochs: must be positive, got {epochs!r}")
    if not 0 < real(rise, "rise") <= 1:
        raise ValueError(f"rise: must lie in (0, 1], got {rise!r}")


def _run(
    model: nn.Module,
    course: _Course,
    training: Training,
    saved: Checkpoint | None,
    callback: Callable[[StageReport], object] | None,
    progress: bool | None,
) -> Done:
    begin = time.perf_counter()
    done = None if saved is None else saved.restore(model)
    if done is None:
        done = Done(float(course.evaluate(model)), [], math.nan, 0.0)
    else:
        training.state = done.more["training"]
    begin -= done.seconds
    for step in shown(range(len(done.stages), len(course.targets)), progress):
        stage, done.l2 = _step(model, course, training, step)
        done.stages.append(stage)
        done.seconds = time.perf_counter() - begin
        if saved is not None:
            done.more["training"] = training.state
            saved.write(model, done)
        if callback is not None:
            callback(stage)
    # A checkpoint ends with the last step: what follows is run again, and ends with the same bytes.
    if course.n_refits:
        done.stages += _refitted(model, course, callback)
    done.more["statistics"] = _recalibrated(model, course, done.stages)
    done.seconds = time.perf_counter() - begin
    return done


def _step(model: nn.Module, course: _Course, training: Training, step: int) -> tuple[StageReport, float]:
    """Prune once and train on until the next step, or to the end."""
    seed = int(np.random.SeedSequence((course.seed, step)).generate_state(1)[0])
    # What is zero stays zero, and is in no problem.
    alive = np.flatnonzero(course.plan.weights.read(model))
    columns = alive if alive.size else np.arange(1)
    plan = replace(course.plan, seed=seed, samples=Samples(course.data), columns=columns, refit=Refit())
    # What follows depends on the model, the optimizer, the course and the step alone.
    torch.manual_seed(seed)
    model.eval()
    plan, found = _run_here(model, plan, [Stage(0, course.targets[step], False, "none")], None)
    training.until([*course.starts, course.total][step + 1])
    return replace(found.stages[0], stage=step + 1, metric=float(course.evaluate(model))), float(plan.l2)


def _refitted(model: nn.Module, course: _Course, callback: Callable[[StageReport], object] | None) -> list[StageReport]:
    """Refit what is left, and keep it where that lowers the loss of some samples."""
    weights, offset = course.plan.weights, len(course.targets)
    todo = [Stage(i, course.targets[-1], True, "none") for i in range(course.n_refits)]

    def numbered(stage: StageReport) -> StageReport:
        return replace(stage, stage=stage.stage + offset)

    def told(stage: StageReport) -> None:
        if callback is not None:
            callback(numbered(stage))

    seed = int(np.random.SeedSequence((course.seed, offset)).generate_state(1)[0])
    torch.manual_seed(seed)
    model.eval()
    batch = next(Samples(course.data).all_batches(_COMPARED, seed))
    # Of an iterable it is a batch.
    before, w = mean_loss(model, course.plan.loss_fn, batch), weights.read(model)
    _, found = _run_here(
        model, replace(course.plan, seed=seed, samples=Samples(course.data), evaluate=course.evaluate), todo, told
    )
    stages = [numbered(stage) for stage in found.stages]
    if not mean_loss(model, course.plan.loss_fn, batch) <= before:
        weights.write(model, w)
        stages[-1] = replace(stages[-1], status="taken back", metric=float(course.evaluate(model)))
    return stages


def _recalibrated(model: nn.Module, course: _Course, stages: list[StageReport]) -> str:
    """Renew the statistics of batch normalisation where that is wanted or better; return a line for the report."""
    drawn, compared = np.random.SeedSequence((course.seed, len(course.targets) + 1)).generate_state(2).tolist()
    torch.manual_seed(drawn)
    model.eval()
    plan = replace(course.plan, samples=Samples(course.data))

    def compared_on() -> tuple[Batch, str]:
        batch = next(plan.samples.all_batches(_COMPARED, compared))
        return batch, "the pruned network's loss on samples of the training"

    renews, told = statistics(model, plan, course.recalibrate, drawn, compared_on)
    if renews:
        recalibrate_batchnorm(model, plan.samples, n_samples=STATISTICS, seed=drawn)
        stages[-1] = replace(stages[-1], metric=float(course.evaluate(model)))
    return told


def _run_here(
    model: nn.Module, plan: Plan, todo: list[Stage], callback: Callable[[StageReport], object] | None
) -> tuple[Plan, Done]:
    rows = max(rows_of(plan, stage) for stage in todo)
    width = max(1, int(np.count_nonzero(plan.weights.read(model))))
    return run_stages(
        model, plan, Window(max(1, rows), width), todo, None, Done(math.nan, [], math.nan, 0.0), callback, False
    )
