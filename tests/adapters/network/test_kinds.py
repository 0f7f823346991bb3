"""Kinds of parameters: nothing is left dense in silence."""

import warnings
from typing import Any

import pytest
from narrowed import a

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import budget, choose, prune
from l0quad_adapters.torch.network.weights import left_out
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

import l0quad

# The linear layer of transformers' GPT-2, whose weight is (inputs, outputs).
Conv1D = type("Conv1D", (nn.Module,), {"__module__": "transformers.pytorch_utils"})


def conv1d(outputs, inputs):
    layer = Conv1D()
    layer.weight, layer.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))
    return layer


KNOWN = {
    "linear": (lambda: nn.Linear(3, 4), {"weight": 1}),
    "bilinear": (lambda: nn.Bilinear(2, 3, 4), {"weight": 2}),
    "conv": (lambda: nn.Conv2d(4, 6, 3, groups=2), {"weight": 1}),
    "transposed": (lambda: nn.ConvTranspose1d(4, 6, 3), {"weight": 0}),
    "attention": (lambda: nn.MultiheadAttention(4, 2), {"in_proj_weight": 1, "out_proj.weight": 1}),
    "attention of other sizes": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
        {"q_proj_weight": 1, "k_proj_weight": 1, "v_proj_weight": 1, "out_proj.weight": 1},
    ),
    "lstm": (lambda: nn.LSTM(3, 4, proj_size=2), {f"weight_{kind}_l0": 1 for kind in ("ih", "hh", "hr")}),
    "gru": (lambda: nn.GRU(3, 4), {"weight_ih_l0": 1, "weight_hh_l0": 1}),
    "cell": (lambda: nn.LSTMCell(3, 4), {"weight_ih": 1, "weight_hh": 1}),
    "Conv1D": (lambda: conv1d(6, 4), {"weight": 0}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_layers_are_taken_by_type_with_the_axis_of_their_inputs(name):
    make, axes = KNOWN[name]
    layer = make()
    model = nn.Sequential(layer, nn.LayerNorm(3))
    expected = {f"0.{own}": axis for own, axis in axes.items()}
    for choice in (None, type(layer), "0"):
        weights = choose(model, choice)
        assert dict(zip(weights.names, weights.inputs, strict=True)) == expected
    dense = left_out(model, weights)
    assert {each.name for each in dense} == {name for name, _ in model.named_parameters()} - expected.keys()
    assert all(each.is_expected for each in dense)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(3, 3))


def tied():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    return model


UNKNOWN = {
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(3, 4)), "parametrised", ".original1"),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(3, 4)), "parametrised", ".original"),
    "embedding": (lambda: nn.Embedding(5, 3), "an embedding", "0.weight"),
    "tied": (tied, "shared with an embedding", "0.0.weight"),
    "own": (Own, "of a layer of unknown kind, Own", "0.matrix"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_left_dense_is_named_unless_it_is_excluded(name):
    make, reason, own = UNKNOWN[name]
    model = nn.Sequential(make(), nn.Linear(4, 4))
    with pytest.warns(UserWarning, match=f"left dense: .*{reason}.*exclude="):
        weights = choose(model)
    assert weights.names == ("1.weight",)
    dense = [each for each in left_out(model, weights) if not each.is_expected]
    assert dense[-1].name.endswith(own)
    assert dense[-1].reason == reason
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose(model, exclude=[each.name for each in dense]).names == ("1.weight",)
        assert choose(model, [each.name for each in dense]).names == tuple(each.name for each in dense)


def test_a_type_says_what_it_takes_and_leaves_beyond_expectation():
    with pytest.warns(UserWarning, match=r"1\.weight.*|0\.weight is taken, which an embedding shares"):
        assert choose(tied(), nn.Linear).names == ("0.weight",)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 4))
    with pytest.warns(UserWarning, match=r"left dense: 0\.weight, which is parametrised"):
        assert choose(model, nn.Linear).names == ("1.weight",)


def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    model[2].weight = nn.Parameter(torch.randn(8, 8))
    return model.eval()


DATA = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3


def zeros(model):
    return {name: float((tensor == 0).float().mean()) for name, tensor in choose(model).tensors(model).items()}


@pytest.mark.parametrize("sparsity", [
    {"0": 0.5, "[24]*": 0.75}, {"0.weight": 0.5, "2": 0.75, "4": 0.75}, {"?.weight": 0.5},
    {nn.Linear: 0.5}, {"0": 0.5, "2": l0quad.NofM(2, 4)},
], ids=str)  # fmt: skip
def test_names_patterns_and_types_work_in_a_sparsity(sparsity):
    model = net()
    options: dict[str, Any] = {"stages": 2, "n_rows": 30, "batch_size": 1, "refit_stages": 0}
    report = prune(model, cross_entropy, DATA, sparsity, exclude="*.bias", **options)
    found = zeros(model)
    assert found["0.weight"] == 0.5
    assert found["2.weight"] == (0.75 if "[24]*" in sparsity or sparsity.get("2") == 0.75 else 0.5)
    assert set(a(dict, report.sparsity)) == {name if isinstance(name, str) else name.__name__ for name in sparsity}
    refuse(lambda: budget(model, {nn.Conv2d: 0.5}), ValueError, "sparsity:", "Conv2d")
    refuse(lambda: budget(model, {"0": 0.5, nn.Linear: 0.5}), ValueError, "sparsity:", "once", "0.weight")


def test_the_report_says_what_was_considered():
    model = net()
    report = prune(model, cross_entropy, DATA, 0.5, exclude="2", stages=1, n_rows=30, batch_size=1)
    assert {each.name: each.reason for each in report.left_out if not each.is_expected} == {"2.weight": "not chosen"}
    text = "72 of 155 parameters considered; left dense: 2.weight (64, not chosen), 19 in biases"
    assert text in repr(report)
    assert text in report._repr_html_()
    assert (model[2].weight != 0).all()
    again = type(report).from_json(report.to_json())
    assert again.left_out == report.left_out


def test_an_empty_layer_is_warned_of():
    with pytest.warns(UserWarning, match=r"^sparsity: nothing is left of 4\.weight"):
        prune(net(), cross_entropy, DATA, {"4": 0.99}, stages=1, n_rows=30, batch_size=1)
