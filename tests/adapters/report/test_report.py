"""PruneReport: its numbers, JSON, CSV, table and picture."""

import csv
import io
import json
import math
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch.report.parts import LayerReport
from l0quad_adapters.torch.report.report import PruneReport
from refusals import refuse
from reports import network, network_report, report_of, sparse, stage_report


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.float64, 8), (torch.bfloat16, 2)])
def test_a_layer_counts_weights_and_bytes(dtype, size):
    weight = torch.zeros(3, 5, dtype=dtype)
    weight[0, :3] = 1.5
    weight[2, 4] = -2
    layer = LayerReport.of("fc.weight", weight)
    assert (layer.name, layer.shape, layer.weights, layer.kept) == ("fc.weight", (3, 5), 15, 4)
    assert layer.dense_bytes == 15 * size
    assert layer.sparse_bytes == 2 + 4 * size, "15 bits are 2 bytes"
    assert layer.sparsity == 1 - 4 / 15


def test_the_total_sums_sizes_and_has_the_last_stage():
    weights = {"a": sparse((4, 9), 0.5), "b": sparse((3, 3), 0.5, torch.float64), "none": torch.zeros(0, 3)}
    report = report_of(weights, stages=(stage_report(1), stage_report(2)))
    total = report.total
    for field in ("weights", "kept", "dense_bytes", "sparse_bytes"):
        assert getattr(total, field) == sum(getattr(layer, field) for layer in report.layers)
    kept = sum(int((weight != 0).sum()) for weight in weights.values())
    assert 0 < kept < 45
    assert report.achieved_sparsity == total.sparsity == 1 - kept / 45
    assert (total.objective, total.lower_bound, total.relative_gap) == (1.5, 1.0, 1 / 3)
    assert (total.gradient_seconds, total.solve_seconds) == (0.75, 6.0)
    assert report.layers[2].sparsity == 0


def test_masks_are_the_nonzeros():
    report = network_report()
    for name, mask in report.masks.items():
        assert mask.dtype == torch.bool
        assert torch.equal(mask, report.weights[name] != 0)
    assert list(report.masks) == ["0.weight", "3.weight"]


def test_a_report_has_layers_and_stages():
    refuse(lambda: network_report(stages=()), ValueError, "stages:", "empty")
    refuse(lambda: network_report(layers=()), ValueError, "layers:", "empty")


@pytest.mark.parametrize("asked", [0.6, {"0.weight": 0.7, "3.weight": 0.4}, "NofM(n=2, m=4)"])
def test_json_is_strict_and_reads_back(asked, tmp_path):
    stages = (stage_report(1), replace(stage_report(2), lower_bound=-math.inf))
    report = network_report(sparsity=asked, stages=stages, metric_before=1 / 3)
    text = report.to_json(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == text

    plain = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert plain["sparsity"] == asked
    assert plain["metric_before"] == 1 / 3
    assert plain["metric_after"] is None
    assert plain["layers"][0]["shape"] == [5, 3, 3, 3]
    assert set(plain["layers"][0]) == {"name", "shape", "weights", "kept", "dense_bytes", "sparse_bytes"}
    assert plain["stages"][1]["lower_bound"] is None
    assert not {"weights", "buffers"} & plain.keys()

    again = PruneReport.from_json(text)
    assert again.to_json() == text
    assert (again.sparsity, again.seed, again.first_order) == (asked, 3, True)
    assert again.layers[0].shape == (5, 3, 3, 3)
    assert math.isnan(again.metric_after)
    assert again.weights == again.buffers == {}
    refuse(lambda: again.save(tmp_path / "none"), ValueError, "weights:", "got 0")
    refuse(lambda: again.apply(network()), ValueError, "weights:", "JSON")


def test_json_takes_the_numbers_of_numpy():
    """Which are as good as Python's where `prune` is called."""
    numbers = {"seed": np.int64(3), "n_rows": np.int32(20), "l2": np.float32(0.25), "first_order": np.True_}
    text = network_report(**numbers, metric_after=np.float32(math.nan)).to_json()
    assert text == network_report(l2=0.25).to_json()


def test_csv_has_a_row_a_layer_and_the_total(tmp_path):
    report = network_report()
    text = report.to_csv(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_bytes() == text.encode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == ["0.weight", "3.weight", "total"]
    assert [row["shape"] for row in rows] == ["5x3x3x3", "11x7", ""]
    for row, layer in zip(rows, (*report.layers, report.total), strict=True):
        for field in ("weights", "kept", "dense_bytes", "sparse_bytes"):
            assert int(row[field]) == getattr(layer, field)
        assert float(row["sparsity"]) == layer.sparsity
    assert [row["objective"] for row in rows] == ["", "", "3.0"]


def test_the_table_is_aligned_and_tells_the_outcome():
    text = repr(network_report(metric_before=0.9375, metric_after=0.875))
    head, outcome, *rows = text.splitlines()
    report = network_report()
    for words in ("auto", f"{report.total.kept} of 212", "0.6 asked", "1.5 s", f"{report.achieved_sparsity:.4g}"):
        assert words in head
    for words in ("objective 3,", "lower bound 2,", "gap 0.3333", "0.9375 before", "0.875 after"):
        assert words in outcome
    assert [row.split()[0] for row in rows] == ["layer", "0.weight", "3.weight", "total"]
    assert len({len(row) for row in rows}) == 1
    assert "by layer asked" in repr(network_report(sparsity={"0.weight": 0.7}))


def test_notebooks_get_a_table():
    html = network_report(metric_before=0.9375, metric_after=0.875)._repr_html_()
    tree = ElementTree.fromstring(f"<div>{html}</div>")
    text = " ".join("".join(tree.itertext()).split())
    assert "0.9375 before and 0.875 after" in text
    assert [row[0].text for row in tree.iter("tr")] == ["layer", "0.weight", "3.weight", "total"]


@pytest.mark.parametrize("count", [19, 20, 21, 100])
def test_the_table_is_short(count):
    weights = {f"{'block.' * 20}{i}.weight": sparse((4, 6), 0.5, seed=i) for i in range(count)}
    lines = repr(report_of(weights)).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 120
    shown = [int(line.split(".weight")[0].split(".")[-1]) for line in lines if ".weight" in line]
    left_out = [int(line.split()[1]) for line in lines if line.startswith("... ")]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (0, count - 1)
    assert len(shown) + sum(left_out) == count
    assert bool(left_out) == (count > 20)


@pytest.fixture
def figure_class():
    return pytest.importorskip("matplotlib.figure").Figure


def test_the_picture_shows_layers_and_metric(figure_class, tmp_path):
    had_pyplot = "matplotlib.pyplot" in sys.modules
    stages = (stage_report(1, 0.9, sparsity=0.3), stage_report(2, 0.8, sparsity=0.6))
    report = network_report(stages=stages, metric_before=0.95)
    figure = report.plot()
    layers, metric, beside = figure.axes
    assert [bar.get_width() for bar in layers.patches] == [layer.sparsity for layer in report.layers]
    assert [label.get_text() for label in layers.get_yticklabels()] == ["0.weight", "3.weight"]
    assert metric.lines[0].get_xydata().tolist() == [[1, 0.9], [2, 0.8]], "stages side by side, refits too"
    assert metric.get_xlabel() == "stage"
    assert beside.lines[0].get_ydata().tolist() == [0.3, 0.6]
    assert metric.lines[1].get_ydata()[0] == 0.95
    figure.savefig(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot, "which chooses a backend for the whole process"


def test_the_picture_shows_the_gap_where_there_is_no_metric(figure_class):
    axes = figure_class().subplots(1, 2)
    report = network_report(stages=(stage_report(1), replace(stage_report(2), relative_gap=0.125)))
    assert report.plot(axes) is axes[0].figure
    assert axes[1].lines[0].get_xydata().tolist() == [[1, 1 / 3], [2, 0.125]]
    assert axes[1].get_ylabel() == "relative gap"


def test_without_matplotlib_the_picture_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refuse(network_report().plot, ImportError, "plot:", "l0quad[plot]")
