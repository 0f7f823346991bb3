"""prune: all or nothing, whatever is refused, fails or is interrupted; and what an import brings."""

import _thread
import math
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters import torch as adapter
from l0quad_adapters.torch import Refit, prune
from prune_runs import DATA, ONE_STAGE, SAMPLES, again, conv, mlp, run, same, state
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy

import l0quad


@pytest.fixture
def net():
    return again(mlp)


@pytest.fixture
def normed():
    return again(conv)


def untouched(*_: Any) -> Any:
    pytest.fail("work has begun")


WRONG = [
    *(({"sparsity": value}, ValueError, "sparsity:") for value in (1.0, -0.1, 1.2, math.nan)),
    *(({"sparsity": value}, TypeError, "sparsity:", "NofM") for value in ("0.5", None, True, [0.5])),
    ({"sparsity": {"nothing": 0.5}}, ValueError, "sparsity:", "'nothing'"),
    ({"sparsity": {"0": 1.0}}, ValueError, "sparsity['0']:", "1.0"),
    ({"sparsity": l0quad.Cardinality(3)}, TypeError, "sparsity:", "Cardinality"),
    ({"weights": "nothing"}, ValueError, "weights:", "'nothing'"),
    ({"weights": 5}, TypeError, "weights:", "5"),
    ({"mask": {"0.weight": torch.ones(8, 10, dtype=torch.bool)}}, ValueError, "mask:", "(10, 8)", "(8, 10)"),
    ({"mask": {"0.weight": torch.ones(10, 8)}}, TypeError, "mask:", "bool"),
    ({"mask": {"0.bias": torch.ones(10, dtype=torch.bool)}}, ValueError, "mask:", "0.bias"),
    ({"method": "magic"}, ValueError, "method:", "backsolve", "woodfisher", "'magic'"),
    *(({"method": value}, TypeError, "method:") for value in (None, 5, l0quad.Backsolve, ["auto"])),
    ({"schedule": "cubic"}, ValueError, "schedule:", "'cubic'"),
    ({"schedule": "cubic", "sparsity": l0quad.NofM(2, 4)}, ValueError, "schedule:", "'cubic'"),
    ({"schedule": ["poly"], "sparsity": {"0": 0.5}}, TypeError, "schedule:", "['poly']"),
    *(({name: value}, ValueError, f"{name}:", repr(value))
      for name in ("n_rows", "batch_size", "stages") for value in (0, -1)),
    *(({name: value}, TypeError, f"{name}:", repr(value))
      for name in ("n_rows", "batch_size", "stages") for value in (1.0, True, "1")),
    *(({name: None}, TypeError, f"{name}:", "None") for name in ("batch_size", "stages")),
    *(({name: -1}, ValueError, f"{name}:", "-1") for name in ("refit_stages", "seed")),
    *(({name: value}, TypeError, f"{name}:", repr(value))
      for name in ("refit_stages", "seed") for value in (1.0, False)),
    ({"seed": None}, TypeError, "seed:", "None"),
    *(({"l2": value}, ValueError, "l2:", repr(value)) for value in (-1.0, math.nan, math.inf)),
    *(({"l2": value}, TypeError, "l2:", "'auto'", repr(value)) for value in ("best", True, None)),
    ({"refit": Refit(n_rows=25)}, ValueError, "refit.n_rows:", "60", "25"),
    ({"refit": Refit(average=3), "refit_stages": 2}, ValueError, "refit.average:", "2", "3"),
    ({"refit": 0.9}, TypeError, "refit:", "0.9"),
    ({"first_order": 0.5}, TypeError, "first_order:", "0.5"),
    ({"scale_rows": "no"}, TypeError, "scale_rows:", "'no'"),
    ({"method": "magnitude", "refit_stages": 1, "n_rows": SAMPLES + 1}, ValueError, "n_rows:", "241", "240"),
    ({"n_rows": SAMPLES + 1}, ValueError, "n_rows:", "241", "240"),
    ({"n_rows": 61, "batch_size": 4}, ValueError, "n_rows:", "244", "240"),
    ({"data": DATA[0]}, TypeError, "data:", "Tensor"),
    ({"data": (DATA[0], DATA[1][1:])}, ValueError, "data:", "240", "239"),
    ({"data": (DATA, DATA)}, TypeError, "data:", "tuple"),
    ({"data": (*DATA, DATA[0])}, TypeError, "data:", "Tensor, Tensor, Tensor"),
    ({"l2": "auto", "n_rows": SAMPLES}, ValueError, "l2:", "240"),
    ({"bound": "best"}, ValueError, "bound:", "'best'"),
    ({"way": "fast"}, ValueError, "way:", "'fast'"),
    ({"chunk": 0}, ValueError, "chunk:", "0"),
    ({"recalibrate": 1}, TypeError, "recalibrate:", "1"),
    ({"exclude": "nothing"}, ValueError, "exclude:", "'nothing'"),
    ({"exclude": nn.Linear}, ValueError, "exclude:", "nothing"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong[0])[:40])
def test_wrong_arguments_are_refused_before_work_starts(net, wrong):
    arguments, error, *words = wrong
    before = state(net)
    arguments = {"data": DATA, "sparsity": 0.5, "loss_fn": untouched, **ONE_STAGE} | arguments
    refuse(lambda: prune(net, **arguments), error, *words)
    assert same(net, before)


def test_a_model_in_train_mode_is_refused(net, normed):
    for model, place in ((net, 2), (normed, 2)):
        before = state(model)
        model.train()
        call = lambda model=model: prune(model, untouched, DATA, 0.5)  # noqa: E731
        refuse(call, ValueError, "model:", "0 (", "train mode", "eval()")
        model.eval()[place].train()
        refuse(call, ValueError, "model:", str(place), "train mode", "eval()")
        model.train()
        assert same(model, before)
        assert all(module.training for module in model.modules()), "modes are as they were, too"


def test_frozen_weights_are_refused(net):
    net[3].weight.requires_grad_(False)
    refuse(lambda: prune(net, untouched, DATA, 0.5), ValueError, "weights:", "3.weight")


@pytest.mark.parametrize(("where", "bad"), [
    ("2.running_var", math.nan),
    *((where, bad) for where in ("0.weight", "3.weight", "3.bias", "inputs") for bad in (math.nan, math.inf)),
])  # fmt: skip
def test_values_that_are_not_finite_leave_the_model_as_it_was(net, normed, where, bad):
    model = normed if where.startswith("2.") else net
    inputs = DATA[0].clone()
    with torch.no_grad():
        (inputs if where == "inputs" else model.state_dict()[where]).view(-1)[0].fill_(bad)
    before = state(model)
    named = "batches" if where == "inputs" else "(model|w0)"
    with pytest.raises(ValueError, match=rf"^{named}:.*finite"):
        prune(model, cross_entropy, (inputs, DATA[1]), 0.5, **ONE_STAGE | {"n_rows": SAMPLES})
    assert same(model, before)


class Failing:
    """A loss that fails at its n-th call after the first stage, by an error or by Ctrl-C."""

    def __init__(self, fail):
        self.fail, self.armed = fail, False

    def __call__(self, outputs, targets):
        if self.armed:
            self.fail()
        return cross_entropy(outputs, targets)


def stop():
    raise OSError("the disk is full")


def interrupt():
    signal.raise_signal(signal.SIGINT)
    pytest.fail("the interrupt did not come")


def break_off():
    raise KeyboardInterrupt


FAILURES = [(stop, OSError), (interrupt, KeyboardInterrupt), (break_off, KeyboardInterrupt)]
over_failures = pytest.mark.parametrize(("fail", "error"), FAILURES)


@over_failures
@pytest.mark.parametrize("at", ["loss", "callback", "evaluate"])
def test_a_failure_midway_gives_the_old_model_back(normed, at, fail, error):
    before, seen = state(normed), []
    loss_fn = Failing(fail)

    def after(stage):
        assert not same(normed, before), "the first stage has changed it"
        assert not torch.equal(normed[2].running_mean, before["2.running_mean"])
        seen.append(stage)
        loss_fn.armed = at == "loss"
        if at == "callback":
            fail()

    def evaluate(model):
        if at == "evaluate" and seen:
            fail()
        return 0.0

    with pytest.raises(error):
        run(normed, 0.8, loss_fn=loss_fn, stages=3, callback=after, evaluate=evaluate, recalibrate=True)
    assert len(seen) == 1
    assert same(normed, before)
    assert not any(module.training or module._forward_hooks for module in normed.modules())


@pytest.mark.parametrize("l2", [0.01, "auto"])
def test_an_interrupted_solve_gives_the_old_model_back(normed, interrupting, l2):
    before = state(normed)
    with pytest.raises(KeyboardInterrupt):
        run(normed, 0.8, method=interrupting, stages=3, l2=l2)
    assert same(normed, before)


def test_an_interrupt_from_outside_gives_the_old_model_back(normed):
    before, seen = state(normed), []

    def after(stage):
        if not seen:
            timer.start()
        seen.append(stage)

    timer = threading.Timer(0.05, _thread.interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        run(normed, 0.8, stages=10_000, callback=after)
    assert 1 <= len(seen) < 10_000
    assert same(normed, before)


def test_what_state_dict_does_not_hold_is_given_back():
    model = again(mlp)
    model.register_buffer("calls", torch.zeros(()), persistent=False)
    model.register_forward_pre_hook(lambda module, args: module.calls.add_(1) and None)
    model.get_extra_state = lambda: "words"
    with pytest.raises(OSError, match="disk"):
        run(model, 0.5, callback=lambda _: stop())
    assert model.calls == 0


def test_public_names():
    assert set(adapter.__all__) <= set(dir(adapter))
    assert sorted(adapter.__all__) == sorted(set(adapter.__all__))


def test_only_the_torch_adapter_loads_torch():
    code = "import sys, l0quad, l0quad_adapters; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
