"""gradient_matrix: what it refuses, by the argument's name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from gradient_nets import N, rows_of, setting
from l0quad_adapters.torch import choose, gradient_matrix
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy


@pytest.mark.parametrize("layer", [
    nn.Dropout(0.5), nn.BatchNorm1d(5), nn.InstanceNorm1d(5, track_running_stats=True), nn.RReLU(), nn.Identity(),
    nn.LSTM(5, 5, num_layers=2, dropout=0.5), nn.MultiheadAttention(5, 1, dropout=0.1),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_any_module_in_train_mode_is_refused_by_its_full_name(layer):
    model = nn.Sequential(nn.Linear(5, 3), nn.Sequential(layer)).eval()
    layer.train()
    call = partial(rows_of, model, torch.zeros(2, 5), torch.zeros(2).long(), weights="0")
    refuse(call, ValueError, "model: 1.0", "train mode", "eval()")
    model.eval()
    model.training = True
    refuse(call, ValueError, "model: the model itself", "train mode")


def test_frozen_weights_are_refused():
    model, inputs, targets = setting("mlp")
    model[0].weight.requires_grad_(False)
    refuse(lambda: rows_of(model, inputs, targets), ValueError, "weights:", "0.weight")


@pytest.mark.parametrize("way", ["auto", "batch"])
def test_a_loss_that_is_no_mean_over_samples_is_told(way):
    model, inputs, targets = setting("mlp")
    weight = torch.tensor([1.0, 5.0, 20.0])
    options = {"rows": "batch", "n_rows": 1} if way == "batch" else {}
    for loss_fn in (nn.CrossEntropyLoss(weight=weight), nn.CrossEntropyLoss(reduction="sum")):
        with pytest.warns(UserWarning, match=r"^loss_fn: .*mean.*reduction=\"none\""):
            rows_of(model, inputs, targets, loss_fn, **options)

    def that_works(outputs, targets):
        return (weight[targets] * cross_entropy(outputs, targets, reduction="none")).mean()

    found, plain = rows_of(model, inputs, targets, that_works), rows_of(model, inputs, targets)
    np.testing.assert_allclose(found, plain * weight[targets].numpy()[:, None], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", ["auto", "layers", "vmap", "loop"])
@pytest.mark.parametrize("rows", ["sample", "batch"])
def test_a_loss_that_is_no_scalar_is_refused(way, rows):
    model, inputs, targets = setting("mlp")
    call = partial(rows_of, model, inputs, targets, n_rows=1, rows=rows, way=way)
    for loss_fn in (lambda o, y: (o**2).sum(dim=1).repeat(2), lambda o, y: o**2):
        refuse(partial(call, loss_fn=loss_fn), ValueError, "loss_fn:", "scalar")
    refuse(partial(call, loss_fn=lambda o, y: 1.0), TypeError, "loss_fn:", "scalar", "float")


@pytest.mark.parametrize("rows", ["sample", "batch"])
def test_fewer_rows_than_asked_for_are_an_error(rows):
    model, inputs, targets = setting("mlp")
    batches = list(zip(inputs.split(4), targets.split(4), strict=True))
    there = 3 if rows == "batch" else N
    call: Callable[..., Any] = partial(gradient_matrix, model, cross_entropy, rows=rows)
    refuse(lambda: call(batches, n_rows=there + 1), ValueError, "n_rows:", str(there + 1), str(there))
    refuse(lambda: call([], n_rows=2), ValueError, "n_rows:", "2", "0")
    assert call(batches, n_rows=there).shape[0] == there


@pytest.mark.parametrize("way", ["auto", "layers", "vmap", "loop"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_refused(way, bad):
    model, inputs, targets = setting("mlp")
    call = partial(rows_of, model, inputs, targets, way=way)
    kept = inputs[6].clone()
    inputs[6] = bad
    refuse(partial(call, chunk=3), ValueError, "batches: the inputs of rows 6 to 8", "not finite")
    refuse(call, ValueError, "batches:", "not finite")
    inputs[6] = kept
    with torch.no_grad():
        next(iter(model.parameters()))[:] = bad
    refuse(partial(call, chunk=3), ValueError, "model:", "rows 0 to 2", "not finite")


def test_different_devices_are_refused():
    model, inputs, targets = setting("mlp")
    refuse(lambda: rows_of(model, inputs.to("meta"), targets), ValueError, "batches:", "cpu", "meta")
    refuse(lambda: rows_of(model, inputs, targets, device="meta"), ValueError, "device:", "cpu", "meta")
    assert rows_of(model, inputs, targets, device="cpu").shape[0] == N
    model[2].to("meta")
    refuse(lambda: rows_of(model, inputs, targets), ValueError, "model:", "one device", "cpu", "meta")


@pytest.mark.parametrize("wrong", [
    ({"rows": "samples"}, ValueError, "rows:", "'samples'"),
    ({"rows": None}, TypeError, "rows:", "None"),
    ({"way": "fast"}, ValueError, "way:", "'fast'"),
    ({"way": "layers", "weights": "*"}, ValueError, "way:", "'layers'"),
    ({"chunk": 0}, ValueError, "chunk:", "0"),
    ({"chunk": 2.0}, TypeError, "chunk:", "2.0"),
    ({"chunk": True}, TypeError, "chunk:", "True"),
    ({"chunk": "all"}, ValueError, "chunk:", "'all'"),
    ({"n_rows": None}, TypeError, "n_rows:", "None"),
    ({"n_rows": 0}, ValueError, "n_rows:", "0"),
    ({"n_rows": -1}, ValueError, "n_rows:", "-1"),
    ({"n_rows": 2.0}, TypeError, "n_rows:", "2.0"),
    ({"n_rows": True}, TypeError, "n_rows:", "True"),
    ({"dtype": np.float16}, ValueError, "dtype:", "float16"),
    ({"dtype": torch.float32}, ValueError, "dtype:", "torch.float32"),
    ({"dtype": "half"}, ValueError, "dtype:", "'half'"),
    ({"weights": "fc"}, ValueError, "weights:", "'fc'"),
    ({"losses": np.zeros(N - 1)}, ValueError, "losses:", "(11,)", "(10,)"),
    ({"losses": 1.0}, TypeError, "losses:", "float"),
    ({"losses": np.zeros(N, dtype=np.int64)}, TypeError, "losses:", "int64"),
    ({"losses": np.broadcast_to(np.zeros(1), N)}, ValueError, "losses:", "writeable"),
])  # fmt: skip
def test_wrong_arguments_are_refused_by_name(wrong):
    arguments, error, *words = wrong
    model, inputs, targets = setting("mlp")
    refuse(lambda: rows_of(model, inputs, targets, **arguments), error, *words)


def test_a_wrong_out_is_refused_and_not_touched():
    model, inputs, targets = setting("mlp")
    size = choose(model).size
    frozen = np.zeros((N, size), np.float32)
    frozen.flags.writeable = False
    for out, error, *words in (
        (np.zeros((N, size + 1)), ValueError, "shape", f"(11, {size})", f"(11, {size + 1})"),
        (np.zeros((N - 1, size)), ValueError, "shape", f"(11, {size})", f"(10, {size})"),
        (np.zeros((N, size, 1)), ValueError, "shape"),
        (np.zeros(size), ValueError, "shape"),
        (np.zeros((N, size), np.float16), TypeError, "float16"),
        (np.zeros((N, size), ">f4"), TypeError, ">f4"),
        (torch.zeros(N, size), TypeError, "torch.float32"),
        (frozen, ValueError, "writeable"),
    ):
        refuse(partial(rows_of, model, inputs, targets, out=out), error, "out:", *words)
        assert not out.any()
    empty = np.zeros((0, size), np.float32)
    refuse(lambda: rows_of(model, inputs, targets, out=empty, n_rows=None), ValueError, "out:", "(0,")
