"""Gradients in shards: what memory gives, after any crash, and no other call's."""

import errno
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import gradient_matrix
from l0quad_adapters.torch.network import shards
from torch import nn
from torch.nn.functional import cross_entropy

import l0quad

N = 11

# Also run as a script, which is killed while it writes.
SETUP = """
import os, signal, torch
from torch import nn
from torch.nn.functional import cross_entropy
from l0quad_adapters.torch import gradient_matrix
from l0quad_adapters.torch.network import shards

torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
batches = [(torch.randn(4, 5), torch.randint(3, (4,))) for _ in range(3)]
"""
KILLED = """
write, count = shards._write, 0
def fatal(path, position, content):
    global count
    count += 1
    if count == 2 * 3 + 2:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, position, content)
shards._write = fatal
gradient_matrix(model, cross_entropy, batches, n_rows=11, out="gradients", shards=2, chunk=3)
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data():
    """(model, batches)"""
    names: dict = {}
    exec(SETUP, names)
    return names["model"], names["batches"]


def contents(paths):
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize(
    "options", [{}, {"rows": "batch", "n_rows": 3}, {"columns": np.array([0, 3, 30, 40])}, {"dtype": np.float64}]
)
@pytest.mark.parametrize("count", [1, 3])
def test_shards_hold_the_matrix(count, options, data, tmp_path):
    model, batches = data
    options = {"n_rows": N, "chunk": 3} | options
    A = gradient_matrix(model, cross_entropy, batches, **options)
    paths = gradient_matrix(model, cross_entropy, batches, out=tmp_path / "A", shards=count, **options)
    assert len(paths) == count
    found = l0quad.open_columns(paths)
    assert found.dtype == A.dtype
    np.testing.assert_array_equal(found.take(np.arange(A.shape[1])), A)


def test_a_killed_call_goes_on_to_the_same_bytes(data, folder):
    model, batches = data
    whole = gradient_matrix(model, cross_entropy, batches, n_rows=N, out="whole", shards=2, chunk=3)
    done = subprocess.run([sys.executable, "-c", SETUP + KILLED], check=False)
    assert done.returncode < 0
    assert contents(whole) != contents(sorted((folder / "gradients").glob("*.npy")))
    computed = []
    again = gradient_matrix(
        model, cross_entropy, batches, n_rows=N, out="gradients", shards=2, chunk=3,
        progress=lambda rows, _: computed.append(rows),
    )  # fmt: skip
    assert computed == [9, 11]
    assert contents(again) == contents(whole)
    gradient_matrix(
        model,
        cross_entropy,
        batches,
        n_rows=N,
        out="gradients",
        shards=2,
        chunk=3,
        progress=lambda rows, _: computed.append(rows),
    )
    assert computed == [9, 11]


def test_a_full_disk_loses_no_finished_rows(data, folder, monkeypatch):
    model, batches = data
    whole = gradient_matrix(model, cross_entropy, batches, n_rows=N, out="whole", chunk=3)
    write, left = shards._write, [5]

    def full(path, position, content):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, position, content)

    monkeypatch.setattr(shards, "_write", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        gradient_matrix(model, cross_entropy, batches, n_rows=N, out="gradients", chunk=3)
    computed = []
    again = gradient_matrix(
        model,
        cross_entropy,
        batches,
        n_rows=N,
        out="gradients",
        chunk=3,
        progress=lambda rows, _: computed.append(rows),
    )
    assert computed == [9, 11]
    assert contents(again) == contents(whole)


def test_what_is_refused(data, folder):
    model, batches = data
    options: dict[str, Any] = {"n_rows": N, "out": "gradients", "chunk": 3}
    gradient_matrix(model, cross_entropy, batches, **options)
    for changed in (
        {"batches": batches[1:] + batches[:1]},
        {"batches": [(batches[0][0], 2 - batches[0][1]), *batches[1:]]},
        {"model": nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).eval()},
        {"shards": 2},
        {"chunk": 4},
        {"n_rows": 10},
        {"dtype": np.float64},
        {"columns": np.arange(4)},
    ):
        with pytest.raises(ValueError, match="out: gradients holds gradients of another call"):
            gradient_matrix(**{"model": model, "loss_fn": cross_entropy, "batches": batches} | options | changed)
    for changed, match in (
        ({"shards": 49}, "shards: must be at most the 48 columns, got 49"),
        ({"shards": 0}, "shards: must be"),
        ({"losses": np.empty(N)}, "losses: must be None where out is a folder"),
        ({"out": None, "shards": 2}, "shards: needs out=, a folder"),
        ({"n_rows": 13}, "n_rows: 13 rows are asked for, but batches gives 12"),
    ):
        with pytest.raises(ValueError, match=match):
            gradient_matrix(model, cross_entropy, batches, **options | {"out": "other"} | changed)


def test_gradients_of_other_weights_are_refused(data, folder):
    _, batches = data
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5)).eval()
    options: dict[str, Any] = {"n_rows": N, "out": "gradients"}
    gradient_matrix(model, cross_entropy, batches, weights="0.weight", **options)
    with pytest.raises(ValueError, match="out: gradients holds gradients of another call"):
        gradient_matrix(model, cross_entropy, batches, weights="1.weight", **options)


def test_rows_of_another_kind_replace_gradients(data, folder):
    model, batches = data
    options: dict[str, Any] = {"n_rows": N, "out": "gradients", "chunk": 3}
    whole = contents(gradient_matrix(model, cross_entropy, batches, shards=4, **options))
    paths = shards.RowFiles("gradients", (N, 48), 3).paths
    assert sorted((folder / "gradients").iterdir()) == [folder / path for path in paths]
    again = gradient_matrix(model, cross_entropy, batches, shards=2, **options)
    assert shards.column_files("gradients") == set(again)
    shards.RowFiles("gradients", (N, 48), 4)
    assert contents(gradient_matrix(model, cross_entropy, batches, shards=4, **options)) == whole


def test_a_file_that_was_harmed_is_refused(data, folder):
    model, batches = data
    options: dict[str, Any] = {"n_rows": N, "out": "gradients", "shards": 2, "chunk": 3}
    paths = gradient_matrix(model, cross_entropy, batches, **options)
    for path in (paths[1], paths[0].with_name("done")):
        content = path.read_bytes()
        for harmed in (None, b"", content[:-1], content + b"0"):
            path.unlink() if harmed is None else path.write_bytes(harmed)
            with pytest.raises(ValueError, match="out: gradients lacks a file, or has one of another size"):
                gradient_matrix(model, cross_entropy, batches, **options)
        path.write_bytes(content)
    assert gradient_matrix(model, cross_entropy, batches, **options) == paths


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_folder(name, data, folder):
    model, batches = data
    (folder / "file").touch()
    with pytest.raises(ValueError, match="out: must be a folder"):
        gradient_matrix(model, cross_entropy, batches, n_rows=N, out=name)
    with pytest.raises(ValueError, match="out: must be a folder"):
        shards.RowFiles(name, (N, 48), 2)


DIFFERENT = """
import sys
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
with torch.no_grad():
    model[0].weight += rank
try:
    gradient_matrix(model, cross_entropy, batches, n_rows=11, out="gradients", chunk=3)
except ValueError as error:
    print(error)
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="gloo elsewhere is not of l0quad's making")
def test_processes_of_different_models_are_refused(folder):
    command = [sys.executable, "-c", SETUP + DIFFERENT]
    running = [
        subprocess.Popen([*command, str(rank), str(folder / "meet")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in running:
        assert "model, batches: must be the same in all processes" in process.communicate(timeout=120)[0]
    assert not (folder / "gradients").exists()
