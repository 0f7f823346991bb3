"""gradual_prune: steps of pruning and training."""

import math
from functools import partial
from itertools import pairwise

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
from l0quad_adapters.torch import Refit
from l0quad_adapters.torch.network.masks import masks
from l0quad_adapters.torch.pruning.gradual import cosine, gradual_prune
from l0quad_adapters.torch.pruning.prune import prune
from l0quad_adapters.torch.pruning.schedules import sparsities
from refusals import refuse
from torch.nn.functional import cross_entropy

import l0quad


def loss_of(model):
    inputs, targets = data()
    with torch.no_grad():
        return float(cross_entropy(model(inputs), targets))


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
    prune(once, cross_entropy, data(), 0.8, n_rows=40, batch_size=1, stages=1)
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


def test_the_learning_rate_is_asked_before_each_batch():
    asked = []

    def rate(share):
        asked.append(share)
        return 0.1

    run(net(), learning_rate=rate)
    total = STEPS * EPOCHS * BATCHES
    assert asked[4:] == pytest.approx([batch / total for batch in range(total)]), "after those of a checkpoint"


def test_cosine_falls_from_one_to_nothing():
    assert [cosine(share) for share in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, 0])


def test_any_optimizer_trains_at_its_own_rates():
    frozen_rate = run(model := net(), learning_rate=lambda _: 0.0, steps=1)
    assert torch.equal(model[0].bias, net()[0].bias)
    assert frozen_rate.total.kept == P - math.floor(0.8 * P + 0.5)
    states = []
    for changes in (
        {}, {"optimizer": partial(torch.optim.Adam, lr=1e-3)}, {"optimizer": partial(torch.optim.AdamW, lr=1e-3)},
        {"optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9)}, {"learning_rate": lambda _: 0.1}, {"epochs": 1},
        {"epochs": 0.4},
    ):  # fmt: skip
        run(model := net(), steps=1, **changes)
        states.append(model[4].bias.detach().clone())
    assert len({tuple(state.tolist()) for state in states}) == len(states)
    groups = lambda parameters: torch.optim.SGD([{"params": [p], "lr": 0.0} for p in parameters])  # noqa: E731
    run(model := net(), optimizer=groups, steps=1)
    assert torch.equal(model[4].bias, net()[4].bias), "each group's own"


def test_pruning_ends_after_the_share_of_the_rise():
    seen, model = [], net()

    def loss(outputs, targets):
        if model.training:
            seen.append(sum(int(mask.sum()) for mask in masks(model).values()))
        return cross_entropy(outputs, targets)

    gradual_prune(model, loss, data(), 0.8, **SETTINGS | {"rise": 0.6, "steps": 2, "method": "magnitude"})
    total = STEPS * EPOCHS * BATCHES
    first = seen[0]
    assert first > seen[-1] == P - math.floor(0.8 * P + 0.5)
    assert seen == [first] * int(0.3 * total) + [seen[-1]] * (total - int(0.3 * total))


def test_refits_come_last_and_are_kept_where_they_lower_the_loss():
    plain, refitted = net(), net()
    options = {"method": "magnitude", "epochs": 1, "evaluate": accuracy}
    run(plain, **options)
    report = run(refitted, refit_stages=4, refit=Refit(l2=1.0), **options)
    assert [stage.stage for stage in report.stages] == list(range(1, STEPS + 5))
    assert [stage.rows for stage in report.stages] == [0] * STEPS + [40] * 4
    assert {stage.kept for stage in report.stages[STEPS - 1 :]} == {report.total.kept}
    assert all(torch.equal(refitted[place].weight != 0, plain[place].weight != 0) for place in (0, 4))
    assert torch.equal(refitted[4].bias, plain[4].bias)
    assert loss_of(refitted) < loss_of(plain)
    assert report.metric_after == accuracy(refitted)
    harmed = net()
    report = run(harmed, refit_stages=1, refit=Refit(l2=1e-9), **options | {"n_rows": 5})
    assert loss_of(harmed) <= loss_of(plain)
    assert (report.stages[-1].status == "taken back") == same(harmed, plain.state_dict())


def test_statistics_are_renewed_at_the_end_where_that_is_better():
    found = {}
    for recalibrate in (False, True, None):
        report = run(model := net(), recalibrate=recalibrate, evaluate=accuracy)
        assert report.metric_after == accuracy(model)
        assert torch.equal(report.buffers["1.running_mean"], model[1].running_mean)
        found[recalibrate] = model, report.statistics
    (kept, told_kept), (renewed, told_renewed), (chosen, told) = found.values()
    inputs = renewed[0](data()[0]).detach()
    torch.testing.assert_close(renewed[1].running_mean, inputs.mean(0))
    torch.testing.assert_close(renewed[1].running_var, inputs.var(0))
    assert (kept[1].running_mean - inputs.mean(0)).abs().max() > 1e-3
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), renewed.parameters(), strict=True))
    assert [told_kept, told_renewed] == [f"batch statistics {word}, as asked" for word in ("kept", "renewed")]
    better = loss_of(renewed) < loss_of(kept)
    assert same(chosen, (renewed if better else kept).state_dict())
    assert told.startswith(
        f"batch statistics {'renewed' if better else 'kept'}: the pruned network's loss on samples of"
    )


def test_defaults_are_enough():
    report = gradual_prune(model := net(), cross_entropy, data(), 0.8, epochs=100)
    assert report.method == "magnitude"
    assert any(stage.rows for stage in report.stages), "refits"
    assert report.total.kept == P - math.floor(0.8 * P + 0.5)
    assert accuracy(model) > 0.8


def test_there_are_refits_by_default_where_ten_fit():
    """150 samples: of one row of a sample, 75 / 2 in two epochs, 75 / 8 in half of one."""
    for epochs, n_rows, expected in ((2, 2, 37), (0.5, 2, 0), (4, 2, 40)):
        report = run(net(), method="magnitude", steps=1, epochs=epochs, n_rows=n_rows, refit_stages=None)
        assert sum(stage.rows > 0 for stage in report.stages) == expected


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
    assert ((model[4].weight.reshape(-1, 4) != 0).sum(1) == 2).all()
    assert ((model[0].weight[:, :4] != 0).sum(1) == 2).all()
    assert (model[0].weight[:, 4:] != 0).all(), "a last group of two"
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

    def rate(share):
        asked.append(share)
        return 0.1

    run(net(), samples=samples, learning_rate=rate, steps=1, epochs=2, recalibrate=False)
    assert asked[4:] == pytest.approx([batch / 10 for batch in range(10)])
    assert samples.epochs == 1 + 1 + 2


def test_training_that_diverges_is_refused():
    model = net()
    with torch.no_grad():
        model[0].weight *= 100
    before = frozen(model)
    rate = {"learning_rate": lambda _: 1e30, "steps": 1}
    refuse(lambda: run(model, **rate), ValueError, "optimizer:", "not finite")
    assert same(model, before)


@pytest.mark.parametrize(("name", "wrong", "error"), [
    *((name, value, error) for name in ("steps", "train_batch_size", "n_rows", "batch_size")
      for values, error in (((0, -1), ValueError), ((1.5, True, "2"), TypeError)) for value in values),
    *(("epochs", value, error) for values, error in (((0, -1, math.nan), ValueError), ((True, "2", None), TypeError))
      for value in values),
    *(("rise", value, ValueError) for value in (0, 1.1)), ("refit", 0.9, TypeError), ("refit_stages", -1, ValueError),
    ("exclude", "fc", ValueError),
    ("seed", -1, ValueError), ("seed", 0.5, TypeError), ("seed", None, TypeError),
    *((name, value, TypeError) for name in ("learning_rate", "optimizer") for value in (0.1, None)),
    *(("sparsity", value, ValueError) for value in (1.0, -0.1, math.nan)), ("sparsity", True, TypeError),
    ("schedule", "steep", ValueError), ("weights", "fc", ValueError), ("method", "fastest", ValueError),
    ("l2", -1.0, ValueError), ("recalibrate", 1, TypeError),
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
