"""X'X of a layer's inputs, gathered by hooks while batches go through the model."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import l0quad
from l0quad_adapters.torch import packing
from l0quad_adapters.torch.network.data import Data, Samples
from l0quad_adapters.torch.network.inputs import Source, sources_of
from l0quad_adapters.torch.network.named import named, parameters
from l0quad_adapters.torch.network.trees import call, leaves, mapped

# So many numbers of X are in float64 on a device at a time.
_ENTRIES = 1 << 25


class Layer(NamedTuple):
    """A weight that is pruned by its inputs.

    Attributes
    ----------
    name : str
    sources : tuple of Source
        One for each layer that shares it; their rows add up.
    """

    name: str
    parameter: nn.Parameter
    sources: tuple[Source, ...]

    @property
    def places(self) -> torch.Tensor:
        """Where each entry of its matrices lies in the weight, flattened: (matrices, d, m)."""
        return self.sources[0].places

    @property
    def line(self) -> int:
        """How many inputs side by side a pattern runs along."""
        return self.sources[0].line


class Seen(NamedTuple):
    """The layers in the order in which batches reach them, and which of them each batch reaches by one call at most."""

    layers: list[Layer]
    once: set[str]


class _Enough(BaseException):
    """Ends a forward pass that has shown what it was for; no error that a model might handle."""


def layers_of(model: nn.Module, names: Iterable[str]) -> list[Layer]:
    """Return these weights with their sources, refused where a weight's inputs cannot be seen."""
    there, found, unseen = parameters(model), [], []
    for name in names:
        sources = sources_of(model, there[name])
        if sources is None:
            unseen.append(name)
        elif not bool(torch.isfinite(there[name]).all()):
            raise ValueError(f"model: {name} has values that are not finite")
        else:
            found.append(Layer(name, there[name], tuple(sources)))
    if unseen:
        kinds = {each.name: type(each.module).__name__ for each in named(model)}
        told = ", ".join(f"{name} ({kinds[name]})" for name in unseen)
        raise ValueError(
            f"weights: no hook sees the inputs of {told}, as of linear and convolutional layers, transformers' Conv1D "
            "and attention; exclude= leaves them dense"
        )
    return found


def calibration(batches: Data | torch.Tensor | Iterable[torch.Tensor], batch_size: int) -> list[Any]:
    """Return the inputs of every batch: all, for they go through the model once for each layer."""
    if isinstance(batches, torch.Tensor):
        found: list[Any] = list(torch.split(batches, batch_size)) if batches.ndim else []
    elif isinstance(batches, list) and batches and all(isinstance(each, torch.Tensor) for each in batches):
        found = batches
    else:
        try:
            found = [inputs for inputs, _ in Samples(batches).all_batches(batch_size)]
        except (TypeError, ValueError) as error:
            raise type(error)(str(error).replace("data:", "batches:", 1)) from error
    if not any(leaf.numel() for inputs in found for leaf in leaves(inputs)):
        raise ValueError("batches: must have samples, got none")
    return found


def fingerprint(batches: list[Any]) -> str:
    """Return a digest of the inputs."""
    digests = [packing.digest(leaf) for inputs in batches for leaf in leaves(inputs)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def in_order(model: nn.Module, batches: list[Any], layers: list[Layer]) -> Seen:
    """Run every batch once and sort the layers as they are reached, refused where none reaches one of them."""
    calls = dict.fromkeys((id(source.module) for layer in layers for source in layer.sources), 0)
    order: dict[int, int] = {}
    most = dict(calls)

    def count(module: nn.Module, *_: Any) -> None:
        calls[id(module)] += 1
        order.setdefault(id(module), len(order))

    modules = {id(source.module): source.module for layer in layers for source in layer.sources}
    with _hooked(modules.values(), count):
        for inputs in batches:
            calls.update(dict.fromkeys(calls, 0))
            _run(model, inputs)
            most = {key: max(most[key], calls[key]) for key in most}
    reached = {layer.name: [order.get(id(source.module)) for source in layer.sources] for layer in layers}
    if missed := [name for name, places in reached.items() if all(place is None for place in places)]:
        raise ValueError(
            f"batches: no batch reaches {', '.join(missed)}: give others, or leave it dense by exclude={missed[0]!r}"
        )
    first = {name: min(place for place in places if place is not None) for name, places in reached.items()}
    once = {layer.name for layer in layers if len(layer.sources) == 1 and most[id(layer.sources[0].module)] == 1}
    # Stable: the projections of an attention, which one call shows, stay in their order, the output's last.
    return Seen(sorted(layers, key=lambda layer: first[layer.name]), once)


class _HostSums:
    """X'X of each of a layer's matrices, by NumPy."""

    def __init__(self, layer: Layer) -> None:
        self._sums, self._d = [l0quad.GramAccumulator() for _ in layer.places], layer.places.shape[1]

    def update(self, rows: torch.Tensor) -> None:
        """Add rows (matrices, n, d)."""
        wide = rows if rows.dtype == torch.float64 else rows.float()
        for gram, X in zip(self._sums, wide.cpu().numpy(), strict=True):
            gram.update(X)

    def found(self) -> tuple[list[np.ndarray], int]:
        """Return the sums and the rows of each."""
        return [np.zeros((self._d, self._d)) if gram.H is None else gram.H for gram in self._sums], self._sums[0].count


class _DeviceSums:
    """X'X of each of a layer's matrices, by torch where the weight is: the sums go to the host, no row does."""

    def __init__(self, layer: Layer) -> None:
        count, d, _ = layer.places.shape
        self._H = torch.zeros((count, d, d), dtype=torch.float64, device=layer.parameter.device)
        self._count = 0

    def update(self, rows: torch.Tensor) -> None:
        """Add rows (matrices, n, d)."""
        matrices, n, d = rows.shape
        for some in torch.split(rows, max(1, _ENTRIES // (matrices * d)), dim=1):
            wide = some.double()
            self._H.baddbmm_(wide.mT, wide)
        # A sum of squares is finite only where all of X is.
        if not bool(torch.isfinite(self._H.diagonal(dim1=1, dim2=2)).all()):
            raise ValueError("X: all values must be finite, and their squares too")
        self._count += n

    def found(self) -> tuple[list[np.ndarray], int]:
        """Return the sums and the rows of each."""
        return list(self._H.cpu().numpy()), self._count


def gramians(
    model: nn.Module, batches: list[Any], layer: Layer, once: bool, xp: ModuleType = np
) -> tuple[list[np.ndarray], int]:
    """Return X'X (d x d, float64) of each of a layer's matrices, and the rows of X.

    Parameters
    ----------
    once : bool
        Whether each batch calls the layer once at most, so that its pass may end there.
    xp : namespace
        What sums: NumPy, or torch on the model's device.
    """
    sums = _DeviceSums(layer) if xp is torch else _HostSums(layer)
    by_module = {id(source.module): source for source in layer.sources}
    busy = False

    def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        nonlocal busy
        if busy:  # The source calls the layer itself.
            return
        busy = True
        try:
            for rows in by_module[id(module)].rows(args, kwargs, output):
                sums.update(rows)
        except ValueError as error:
            raise ValueError(f"batches: what {layer.name} sees of them: {error}") from error
        finally:
            busy = False
        if once:
            raise _Enough

    with _hooked([source.module for source in layer.sources], add, with_kwargs=True):
        for inputs in batches:
            try:
                _run(model, inputs)
            except _Enough:
                continue
    # As in the survey, some batch reaches the layer, though which ones may depend on the weights: the sums may be zero.
    return sums.found()


@contextmanager
def _hooked(modules: Iterable[nn.Module], hook: Any, with_kwargs: bool = False) -> Iterator[None]:
    """Call a hook after every call of these modules, and by the way that has hooks: not the fused one of attention."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    handles = [module.register_forward_hook(hook, with_kwargs=with_kwargs) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        torch.backends.mha.set_fastpath_enabled(fused)


def _run(model: nn.Module, inputs: Any) -> None:
    home = next(model.parameters()).device
    with torch.no_grad():
        call(model, mapped(lambda leaf: leaf.to(home), inputs))
