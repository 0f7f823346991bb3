"""prune: gradients, problem, solution, weights; once, or in the stages of CHITA++."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch.baselines.magnitude import MagnitudePruning
from l0quad_adapters.torch.baselines.registry import BASELINES, Baseline
from l0quad_adapters.torch.budgets import Budget
from l0quad_adapters.torch.checks import check_choice, check_flags, check_integers, real
from l0quad_adapters.torch.files import PathLike
from l0quad_adapters.torch.network.data import Batch, Data, LossFn, Samples
from l0quad_adapters.torch.network.gradients import Gradients
from l0quad_adapters.torch.network.masks import flat_mask, refuse_masked
from l0quad_adapters.torch.network.state import refuse_training
from l0quad_adapters.torch.network.weights import Choice, Weights, choose
from l0quad_adapters.torch.pruning.budget import Sparsity, resolved
from l0quad_adapters.torch.pruning.checkpoint import Checkpoint, Done
from l0quad_adapters.torch.pruning.memory import check_memory, memory_needed
from l0quad_adapters.torch.pruning.refit import Refit
from l0quad_adapters.torch.pruning.run import report_of, run_stages
from l0quad_adapters.torch.pruning.schedules import targets_of
from l0quad_adapters.torch.pruning.shard_window import ShardWindow
from l0quad_adapters.torch.pruning.stages import STATISTICS, Plan, Stage, held_out, rows_of, statistics
from l0quad_adapters.torch.pruning.window import Window
from l0quad_adapters.torch.report.parts import StageReport
from l0quad_adapters.torch.report.report import PruneReport

if TYPE_CHECKING:
    from distributed import Client

# The defaults are chosen on small networks with few samples, docs/benchmarks/results/defaults.md.
DEFAULT_L2 = 3e-3
_STAGES, _BATCH_SIZE, _MOST_ROWS = 10, 16, 500
_AS_THE_STAGES = Refit()
# What l0quad's own magnitude pruning is called here, where the baseline has the plain name.
_REFITTED = "magnitude_refit"
_BOUNDS = ("none", "fast", "tight")
# Methods that were measured to need less memory than a relaxation.
_WITHOUT_RELAXATION = ("backsolve", "block_backsolve", "active_set")


def prune(
    model: nn.Module,
    loss_fn: LossFn,
    data: Data,
    sparsity: Sparsity,
    *,
    method: str | l0quad.Options | Baseline = "backsolve",
    l2: float | str = DEFAULT_L2,
    n_rows: int | None = None,
    batch_size: int = _BATCH_SIZE,
    stages: int = _STAGES,
    schedule: str = "poly",
    refit_stages: int | None = None,
    refit: Refit = _AS_THE_STAGES,
    weights: Choice | Iterable[Choice] | Weights | None = None,
    exclude: Choice | Iterable[Choice] | None = None,
    mask: Mapping[str, torch.Tensor] | None = None,
    first_order: bool | None = None,
    scale_rows: bool = False,
    recalibrate: bool | None = None,
    bound: str = "fast",
    way: str = "auto",
    chunk: int | str = "auto",
    out: PathLike | None = None,
    shards: int | None = None,
    client: "Client | None" = None,
    checkpoint: PathLike | None = None,
    seed: int = 0,
    evaluate: Callable[[nn.Module], float] | None = None,
    callback: Callable[[StageReport], object] | None = None,
    progress: bool | None = None,
) -> PruneReport:
    """Prune a trained model in place.

    At each stage gradients are computed on fresh samples, the quadratic model at the current weights is minimised under
    the stage's budget, and the minimiser becomes the weights. One stage is CHITA, several are CHITA++
    (Benbaki et al., ICML 2023, Algorithm 1). If anything fails, and on Ctrl-C, the model has its old weights.

    Parameters
    ----------
    model : Module
        In eval mode; on one device.
    loss_fn : callable
        ``loss_fn(outputs, targets)``: the mean loss of a batch, a scalar of at least 0 (no row of negative loss has a
        first-order term). On class weights and sums see `gradient_matrix`.
    data : (inputs, targets), dict of tensors, Dataset, list or other iterable of batches
        What the gradients are computed on; a batch is (inputs, targets) or a dict, see `gradient_matrix`.
    sparsity : float, NofM or dict
        The share of zeros, exact: floor(sparsity p + 1/2) of the p weights; or a pattern along the inputs; or either by
        layer. See `budget`.
    method : str or options
        A method of l0quad (``"backsolve"``, ``"auto"``, ``l0quad.Rounding()``, ...) or a published baseline:
        ``"magnitude"``, ``"woodfisher"``, ``"mfac"``, ``"cbs"``. CHITA's own are ``"active_set"``, ``"backsolve"`` and
        ``"block_backsolve"``. ``"magnitude"`` leaves the weights that it keeps as they are and needs no gradients;
        l0quad's own method of that name, which solves for them, is ``"magnitude_refit"`` here.
    l2 : float or "auto"
        The damping that is added to the Fisher matrix of the rows, so it goes with ``batch_size``: mean gradients are
        shorter. ``"auto"`` tries several at the first stage and compares them on held-out samples, with the statistics
        of batch normalisation that each of them would have.
    n_rows, batch_size : int
        Rows of gradients for a pruning stage (500 by default, or fewer where nine tenths of the data have no more),
        and the samples whose mean gradient is a row.
    stages, schedule : int, {"poly", "geometric", "linear", "constant"}
        How many stages, and how the sparsity rises over them.
    refit_stages : int, optional
        Further stages that keep the support and renew its weights only, by the first-order term: without it they
        change nothing. By default half as many as the stages.
    refit : Refit
        What refits are like, and how many there are between pruning stages.
    weights, exclude : optional
        What is pruned, and what is not; see `choose`. Weights without gradients (frozen) only by magnitude.
    mask : dict of bool tensors, optional
        By parameter; where it is False the weight is zero at the end, and in no problem.
    first_order : bool, optional
        Whether the model of the loss has the gradient itself. By default with several stages only: one stage would go
        too far on the gradients of few samples.
    scale_rows : bool
        Divide each row g by the root of its loss l. The curvature of a small negative log-likelihood is that of gg'/l,
        not of gg': the empirical Fisher matrix hardly sees the samples that the model has learnt. Losses below 0.01
        count as 0.01.
    recalibrate : bool, optional
        Whether batch normalisation gets new statistics after each stage. By default where the network, before it is
        pruned, has the smaller loss with new ones, on samples beside those of the gradients where there are any; the
        report says which. Frozen statistics (a momentum of 0) stay.
    bound : {"none", "fast", "tight"}
        The lower bound of the last pruning stage.
    way, chunk : optional
        How gradients are computed, see `gradient_matrix`.
    out : path, optional
        A file that holds A, in place of memory, for all stages; it is replaced, and stays.
    shards : int, optional
        ``out`` is a folder, which gets A in so many column files, anew at each stage; those of `gradient_matrix` that
        are there are lost. Not with ``scale_rows``, ``refit.between`` or WoodFisher, M-FAC and CBS.
    client : distributed.Client, optional
        Its workers read these files, and must see them under the same path; see `l0quad_adapters.dask.sharded`.
    checkpoint : path, optional
        A file that is replaced, atomically, after each stage. Called again in the same way after it was stopped, even
        killed, a run goes on after the last finished stage and ends with the same bytes. While later stages need the
        rows of earlier ones (``refit.between``), it holds A too, unless ``out`` does.
    seed : int
        Of what is drawn at random; the same one gives the same answer.
    evaluate : callable, optional
        ``evaluate(model)``, a number (an accuracy, say) that the report keeps for before, after and each stage.
    callback : callable, optional
        Called with each stage's `StageReport`.
    progress : bool, optional
        Show on stderr which stage runs and how long the rest will take; by default where that is a terminal.

    Returns
    -------
    PruneReport

    Raises
    ------
    ValueError, TypeError
        Naming the argument, before the model is changed; ``n_rows`` or ``out`` where memory or disk are too small.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, stages=1)
    >>> int((model.weight == 0).sum()), report.stages[-1].rows
    (12, 3)
    """
    chosen = choose(model, weights, exclude)
    samples = Samples(data)
    refit_stages = stages // 2 if refit_stages is None and isinstance(stages, int) else refit_stages
    n_rows = _rows_by_default(samples, batch_size) if n_rows is None else n_rows
    _check(n_rows, batch_size, stages, refit_stages, seed, refit, bound)
    check_flags(scale_rows=scale_rows)
    for name, flag in (("first_order", first_order), ("recalibrate", recalibrate), ("progress", progress)):
        if flag is not None:
            check_flags(**{name: flag})
    targets = targets_of(model, chosen, resolved(model, chosen, sparsity), schedule, stages)
    allowed = None if mask is None else flat_mask(chosen, mask)
    plan = Plan(
        loss_fn, samples, chosen, None, method_of(method),
        l2 if isinstance(l2, str) and l2 == "auto" else real(l2, "l2", kind="a number or 'auto'"), n_rows, batch_size,
        stages + refit_stages > 1 if first_order is None else first_order, refit, scale_rows, bool(recalibrate),
        None if allowed is None or allowed.all() else np.flatnonzero(allowed), seed, evaluate,
    )  # fmt: skip
    refuse_training(model)
    refuse_masked(model)
    todo = schedule_of(targets, refit.between, refit_stages, bound)
    most = max(rows_of(plan, stage) for stage in todo)
    samples.require(batch_size * most)
    if plan.l2 == "auto" and samples.size is not None and samples.size <= n_rows * batch_size:
        used = n_rows * batch_size
        raise ValueError(f"l2: 'auto' needs samples beside the {used} of the gradients, but data has no more")
    if most:
        rows = "sample" if batch_size == 1 else "batch"
        plan = replace(plan, gradients=Gradients(model, loss_fn, chosen, rows=rows, chunk=chunk, way=way))
    width = chosen.size if plan.columns is None else max(1, plan.columns.size)
    _check_shards(plan, out, shards, client)
    needed = memory_needed(width, most, in_file=out is not None, relaxation=_relaxes(plan.method, bound))
    check_memory(needed, out, shards=shards is not None)
    told = {
        "sparsity": sparsity, "samples": samples.size, "weights": chosen, "method": method, "l2": l2, "n_rows": n_rows,
        "batch_size": batch_size, "stages": stages, "schedule": schedule, "refit_stages": refit_stages, "refit": refit,
        "mask": None if plan.columns is None else hashlib.sha256(plan.columns.tobytes()).hexdigest(),
        "first_order": first_order, "scale_rows": scale_rows, "recalibrate": recalibrate, "bound": bound, "seed": seed,
    }  # fmt: skip
    saved = None if checkpoint is None else Checkpoint.of(checkpoint, model, told)
    with unchanged_by_failure(model):
        done = None if saved is None else saved.restore(model)
        if shards is None or out is None:
            window = Window(max(1, most), width, out, keep=done is not None)
        else:
            window = ShardWindow(max(1, most), width, out, shards, client)
        if done is None:
            done = Done(math.nan if evaluate is None else float(evaluate(model)), [], math.nan, 0.0)
            done.more["recalibrate"], done.more["statistics"] = statistics(
                model, plan, recalibrate, (seed, 0), lambda: _compared_on(plan, (seed, 0))
            )
        plan = replace(plan, recalibrate=done.more["recalibrate"])
        plan, done = run_stages(model, plan, window, todo, saved, done, callback, progress)
        return report_of(
            model, chosen, tuple(done.stages), sparsity=sparsity, method=name_of(plan.method), l2=float(plan.l2),
            seed=seed, n_rows=n_rows, batch_size=batch_size, first_order=plan.first_order,
            metric_before=done.metric_before, seconds=done.seconds, statistics=done.more["statistics"],
        )  # fmt: skip


def schedule_of(targets: list[Budget], between: int, at_the_end: int, bound: str) -> list[Stage]:
    """Return what each stage is to do; only the last pruning stage pays for a bound."""
    todo: list[Stage] = []
    shares = between > 0 and len(targets) > 1
    for i, target in enumerate(targets):
        last = i == len(targets) - 1
        own = bound if last else "none"
        todo.append(Stage(len(todo), target, False, own, shares and i > 0, shares, not shares))
        todo += [
            Stage(len(todo) + j, target, True, "none", shares=not last) for j in range(at_the_end if last else between)
        ]
    return todo


def method_of(method: object) -> Any:
    """Return options of a baseline, or options or the name of a solver."""
    if isinstance(method, str):
        check_choice(method, "method", tuple(sorted({*l0quad.METHODS, *BASELINES, _REFITTED})))
        if method == _REFITTED:
            return l0quad.Magnitude()
        return BASELINES[method]() if method in BASELINES else method
    options = (*BASELINES.values(), *(each.options for each in l0quad.METHODS.values()))
    if not isinstance(method, options):
        raise TypeError(f"method: must be a name or options such as l0quad.Backsolve(), got {method!r}")
    return method


def name_of(method: Any) -> str:
    """Return the name of options that `method_of` takes for them."""
    if isinstance(method, l0quad.Magnitude):
        return _REFITTED
    return method if isinstance(method, str) else str(method.name)


@contextmanager
def unchanged_by_failure(model: nn.Module) -> Iterator[None]:
    """Give a model its old parameters and buffers back where anything fails."""
    # Not state_dict, which lacks buffers that are not persistent.
    before = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        raise


def _check(n_rows: int, batch_size: int, stages: int, refit_stages: int, seed: int, refit: Refit, bound: str) -> None:
    check_integers(n_rows=n_rows, batch_size=batch_size, stages=stages)
    check_integers(0, refit_stages=refit_stages, seed=seed)
    if not isinstance(refit, Refit):
        raise TypeError(f"refit: must be a Refit, got {refit!r}")
    if refit.n_rows is not None and n_rows % refit.n_rows != 0:
        raise ValueError(f"refit.n_rows: must divide n_rows ({n_rows}), got {refit.n_rows}")
    if refit.average > refit_stages:
        raise ValueError(f"refit.average: must be at most refit_stages ({refit_stages}), got {refit.average}")
    check_choice(bound, "bound", _BOUNDS)


def _relaxes(method: Any, bound: str) -> bool:
    """Return whether a relaxation may be solved, for a bound or by the method."""
    return not isinstance(method, Baseline) and (bound != "none" or name_of(method) not in _WITHOUT_RELAXATION)


def _check_shards(plan: Plan, out: PathLike | None, shards: Any, client: "Client | None") -> None:
    """Refuse what column files are not for."""
    if shards is None:
        if client is not None:
            raise ValueError("client: needs out=, a folder, and shards=, how many files are in it")
        return
    check_integers(shards=shards)
    if out is None:
        raise ValueError("shards: needs out=, a folder")
    baseline = isinstance(plan.method, Baseline) and not isinstance(plan.method, MagnitudePruning)
    for name, wrong in (("scale_rows", plan.scale_rows), ("refit.between", plan.refit.between), ("method", baseline)):
        if wrong:
            raise ValueError(f"shards: do not go with {name}; take out= alone, a file")


def _rows_by_default(samples: Samples, batch_size: int) -> int:
    """Return 500, or as many as nine tenths of the data have; the rest is to compare on."""
    check_integers(batch_size=batch_size)
    if samples.about is None:
        return _MOST_ROWS
    return max(1, min(_MOST_ROWS, (9 * samples.about // 10) // batch_size))


def _compared_on(plan: Plan, seed: tuple[int, int]) -> tuple[Batch, str]:
    """Return the samples on which statistics of batch normalisation are compared, and whose loss it is."""
    batch = held_out(plan, seed)
    if batch is not None:
        return batch, "the dense network's loss on other samples"
    return next(plan.samples.all_batches(STATISTICS, seed)), "the dense network's loss on the same samples"
