"""Gradient matrices: a loop over samples and plain autograd are the reference of every other way."""

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from l0quad_adapters.torch import choose, gradient_matrix
from l0quad_adapters.torch.gradients import LayerGradients
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy, linear, mse_loss
from torch.utils.data import DataLoader, TensorDataset

N = 11


class Calls(nn.Module):
    """A module whose forward pass is a function of itself and the inputs."""

    def __init__(self, call, **modules):
        super().__init__()
        self.call = call
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.call(self, x)


class Pooled(nn.Module):
    """The mean over a sequence's places."""

    def forward(self, x):
        return x.mean(dim=1)


def with_statistics(model, *shape):
    """Give batch normalisation statistics that are not those of a fresh layer."""
    model.train()
    with torch.no_grad():
        model(2 * torch.randn(16, *shape) + 1)
    return model


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)), (5,)


def conv():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 3, (2, 3), padding=(0, 2), dilation=(1, 2)), nn.ReLU(inplace=True),
        nn.Conv2d(3, 3, 1, stride=(1, 2)), nn.Dropout(0.5), nn.Flatten(), nn.Linear(18, 3),
    )  # fmt: skip
    return with_statistics(model, 2, 7, 6), (2, 7, 6)


def conv_kinds():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 3, padding="same"), nn.BatchNorm2d(2, affine=False),
        nn.Conv2d(2, 2, 2, padding=1, padding_mode="circular"), nn.Flatten(2), nn.Conv1d(2, 2, 3), nn.Flatten(),
        nn.Linear(28, 3),
    )  # fmt: skip
    return with_statistics(model, 4, 5, 5), (4, 5, 5)


def sequence():
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3), Pooled()), (6, 4)


def called_twice():
    return Calls(lambda self, x: self.out(torch.tanh(self.fc(torch.tanh(self.fc(x))))),
                 fc=nn.Linear(5, 5), out=nn.Linear(5, 3)), (5,)  # fmt: skip


def called_faintly():
    """The first call of the layer adds so little that two samples hardly show it."""
    return Calls(lambda self, x: self.fc(1e-5 * self.fc(x) + x)[:, :3], fc=nn.Linear(5, 5)), (5,)


def tied():
    model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
    model[2].weight = model[0].weight
    return model, (5,)


def tied_elsewhere():
    model, shape = tied()
    return nn.Sequential(*model[:4], nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), shape


def used_beside_its_layer():
    return Calls(lambda self, x: self.out(torch.tanh(linear(torch.tanh(self.fc(x)), self.fc.weight))),
                 fc=nn.Linear(5, 5), out=nn.Linear(5, 3)), (5,)  # fmt: skip


def never_called():
    return Calls(lambda self, x: self.fc(x), fc=nn.Linear(5, 3), spare=nn.Linear(2, 2)), (5,)


def called_by_keyword():
    return Calls(lambda self, x: self.fc(input=x), fc=nn.Linear(5, 3)), (5,)


def not_for_vmap():
    return Calls(lambda self, x: self.fc(x) * (2.0 if x.sum() > 0 else 1.0), fc=nn.Linear(5, 3)), (5,)


def coupled():
    """The samples of a chunk influence each other: alone, a sample is its own mean."""
    return Calls(lambda self, x: self.fc(x + x.mean(dim=0)), fc=nn.Linear(5, 3)), (5,)


NETS = {
    make.__name__: make
    for make in (
        mlp, conv, conv_kinds, sequence, called_twice, called_faintly, tied, tied_elsewhere, used_beside_its_layer,
        never_called, called_by_keyword, not_for_vmap, coupled,
    )
}  # fmt: skip
CLOSED = ("mlp", "conv", "sequence")
over_nets = pytest.mark.parametrize("name", NETS)


def setting(name, dtype=torch.float32, n=N):
    """A net in eval mode, and samples of three classes."""
    torch.manual_seed(0)
    model, shape = NETS[name]()
    inputs, targets = torch.randn(n, *shape), torch.randint(3, (n,))
    return model.eval().to(dtype), inputs.to(dtype), targets


def rows_of(model, inputs, targets, loss_fn=cross_entropy, **options):
    return gradient_matrix(model, loss_fn, [(inputs, targets)], **{"n_rows": len(targets)} | options)


def by_autograd(model, loss_fn, inputs, targets, weights=None):
    """The rows, by one backward pass a sample."""
    chosen, rows = choose(model, weights), []
    for i in range(len(inputs)):
        model.zero_grad()
        loss_fn(model(inputs[i : i + 1]), targets[i : i + 1]).backward()
        grads = [model.get_parameter(name).grad for name in chosen.names]
        rows.append([torch.zeros(shape) if g is None else g for g, shape in zip(grads, chosen.shapes, strict=True)])
    model.zero_grad()
    return np.array([torch.cat([part.double().reshape(-1) for part in row]).numpy() for row in rows])


def close(found, expected, share=1e-5):
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()


@over_nets
def test_auto_is_right_for_every_net(name):
    model, inputs, targets = setting(name)
    expected = by_autograd(model, cross_entropy, inputs, targets)
    found = rows_of(model, inputs, targets)
    assert found.dtype == np.float32
    close(found, expected)


@pytest.mark.parametrize("way", ["layers", "vmap", "loop"])
@pytest.mark.parametrize("name", CLOSED)
def test_the_ways_agree(name, way):
    model, inputs, targets = setting(name)
    expected = by_autograd(model, cross_entropy, inputs, targets)
    close(rows_of(model, inputs, targets, way=way), expected)


@pytest.mark.parametrize("name", CLOSED)
def test_auto_takes_the_closed_form_where_there_is_one(name, monkeypatch):
    model, inputs, targets = setting(name)
    chunks, closed = [], LayerGradients.__call__
    monkeypatch.setattr(LayerGradients, "__call__", lambda *args: chunks.append(len(args[1])) or closed(*args))
    rows_of(model, inputs, targets)
    assert chunks == [2, N]


@pytest.mark.parametrize("name", ["called_twice", "tied", "conv_kinds", "called_by_keyword", "never_called"])
def test_the_closed_form_is_never_wrong_unnoticed(name):
    model, inputs, targets = setting(name)
    with pytest.raises((ValueError, RuntimeError, LookupError)):
        rows_of(model, inputs, targets, way="layers")


def test_losses_of_other_targets_and_outputs():
    torch.manual_seed(0)
    model, inputs, targets = nn.Linear(4, 2), torch.randn(N, 4), torch.randn(N, 2)
    for net, loss_fn in (
        (model, mse_loss),
        (Calls(lambda self, x: (self.fc(x), x), fc=model), lambda o, y: mse_loss(o[0], y)),
        (Calls(lambda self, x: {"out": self.fc(x)}, fc=model), lambda o, y: mse_loss(o["out"], y).reshape(1)),
    ):
        found = rows_of(net, inputs, targets, loss_fn)
        close(found, by_autograd(net, loss_fn, inputs, targets))


@pytest.mark.parametrize("weights", ["*", "*.bias", nn.BatchNorm2d, ["8.bias", "0"], "3"])
def test_any_parameters_may_be_chosen(weights):
    model, inputs, targets = setting("conv")
    found = rows_of(model, inputs, targets, weights=weights)
    close(found, by_autograd(model, cross_entropy, inputs, targets, weights))
    chosen = choose(model, weights)
    again = rows_of(model, inputs, targets, weights=chosen)
    assert np.array_equal(found, again)


@over_nets
def test_a_batch_row_is_the_gradient_of_the_mean_loss(name):
    model, inputs, targets = setting(name, n=12)
    batches = list(zip(inputs.split(4), targets.split(4), strict=True))
    found = gradient_matrix(model, cross_entropy, batches, rows="batch", n_rows=3)
    grads = [torch.autograd.grad(cross_entropy(model(x), y), list(choose(model).tensors(model).values()),
                                 allow_unused=True, materialize_grads=True) for x, y in batches]  # fmt: skip
    close(found, np.array([np.concatenate([g.numpy().ravel() for g in row]) for row in grads]))
    if name not in ("coupled", "not_for_vmap"):
        samples = gradient_matrix(model, cross_entropy, batches, n_rows=12)
        close(found, samples.reshape(3, 4, -1).mean(axis=1))


@pytest.mark.parametrize("way", ["auto", "vmap", "loop"])
@pytest.mark.parametrize("name", ["mlp", "conv", "coupled"])
def test_chunks_and_batches_do_not_matter(name, way):
    model, inputs, targets = setting(name)
    expected = rows_of(model, inputs, targets, way="loop")
    for chunk in (1, 3, N, 100, np.int64(4)):
        found = rows_of(model, inputs, targets, chunk=chunk, way=way)
        close(found, expected)
    for size in (1, 4):
        batches = DataLoader(TensorDataset(inputs, targets), batch_size=size)
        for chunk in (2, "auto"):
            close(gradient_matrix(model, cross_entropy, batches, n_rows=N, chunk=chunk, way=way), expected)


def test_small_batches_go_through_the_model_together():
    model, inputs, targets = setting("mlp")
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    batches = DataLoader(TensorDataset(inputs, targets), batch_size=1)
    gradient_matrix(model, cross_entropy, batches, n_rows=9, way="layers")
    assert seen == [9]


def test_only_the_rows_that_are_asked_for_are_computed():
    model, inputs, targets = setting("mlp")
    everything = rows_of(model, inputs, targets)
    for chunk in (1, 4, "auto"):
        found = gradient_matrix(model, cross_entropy, [(inputs, targets)] * 2, n_rows=5, chunk=chunk)
        assert found.shape == (5, everything.shape[1])
        close(found, everything[:5])
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    rows_of(model, inputs, targets, n_rows=5, chunk=4, way="layers")
    assert seen == [4, 1]
    rest = iter([(inputs[:4], targets[:4]), (inputs[4:], targets[4:])])
    gradient_matrix(model, cross_entropy, rest, n_rows=4)
    assert len(list(rest)) == 1


def test_the_model_stays_as_it_is():
    model, inputs, targets = setting("conv")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    hooks = [len(module._forward_hooks) for module in model.modules()]
    for way in ("layers", "vmap", "loop"):
        with torch.no_grad():
            rows_of(model, inputs, targets, way=way)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_hooks_are_gone_after_an_error():
    model, inputs, targets = setting("called_twice")
    with pytest.raises(RuntimeError, match="way: 'layers'"):
        rows_of(model, inputs, targets, way="layers")
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, "float64", np.dtype(np.float32)])
def test_the_dtype_is_that_asked_for(dtype):
    model, inputs, targets = setting("mlp", torch.float64)
    found = rows_of(model, inputs, targets, dtype=dtype)
    assert found.dtype == np.dtype(dtype)
    close(found, by_autograd(model, cross_entropy, inputs, targets), 1e-12 if found.dtype == np.float64 else 1e-6)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_half_precision_is_widened(name):
    model, inputs, targets = setting(name, torch.bfloat16)
    found = rows_of(model, inputs, targets)
    assert found.dtype == np.float32
    close(found, by_autograd(model, cross_entropy, inputs, targets), 0.05)


@pytest.mark.parametrize("order", ["C", "F"])
def test_out_is_filled(order):
    model, inputs, targets = setting("mlp")
    expected = rows_of(model, inputs, targets)
    for dtype in (np.float32, np.float64):
        out = np.full(expected.shape, np.nan, dtype, order=order)
        assert rows_of(model, inputs, targets, out=out, n_rows=None, chunk=4) is out
        close(out, expected)
        assert rows_of(model, inputs, targets, out=out) is out


def test_out_may_be_a_file(tmp_path):
    model, inputs, targets = setting("conv")
    size = choose(model).size
    out = np.lib.format.open_memmap(tmp_path / "A.npy", mode="w+", dtype=np.float32, shape=(N, size))
    assert rows_of(model, inputs, targets, out=out, n_rows=None, chunk=2) is out
    out.flush()
    close(np.load(tmp_path / "A.npy"), by_autograd(model, cross_entropy, inputs, targets))


def test_progress_counts_rows():
    model, inputs, targets = setting("mlp")
    seen = []
    rows_of(model, inputs, targets, chunk=4, progress=lambda *at: seen.append(at))
    assert seen == [(4, N), (8, N), (N, N)]


def test_active_dropout_and_batchnorm_are_refused():
    for place, word in ((6, "6"), (1, "1")):
        model, inputs, targets = setting("conv")
        model[place].train()
        call = partial(rows_of, model, inputs, targets)
        refuse(call, ValueError, f"model: {word} is in train mode", "eval()")
        for module in model:
            module.train(not isinstance(module, (nn.Dropout, nn.BatchNorm2d)))
        assert np.isfinite(call()).all(), "others may be in train mode"
    refuse(lambda: gradient_matrix(nn.Dropout(), cross_entropy, [], n_rows=1), ValueError, "weights:")


@pytest.mark.parametrize("way", ["auto", "layers", "vmap", "loop"])
@pytest.mark.parametrize("rows", ["sample", "batch"])
def test_a_loss_that_is_no_scalar_is_refused(way, rows):
    model, inputs, targets = setting("mlp")
    for loss_fn in (lambda o, y: (o**2).sum(dim=1).repeat(2), lambda o, y: o**2, lambda o, y: 1.0):
        call = partial(rows_of, model, inputs, targets, loss_fn, n_rows=1, rows=rows, way=way)
        refuse(call, ValueError, "loss_fn:", "scalar")


@pytest.mark.parametrize("rows", ["sample", "batch"])
def test_fewer_rows_than_asked_for_are_an_error(rows):
    model, inputs, targets = setting("mlp")
    batches = list(zip(inputs.split(4), targets.split(4), strict=True))
    there = 3 if rows == "batch" else N
    call = partial(gradient_matrix, model, cross_entropy, rows=rows)
    refuse(lambda: call(batches, n_rows=there + 1), ValueError, "n_rows:", str(there + 1), str(there))
    refuse(lambda: call([], n_rows=2), ValueError, "n_rows:", "2", "0")
    assert call(batches, n_rows=there).shape[0] == there


@pytest.mark.parametrize("way", ["auto", "layers", "vmap", "loop"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_refused(way, bad):
    model, inputs, targets = setting("mlp")
    inputs[6] = bad
    call = partial(rows_of, model, inputs, targets, way=way)
    refuse(partial(call, chunk=3), ValueError, "model:", "rows 6 to 8", "not finite")
    refuse(call, ValueError, "model:", "not finite")


def test_different_devices_are_refused():
    model, inputs, targets = setting("mlp")
    refuse(lambda: rows_of(model, inputs.to("meta"), targets), ValueError, "batches:", "cpu", "meta")
    refuse(lambda: rows_of(model, inputs, targets, device="meta"), ValueError, "device:", "cpu", "meta")
    assert rows_of(model, inputs, targets, device="cpu").shape[0] == N
    model[2].to("meta")
    refuse(lambda: rows_of(model, inputs, targets), ValueError, "model:", "one device", "cpu", "meta")


@pytest.mark.parametrize("wrong", [
    ({"rows": "samples"}, ValueError, "rows:", "'samples'"),
    ({"way": "fast"}, ValueError, "way:", "'fast'"),
    ({"way": "layers", "weights": "*"}, ValueError, "way:", "'layers'"),
    ({"chunk": 0}, ValueError, "chunk:", "0"),
    ({"chunk": 2.0}, ValueError, "chunk:", "2.0"),
    ({"chunk": True}, ValueError, "chunk:", "True"),
    ({"chunk": "all"}, ValueError, "chunk:", "'all'"),
    ({"n_rows": None}, ValueError, "n_rows:", "None"),
    ({"n_rows": 0}, ValueError, "n_rows:", "0"),
    ({"n_rows": -1}, ValueError, "n_rows:", "-1"),
    ({"n_rows": 2.0}, ValueError, "n_rows:", "2.0"),
    ({"n_rows": True}, ValueError, "n_rows:", "True"),
    ({"dtype": np.float16}, ValueError, "dtype:", "float16"),
    ({"dtype": torch.float32}, ValueError, "dtype:", "torch.float32"),
    ({"dtype": "half"}, ValueError, "dtype:", "'half'"),
    ({"weights": "fc"}, ValueError, "weights:", "'fc'"),
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
