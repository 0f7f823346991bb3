"""gradual_prune: a run that was stopped goes on to the same bytes."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from gradual_runs import (
    BATCHES,
    EPOCHS,
    SETTINGS,
    STEPS,
    Stop,
    accuracy,
    data,
    frozen,
    net,
    run,
    same,
    stopping,
    timeless,
    whole,
)
from l0quad_adapters.torch.pruning.gradual import gradual_prune
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The checkpoint of a run after its first step."""
    path = tmp_path_factory.mktemp("written") / "run.pt"
    with pytest.raises(Stop):
        run(net(), checkpoint=path, callback=stopping(1))
    return path


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, step, error):
    state, report = whole()
    path = tmp_path / "run.pt"
    model = net()
    with pytest.raises(error):
        run(model, checkpoint=path, evaluate=accuracy, callback=stopping(step, error))
    assert same(model, net().state_dict()), "the old weights are back"
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    seen = []
    again = run(model, checkpoint=str(path), evaluate=accuracy, callback=lambda stage: seen.append(stage.stage))
    assert seen == list(range(step + 1, STEPS + 1))
    assert same(model, state)
    assert timeless(again) == timeless(report)
    assert (again.metric_before, again.metric_after) == (report.metric_before, report.metric_after)
    assert again.layers == report.layers


def test_a_finished_run_is_read_from_its_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    first = run(net(), checkpoint=path, evaluate=accuracy)
    content = path.read_bytes()

    def unasked(*_):
        pytest.fail("it ran again")

    model = net()
    model[2].train()
    again = run(model, checkpoint=path, evaluate=unasked, callback=unasked)
    assert same(model, whole()[0])
    assert model[2].training
    assert (repr(again.stages), again.metric_before) == (repr(first.stages), first.metric_before)
    assert path.read_bytes() == content


def test_the_time_of_all_parts_of_a_run_is_counted(written, tmp_path):
    content = torch.load(written, weights_only=True)
    torch.save(content | {"seconds": 1000.0}, tmp_path / "run.pt")
    report = run(net(), checkpoint=tmp_path / "run.pt")
    assert 1000 < report.seconds < 1100


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path, calls, save = tmp_path / "run.pt", [], torch.save

    def full(content, file):
        calls.append(len(content["stages"]))
        if len(calls) == 2:
            with file if hasattr(file, "write") else open(file, "wb") as target:
                target.write(b"half")
            raise OSError(28, "No space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", full)
    model = net()
    with pytest.raises(OSError, match="No space left"):
        run(model, checkpoint=path, evaluate=accuracy)
    assert same(model, net().state_dict())
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    run(model, checkpoint=path, evaluate=accuracy)
    assert calls == [1, 2, 2, 3]
    assert same(model, whole()[0])


def test_a_failure_in_training_brings_the_old_weights_back(tmp_path):
    model, losses = net(), []

    def failing(outputs, targets):
        losses.append(model.training)
        # The second batch of the training after the second step.
        if sum(losses) == EPOCHS * BATCHES + 2:
            raise Stop
        return cross_entropy(outputs, targets)

    with pytest.raises(Stop):
        gradual_prune(model, failing, data(), 0.8, checkpoint=tmp_path / "run.pt", evaluate=accuracy, **SETTINGS)
    assert same(model, net().state_dict())
    assert not any(module.training for module in model.modules())
    run(model, checkpoint=tmp_path / "run.pt", evaluate=accuracy)
    assert same(model, whole()[0])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    path = tmp_path / "run.pt"
    folder = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(folder.parent), *sys.path])}
    code = f"import gradual_runs; gradual_runs.die_in_training({str(path)!r}, {2 * EPOCHS * BATCHES + 3})"
    died = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    model, seen = net(), []
    report = run(model, checkpoint=path, evaluate=accuracy, callback=lambda stage: seen.append(stage.stage))
    assert seen == [3]
    assert same(model, whole()[0])
    assert timeless(report) == timeless(whole()[1])


def test_a_loader_that_shuffles_goes_on_to_the_same_bytes(tmp_path):
    def loader():
        return DataLoader(TensorDataset(*data()), batch_size=30, shuffle=True)

    run(expected := net(), samples=loader())
    with pytest.raises(Stop):
        run(net(), samples=loader(), checkpoint=tmp_path / "run.pt", callback=stopping(2))
    torch.manual_seed(123)
    run(model := net(), samples=loader(), checkpoint=tmp_path / "run.pt")
    assert same(model, expected.state_dict())
    assert not same(model, net().state_dict())


OTHERS = {
    "sparsity": 0.7, "steps": 4, "epochs": 1, "schedule": "linear", "method": "backsolve", "l2": 0.1, "n_rows": 30,
    "batch_size": 2, "train_batch_size": 16, "seed": 6, "weights": "4", "rise": 0.5, "refit_stages": 1,
    "recalibrate": True,
    "learning_rate": lambda share: 0.01, "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_other_settings_is_refused(written, name):
    model, content = net(), written.read_bytes()
    changes = {name: OTHERS[name]}
    refuse(lambda: run(model, checkpoint=written, **changes), ValueError, "checkpoint:", "another run", name)
    assert same(model, net().state_dict())
    assert written.read_bytes() == content


def test_a_checkpoint_of_another_model_or_data_is_refused(written):
    other = net()
    with torch.no_grad():
        other[4].bias[0] += 1e-6
    wider = nn.Sequential(nn.Linear(6, 13), nn.ReLU(), nn.Linear(13, 3)).eval()
    for model in (other, wider, net().double()):
        samples = tuple(part.to(model[0].weight.dtype) if part.is_floating_point() else part for part in data())
        before = frozen(model)
        refuse(lambda: run(model, samples=samples, checkpoint=written), ValueError, "checkpoint:", "model is")  # noqa: B023
        assert same(model, before)
    fewer = tuple(part[:149] for part in data())
    refuse(lambda: run(net(), samples=fewer, checkpoint=written), ValueError, "checkpoint:", "samples is 150", "149")


class Harmful:
    def __reduce__(self):
        return os.mkdir, (str(Path(os.environ["L0QUAD_TEST_HARM"])),)


def test_what_is_no_checkpoint_is_refused_and_never_run(tmp_path, written, monkeypatch):
    harm = tmp_path / "harm"
    monkeypatch.setenv("L0QUAD_TEST_HARM", str(harm))
    path = tmp_path / "file"
    content = written.read_bytes()
    torch.save({"model": net().state_dict()}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"format": 99, "settings": {}}, tmp_path / "later.pt")
    torch.save(Harmful(), tmp_path / "harmful.pt")
    others = [(tmp_path / f"{name}.pt").read_bytes() for name in ("other", "list", "later", "harmful")]
    for wrong in (b"", b"text", content[:-100], content[: len(content) // 2], pickle.dumps({"a": 1}), *others):
        path.write_bytes(wrong)
        model = net()
        refuse(lambda: run(model, checkpoint=path), ValueError, "checkpoint:", str(path))  # noqa: B023
        assert same(model, net().state_dict())
        assert path.read_bytes() == wrong
    assert not harm.exists()
    refuse(lambda: run(net(), checkpoint=tmp_path / "later.pt"), ValueError, "checkpoint:", "format 1", "99")
    refuse(lambda: run(net(), checkpoint=tmp_path), ValueError, "checkpoint:", "file", str(tmp_path))
    missing = tmp_path / "missing" / "run.pt"
    refuse(lambda: run(net(), checkpoint=missing), ValueError, "checkpoint:", "folder", str(missing))
