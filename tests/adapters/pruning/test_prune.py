"""prune: exact sparsity, supports that hold, the same bytes for the same seed."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import BASELINES, CBS, WoodFisher, choose
from l0quad_adapters.torch.pruning.stages import L2_GRID
from prune_runs import (
    BOTH,
    CLASSES,
    DATA,
    SAMPLES,
    STATES,
    accuracy,
    again,
    conv,
    equal,
    loss,
    mlp,
    nonzeros,
    run,
    same,
    state,
    supports,
)
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import l0quad

pytestmark = pytest.mark.filterwarnings("ignore:sparsity. nothing is left")
METHODS = list(dict.fromkeys([*l0quad.METHODS, *BASELINES]))
over_methods = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def net():
    return again(mlp)


@pytest.fixture
def normed():
    return again(conv)


@pytest.mark.parametrize("sparsity", [0, 0.0, 0.1, 1 / 3, 0.5, 0.777, 0.9, 0.98, 0.99, 0.999, np.float32(0.5)])
@pytest.mark.parametrize("stages", [1, 3])
def test_sparsity_is_exact(net, sparsity, stages):
    before, size = state(net), 110
    report = run(net, sparsity, stages=stages)
    kept = size - math.floor(float(sparsity) * size + 0.5)
    assert sum(nonzeros(net, name) for name in BOTH) == kept
    assert report.total.kept == report.stages[-1].kept == kept
    assert report.total.weights == size
    assert report.achieved_sparsity == 1 - kept / size
    assert report.sparsity == pytest.approx(sparsity)
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in ("0.bias", "3.bias")), "biases are kept"


@over_methods
def test_every_method_prunes_to_the_budget(net, method):
    report = run(net, 0.8, method=method)
    assert sum(nonzeros(net, name) for name in BOTH) == report.total.kept == 22
    assert report.method == method
    stage = report.stages[0]
    assert stage.rows == (0 if method == "magnitude" else 60)
    if method in BASELINES:
        assert stage.status == "baseline"
        assert math.isnan(stage.lower_bound)
        assert math.isnan(stage.objective) == (method == "magnitude")
    else:
        assert stage.lower_bound <= stage.objective
    assert loss(net) < 3


def test_options_are_taken_for_a_name():
    for options, name in ((l0quad.Backsolve(), "backsolve"), (WoodFisher(), "woodfisher"), (CBS(), "cbs")):
        by_options, by_name = again(mlp), again(mlp)
        assert run(by_options, 0.8, method=options).method == name
        run(by_name, 0.8, method=name)
        assert same(by_options, state(by_name))
    few, many = again(mlp), again(mlp)
    run(few, 0.8, method=WoodFisher(block_size=1))
    run(many, 0.8, method=WoodFisher(block_size=80))
    assert not same(few, state(many))


def test_magnitude_leaves_what_it_keeps(net):
    w0 = choose(net).read(net)
    run(net, 0.5, method="magnitude")
    w = choose(net).read(net)
    kept = w != 0
    # l0quad's own "magnitude" refits; a baseline of that name would not.
    assert np.abs(w0[kept]).min() >= np.abs(w0[~kept]).max()


@pytest.mark.parametrize("method", ["auto", "backsolve", "block_backsolve", "mfac"])
def test_a_sparsity_by_layer(normed, method):
    report = run(normed, {"5": 0.9}, method=method)
    assert nonzeros(normed, "5.weight") == 162 - 146
    assert nonzeros(normed, "1.weight") == 48, "kept whole"
    assert report.sparsity == {"5": 0.9}
    report = run(normed, {"1.weight": 0.25, "5": 0.95}, stages=2, method=method)
    assert (nonzeros(normed, "1.weight"), nonzeros(normed, "5.weight")) == (36, 162 - 154)
    assert report.stages[0].kept > report.stages[1].kept == 44


@over_methods
def test_a_pattern_holds_in_every_group(net, method):
    report = run(net, l0quad.NofM(2, 4), stages=2, method=method)
    for name in BOTH:
        rows = net.get_parameter(name).detach().numpy()
        for first in range(0, rows.shape[1], 4):
            group = rows[:, first : first + 4]
            assert (np.count_nonzero(group, axis=1) == min(2, group.shape[1])).all()
    assert [stage.sparsity for stage in report.stages] == [pytest.approx(1 - 58 / 110)] * 2
    assert "2" in report.sparsity
    assert "4" in report.sparsity


@over_methods
def test_a_mask_keeps_zeros(net, method):
    generator = torch.Generator().manual_seed(0)
    mask = {name: torch.rand(net.get_parameter(name).shape, generator=generator) < 0.4 for name in BOTH}
    run(net, 0.8, mask=mask, method=method, stages=2, refit_stages=1)
    assert all((net.get_parameter(name)[~mask[name]] == 0).all() for name in BOTH)
    assert sum(nonzeros(net, name) for name in BOTH) == 22
    only = {"3.weight": torch.zeros(CLASSES, 10, dtype=torch.bool)}
    run(net, 0.9, mask=only, method=method)
    assert nonzeros(net, "3.weight") == 0
    assert nonzeros(net, "0.weight") == 11


def test_a_mask_with_less_room_than_the_budget(net):
    mask = {name: torch.arange(net.get_parameter(name).numel()).reshape(net.get_parameter(name).shape) % 10 == 0
            for name in BOTH}  # fmt: skip
    run(net, 0.5, mask=mask, stages=2)
    assert equal(supports(net), mask)


@pytest.mark.parametrize("method", ["auto", "backsolve", "magnitude", "mfac"])
def test_refit_stages_keep_the_support_and_change_the_values(method):
    short, long = again(mlp), again(mlp)
    run(short, 0.8, stages=2, method=method)
    report = run(long, 0.8, stages=2, refit_stages=2, method=method)
    assert equal(supports(long), supports(short))
    assert not same(long, state(short))
    assert len(report.stages) == 4
    assert [stage.kept for stage in report.stages[1:]] == [22] * 3


def test_refit_stages_keep_a_support_that_is_smaller_than_the_budget(net):
    run(net, 0.9)
    before = supports(net)
    report = run(net, 0.5, method="magnitude", refit_stages=1)
    assert report.total.kept == 11
    assert equal(supports(net), before)


def test_stages_follow_the_schedule(net):
    seen = []
    report = run(net, 0.9, stages=4, schedule="linear", callback=seen.append)
    assert tuple(seen) == report.stages
    assert [stage.stage for stage in seen] == [1, 2, 3, 4]
    assert [stage.kept for stage in seen] == [110 - round(110 * 0.225 * i + 1e-9) for i in (1, 2, 3, 4)]
    assert [stage.sparsity for stage in seen] == [1 - stage.kept / 110 for stage in seen]
    assert all(stage.rows == 60 for stage in seen)
    report = run(net, 0.95, stages=2, schedule="constant")
    assert [stage.kept for stage in report.stages] == [5, 5]
    report = run(net, 0.5, stages=3)
    assert [stage.sparsity for stage in report.stages] == [0.5] * 3, "a model that is sparser than asked for"


@pytest.mark.parametrize("options", [{}, {"stages": 3, "refit_stages": 1}, {"l2": "auto"}, {"method": "cbs"}])
def test_the_same_seed_gives_the_same_bytes(options):
    found = []
    for torch_seed, seed in ((0, 0), (1, 0), (0, 1)):
        model = again(conv)
        torch.manual_seed(torch_seed)
        run(model, 0.9, seed=seed, **options)
        found.append(state(model))
    assert same(again(conv), STATES[conv]), "runs do not touch each other"
    model.load_state_dict(found[0])
    assert same(model, found[1])
    assert not same(model, found[2])


def test_several_stages_of_auto_beat_magnitude():
    for make in (mlp, conv):
        found = []
        for options in ({"stages": 5}, {}, {"method": "magnitude"}):
            model = again(make)
            run(model, 0.7, **{"n_rows": 200, "l2": 0.1, "method": "auto"} | options)
            found.append(loss(model))
        assert loss(again(make)) < found[0] < found[1] < found[2]
        assert found[0] < 0.8 * found[2]


@pytest.mark.parametrize("options", [{}, {"stages": 3, "refit_stages": 1}, {"method": "mfac", "stages": 2}])
def test_auto_l2_is_that_of_the_grid_with_the_least_loss_on_other_samples(options):
    model, tried = again(mlp), {}
    report = run(model, 0.8, l2="auto", **options)
    order = np.random.default_rng((0, 0)).permutation(SAMPLES)[60:]
    for l2 in L2_GRID:
        other = again(mlp)
        run(other, 0.8, l2=l2, **options | {"stages": 1, "refit_stages": 0})
        tried[l2] = loss(other, (DATA[0][order], DATA[1][order]))
    if options.get("stages", 1) == 1:
        assert report.l2 == min(tried, key=tried.__getitem__)
    other = again(mlp)
    run(other, 0.8, l2=report.l2, **options)
    assert same(other, state(model)), "the first stage settles it"


def test_auto_l2_compares_on_samples_beside_those_of_the_gradients(net):
    seen = []
    net.register_forward_pre_hook(lambda _, args: None if torch.is_grad_enabled() else seen.append(args[0]))
    run(net, 0.5, l2="auto")
    # What the loss makes of single samples is looked at beside that.
    seen = [inputs for inputs in seen if len(inputs) > 1]
    assert len(seen) == len(L2_GRID)
    others = DATA[0][np.random.default_rng((0, 0)).permutation(SAMPLES)[60:]]
    assert all(torch.equal(inputs, others) for inputs in seen)


def test_auto_l2_needs_other_samples(net):
    loader = DataLoader(TensorDataset(*DATA), batch_size=50)
    assert run(net, 0.5, data=loader, n_rows=100, l2="auto").l2 in L2_GRID


def test_statistics_change_where_it_is_asked_for(normed):
    before, statistics = state(normed), ("2.running_mean", "2.running_var", "2.num_batches_tracked")
    report = run(normed, 0.8, recalibrate=False)
    assert all(torch.equal(normed.state_dict()[name], before[name]) for name in statistics)
    changed = again(conv)
    report = run(changed, 0.8, recalibrate=True)
    assert torch.equal(changed[1].weight, normed[1].weight)
    assert not torch.equal(changed[2].running_mean, normed[2].running_mean)
    with torch.no_grad():
        seen = normed[1](normed[0](DATA[0])).transpose(0, 1).flatten(1)
    assert torch.allclose(changed[2].running_mean, seen.mean(dim=1), atol=1e-5)
    assert torch.allclose(changed[2].running_var, seen.var(dim=1), rtol=0.01)
    assert all(torch.equal(report.buffers[name], changed.state_dict()[name]) for name in statistics)
    assert torch.equal(changed[2].weight, normed[2].weight)
    assert not any(module.training for module in changed.modules())


def test_the_report_holds_what_the_model_has(normed):
    report = run(normed, 0.8, evaluate=accuracy, seed=3, batch_size=2, first_order=True)
    fresh = again(conv)
    assert report.metric_before == accuracy(fresh)
    assert report.metric_after == report.stages[-1].metric == accuracy(normed)
    report.apply(fresh)
    assert same(fresh, state(normed))
    assert [layer.name for layer in report.layers] == ["1.weight", "5.weight"]
    assert (report.seed, report.n_rows, report.batch_size, report.l2, report.first_order) == (3, 60, 2, 0.01, True)
    assert report.seconds >= report.stages[0].gradient_seconds + report.stages[0].solve_seconds > 0
    report.weights["5.weight"].zero_()
    assert nonzeros(normed, "5.weight") > 0, "the report has its own"


def test_evaluate_and_callback_see_each_stage(net):
    seen = []

    def evaluate(model):
        seen.append(sum(nonzeros(model, name) for name in BOTH))
        return len(seen)

    report = run(net, 0.8, stages=2, refit_stages=1, evaluate=evaluate,
                   callback=lambda stage: seen.append(stage.metric))  # fmt: skip
    assert seen == [110, 33, 2, 22, 4, 22, 6]
    assert report.metric_before == 1
    assert [stage.metric for stage in report.stages] == [2, 4, 6]
    assert report.metric_after == 6


def test_progress_is_shown_where_it_is_asked_for(net, capfd):
    run(net, 0.5, stages=2)
    assert capfd.readouterr() == ("", "")
    run(net, 0.5, stages=2, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "prune: stage 2 of 2" in err


def test_pairs_data_sets_and_loaders():
    found = {}
    for name, data in {
        "pair": DATA,
        "dataset": TensorDataset(*DATA),
        "loader": DataLoader(TensorDataset(*DATA), batch_size=32),
        "list": list(zip(DATA[0].split(32), DATA[1].split(32), strict=True)),
        "generator": (batch for _ in range(4) for batch in zip(DATA[0].split(32), DATA[1].split(32), strict=True)),
    }.items():
        model = again(mlp)
        run(model, 0.8, data=data, stages=2)
        found[name] = state(model)
        assert sum(nonzeros(model, each) for each in BOTH) == 22
    model.load_state_dict(found["pair"])
    assert same(model, found["dataset"])
    model.load_state_dict(found["loader"])
    assert same(model, found["generator"])
    assert same(model, found["list"])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_first_order_matters(batch_size):
    with_it, without = again(mlp), again(mlp)
    every = {"n_rows": SAMPLES // batch_size, "batch_size": batch_size, "l2": 1.0}
    run(with_it, 0.0, first_order=True, **every)
    report = run(without, 0.0, first_order=False, **every)
    assert report.total.objective == pytest.approx(0, abs=1e-4)
    assert all(torch.allclose(without.get_parameter(name), again(mlp).get_parameter(name), atol=1e-3) for name in BOTH)
    assert loss(with_it) < loss(without) - 1e-4, "without pruning it is a step downhill"


@pytest.mark.parametrize(("options", "expected"), [
    ({}, False), ({"stages": 2}, True), ({"refit_stages": 1}, True), ({"first_order": True}, True),
    ({"stages": 2, "first_order": False}, False),
])  # fmt: skip
def test_the_first_order_is_left_out_of_a_single_stage(net, options, expected):
    assert run(net, 0.5, **options).first_order is expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(normed, dtype):
    normed.to(dtype)
    report = run(normed, 0.8, data=(DATA[0].to(dtype), DATA[1]), stages=2)
    assert all(parameter.dtype == dtype for parameter in normed.parameters())
    assert report.total.kept == 42


def test_what_is_not_chosen_stays(normed):
    before = state(normed)
    run(normed, 0.5, weights="5")
    assert nonzeros(normed, "5.weight") == 81
    assert torch.equal(normed[1].weight, before["1.weight"])


def test_tied_weights_stay_tied():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, CLASSES)).eval()
    model[2].weight = model[0].weight
    report = run(model, 0.5)
    assert model[2].weight is model[0].weight
    assert report.total.weights == 88
    assert nonzeros(model, "0.weight") + nonzeros(model, "3.weight") == 44


def test_the_model_keeps_its_parts(net):
    parts = [id(part) for part in (*net.modules(), *net.parameters())]
    run(net, 0.5, stages=2)
    assert [id(part) for part in (*net.modules(), *net.parameters())] == parts
    assert not any(module.training for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
