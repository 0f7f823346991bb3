"""Files of a PruneReport: every bit comes back, false ones are refused, and a model gets all of one or nothing."""

import contextlib
import json
import math
import os
import stat
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from l0quad_adapters.torch import files
from l0quad_adapters.torch.report.report import PruneReport
from refusals import refuse
from reports import NAN, network, network_report, report_of, sparse

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def bits(tensor):
    """The bytes of a tensor, so that equal means equal in every bit."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_gives_back_every_bit(dtype, tmp_path):
    weights = {
        "conv.weight": sparse((5, 3, 3, 3), 0.7, dtype),
        "full": torch.ones(16, dtype=dtype),
        "empty": torch.zeros(3, 5, dtype=dtype),
        "mask:values:odd name": sparse((9, 1), 0.5, dtype),
        "no weights": torch.zeros(0, 4, dtype=dtype),
        "scalar": torch.tensor(2.5, dtype=dtype),
    }
    # As small as the dtype holds, and a kept weight that became zero.
    weights["conv.weight"].view(-1)[:2] = torch.tensor([torch.finfo(dtype).smallest_normal / 4, 0.0], dtype=dtype)
    weights["conv.weight"] = weights["conv.weight"].contiguous(memory_format=torch.channels_last)
    state = torch.arange(6.0, dtype=dtype).reshape(2, 3)
    buffers = {"mean": state, "transposed view of it": state.T, "count": torch.tensor(3), "flag": torch.tensor([True])}
    report = report_of(weights, buffers)
    assert report.layers[0].kept > 0
    assert bits(weights["conv.weight"])[: state.element_size()] != [0] * state.element_size()
    report.save(tmp_path / "pruned")
    again = PruneReport.load(tmp_path / "pruned")
    assert again.to_json() == report.to_json()
    assert list(again.weights) == list(weights)
    assert again.buffers.keys() == buffers.keys()
    for name, tensor in (weights | buffers).items():
        found = (again.weights | again.buffers)[name]
        assert (found.dtype, found.shape, bits(found)) == (tensor.dtype, tensor.shape, bits(tensor)), name
    for name, mask in report.masks.items():
        assert torch.equal(again.masks[name], mask)


def test_zeros_are_zeros_whatever_their_sign(tmp_path):
    report = report_of({"w": torch.tensor([-0.0, 1.0, 0.0, -2.0])})
    report.save(tmp_path / "pruned")
    again = PruneReport.load(tmp_path / "pruned")
    assert again.layers[0].kept == 2
    assert again.weights["w"].tolist() == [0.0, 1.0, 0.0, -2.0]
    assert again.masks["w"].tolist() == [False, True, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_file_is_as_small_as_stated(dtype, tmp_path):
    weights = {"a": sparse((300, 200), 0.9, dtype), "b": sparse((100, 333), 0.95, dtype)}
    report = report_of(weights, {"mean": torch.zeros(100)})
    report.save(tmp_path / "pruned")
    size = os.path.getsize(tmp_path / "pruned")
    assert 0 < size - (report.total.sparse_bytes + 400) < 3000
    assert size < report.total.dense_bytes / 3


def test_a_loaded_report_outlives_its_file(tmp_path):
    report = network_report()
    report.save(tmp_path / "pruned")
    again = PruneReport.load(tmp_path / "pruned")
    with open(tmp_path / "pruned", "r+b") as file:
        file.write(b"\xff" * os.path.getsize(tmp_path / "pruned"))
    assert torch.equal(again.buffers["1.running_mean"], torch.arange(5.0))
    assert torch.equal(again.weights["0.weight"], report.weights["0.weight"])


def test_save_refuses_what_load_would(tmp_path):
    weights, path = network_report().weights, tmp_path / "pruned"
    odd = weights | {"0.weight": weights["0.weight"] * 0}
    refuse(lambda: replace(network_report(), weights=odd).save(path), ValueError, "layers: 0.weight", "kept 0")
    odd = weights | {"3.weight": weights["3.weight"].T}
    refuse(
        lambda: replace(network_report(), weights=odd).save(path),
        ValueError,
        "layers: 3.weight",
        "shape (7, 11)",
        "(11, 7)",
    )
    odd = weights | {"3.weight": weights["3.weight"].double()}
    refuse(lambda: replace(network_report(), weights=odd).save(path), ValueError, "layers: 3.weight", "dense_bytes")
    odd = weights | {"more": torch.ones(3)}
    refuse(lambda: replace(network_report(), weights=odd).save(path), ValueError, "weights:", "got 3", "more")
    odd = {"w": torch.tensor([1.0, NAN])}
    refuse(lambda: report_of(odd).save(path), ValueError, "weights:", "finite", "w")
    assert not list(tmp_path.iterdir())


def damage(path, tensors=None, metadata=None, **description):
    """Write the file of `network_report` with some tensors, metadata or words of the description changed."""
    network_report().save(path)
    held = safetensors.load_file(path)
    held = {key: value.clone() for key, value in held.items()} | (tensors or {})
    held = {key: value for key, value in held.items() if value is not None}
    if metadata is None:
        metadata = {"report": json.dumps(json.loads(network_report().to_json()) | description)}
    safetensors.save_file(held, path, metadata)


KEPT = network_report().layers[0].kept
LAYERS = json.loads(network_report().to_json())["layers"]


def changed_layers(**changes):
    return [LAYERS[0] | changes, LAYERS[1]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensors": {"values:0.weight": None}}, ["holds no 'values:0.weight'"]),
        ({"tensors": {"mask:3.weight": None}}, ["holds no 'mask:3.weight'"]),
        ({"tensors": {"values:more": torch.ones(2)}}, ["'values:more'", "no layer"]),
        ({"tensors": {"anything": torch.ones(2)}}, ["'anything'", "no layer"]),
        ({"tensors": {"mask:0.weight": torch.zeros(16, dtype=torch.uint8)}}, ["'mask:0.weight'", "17 bytes", "16"]),
        ({"tensors": {"mask:0.weight": torch.zeros(17)}}, ["'mask:0.weight'", "float32"]),
        ({"tensors": {"mask:0.weight": torch.zeros(17, 1, dtype=torch.uint8)}}, ["'mask:0.weight'", "(17, 1)"]),
        (
            {"tensors": {"mask:0.weight": torch.tensor([0] * 16 + [1], dtype=torch.uint8)}},
            ["'mask:0.weight'", "bits beyond its 135"],
        ),
        ({"tensors": {"values:0.weight": torch.ones(KEPT + 1)}}, ["'values:0.weight'", f"{KEPT} ", f"{KEPT + 1},"]),
        ({"tensors": {"values:0.weight": torch.ones(KEPT, 1)}}, ["'values:0.weight'", f"({KEPT}, 1)"]),
        ({"tensors": {"values:0.weight": torch.ones(KEPT, dtype=torch.int32)}}, ["'values:0.weight'", "int32"]),
        ({"tensors": {"values:0.weight": torch.ones(KEPT).double()}}, ["layers: 0.weight", "dense_bytes"]),
        ({"tensors": {"values:0.weight": torch.zeros(KEPT)}}, ["layers: 0.weight", "kept 0"]),
        ({"tensors": {"values:0.weight": torch.full((KEPT,), math.inf)}}, ["weights:", "finite", "0.weight"]),
        ({"metadata": {}}, ["holds no report"]),
        ({"metadata": {"report": ""}}, []),
        ({"metadata": {"report": "[1, 2"}}, []),
        ({"metadata": {"report": "[" * 100_000}}, ["nested"]),
        ({"metadata": {"report": "[1]"}}, ["format 1"]),
        ({"metadata": {"report": '{"format": 1}'}}, ["report:", "method"]),
        ({"format": 2}, ["format 1"]),
        ({"more": 2}, ["report:", "more"]),
        ({"seconds": "1.5"}, ["report.seconds", "float", "1.5"]),
        ({"seconds": True}, ["report.seconds", "float", "True"]),
        ({"seconds": NAN}, ["report", "strict JSON", "NaN"]),
        ({"seconds": 10**400}, ["report:", "too large"]),
        ({"seed": True}, ["report.seed", "int", "True"]),
        ({"seed": -1}, ["report.seed", "int", "-1"]),
        ({"first_order": 1}, ["report.first_order", "bool"]),
        ({"method": None}, ["report.method", "str"]),
        ({"sparsity": [1]}, ["report.sparsity"]),
        ({"sparsity": {"a": [1]}}, ["report.sparsity['a']"]),
        ({"layers": []}, ["layers:", "empty"]),
        ({"layers": {}}, ["report.layers"]),
        ({"layers": [1]}, ["report.layers[0]", "LayerReport"]),
        ({"layers": LAYERS[:1]}, ["'mask:3.weight'", "no layer"]),
        ({"layers": [*LAYERS, LAYERS[1]]}, ["weights:"]),
        ({"layers": changed_layers(name="other")}, ["holds no 'mask:other'"]),
        ({"layers": changed_layers(shape=[5, 3, 3, 4])}, ["'mask:0.weight'", "23 bytes"]),
        ({"layers": changed_layers(shape=[10**20, 10**20])}, ["'mask:0.weight'"]),
        ({"layers": changed_layers(shape=[-5, -27])}, ["report.layers[0].shape[0]", "-5"]),
        ({"layers": changed_layers(weights=136)}, ["layers: 0.weight", "weights 135", "136"]),
        ({"layers": changed_layers(kept=KEPT - 1)}, ["layers: 0.weight", f"kept {KEPT}"]),
        ({"layers": changed_layers(sparse_bytes=1)}, ["layers: 0.weight", "sparse_bytes"]),
    ],
)
def test_a_false_file_is_refused_by_name(changes, words, tmp_path):
    path = tmp_path / "pruned"
    damage(path, **changes)
    refuse(lambda: PruneReport.load(path), ValueError, f"{path}: ", *words)


def test_an_undamaged_file_passes_through_damage(tmp_path):
    """So that what is refused above is refused for its damage."""
    damage(tmp_path / "pruned")
    assert PruneReport.load(tmp_path / "pruned").weights.keys() == network_report().weights.keys()


def test_any_byte_may_be_wrong_and_any_end_missing(tmp_path):
    """What comes is a ValueError with the path, or a report that holds together."""
    path = tmp_path / "pruned"
    network_report().save(path)
    content = path.read_bytes()
    messages = []
    for place in range(0, len(content), len(content) // 150):
        for wrong in (content[:place], content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]):
            path.write_bytes(wrong)
            try:
                assert PruneReport.load(path).weights["0.weight"].isfinite().all()
            except ValueError as error:
                messages.append(str(error))
    assert len(messages) > 150, "every end, and some of the bytes"
    assert all(message.startswith(f"{path}: ") for message in messages)


def test_what_is_no_report_is_refused(tmp_path):
    folder, pickled, empty = tmp_path / "folder", tmp_path / "pickled", tmp_path / "empty"
    folder.mkdir()
    empty.touch()
    torch.save(network_report().weights, pickled)
    for path in (folder, pickled, empty):
        refuse(lambda path=path: PruneReport.load(path), ValueError, f"{path}: ")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PruneReport.load(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refuse(lambda: PruneReport.load(tmp_path / "pipe"), ValueError, f"{tmp_path / 'pipe'}: ", "regular")


def test_a_file_is_the_same_each_time(tmp_path):
    for name in ("first", "second"):
        network_report().save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_apply_sets_weights_and_buffers_and_nothing_else(tmp_path):
    network_report().save(tmp_path / "pruned")
    report, model = PruneReport.load(tmp_path / "pruned"), network().double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    places = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    report.apply(model)
    given = report.weights | report.buffers
    for name, value in model.state_dict().items():
        assert torch.equal(value, given[name].to(before[name].dtype) if name in given else before[name])
        assert value.dtype == before[name].dtype
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == places
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("weights", "buffers", "words"),
    [
        ({"4.weight": torch.ones(2)}, {}, ["no parameter '4.weight'"]),
        ({"1.running_var": torch.ones(5)}, {}, ["no parameter '1.running_var'"]),
        ({"3.bias": torch.ones(1)}, {}, ["'3.bias'", "(1,)", "(11,)"]),
        ({}, {"1.weight": torch.ones(5)}, ["no buffer '1.weight'"]),
        ({}, {"1.running_var": torch.ones(1, 5)}, ["'1.running_var'", "(1, 5)", "(5,)"]),
    ],
)
def test_apply_checks_before_it_writes(weights, buffers, words):
    """Shapes that would broadcast are wrong too."""
    report, model = network_report(), network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = replace(report, weights=report.weights | weights, buffers=report.buffers | buffers)
    refuse(lambda: report.apply(model), ValueError, "model:", *words)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(error, step, tmp_path, monkeypatch):
    path = tmp_path / "pruned"
    network_report().save(path)
    old = path.read_bytes()

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    for write in (network_report(seed=4).save, network_report().to_json, network_report().to_csv):
        with pytest.raises(type(error)):
            write(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    assert PruneReport.load(path).seed == 3


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        files.write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("times", [2, 9])
def test_a_file_that_another_process_has_open(tmp_path, monkeypatch, times):
    """Windows refuses to replace it; it is tried again for less than a second."""
    path, tries, slept, replace_file = tmp_path / "file", [], [], os.replace
    path.write_bytes(b"old")
    held: Any = PermissionError(13, "Permission denied")
    held.winerror = 32

    def replace(old, new):
        tries.append(new)
        if len(tries) <= times:
            raise held
        replace_file(old, new)

    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(os, "replace", replace)
    with contextlib.nullcontext() if times == 2 else pytest.raises(PermissionError):
        files.write_atomically(path, lambda file: file.write(b"new"))
    assert 0 < sum(slept) < 1
    assert path.read_bytes() == (b"new" if times == 2 else b"old")
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_disk_before_its_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    steps = []
    fsync, replace_file = os.fsync, os.replace

    def synced(descriptor):
        state = os.fstat(descriptor)
        steps.append("folder" if stat.S_ISDIR(state.st_mode) else state.st_size)
        fsync(descriptor)

    def replaced(old, new):
        steps.append("renamed")
        replace_file(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    files.write_atomically(tmp_path / "file", lambda file: file.write(b"content"))
    assert steps == [7, "renamed", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="modes and links are of POSIX")
def test_a_written_file_has_an_ordinary_mode_and_links_stay(tmp_path):
    plain, target, link = tmp_path / "plain", tmp_path / "target", tmp_path / "link"
    plain.touch()
    link.symlink_to(target)
    files.write_atomically(link, lambda file: file.write(b"content"))
    assert link.is_symlink()
    assert target.read_bytes() == b"content"
    assert target.stat().st_mode == plain.stat().st_mode
