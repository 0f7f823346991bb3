"""Prune a network layer by layer: each layer's outputs are kept, as far as its budget lets them be.

Source: Frantar and Alistarh, "SparseGPT", ICML 2023; Meng et al., "ALPS", NeurIPS 2024: the order, the inputs of the
network pruned so far, the damping. The layers' problems are l0quad's, with its answers and bounds.
"""

import math
import os
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch.budgets import kept
from l0quad_adapters.torch.checks import check_choice, check_flags, check_integers, real
from l0quad_adapters.torch.files import PathLike
from l0quad_adapters.torch.network.data import Data
from l0quad_adapters.torch.network.gramians import Layer, calibration, fingerprint, gramians, in_order, layers_of
from l0quad_adapters.torch.network.masks import refuse_masked
from l0quad_adapters.torch.network.state import refuse_training
from l0quad_adapters.torch.network.trees import leaves
from l0quad_adapters.torch.network.weights import Choice, Weights, choose
from l0quad_adapters.torch.pruning.budget import Sparsity, resolved
from l0quad_adapters.torch.pruning.checkpoint import Checkpoint, Done
from l0quad_adapters.torch.pruning.memory import free_memory, sized
from l0quad_adapters.torch.pruning.prune import unchanged_by_failure
from l0quad_adapters.torch.pruning.run import report_of, shown
from l0quad_adapters.torch.report.parts import StageReport
from l0quad_adapters.torch.report.report import PruneReport

DEFAULT_DAMPING = 0.01
_METHODS = ("auto", "admm", "magnitude", "wanda", "sparsegpt")
_BOUNDS = ("none", "fast", "tight")
# Matrices that are there at once while a layer is solved, of float64: d x d beside X'X, and of its shape; and for each
# thread of "auto" k x k, k the inputs that an output keeps, and k x d up to so many entries.
_SQUARES, _WEIGHTS = {False: 8, True: 12}, {False: 14, True: 22}
_FACTORS, _TABLES, _LARGEST_TABLE = 3, 3, 1 << 19


class _Plan(NamedTuple):
    """How layers are pruned."""

    sparsity: Any
    method: str
    damping: float
    per_output: bool
    bound: str
    n_threads: int | None
    xp: ModuleType

    def of(self, name: str) -> float | l0quad.NofM:
        """Return the sparsity of one layer."""
        wanted = self.sparsity.get(name, 0.0) if isinstance(self.sparsity, dict) else self.sparsity
        assert isinstance(wanted, (float, l0quad.NofM))
        return wanted

    def zeros(self, name: str) -> float:
        """Return the share of zeros in one layer."""
        wanted = self.of(name)
        return wanted if isinstance(wanted, float) else 1 - min(1.0, wanted.n / wanted.m)


def prune_layers(
    model: nn.Module,
    batches: Data | torch.Tensor | Iterable[torch.Tensor],
    sparsity: Sparsity,
    *,
    method: str = "auto",
    damping: float = DEFAULT_DAMPING,
    per_output: bool = False,
    bound: str = "fast",
    weights: Choice | Iterable[Choice] | Weights | None = None,
    exclude: Choice | Iterable[Choice] | None = None,
    batch_size: int = 32,
    keep_finished: bool = False,
    checkpoint: PathLike | None = None,
    n_threads: int | None = None,
    xp: ModuleType = np,
    evaluate: Callable[[nn.Module], float] | None = None,
    callback: Callable[[StageReport], object] | None = None,
    progress: bool | None = None,
) -> PruneReport:
    """Prune a trained model in place, layer by layer, without labels and without gradients.

    In the order in which batches reach them, the weights W of each layer become those within the budget that change its
    outputs least: they minimise ``1/2 ||X W - X W0||^2 + ridge ||W - W0||^2``, X the inputs that the layer has in the
    model pruned so far. Hooks gather X'X, so one layer's matrices are in memory at a time; the batches go through
    the model once for each layer.

    Parameters
    ----------
    model : Module
        In eval mode; on one device. X'X is summed in float64 whatever its dtype, which the weights keep.
    batches : tensor, list of tensors, or what `prune` takes
        Some hundred samples: inputs, (inputs, targets) of which the targets are not used, or dicts that go to the model
        by keyword. All of them are held in memory. Every row that a layer sees counts, padding too.
    sparsity : float, NofM or dict
        The share of zeros in each layer, exact: floor(sparsity p + 1/2) of its p weights (no comparison across layers,
        as `prune` makes it: their errors have no common scale); or a pattern along the inputs; or either by layer,
        where what is not named stays as it is. See `budget`. The three projections of an attention and the groups of
        a convolution have equal shares of their weight's budget.
    method : {"auto", "admm", "magnitude", "wanda", "sparsegpt"}
        See `l0quad.Layer.solve`.
    damping : float
        The share of the mean of X'X's diagonal that is added to it.
    per_output : bool
        Whether a share of zeros is that of each output's weights, as Wanda has it, in place of the layer's.
    bound : {"fast", "none", "tight"}
        The lower bound on each layer's problem.
    weights, exclude : optional
        What is pruned, and what is not; see `choose`. Recurrent and bilinear layers have inputs that no hook sees: they
        are refused by name, unless they are excluded or the sparsity leaves them dense.
    batch_size : int
        Of batches made of data that can be indexed.
    keep_finished : bool
        What an error or Ctrl-C leaves behind: finished layers pruned and the others untouched, or (by default)
        everything as it was.
    checkpoint : path, optional
        A file that is replaced, atomically, after each layer. Called again in the same way, with the dense model, after
        it was stopped, even killed, a run goes on after the last finished layer and ends with the same bytes.
    n_threads : int, optional
        Threads over a layer's outputs; the answer is the same for every number.
    xp : namespace
        What computes X'X and the dense parts, see `l0quad.Layer.solve`: NumPy, or torch, on the device of each weight.
    evaluate : callable, optional
        ``evaluate(model)``, a number that the report keeps for before, after and each layer.
    callback : callable, optional
        Called with each layer's `StageReport`.
    progress : bool, optional
        Show on stderr which layer runs and how long the rest will take; by default where that is a terminal.

    Returns
    -------
    PruneReport
        A stage a layer; the total's objective and lower bound are sums over the layers.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, before the model is changed: a layer that no batch reaches, one whose X'X does not fit.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import prune_layers
    >>> report = prune_layers(model, torch.randn(60, 8), 0.5)
    >>> int((model.weight == 0).sum()), report.stages[0].layer
    (12, 'weight')
    """
    chosen = choose(model, weights, exclude)
    check_choice(method, "method", _METHODS)
    check_choice(bound, "bound", _BOUNDS)
    check_flags(
        per_output=per_output, keep_finished=keep_finished, **({} if progress is None else {"progress": progress})
    )
    check_integers(batch_size=batch_size, **({} if n_threads is None else {"n_threads": n_threads}))
    if xp not in (np, torch):
        raise ValueError(f"xp: must be numpy or torch, got {xp!r}")
    shares = resolved(model, chosen, sparsity)
    plan = _Plan(shares, method, real(damping, "damping"), per_output, bound, n_threads, xp)
    refuse_training(model)
    refuse_masked(model)
    layers = layers_of(model, [name for name in chosen.names if plan.of(name) != 0.0])
    if not layers:
        raise ValueError(f"sparsity: must ask for zeros in some layer, got {sparsity!r}")
    _check_memory(layers, plan)
    inputs = calibration(batches, batch_size)
    saved = None
    if checkpoint is not None:
        told = {
            "sparsity": sparsity, "batches": fingerprint(inputs), "weights": chosen, "method": method,
            "damping": damping, "per_output": per_output, "bound": bound, "xp": xp.__name__,
        }  # fmt: skip
        saved = Checkpoint.of(checkpoint, model, told)
    seen = in_order(model, inputs, layers)
    with nullcontext() if keep_finished else unchanged_by_failure(model):
        done = None if saved is None else saved.restore(model)
        if done is None:
            done = Done(math.nan if evaluate is None else float(evaluate(model)), [], plan.damping, 0.0)
        begin = time.perf_counter() - done.seconds
        for layer in shown(seen.layers[len(done.stages) :], progress, "prune_layers: layer"):
            stage = _prune_one(model, inputs, layer, layer.name in seen.once, plan, len(done.stages) + 1, evaluate)
            done.stages.append(stage)
            done.seconds = time.perf_counter() - begin
            if saved is not None:
                saved.write(model, done)
            if callback is not None:
                callback(stage)
        return report_of(
            model, chosen, tuple(done.stages), sparsity=sparsity, method=method, l2=plan.damping, seed=0,
            n_rows=sum(len(leaves(each)[0]) for each in inputs), batch_size=batch_size, first_order=False,
            metric_before=done.metric_before, seconds=done.seconds,
        )  # fmt: skip


def _prune_one(
    model: nn.Module,
    inputs: list[Any],
    layer: Layer,
    once: bool,
    plan: _Plan,
    number: int,
    evaluate: Callable[[nn.Module], float] | None,
) -> StageReport:
    begin = time.perf_counter()
    sums, rows = gramians(model, inputs, layer, once, plan.xp)
    gathered = time.perf_counter()
    weight = layer.parameter
    flat = weight.detach().cpu().reshape(-1)
    wide = flat if flat.dtype == torch.float64 else flat.float()
    found, wanted = wide.clone(), plan.of(layer.name)
    results = []
    for H, places, k in zip(sums, layer.places, _budgets(layer, wanted, plan.per_output), strict=True):
        W0 = wide[places].numpy()
        ridge = 0.5 * plan.damping * float(H.diagonal().mean())
        padded = _Padded(H, W0, layer.line, wanted)
        problem = l0quad.Layer(padded.W0, H=padded.H, k=k, ridge=ridge, never=padded.never)
        with torch.device(weight.device):
            result = problem.solve(plan.method, bound=plan.bound, n_threads=plan.n_threads, xp=plan.xp)
        if result.status is l0quad.Status.INTERRUPTED:
            raise KeyboardInterrupt
        found[places] = torch.from_numpy(result.W[padded.real])
        # As it is in the model, which may be of half precision.
        E = found[places].to(weight.dtype).double().numpy() - W0
        objective, at_zero = (0.5 * float(np.sum(e * (H @ e))) + ridge * float(np.sum(e * e)) for e in (E, 1.0 * W0))
        results.append((objective, at_zero, result.lower_bound, result.status.value))
    with torch.no_grad():
        weight.copy_(found.reshape(weight.shape))
    objective, at_zero, lower_bound = (math.fsum(each[i] for each in results) for i in range(3))
    statuses = {status for *_, status in results}
    return StageReport(
        stage=number,
        sparsity=plan.zeros(layer.name),
        kept=int(torch.count_nonzero(weight)),
        objective=objective,
        lower_bound=min(lower_bound, objective),
        relative_gap=max(objective - lower_bound, 0.0) / objective if objective > 0 else 0.0,
        status=statuses.pop() if len(statuses) == 1 else l0quad.Status.CONVERGED.value,
        rows=rows,
        gradient_seconds=gathered - begin,
        solve_seconds=time.perf_counter() - gathered,
        metric=math.nan if evaluate is None else float(evaluate(model)),
        layer=layer.name,
        relative_error=objective / at_zero if at_zero > 0 else 0.0,
    )


class _Padded:
    """A layer's matrices with inputs of zeros, so that groups of a pattern end where a place of the kernel ends."""

    def __init__(self, H: np.ndarray, W0: np.ndarray, line: int, wanted: float | l0quad.NofM) -> None:
        d, m = W0.shape
        lacking = _lacking(line, d, wanted)
        numbers = np.arange(d).reshape(-1, line) + lacking * np.arange(d // line)[:, None]
        self.real = numbers.ravel()
        self.H, self.W0, self.never = H, W0, None
        if lacking:
            size = d + lacking * (d // line)
            self.H, self.W0 = np.zeros((size, size)), np.zeros((size, m), W0.dtype)
            self.H[np.ix_(self.real, self.real)], self.W0[self.real] = H, W0
            self.never = np.ones((size, m), dtype=np.bool_)
            self.never[self.real] = False


def _lacking(line: int, d: int, wanted: float | l0quad.NofM) -> int:
    """Return how many zeros follow each place of a kernel."""
    return -line % int(wanted.m) if isinstance(wanted, l0quad.NofM) and line < d else 0


def _budgets(layer: Layer, wanted: float | l0quad.NofM, per_output: bool) -> list[Any]:
    """Return the budget of each of a layer's matrices."""
    count, d, m = layer.places.shape
    if isinstance(wanted, l0quad.NofM):
        return [wanted] * count
    if per_output:
        return [l0quad.PerColumn(kept(wanted, d))] * count
    total = kept(wanted, count * d * m)
    return [total * (i + 1) // count - total * i // count for i in range(count)]


def _check_memory(layers: list[Layer], plan: _Plan) -> None:
    """Raise where the matrices of a layer do not fit, as far as the system tells."""
    free = free_memory()
    for layer in layers:
        count, d, _ = layer.places.shape
        needed = _memory(layer, plan)
        if free is not None and needed > free:
            raise ValueError(
                f"weights: {layer.name} has {d} inputs: its X'X takes {sized(8 * count * d * d)} and the work on it "
                f"{sized(needed)}, but {sized(free)} of memory are free; exclude={layer.name!r} leaves it dense"
            )


def _memory(layer: Layer, plan: _Plan) -> int:
    """Estimate the bytes that pruning a layer takes."""
    (count, d, m), bounded = layer.places.shape, plan.bound != "none"
    size = d + _lacking(layer.line, d, plan.of(layer.name)) * (d // layer.line)
    numbers = count * d * d + _SQUARES[bounded] * size * size + _WEIGHTS[bounded] * size * m
    if plan.method == "auto":
        kept_inputs = math.ceil(size * (1 - plan.zeros(layer.name)))
        a_thread = _FACTORS * kept_inputs**2 + _TABLES * min(kept_inputs * size, _LARGEST_TABLE)
        numbers += min(m, plan.n_threads or os.cpu_count() or 1) * a_thread
    return 8 * numbers
