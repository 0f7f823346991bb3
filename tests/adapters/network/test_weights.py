"""Which parameters are chosen, and their values as one flat vector."""

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import Weights, choose
from l0quad_adapters.torch.network.weights import require_gradients
from refusals import refuse
from torch import nn


class Net(nn.Module):
    """Convolutions, norms and linear layers, nested, two of which share a weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Conv1d(2, 2, 1, bias=False))
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.blocks[1].weight = self.blocks[0].weight
        self.fc = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.tensor(2.0))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


DEFAULT = ("first.0.weight", "first.2.weight", "blocks.0.weight", "fc.weight")
CHOICES = [
    (None, DEFAULT),
    ("fc.weight", ("fc.weight",)),
    ("fc", ("fc.weight",)),
    ("first.1", ("first.1.weight",)),
    ("scale", ("scale",)),
    ("*.bias", ("first.0.bias", "first.1.bias", "blocks.0.bias", "blocks.1.bias", "fc.bias")),
    ("first.[02].*", ("first.0.weight", "first.0.bias", "first.2.weight")),
    (nn.Linear, ("blocks.0.weight", "fc.weight")),
    ("first", ("first.0.weight", "first.2.weight")),
    ("b????s", ("blocks.0.weight",)),
    (nn.ModuleList, ("blocks.0.weight",)),
    (nn.modules.conv._ConvNd, ("first.0.weight", "first.2.weight")),
    (nn.BatchNorm2d, ("first.1.weight",)),
    (["fc", "first.0.bias", nn.Conv1d], ("first.0.bias", "first.2.weight", "fc.weight")),
    (("fc", "fc.weight", nn.Linear, "fc*"), ("blocks.0.weight", "fc.weight", "fc.bias")),
    ("blocks.1", ("blocks.0.weight",)),
    (["blocks.1.weight", "blocks.0.weight"], ("blocks.0.weight",)),
    ("blocks.*.weight", ("blocks.0.weight",)),
]


@pytest.mark.parametrize(("choice", "names"), CHOICES)
def test_names_patterns_and_types_choose_in_the_order_of_the_model(net, choice, names):
    weights = choose(net, choice)
    assert weights.names == names
    assert weights.shapes == tuple(tuple(net.get_parameter(name).shape) for name in names)
    assert weights.size == sum(net.get_parameter(name).numel() for name in names)
    assert choose(net, weights) == weights
    if isinstance(choice, (str, type)):
        assert choose(net, iter([choice])) == weights, "any iterable does"


def test_the_model_may_be_a_layer_itself():
    assert choose(nn.Linear(2, 3)).names == ("weight",)
    assert choose(nn.Linear(2, 3), "bias").names == ("bias",)


def test_a_layer_without_a_weight_of_its_own_is_passed_over():
    model = nn.Sequential(nn.LayerNorm(3, elementwise_affine=False), nn.LayerNorm(3))
    assert choose(model, nn.LayerNorm).names == ("1.weight",)


@pytest.mark.parametrize("choice", ["nothing", "", "fc.weights", "*.gamma", "FC", nn.Embedding, ["fc", "nothing"]])
def test_what_chooses_nothing_is_refused(net, choice):
    last = choice[-1] if isinstance(choice, list) else choice
    refuse(lambda: choose(net, choice), ValueError, "weights:", repr(last))


@pytest.mark.parametrize("choice", [5, [5], ["fc", None], int, nn.Linear(2, 2), torch.ones(3)])
def test_what_is_no_choice_is_refused(net, choice):
    refuse(lambda: choose(net, choice), TypeError, "weights:")


def test_an_empty_choice_is_refused(net):
    refuse(lambda: choose(net, []), ValueError, "weights:", "empty")
    refuse(lambda: choose(nn.Sequential(nn.ReLU())), ValueError, "weights:", "nothing")


def test_weights_of_another_model_are_refused(net):
    weights = choose(net)
    net.fc = nn.Linear(3, 4)
    refuse(lambda: choose(net, weights), ValueError, "weights:", "fc.weight")
    refuse(lambda: choose(nn.Linear(2, 2), weights), ValueError, "weights:", "fc.weight")


def test_frozen_parameters_are_chosen_and_refused_where_gradients_are_needed(net):
    net.fc.weight.requires_grad_(False)
    weights = choose(net)
    assert "fc.weight" in weights.names
    refuse(lambda: require_gradients(net, weights), ValueError, "weights:", "require gradients", "fc.weight")
    require_gradients(net, choose(net, "first.0"))


@pytest.mark.parametrize(("choice", "names"), CHOICES[1:])
def test_what_is_excluded_is_what_would_be_chosen(net, choice, names):
    left = tuple(name for name in choose(net, "*").names if name not in names)
    assert choose(net, "*", exclude=choice).names == left
    assert choose(net, choose(net, "*"), exclude=choice).names == left


def test_nothing_left_and_what_is_no_exclusion_are_refused(net):
    refuse(lambda: choose(net, exclude=[nn.Linear, "first"]), ValueError, "exclude:", "nothing")
    refuse(lambda: choose(net, exclude="nothing"), ValueError, "exclude:", "'nothing'")
    refuse(lambda: choose(net, exclude=5), TypeError, "exclude:", "5")  # type: ignore[arg-type]
    refuse(lambda: choose(net, exclude=[]), ValueError, "exclude:", "empty")


def test_slices_tell_where_each_parameter_lies(net):
    weights = choose(net, ["fc", "scale", "first.0"])
    w = weights.read(net)
    assert w.shape == (weights.size,)
    assert list(weights.slices) == list(weights.names)
    for name, part in weights.slices.items():
        assert np.array_equal(w[part], net.get_parameter(name).detach().numpy().ravel())
    starts = weights.starts
    assert starts[0] == 0
    assert np.array_equal(np.diff(starts), [math.prod(shape) for shape in weights.shapes])


def test_reading_and_writing(net):
    weights = choose(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    identities = {name: id(parameter) for name, parameter in net.named_parameters()}
    w = weights.read(net)
    assert w.dtype == np.float64
    new = np.random.default_rng(0).standard_normal(w.size).astype(np.float32)
    kept = new.copy()
    weights.write(net, new)
    assert np.array_equal(new, kept)
    assert np.array_equal(weights.read(net), new)
    new[:] = 0.0
    assert np.array_equal(weights.read(net), kept), "the model shares no memory with what was written"
    assert np.array_equal(net.fc.weight.detach().numpy().ravel(), kept[weights.slices["fc.weight"]])
    assert net.blocks[1].weight is net.blocks[0].weight
    assert {name: id(parameter) for name, parameter in net.named_parameters()} == identities
    assert all(parameter.requires_grad for parameter in net.parameters())
    others = [name for name in before if name not in (*weights.names, "blocks.1.weight")]
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in others)
    weights.write(net, w)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_was_read_is_no_view_of_the_model():
    model = nn.Linear(2, 3).double()
    w = choose(model).read(model)
    w[:] = 7.0
    assert not (model.weight == 7.0).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_each_parameter_keeps_its_dtype(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).to(dtype))
    weights = choose(model)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    w = weights.read(model)
    weights.write(model, w)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    weights.write(model, w + 1 / 3)
    assert [parameter.dtype for parameter in model.parameters()] == [torch.float32] * 2 + [dtype] * 2
    assert torch.equal(model[1].weight, (before[2].double() + 1 / 3).to(dtype))


def test_weights_in_another_memory_order_are_read_in_theirs():
    torch.manual_seed(0)
    model: Any = nn.Conv2d(2, 3, 2)
    model = model.to(memory_format=torch.channels_last)
    weights = choose(model)
    assert not model.weight.is_contiguous()
    w = weights.read(model)
    assert np.array_equal(w, model.weight.detach().contiguous().numpy().ravel())
    weights.write(model, np.arange(24.0))
    assert torch.equal(model.weight.detach(), torch.arange(24.0).reshape(3, 2, 2, 2))


def test_weights_are_values():
    a, b = Weights(("a",), ((2, 3),)), Weights(("a",), ((2, 3),))
    assert a == b
    assert hash(a) == hash(b)
    with pytest.raises(AttributeError):
        a.names = ()  # type: ignore[misc]
