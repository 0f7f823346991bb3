"""gradual_prune: steps of pruning and training."""

import math
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from gradual_runs import (
    BATCHES,
    EPOCHS,
    SETTINGS,
    STEPS,
    P,
    accuracy,
    data,
    frozen,
    net,
    run,
    same,
    timeless,
    whole,
)
from l0quad_adapters.torch.network.masks import masks
from l0quad_adapters.torch.pruning.gradual import cosine, gradual_prune
from l0quad_adapters.torch.pruning.prune import prune
from l0quad_adapters.torch.pruning.schedules import sparsities
from refusals import refuse
from torch.nn.functional import cross_entropy

import l0quad


def test_the_sparsity_is_exact_and_the_zeros_stay():
    model, seen = net(), []
    biases = model[4].bias.detach().clone()
    report = run(model, callback=lambda stage: seen.append((stage, masks(model))))
    asked = sparsities("poly", 0.0, 0.8, STEPS)
    kept = [P - math.floor(sparsity * P + 0.5) for sparsity in asked]
    assert tuple(stage for stage, _ in seen) == report.stages
    assert [stage.stage for stage in report.stages] == [1, 2, 3]
    assert [stage.kept for stage in report.stages] == kept
    for size, (_, used) in zip(kept, seen, strict=True):
        assert sum(int(mask.sum()) for mask in used.values()) == size
    for (_, earlier), (_, later) in pairwise(seen):
        assert all((later[name] <= earlier[name]).all() for name in later)
    assert report.total.kept == kept[-1]
    assert all(torch.equal(report.weights[name], model.get_parameter(name)) for name in ("0.weight", "4.weight"))
    assert torch.equal(report.buffers["1.running_mean"], model[1].running_mean)
    assert not torch.equal(model[4].bias, biases), "all parameters are trained"


def test_training_after_each_step_learns():
    state, report = whole()
    assert report.metric_before < 0.6
    assert report.metric_after > 0.8
    model = net()
    model.load_state_dict(state)
    assert report.metric_after == report.stages[-1].metric == accuracy(model)
    once = net()
    prune(once, cross_entropy, data(), 0.8, n_rows=40)
    assert accuracy(once) < report.metric_after - 0.1


def test_the_report_says_what_was_asked():
    _, report = whole()
    assert (report.sparsity, report.seed, report.n_rows, report.batch_size, report.l2) == (0.8, 5, 40, 1, 1e-3)
    assert report.method == "auto"
    assert report.seconds > 0
    assert "3 stages" in repr(report)


def test_the_same_seed_gives_the_same_bytes():
    state, report = whole()
    model = net()
    torch.manual_seed(99)
    again = run(model, evaluate=accuracy)
    assert same(model, state)
    assert timeless(again) == timeless(report)
    run(model := net(), seed=6)
    assert not same(model, state)


def test_the_callers_modes_and_generators_stay():
    model = net()
    model[2].train()
    modes = [module.training for module in model.modules()]
    training = []

    def loss(outputs, targets):
        training.append(model[3].training)
        return cross_entropy(outputs, targets)

    def evaluate(model):
        assert not any(module.training for module in model.modules())
        model.train()
        return 0.0

    before = torch.get_rng_state()
    with torch.no_grad():
        gradual_prune(model, loss, data(), 0.5, evaluate=evaluate, **SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert sum(training) == STEPS * EPOCHS * BATCHES
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_learning_rate_is_asked_before_each_batch_and_restarts_at_each_step():
    asked = []

    def rate(epoch, first, last):
        asked.append((epoch, first, last))
        return 0.01

    run(net(), learning_rate=rate)
    expected = [
        (step * EPOCHS + epoch + batch / BATCHES, step * EPOCHS, (step + 1) * EPOCHS)
        for step in range(STEPS) for epoch in range(EPOCHS) for batch in range(BATCHES)
    ]  # fmt: skip
    assert np.array(asked) == pytest.approx(np.array(expected))


def test_cosine_falls_from_a_tenth_to_almost_nothing():
    assert cosine(4, 4, 6) == pytest.approx(0.1, rel=1e-12)
    assert cosine(6, 4, 6) == pytest.approx(1e-5, rel=1e-9)
    assert cosine(5, 4, 6) == pytest.approx((0.1 + 1e-5) / 2, rel=1e-12)
    assert cosine(4.5, 4, 6) == pytest.approx(1e-5 + (0.1 - 1e-5) * (1 + math.sqrt(0.5)) / 2, rel=1e-12)


def test_the_learning_rate_momentum_and_decay_are_those_of_sgd():
    frozen_rate = run(model := net(), learning_rate=lambda *_: 0.0, steps=1)
    assert torch.equal(model[0].bias, net()[0].bias)
    assert frozen_rate.total.kept == P - math.floor(0.8 * P + 0.5)
    states = []
    for changes in ({}, {"momentum": 0.0}, {"weight_decay": 0.1}, {"learning_rate": lambda *_: 0.01}, {"epochs": 1}):
        run(model := net(), steps=1, **changes)
        states.append(model[4].bias.detach().clone())
    assert len({tuple(state.tolist()) for state in states}) == len(states)


def test_every_epoch_has_all_samples_in_an_order_of_its_own():
    orders, model = [], net()
    inputs, _ = data()
    numbers = torch.arange(len(inputs))

    def loss(outputs, targets):
        if model.training:
            orders.extend(targets.tolist())
        return outputs.square().mean()

    gradual_prune(model, loss, (inputs, numbers), 0.8, **SETTINGS)
    epochs = [tuple(orders[i : i + len(inputs)]) for i in range(0, len(orders), len(inputs))]
    assert all(sorted(epoch) == numbers.tolist() for epoch in epochs)
    assert len(epochs) == len(set(epochs)) == STEPS * EPOCHS


def test_sparsity_by_layer_and_patterns():
    report = run(model := net(), sparsity={"0": 0.75, "4.weight": 0.5})
    assert [int((model[place].weight != 0).sum()) for place in (0, 4)] == [18, 18]
    assert [stage.kept for stage in report.stages] == sorted((stage.kept for stage in report.stages), reverse=True)
    run(model := net(), sparsity=l0quad.NofM(2, 4))
    groups = torch.cat([model[0].weight.reshape(-1), model[4].weight.reshape(-1)]).reshape(-1, 4)
    assert ((groups != 0).sum(1) == 2).all()
    report = run(model := net(), sparsity=0.5, weights="4")
    assert int((model[4].weight != 0).sum()) == 18
    assert (model[0].weight != 0).all()


def test_what_is_zero_stays_zero():
    model = net()
    with torch.no_grad():
        model[0].weight[:6] = 0.0
    report = run(model, sparsity=0.5)
    assert (model[0].weight[:6] == 0).all()
    assert report.total.kept == 54
    assert report.stages[0].sparsity > 1 / 3


class Unsized:
    """Batches that are counted only by reading them."""

    def __init__(self):
        self.epochs = 0

    def __iter__(self):
        self.epochs += 1
        inputs, targets = data()
        return iter(list(zip(inputs.split(30), targets.split(30), strict=True)))


def test_batches_without_a_length_are_counted():
    asked, samples = [], Unsized()

    def rate(epoch, first, last):
        asked.append(epoch)
        return 0.01

    run(net(), samples=samples, learning_rate=rate, steps=1, epochs=2)
    assert asked == pytest.approx([batch / 5 for batch in range(10)])
    assert samples.epochs == 1 + 1 + 2


def test_training_that_diverges_is_refused():
    model = net()
    with torch.no_grad():
        model[0].weight *= 100
    before = frozen(model)
    rate = {"learning_rate": lambda *_: 1e30, "steps": 1}
    refuse(lambda: run(model, **rate), ValueError, "learning_rate:", "step 1", "not finite")
    assert same(model, before)


@pytest.mark.parametrize(("name", "wrong", "error"), [
    *((name, value, error) for name in ("steps", "epochs", "train_batch_size", "n_rows", "batch_size")
      for values, error in (((0, -1), ValueError), ((1.5, True, "2", None), TypeError)) for value in values),
    ("seed", -1, ValueError), ("seed", 0.5, TypeError), ("seed", None, TypeError),
    *(("momentum", value, ValueError) for value in (1, -0.1, math.nan)),
    *(("momentum", value, TypeError) for value in ("0.9", None, True)),
    *(("weight_decay", value, ValueError) for value in (-1e-4, math.inf, math.nan)),
    *(("weight_decay", value, TypeError) for value in ("0", None)),
    *(("learning_rate", value, TypeError) for value in (0.1, None)),
    *(("sparsity", value, ValueError) for value in (1.0, -0.1, math.nan)), ("sparsity", True, TypeError),
    ("schedule", "steep", ValueError), ("weights", "fc", ValueError), ("method", "fastest", ValueError),
    ("l2", -1.0, ValueError),
])  # fmt: skip
def test_wrong_arguments_are_refused_by_name(name, wrong, error):
    model = net()
    changes = {name: wrong}
    refuse(lambda: run(model, **changes), error, f"{name}:")
    assert same(model, net().state_dict())


def test_data_that_can_be_read_once_only_is_refused():
    batches = [data()]
    refuse(lambda: run(net(), samples=iter(batches)), TypeError, "data:", "iterator")
    refuse(lambda: run(net(), samples=(batch for batch in batches)), TypeError, "data:", "generator")
