"""How a report looks: its table and its picture, from plain rows of names and numbers."""

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A layer's name, shape, weights, kept weights, sparsity, dense bytes and sparse bytes.
LayerRow = tuple[str, str, int, int, float, int, int]
# A stage's number, sparsity, metric and relative gap.
StageRow = tuple[int, float, float, float]

# Of Okabe and Ito, which stay apart for everyone.
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_MOST_LAYERS = 20
_NAME_WIDTH = 40
_HEADINGS = ("layer", "shape", "weights", "kept", "sparsity", "dense bytes", "sparse bytes")


def table(layers: Sequence[LayerRow], total: LayerRow) -> list[str]:
    """Return aligned lines, one a layer, the middle ones left out of many; with headings, and the total at the end."""
    rows = [_HEADINGS, *(_cells(layer) for layer in layers), _cells(total)]
    left_out = len(layers) - _MOST_LAYERS
    head = 1 + _MOST_LAYERS // 2
    if left_out > 0:
        # One more, for the line that says so.
        del rows[head : head + left_out + 1]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    aligned = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    if left_out > 0:
        aligned.insert(head, f"... {left_out + 1} layers more ...")
    return aligned


def html_table(head: Sequence[str], layers: Sequence[LayerRow], total: LayerRow) -> str:
    """Return the same as HTML."""
    rows = [_HEADINGS, *(_cells(layer) for layer in layers), _cells(total)]
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    lines = "".join(f"<div>{html.escape(line)}</div>" for line in head)
    return f"{lines}<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _cells(row: LayerRow) -> tuple[str, ...]:
    name, shape, weights, kept, sparsity, *sizes = row
    return (_shortened(name), shape, str(weights), str(kept), f"{sparsity:.4f}", *map(str, sizes))


def _shortened(name: str) -> str:
    half = (_NAME_WIDTH - 3) // 2
    return name if len(name) <= _NAME_WIDTH else f"{name[:half]}...{name[-half:]}"


def number(value: float) -> str:
    """Return four digits of a number, a dash where it is not finite."""
    return f"{value:.4g}" if math.isfinite(value) else "-"


def draw(
    layers: Sequence[tuple[str, float]],
    sparsity: float,
    stages: Sequence[StageRow],
    metric_before: float,
    axes: "tuple[Axes, Axes] | None" = None,
) -> "Figure":
    """Draw the sparsity of each layer beside the course of the stages.

    Parameters
    ----------
    layers : sequence of (str, float)
        Name and sparsity.
    sparsity : float
        Of all layers together.
    stages : sequence of StageRow
        Their metrics, or without a metric their gaps, are drawn over their numbers, above their sparsities.
    metric_before : float
        That of the network before the first stage.
    axes : pair of matplotlib Axes, optional
        Where to; by default into a new Figure.
    """
    try:
        # Not pyplot, which would choose a backend for the whole process.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plot: needs matplotlib: pip install "l0quad[plot]"') from error
    if axes is None:
        height = max(3.5, 0.25 * len(layers))
        axes = Figure(figsize=(10, height), layout="constrained").subplots(1, 2)
    left, right = axes
    _draw_layers(layers, sparsity, left)
    _draw_stages(stages, metric_before, right)
    for each in axes:
        each.set_axisbelow(True)
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
    figure: Any = left.figure
    return figure


def _draw_layers(layers: Sequence[tuple[str, float]], sparsity: float, axes: "Axes") -> None:
    names, sparsities = zip(*layers, strict=True)
    places = range(len(layers))
    bars = axes.barh(places, sparsities, color=_BLUE)
    axes.bar_label(bars, [f"{each:.3f}" for each in sparsities], label_type="center", color="white", fontsize=8)
    axes.axvline(sparsity, linestyle="--", color="0.35", label=f"all layers: {sparsity:.3f}")
    axes.set_yticks(places, [_shortened(name) for name in names])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="sparsity")
    _legend(axes, axes.lines)


def _draw_stages(stages: Sequence[StageRow], metric_before: float, axes: "Axes") -> None:
    numbers, sparsities, metrics, gaps = zip(*stages, strict=True)
    # Against their numbers: refits, which share a sparsity, would stand one above the other.
    measured = any(map(math.isfinite, metrics))
    values, name = (metrics, "metric") if measured else (gaps, "relative gap")
    axes.plot(numbers, values, "o-", color=_ORANGE, label=name)
    if measured:
        axes.axhline(metric_before, linestyle="--", color="0.35", label="metric before")
    axes.set(xlabel="stage", ylabel=name)
    axes.locator_params(axis="x", integer=True)
    beside = axes.twinx()
    beside.step(numbers, sparsities, where="mid", color=_BLUE, alpha=0.6, label="sparsity")
    beside.set(ylim=(0, 1))
    beside.set_ylabel("sparsity", color=_BLUE)
    _legend(axes, [*axes.lines, *beside.lines])


def _legend(axes: "Axes", lines: "Sequence[Artist]") -> None:
    # Above the axes, where nothing is drawn.
    axes.legend(handles=lines, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(lines))
