"""Masks: exact zeros through training, by torch.nn.utils.prune or by a hook of the optimizer."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from l0quad_adapters.torch.network.masks import attach_masks, detach_masks, flat_mask, keep_masks, masks
from l0quad_adapters.torch.network.weights import choose
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune as torch_prune

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, amsgrad=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.9),
}
WEIGHTS = ("0.weight", "4.weight")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))


def halve(model):
    """Set about half of the weights to zero, biases not."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.ndim > 1:
                parameter.mul_(torch.rand(parameter.shape) < 0.5)


def train(model, optimizer, steps=5, seed=2):
    torch.manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        inputs = torch.randn(8, 1, 3, 3).to(model[-1].bias.dtype)
        cross_entropy(model(inputs), torch.randint(4, (8,))).backward()
        optimizer.step()


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) and found[name].dtype == torch.bool for name in expected)


def contents(model):
    """What a module tree holds: names, identities, values."""
    parts = [(name, id(value)) for name, value in (*model.named_parameters(), *model.named_buffers())]
    plain = [(path, sorted((key, id(value)) for key, value in vars(each).items() if isinstance(value, torch.Tensor)))
             for path, each in model.named_modules()]  # fmt: skip
    return parts, plain, {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model, before):
    names, plain, values = contents(model)
    assert (names, plain) == before[:2]
    assert all(torch.equal(values[name], value) for name, value in before[2].items())


def test_masks_are_where_the_chosen_weights_are_nonzero(net):
    halve(net)
    same(masks(net), {"0.weight": net[0].weight != 0, "4.weight": net[4].weight != 0})
    same(masks(net, "4"), {"4.weight": net[4].weight != 0})
    same(masks(net, nn.Conv2d), {"0.weight": net[0].weight != 0})
    assert not masks(net)["0.weight"].all()


@pytest.mark.parametrize("choice", [None, "4", "4.weight", "*.weight", nn.Linear, [nn.Conv2d, "4.bias"]])
@pytest.mark.parametrize("attached", [["0.weight"], ["4.weight"], ["0.weight", "4.weight"], ["4.bias", "4.weight"]])
def test_masks_are_the_same_under_torch_prune(net, choice, attached):
    halve(net)
    chosen, expected = choose(net, choice), masks(net, choice)
    attach_masks(net, weights=attached)
    before = contents(net)
    same(masks(net, choice), expected)
    same(masks(net, chosen), expected)
    unchanged(net, before)


def test_what_a_mask_hides_is_zero(net):
    torch_prune.l1_unstructured(net[4], "weight", amount=20)
    assert (net[4].weight_orig != 0).all()
    assert int(masks(net)["4.weight"].sum()) == 48 - 20
    with torch.no_grad():
        net[4].weight_orig[net[4].weight_mask != 0] = 0.0
    assert not masks(net)["4.weight"].any(), "not the product of the last forward pass"


def test_attached_masks_hold_through_training(net):
    halve(net)
    expected, parameters = masks(net), dict(net.named_parameters())
    inputs = torch.randn(8, 1, 3, 3)
    outputs = net.eval()(inputs)
    attach_masks(net)
    assert torch.equal(net(inputs), outputs)
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    train(net, optimizer)
    same(masks(net), expected)
    detach_masks(net)
    same({name: dict(net.named_parameters())[name] != 0 for name in WEIGHTS}, expected)
    assert {name: id(value) for name, value in net.named_parameters()} == {n: id(v) for n, v in parameters.items()}
    assert all(type(module) in (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Flatten, nn.Linear) for module in net)
    assert not torch.equal(net.eval()(inputs), outputs), "it was trained"


def test_masks_of_torch_prune_are_taken_over(net):
    torch_prune.l1_unstructured(net[4], "weight", amount=20)
    second = torch.rand(4, 12, generator=torch.Generator().manual_seed(1)) < 0.5
    expected = masks(net, "4")["4.weight"] & second
    attach_masks(net, {"4.weight": second})
    same(masks(net, "4"), {"4.weight": expected})
    detach_masks(net)
    torch_prune.l1_unstructured(net[0], "weight", amount=2)
    detach_masks(net)
    assert not torch_prune.is_pruned(net)
    assert torch.equal(net[4].weight != 0, expected)


class Reader(nn.Module):
    """Attention, a recurrent layer and a linear one."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.LSTM(8, 6, num_layers=2, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x, _ = self.attention(x, x, x)
        return self.fc(self.recurrent(x)[0][:, -1])


def masked_reader():
    torch.manual_seed(0)
    model = Reader()
    wanted = {name: torch.rand(tensor.shape) < 0.5 for name, tensor in choose(model).tensors(model).items()}
    plain = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in wanted.items():
            plain.get_parameter(name).mul_(mask)
    attach_masks(model, wanted)
    return model, plain, wanted


def steps_of(model, inputs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(model(inputs), torch.arange(4) % 3).backward()
        optimizer.step()


def test_attention_and_recurrent_layers_train_under_masks():
    model, plain, wanted = masked_reader()
    of_attention = ["attention.in_proj_weight", "attention.out_proj.weight"]
    of_recurrent = [f"recurrent.weight_{kind}_l{layer}" for kind in ("hh", "ih") for layer in (0, 1)]
    assert sorted(wanted) == [*of_attention, "fc.weight", *of_recurrent]
    inputs = torch.randn(4, 5, 8)
    assert torch.equal(model(inputs), plain(inputs))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    keep_masks(optimizer, plain, wanted)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(plain(inputs), torch.arange(4) % 3).backward()
        optimizer.step()
    steps_of(model, inputs)
    same({name: masks(model)[name] for name in wanted}, wanted)
    torch.testing.assert_close(model(inputs), plain(inputs))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(inputs), plain.eval()(inputs))
    detach_masks(model)
    assert type(model.recurrent) is nn.LSTM
    assert not model.recurrent._forward_pre_hooks
    assert not model.recurrent._forward_hooks
    with torch.no_grad():
        torch.testing.assert_close(model(inputs), plain(inputs))


def test_masked_models_are_copied_and_averaged():
    model, _, wanted = masked_reader()
    inputs = torch.randn(4, 5, 8)
    model(inputs)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(inputs), model(inputs))
    before = model(inputs).detach()
    steps_of(twin, inputs)
    assert torch.equal(model(inputs), before), "they share nothing"
    assert not torch.equal(twin(inputs), before)
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    average.update_parameters(twin)
    found = masks(average.module)
    assert all((found[name] <= wanted[name]).all() for name in wanted)
    mean = (model.fc.weight + twin.fc.weight) / 2
    torch.testing.assert_close(average.module.fc.weight, mean)
    other = masked_reader()[0]
    other.load_state_dict(twin.state_dict())
    assert torch.equal(other(inputs), twin(inputs))


def test_given_masks_are_attached_to_any_parameter(net):
    wanted = {"4.bias": torch.tensor([True, False, True, False]), "1.weight": torch.tensor([True, True, False])}
    attach_masks(net, wanted)
    detach_masks(net)
    same({name: dict(net.named_parameters())[name] != 0 for name in wanted}, wanted)
    detach_masks(net)


def test_a_second_mask_is_put_on_the_first(net):
    first, second = (torch.rand(4, 12, generator=torch.Generator().manual_seed(seed)) < 0.5 for seed in (0, 1))
    attach_masks(net, {"4.weight": first})
    attach_masks(net, {"4.weight": second})
    same(masks(net, "4"), {"4.weight": first & second})
    detach_masks(net)
    assert torch.equal(net[4].weight != 0, first & second)


@pytest.mark.parametrize("attach_twice", [False, True])
def test_every_layer_that_shares_a_weight_is_masked(attach_twice):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 4))
    model[2].weight = model[1].weight
    halve(model)
    expected = masks(model)
    assert list(expected) == ["1.weight", "3.weight"]
    for _ in range(1 + attach_twice):
        attach_masks(model)
    same(masks(model), expected)
    train(model, OPTIMIZERS["sgd"](model.parameters()))
    assert torch.equal(model[2].weight != 0, expected["1.weight"])
    detach_masks(model)
    assert model[2].weight is model[1].weight
    same(masks(model), expected)
    second = torch.rand(9, 9) < 0.5
    attach_masks(model, {"2.weight": second})
    same(masks(model, "1"), {"1.weight": expected["1.weight"] & second})


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_kept_masks_are_exact_after_every_step(net, make):
    optimizer = make(net.parameters())
    train(net, optimizer)
    halve(net)
    expected, before = masks(net), net[4].weight.detach().clone()
    handle = keep_masks(optimizer, net)
    for seed in range(3):
        train(net, optimizer, steps=1, seed=seed)
        same(masks(net), expected)
        for name in WEIGHTS:
            parameter = net.get_parameter(name)
            states = [value for value in optimizer.state[parameter].values() if value.shape == parameter.shape]
            assert states
            assert all((state[~expected[name]] == 0).all() for state in states)
            assert any((state[expected[name]] != 0).any() for state in states)
    kept = expected["4.weight"]
    assert (net[4].weight[kept] != before[kept]).all()
    handle.remove()
    train(net, optimizer, steps=1)
    assert masks(net)["4.weight"].sum() > kept.sum(), "it ended"


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_both_ways_to_hold_zeros_train_alike(net, make):
    # In float64: the gradient of a bias before batch normalisation is rounding alone, and Adam divides by its size.
    halve(net.double())
    start = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = make(net.parameters())
    keep_masks(optimizer, net)
    train(net, optimizer)
    found = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(start)
    attach_masks(net)
    train(net, make(net.parameters()))
    detach_masks(net)
    assert all(torch.allclose(found[name], value, rtol=1e-6, atol=1e-8) for name, value in net.state_dict().items())
    assert not torch.equal(start["4.weight"], found["4.weight"])


def test_masks_may_be_given_and_limited_to_some_weights(net):
    wanted = {"4.weight": torch.rand(4, 12, generator=torch.Generator().manual_seed(0)) < 0.3}
    optimizer = OPTIMIZERS["adam"](net.parameters())
    keep_masks(optimizer, net, wanted)
    train(net, optimizer)
    same(masks(net, "4"), wanted)
    assert masks(net)["0.weight"].all()
    halve(net)
    few = OPTIMIZERS["adam"](net.parameters())
    keep_masks(few, net, weights="0")
    expected = masks(net)
    train(net, few)
    assert torch.equal(masks(net)["0.weight"], expected["0.weight"])
    assert masks(net)["4.weight"].all()


def test_a_state_without_tensors_is_no_trouble(net):
    halve(net)
    frozen = net[0].weight.detach().clone()
    optimizer = torch.optim.SGD(net[4].parameters(), lr=0.1)
    keep_masks(optimizer, net)
    expected = masks(net)
    train(net, optimizer)
    same(masks(net), expected)
    assert torch.equal(net[0].weight, frozen)


@pytest.mark.parametrize("wrong", [
    ({"fc.weight": torch.ones(4, 12, dtype=torch.bool)}, ValueError, "'fc.weight'"),
    ({"4": torch.ones(4, 12, dtype=torch.bool)}, ValueError, "'4'"),
    ({"4.weight": torch.ones(12, 4, dtype=torch.bool)}, ValueError, "4.weight", "(4, 12)", "(12, 4)"),
    ({"4.weight": torch.ones(4, 12)}, TypeError, "4.weight", "bool", "float32"),
    ({"4.weight": np.ones((4, 12), dtype=bool)}, TypeError, "4.weight", "bool"),
    ([torch.ones(4, 12, dtype=torch.bool)], TypeError, "dict", "list"),
])  # fmt: skip
def test_wrong_masks_are_refused_by_name_before_anything(net, wrong):
    given, error, *words = wrong
    first = {"0.weight": torch.zeros(3, 1, 2, 2, dtype=torch.bool)}
    given = first | given if isinstance(given, dict) else given
    before = contents(net)
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    refuse(lambda: attach_masks(net, given), error, "masks:", *words)
    refuse(lambda: keep_masks(optimizer, net, given), error, "masks:", *words)
    refuse(lambda: flat_mask(choose(net), given), error, "mask:", *words)
    unchanged(net, before)
    train(net, optimizer)
    assert masks(net)["0.weight"].all()


def test_masks_and_weights_exclude_each_other(net):
    refuse(lambda: attach_masks(net, masks(net), "4"), ValueError, "weights:", "masks")
    refuse(lambda: keep_masks(OPTIMIZERS["sgd"](net.parameters()), net, {}, "4"), ValueError, "weights:")


def test_a_flat_mask_has_the_order_of_the_weights(net):
    halve(net)
    for choice in (None, "4", ["4.weight", "0.bias", "0.weight"]):
        weights = choose(net, choice)
        flat = flat_mask(weights, masks(net, weights))
        assert flat.dtype == np.bool_
        assert np.array_equal(flat, weights.read(net) != 0)
        assert not flat.all()


def test_parameters_without_a_mask_are_unrestricted(net):
    halve(net)
    weights = choose(net)
    assert flat_mask(weights, {}).all()
    flat = flat_mask(weights, masks(net, "4"))
    assert flat[weights.slices["0.weight"]].all()
    assert np.array_equal(flat[weights.slices["4.weight"]], (net[4].weight != 0).numpy().reshape(-1))
    refuse(lambda: flat_mask(choose(net, "0"), masks(net, "4")), ValueError, "mask:", "4.weight", "0.weight")
