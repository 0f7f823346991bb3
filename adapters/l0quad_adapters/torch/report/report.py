"""What pruning did: sizes by layer, objective and bound by stage, and the pruned weights themselves."""

import csv
import io
import json
import math
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from l0quad_adapters.torch import packing
from l0quad_adapters.torch.files import PathLike, write_atomically
from l0quad_adapters.torch.report import plots, storage
from l0quad_adapters.torch.report.parts import LayerReport, LeftOut, StageReport, TotalReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The number of the JSON's layout; nothing was released before it.
_FORMAT = 1
_MOST_NAMED = 8
_SIZES = ("shape", "weights", "kept", "dense_bytes", "sparse_bytes")
_COLUMNS = (
    "name", "shape", "weights", "kept", "sparsity", "dense_bytes", "sparse_bytes",
    "objective", "lower_bound", "relative_gap", "gradient_seconds", "solve_seconds",
)  # fmt: skip


# Without ==, for tensors have none that is true or false.
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PruneReport:
    """What `prune` did, and the weights that it found. Prints as a table.

    Attributes
    ----------
    method : str
        A method's name; ``"magnitude"`` is the baseline, which leaves what it keeps, ``"magnitude_refit"`` l0quad's.
    sparsity : float, dict or str
        As it was asked for: a number, words for a pattern, or these by layer.
    l2 : float
        The damping of the pruning stages.
    seed, n_rows, batch_size, first_order : int, int, int, bool
        As they were asked for.
    layers : tuple of LayerReport
    stages : tuple of StageReport
    metric_before, metric_after : float
        What ``evaluate`` gave; nan without.
    seconds : float
        Of the whole.
    left_out : tuple of LeftOut
        The parameters that were not pruned, and why.
    statistics : str
        What became of those of batch normalisation, and why; empty without any.
    others : dict of str
        Digests of the parameters that it does not hold, by name.
    weights : dict of Tensor
        The pruned parameters by name, on the CPU. Empty in a report from JSON.
    buffers : dict of Tensor
        Buffers that pruning changed, such as the statistics of batch normalisation.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, stages=1)
    >>> report.sparsity, len(report.layers), list(report.weights)
    (0.5, 1, ['weight'])
    """

    method: str
    sparsity: float | dict[str, float | str] | str
    l2: float
    seed: int
    n_rows: int
    batch_size: int
    first_order: bool
    layers: tuple[LayerReport, ...]
    stages: tuple[StageReport, ...]
    metric_before: float
    metric_after: float
    seconds: float
    left_out: tuple[LeftOut, ...] = ()
    statistics: str = ""
    others: dict[str, str] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("layers", "stages"):
            if not getattr(self, name):
                raise ValueError(f"{name}: must not be empty")

    @property
    def total(self) -> TotalReport:
        """All layers together: sizes and seconds summed, objective and bound of the last stage that has a bound.

        Where stages are layers, each with a problem of its own, objectives and bounds are summed too.
        """
        bounded = [stage for stage in self.stages if math.isfinite(stage.lower_bound)]
        last = (bounded or self.stages)[-1]
        objective, lower_bound, relative_gap = last.objective, last.lower_bound, last.relative_gap
        if last.layer:
            objective = sum(stage.objective for stage in self.stages)
            lower_bound = sum(stage.lower_bound for stage in self.stages)
            relative_gap = (objective - lower_bound) / objective if objective > 0 else 0.0
        return TotalReport(
            name="total",
            shape=(),
            weights=sum(layer.weights for layer in self.layers),
            kept=sum(layer.kept for layer in self.layers),
            dense_bytes=sum(layer.dense_bytes for layer in self.layers),
            sparse_bytes=sum(layer.sparse_bytes for layer in self.layers),
            objective=objective,
            lower_bound=lower_bound,
            relative_gap=relative_gap,
            gradient_seconds=sum(stage.gradient_seconds for stage in self.stages),
            solve_seconds=sum(stage.solve_seconds for stage in self.stages),
        )

    @property
    def achieved_sparsity(self) -> float:
        """The share of zeros in all pruned parameters together."""
        return self.total.sparsity

    @property
    def masks(self) -> dict[str, torch.Tensor]:
        """Where the pruned parameters are not zero: bool tensors by name."""
        return {name: weight != 0 for name, weight in self.weights.items()}

    def __repr__(self) -> str:
        return "\n".join([*self._head(), *plots.table([_row(layer) for layer in self.layers], _row(self.total))])

    def _repr_html_(self) -> str:
        return plots.html_table(self._head(), [_row(layer) for layer in self.layers], _row(self.total))

    def _head(self) -> list[str]:
        total, last = self.total, self.stages[-1]
        asked = "by layer" if isinstance(self.sparsity, dict) else self.sparsity
        number = plots.number
        steps = f"{last.stage} {'layer' if last.layer else 'stage'}{'s' * (last.stage != 1)}"
        head = [
            f"PruneReport: {self.method}, {total.kept} of {total.weights} weights kept, sparsity {total.sparsity:.6g} "
            f"({asked} asked), {steps}, {self.seconds:.3g} s",
            f"objective {number(total.objective)}, lower bound {number(total.lower_bound)}, relative gap "
            f"{number(total.relative_gap)}, metric {number(self.metric_before)} before and "
            f"{number(self.metric_after)} after",
        ]
        if self.left_out:
            head.append(self._considered())
        return head + [self.statistics] * bool(self.statistics)

    def _considered(self) -> str:
        """Say how many parameters pruning considered, and which it did not."""
        here, out = self.total.weights, sum(each.weights for each in self.left_out)
        odd = [f"{each.name} ({each.weights:,}, {each.reason})" for each in self.left_out if not each.is_expected]
        rest = sum(each.weights for each in self.left_out if each.is_expected)
        parts = odd[:_MOST_NAMED] + ([f"and {len(odd) - _MOST_NAMED} more"] if len(odd) > _MOST_NAMED else [])
        parts += [f"{rest:,} in biases and other vectors"] if rest else []
        return f"{here:,} of {here + out:,} parameters considered; left dense: {', '.join(parts)}"

    def plot(self, axes: "tuple[Axes, Axes] | None" = None) -> "Figure":
        """Draw sparsity by layer, and by stage the sparsity and the metric (without ``evaluate``, the gap).

        Parameters
        ----------
        axes : pair of matplotlib Axes, optional
            Where to; by default into a new Figure.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        return plots.draw(
            [(layer.name, layer.sparsity) for layer in self.layers],
            self.achieved_sparsity,
            [(stage.stage, stage.sparsity, stage.metric, stage.relative_gap) for stage in self.stages],
            self.metric_before,
            axes,
        )

    def to_json(self, path: PathLike | None = None) -> str:
        """Return all but the tensors as JSON, and write it where there is a path.

        Numbers that are not finite become null.
        """
        text = json.dumps({"format": _FORMAT, **storage.to_plain(self)}, indent=1, allow_nan=False)
        return _written(text + "\n", path)

    @classmethod
    def from_json(cls, text: str) -> "PruneReport":
        """Return the report that `to_json` described, without its tensors, null as nan.

        Raises
        ------
        ValueError
            Saying what is wrong with the text.
        """
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
            if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
                raise ValueError(f"report: must be a JSON object of format {_FORMAT}")
            found: PruneReport = storage.from_plain(cls, content, "report")
        except (RecursionError, OverflowError) as error:
            raise ValueError(f"report: is nested too deeply or has too large a number, {error}") from error
        return found

    def to_csv(self, path: PathLike | None = None) -> str:
        """Return a table with a row a layer and one for the total, and write it where there is a path.

        Empty are numbers that are not finite, and in a layer's row those that only the total has.
        """
        buffer = io.StringIO()
        rows = csv.writer(buffer, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for layer in (*self.layers, self.total):
            cells = {name: getattr(layer, name, None) for name in _COLUMNS} | {"shape": _by(layer.shape)}
            rows.writerow(storage.to_plain(list(cells.values())))
        return _written(buffer.getvalue(), path)

    def save(self, path: PathLike) -> None:
        """Write the report with its tensors to one safetensors file, atomically; weights as a mask and the nonzeros.

        The file takes ``total.sparse_bytes``, the buffers, and a few kilobytes.

        Raises
        ------
        ValueError
            The weights are not those that the layers describe (a report from JSON has none).
        OSError
        """
        self._check_weights()
        storage.write(path, self.to_json(), self.weights, self.buffers)

    @classmethod
    def load(cls, path: PathLike) -> "PruneReport":
        """Read a report that `save` wrote; nothing in the file is run or believed unchecked.

        Raises
        ------
        ValueError
            Naming the file and what is wrong with it.
        OSError
            There is no such file.
        """
        with storage.naming(path):
            description, tensors = storage.read(path)
            described = cls.from_json(description)
            weights, buffers = storage.unpack(tensors, {layer.name: layer.shape for layer in described.layers})
            report = replace(described, weights=weights, buffers=buffers)
            report._check_weights()
            return report

    def _check_weights(self) -> None:
        names = [layer.name for layer in self.layers]
        if sorted(names) != sorted(self.weights):
            odd = sorted(set(names) ^ self.weights.keys())[:3]
            raise ValueError(f"weights: must be one for each layer ({len(names)}), got {len(self.weights)}; odd: {odd}")
        for layer in self.layers:
            weight = self.weights[layer.name]
            if not bool(torch.isfinite(weight).all()):
                raise ValueError(f"weights: must be finite, {layer.name} is not")
            there = LayerReport.of(layer.name, weight)
            for size in _SIZES:
                told, found = getattr(layer, size), getattr(there, size)
                if told != found:
                    raise ValueError(f"layers: {layer.name} must have {size} {found} as its weights do, got {told}")

    def apply(self, model: nn.Module) -> None:
        """Write weights and buffers into a model, in its own dtypes and on its devices.

        It must be the network that was pruned in all else: where another parameter, such as a bias, has other values
        than there, a warning names it. `save_sparse` keeps a whole network.

        Raises
        ------
        ValueError
            The model lacks one of the names, or has it in another shape; the model is then as it was.
        """
        if not self.weights:
            raise ValueError("weights: a report from JSON has none to apply")
        # All places first, so that an error leaves the model as it was.
        parameters = dict(model.named_parameters(remove_duplicate=False))
        places = _places(self.weights, parameters, "parameter") + _places(
            self.buffers, dict(model.named_buffers(remove_duplicate=False)), "buffer"
        )
        with torch.no_grad():
            for place, value in places:
                place.copy_(value)
        if odd := [name for name, kept in self.others.items() if packing.digest(parameters[name]) != kept]:
            warnings.warn(
                f"model: {len(odd)} parameters that the report does not hold are not those of the pruned network, "
                f"{odd[0]} first; keep a whole network by save_sparse",
                UserWarning,
                stacklevel=2,
            )


def _places(
    values: dict[str, torch.Tensor], there: dict[str, Any], what: str
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return a model's tensors beside the values that they are to get."""
    for name, value in values.items():
        if name not in there:
            raise ValueError(f"model: has no {what} {name!r}")
        if there[name].shape != value.shape:
            raise ValueError(f"model: {name!r} must have shape {tuple(value.shape)}, got {tuple(there[name].shape)}")
    return [(there[name], value) for name, value in values.items()]


def _row(layer: LayerReport) -> plots.LayerRow:
    sizes = layer.weights, layer.kept, layer.sparsity, layer.dense_bytes, layer.sparse_bytes
    return layer.name, _by(layer.shape), *sizes


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _written(text: str, path: PathLike | None) -> str:
    if path is not None:
        write_atomically(path, lambda file: file.write(text.encode()))
    return text


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"report: must be strict JSON, got {constant}")
