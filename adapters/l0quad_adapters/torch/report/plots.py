"""How a report looks: its table and its picture."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from l0quad_adapters.torch.report.report import LayerReport, PruneReport

_MOST_LAYERS = 20
_NAME_WIDTH = 40
_HEADINGS = ("layer", "shape", "weights", "kept", "sparsity", "dense bytes", "sparse bytes", "relative gap")


def table(report: "PruneReport") -> str:
    """Return a report as text: what was asked and found, then a line a layer, the middle ones left out of many."""
    total, last = report.total, report.stages[-1]
    asked = "by layer" if isinstance(report.sparsity, dict) else report.sparsity
    lines = [
        f"PruneReport: {report.method}, {total.kept} of {total.weights} weights kept, sparsity {total.sparsity:.6g} "
        f"({asked} asked), {last.stage} {'stage' if last.stage == 1 else 'stages'}, {report.seconds:.3g} s",
        f"objective {_number(last.objective)}, lower bound {_number(last.lower_bound)}, "
        f"relative gap {_number(last.relative_gap)}, metric {_number(report.metric_before)} before and "
        f"{_number(report.metric_after)} after",
    ]
    rows = [_HEADINGS, *(_row(layer) for layer in report.layers), _row(total)]
    left_out = len(report.layers) - _MOST_LAYERS
    head = 1 + _MOST_LAYERS // 2
    if left_out > 0:
        # One more, for the line that says so.
        del rows[head : head + left_out + 1]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    aligned = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    if left_out > 0:
        aligned.insert(head, f"... {left_out + 1} layers more ...")
    return "\n".join(lines + aligned)


def _row(layer: "LayerReport") -> tuple[str, ...]:
    sizes = (layer.dense_bytes, layer.sparse_bytes)
    shape = "x".join(map(str, layer.shape))
    numbers = (str(layer.weights), str(layer.kept), f"{layer.sparsity:.4f}", *map(str, sizes))
    return (_shortened(layer.name), shape, *numbers, _number(layer.relative_gap))


def _shortened(name: str) -> str:
    half = (_NAME_WIDTH - 3) // 2
    return name if len(name) <= _NAME_WIDTH else f"{name[:half]}...{name[-half:]}"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def draw(report: "PruneReport", axes: Any = None) -> "Figure":
    """Draw a report into a pair of axes, or into a new figure."""
    try:
        # Not pyplot, which would choose a backend for the whole process.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plot: needs matplotlib: pip install "l0quad[plot]"') from error
    if axes is None:
        height = max(3.5, 0.25 * len(report.layers))
        axes = Figure(figsize=(10, height), layout="constrained").subplots(1, 2)
    layers, stages = axes
    _draw_layers(report, layers)
    _draw_stages(report, stages)
    for each in axes:
        each.set_axisbelow(True)
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
    figure: Figure = layers.figure
    return figure


def _draw_layers(report: "PruneReport", axes: Any) -> None:
    places = range(len(report.layers))
    axes.barh(places, [layer.sparsity for layer in report.layers], color="tab:blue")
    axes.axvline(report.achieved_sparsity, linestyle="--", color="0.35", label="all layers")
    axes.set_yticks(places, [_shortened(layer.name) for layer in report.layers])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="sparsity", title="Sparsity by layer")
    axes.legend(frameon=False)


def _draw_stages(report: "PruneReport", axes: Any) -> None:
    """Draw the metric against the sparsity of each stage; without a metric, the gap of each stage."""
    if any(math.isfinite(stage.metric) for stage in report.stages):
        sparsities, metrics = zip(*((stage.sparsity, stage.metric) for stage in report.stages), strict=True)
        axes.plot(sparsities, metrics, "o-", color="tab:orange", label="after the stage")
        axes.axhline(report.metric_before, linestyle="--", color="0.35", label="before pruning")
        axes.set(xlabel="sparsity", ylabel="metric", title="Metric by stage")
        axes.legend(frameon=False)
    else:
        numbers, gaps = zip(*((stage.stage, stage.relative_gap) for stage in report.stages), strict=True)
        axes.plot(numbers, gaps, "o-", color="tab:orange")
        axes.set(xlabel="stage", ylabel="relative gap", xticks=numbers, title="Gap by stage")
