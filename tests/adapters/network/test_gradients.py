"""Gradient matrices: a loop over samples and plain autograd are the reference of every other way."""

from typing import Any

import numpy as np
import pytest
from narrowed import some

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from gradient_nets import NETS, Calls, N, by_autograd, close, rows_of, setting
from l0quad_adapters.torch import choose, gradient_matrix
from l0quad_adapters.torch.network import ways
from l0quad_adapters.torch.network.layers import LayerGradients
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

CLOSED = ("mlp", "conv", "sequence")
over_nets = pytest.mark.parametrize("name", NETS)


@over_nets
def test_auto_is_right_for_every_net(name):
    model, inputs, targets = setting(name)
    expected = by_autograd(model, cross_entropy, inputs, targets)
    found = rows_of(model, inputs, targets)
    assert found.dtype == np.float32
    close(found, expected)


def test_a_weight_used_twice_is_right_however_small_its_gradients():
    model, inputs, targets = setting("twice_with_small_gradients")
    found, expected = rows_of(model, inputs, targets), by_autograd(model, cross_entropy, inputs, targets)
    part = choose(model).slices["fc.weight"]
    assert np.abs(expected[:, part]).max() < 1e-4 * np.abs(expected).max(), "the largest entry would hide them"
    close(found[:, part], expected[:, part], 1e-4)
    halved = rows_of(model, inputs, targets, way="layers")
    close(2 * halved[:, part], expected[:, part], 1e-4)


class Several(nn.Module):
    """Two inputs and a loss of its own, as in Hugging Face's libraries."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 3), nn.Linear(4, 3)

    def forward(self, x, y, labels=None):
        logits = self.a(x) + self.b(y)
        return {"logits": logits, "loss": None if labels is None else cross_entropy(logits, labels)}


@pytest.mark.parametrize("way", ["auto", "vmap", "loop"])
@pytest.mark.parametrize("form", ["tuple", "dict", "one dict"])
def test_inputs_may_be_several(form, way):
    torch.manual_seed(0)
    model, x, y, labels = Several().eval(), torch.randn(N, 5), torch.randn(N, 4), torch.randint(3, (N,))
    forms: dict[str, Any] = {
        "tuple": ((x, y), labels), "dict": ({"x": x, "y": y}, labels), "one dict": {"x": x, "y": y, "labels": labels},
    }  # fmt: skip
    batch = forms[form]

    def loss_fn(out, targets):
        return out["loss"] if form == "one dict" else cross_entropy(out["logits"], targets)

    rows = []
    for i in range(N):
        model.zero_grad()
        cross_entropy(model(x[i : i + 1], y[i : i + 1])["logits"], labels[i : i + 1]).backward()
        rows.append(np.concatenate([some(layer.weight.grad).numpy().ravel() for layer in (model.a, model.b)]))
    expected = np.array(rows, dtype=np.float64)
    for chunk in ("auto", 3):
        close(gradient_matrix(model, loss_fn, [batch], n_rows=N, way=way, chunk=chunk), expected)
    mean = gradient_matrix(model, loss_fn, [batch], n_rows=1, rows="batch")
    close(mean, expected.mean(axis=0, keepdims=True))


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
    monkeypatch.setattr(LayerGradients, "__call__", lambda *args: chunks.append(len(args[1][0])) or closed(*args))
    rows_of(model, inputs, targets)
    assert chunks == [2, N]


def test_auto_compares_nothing_where_the_loop_is_fastest_in_any_case(monkeypatch):
    """A layer of a kind of its own has no closed form, and of so many weights vmap is not tried."""

    class Own(nn.Linear):
        pass

    monkeypatch.setattr(ways, "_MOST_FOR_VMAP", 0)
    model, inputs, targets = nn.Sequential(Own(6, 4)).eval(), torch.randn(9, 6), torch.randint(4, (9,))
    expected, seen = by_autograd(model, cross_entropy, inputs, targets), []
    model.register_forward_hook(lambda module, args, output: seen.append(torch.is_grad_enabled()))
    close(rows_of(model, inputs, targets), expected)
    # Eight without a graph show whether the loss is a mean.
    assert seen == [False] * 8 + [True] * 9


@pytest.mark.parametrize("name", ["called_twice", "tied", "conv_kinds", "called_by_keyword", "never_called"])
def test_the_closed_form_is_never_wrong_unnoticed(name):
    model, inputs, targets = setting(name)
    with pytest.raises((ValueError, RuntimeError, LookupError)):
        rows_of(model, inputs, targets, way="layers")


class Doubled(nn.Linear):
    """A linear layer that is none."""

    def forward(self, x):
        return 2 * super().forward(x)


LAYERS = {
    "stride": lambda: nn.Conv2d(4, 4, 2, stride=(2, 3)),
    "padding": lambda: nn.Conv2d(4, 4, (3, 1), padding=(2, 1)),
    "dilation": lambda: nn.Conv2d(4, 4, 2, dilation=(1, 2), stride=2, padding=1),
    "rest": lambda: nn.Conv2d(4, 4, 2, stride=4),
    "groups": lambda: nn.Conv2d(4, 4, 2, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 8, 2, groups=4),
    "same": lambda: nn.Conv2d(4, 4, (3, 5), padding="same"),
    "valid": lambda: nn.Conv2d(4, 4, 2, padding="valid"),
    "circular": lambda: nn.Conv2d(4, 4, 2, padding=1, padding_mode="circular"),
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 2),
    "conv1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 4, 3)),
    "linear": lambda: nn.Linear(6, 4),
    "subclass": lambda: Doubled(6, 4),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_each_kind_of_layer_is_right_or_refused(layer):
    torch.manual_seed(0)
    model = nn.Sequential(layer(), nn.Tanh(), nn.Flatten()).eval()
    inputs, targets = torch.randn(N, 4, 5, 6), torch.randint(3, (N,))
    expected = by_autograd(model, cross_entropy, inputs, targets)
    close(rows_of(model, inputs, targets), expected)
    try:
        found = rows_of(model, inputs, targets, way="layers")
    except ValueError as error:
        assert str(error).startswith("way:")  # noqa: PT017
    else:
        close(found, expected)


def test_layers_of_two_types_give_rows_of_the_wider():
    torch.manual_seed(0)
    narrow, wide = nn.Linear(4, 3), nn.Linear(3, 3, dtype=torch.float64)
    model = Calls(lambda self, x: self.wide(self.narrow(x).double()), narrow=narrow, wide=wide).eval()
    # Few bits: the narrow layer's products and sums are exact in float32 in any order, for one sample as for a batch.
    inputs, targets = torch.randint(-8, 9, (N, 4)) / 8, torch.randint(3, (N,))
    with torch.no_grad():
        for parameter in narrow.parameters():
            parameter.copy_(torch.randint(-8, 9, parameter.shape) / 8)
    loop, layers = (rows_of(model, inputs, targets, way=way, dtype=np.float64) for way in ("loop", "layers"))
    assert np.abs(loop[:, 12:] - loop[:, 12:].astype(np.float32)).max() > 1e-9, "float64 shows"
    np.testing.assert_allclose(layers[:, 12:], loop[:, 12:], rtol=1e-12, atol=1e-14)
    close(layers, loop)


def test_losses_of_other_targets_and_outputs():
    torch.manual_seed(0)
    model, inputs, targets = nn.Linear(4, 2).eval(), torch.randn(N, 4), torch.randn(N, 2)
    for net, loss_fn in (
        (model, mse_loss),
        (Calls(lambda self, x: (self.fc(x), x), fc=model), lambda o, y: mse_loss(o[0], y)),
        (Calls(lambda self, x: {"out": self.fc(x)}, fc=model), lambda o, y: mse_loss(o["out"], y).reshape(1)),
    ):
        found = rows_of(net.eval(), inputs, targets, loss_fn)
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
    chunk: Any
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


@pytest.mark.parametrize("way", ["layers", "vmap", "loop"])
def test_losses_come_with_their_rows(way):
    model, inputs, targets = setting("mlp")
    losses = np.full(N, np.nan)
    rows_of(model, inputs, targets, way=way, chunk=4, losses=losses)
    assert np.allclose(losses, cross_entropy(model(inputs), targets, reduction="none").detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("way", ["layers", "vmap", "loop"])
def test_a_loss_may_depend_on_the_parameters_otherwise(way):
    model, inputs, targets = setting("mlp")
    losses, plain = np.empty(N), np.empty(N)

    def penalised(outputs, targets):
        return cross_entropy(outputs, targets) + 0.1 * model[0].bias.square().sum()

    rows_of(model, inputs, targets, way=way, losses=plain)
    rows_of(model, inputs, targets, loss_fn=penalised, way=way, losses=losses)
    assert np.allclose(losses - plain, 0.1 * model[0].bias.square().sum().item(), atol=1e-5)


def test_the_loss_of_a_batch_is_its_mean():
    model, inputs, targets = setting("mlp")
    losses = np.empty(2, dtype=np.float32)
    batches = list(zip(inputs.split(4), targets.split(4), strict=True))
    gradient_matrix(model, cross_entropy, batches, rows="batch", n_rows=2, losses=losses)
    assert np.allclose(losses, [cross_entropy(model(x), y).item() for x, y in batches[:2]], atol=1e-6)
