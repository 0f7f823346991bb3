"""Refit stages of prune: each is the minimiser of its own problem, on fresh rows, with momentum."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import Refit, choose, gradient_matrix, prune
from l0quad_adapters.torch.network.data import Samples
from l0quad_adapters.torch.network.gradients import Gradients
from l0quad_adapters.torch.pruning import stages
from l0quad_adapters.torch.pruning.problem import pruning_problem
from prune_runs import BOTH, DATA, ONE_STAGE, again, conv, equal, loss, mlp, run, same, state, supports
from refusals import refuse
from torch.nn.functional import cross_entropy

ROWS, L2, MOMENTUM, SEED = 20, 0.5, 0.7, 4


def rows_of(model, stage, batch_size=1):
    """The gradients and losses that this stage sees at the model's weights."""
    batches = Samples(DATA).batches(ROWS, batch_size, (SEED, stage))
    losses = np.zeros(ROWS)
    rows = "sample" if batch_size == 1 else "batch"
    A = gradient_matrix(model, cross_entropy, batches, rows=rows, n_rows=ROWS, losses=losses, dtype=np.float64)
    return A, losses


def minimiser(A, fall, w0, centre):
    """The w on the support of w0 that minimises 1/2 ||A (w - w0) + fall||^2 + n l2 / 2 ||w - centre||^2."""
    S = np.flatnonzero(w0)
    A = A[:, S]
    shift = (centre - w0)[S]
    H = A.T @ A + len(A) * L2 * np.eye(S.size)
    w = w0.copy()
    w[S] += np.linalg.solve(H, -A.T @ fall + len(A) * L2 * shift)
    return w


@pytest.mark.parametrize("scale_rows", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_refit_minimises_its_problem_and_keeps_its_momentum(scale_rows, batch_size):
    model, weights = again(mlp), choose(again(mlp))
    refit = Refit(n_rows=ROWS, l2=L2, momentum=MOMENTUM)
    options = {"method": "magnitude", "seed": SEED, "refit": refit, "batch_size": batch_size, "scale_rows": scale_rows}
    run(model, 0.5, **options | {"n_rows": ROWS})
    w, step = weights.read(model), np.zeros(weights.size)
    for stage in (1, 2, 3):
        A, losses = rows_of(model, stage, batch_size)
        fall = np.minimum(1.0, batch_size * losses) / batch_size
        if scale_rows:
            root = np.sqrt(np.maximum(losses, 0.01))
            A, fall = A / root[:, None], losses / root / batch_size
        new = minimiser(A, fall, w, w + MOMENTUM * step)
        w, step = new, new - w
        weights.write(model, w)
    found = again(mlp)
    report = run(found, 0.5, refit_stages=3, **options | {"n_rows": 3 * ROWS})
    assert np.allclose(weights.read(found), w, atol=1e-4)
    assert np.abs(step).max() > 1e-2, "the steps are larger than the tolerance"
    assert [stage.rows for stage in report.stages] == [0, ROWS, ROWS, ROWS]


def test_rows_of_small_losses_are_scaled_as_those_of_the_least(monkeypatch):
    seen = []
    monkeypatch.setattr(stages, "_LEAST_LOSS", 1e3)
    solve = pruning_problem
    monkeypatch.setattr(stages, "pruning_problem", lambda A, *rest: seen.append(A.copy()) or solve(A, *rest))
    options = {"method": "magnitude", "refit_stages": 1, "seed": SEED, "n_rows": ROWS}
    run(again(mlp), 0.5, scale_rows=True, **options)
    run(again(mlp), 0.5, scale_rows=False, **options)
    scaled, plain = seen
    assert np.allclose(scaled, plain / math.sqrt(1e3), rtol=1e-5)
    assert np.abs(plain).max() > 0


def test_refits_between_stages_give_the_rows_of_the_next_pruning(monkeypatch):
    computed, seen, fill, solve = [], [], Gradients.fill, pruning_problem

    def filled(gradients, batches, out, *rest):
        fill(gradients, batches, out, *rest)
        computed.append(out.copy())

    monkeypatch.setattr(Gradients, "fill", filled)
    monkeypatch.setattr(stages, "pruning_problem", lambda A, *rest: seen.append(A.copy()) or solve(A, *rest))
    report = run(again(mlp), 0.8, stages=3, refit_stages=4, refit=Refit(between=2, n_rows=20))
    first, r1, r2, r3, r4 = computed[:5]
    _, second, third = (A for A in seen if len(A) == 60)
    assert np.array_equal(second, np.concatenate([r1, r2, first[40:]]))
    assert np.array_equal(third, np.concatenate([r4, r2, r3]))
    assert [stage.rows for stage in report.stages] == [60, 20, 20, 60, 20, 20, 60, *[20] * 4]
    kept = [stage.kept for stage in report.stages]
    assert kept[0] == kept[1] == kept[2] > kept[3] == kept[5] > kept[6] == kept[-1] == 22
    assert [math.isnan(stage.lower_bound) for stage in report.stages] == [i != 6 for i in range(11)]
    assert report.l2 == 0.01, "that of the pruning stages"
    assert [A.shape[1] for A in computed] == [110] * 5 + [22] * 4, "what no pruning sees is of the support alone"


@pytest.mark.filterwarnings("ignore:sparsity. nothing is left")
def test_refits_where_nothing_is_left():
    report = run(model := again(mlp), 0.999, stages=2, refit_stages=2, refit=Refit(between=1, momentum=0.5))
    assert report.total.kept == np.count_nonzero(choose(model).read(model)) == 0


def test_pruning_leaves_the_descent_to_the_refits_between(monkeypatch):
    asked, solve = [], pruning_problem
    monkeypatch.setattr(stages, "pruning_problem", lambda *args: asked.append(bool(np.any(args[4]))) or solve(*args))
    run(again(mlp), 0.8, stages=2, refit_stages=1, refit=Refit(between=1))
    assert asked == [False, True, False, True]
    asked.clear()
    run(again(mlp), 0.8, stages=2, refit_stages=1)
    assert asked == [True] * 3


@pytest.mark.parametrize("make", [mlp, conv])
@pytest.mark.parametrize("method", ["backsolve", "auto", "magnitude", "cbs"])
def test_refits_lower_the_loss_and_keep_the_budget(make, method):
    before, after = again(make), again(make)
    options = {"method": method, "recalibrate": False, "first_order": True, "l2": 1.0}
    run(before, 0.8, **options)
    report = run(after, 0.8, refit_stages=10, refit=Refit(l2=2.0, momentum=0.5), **options)
    assert {stage.kept for stage in report.stages} == {report.total.kept}
    assert report.achieved_sparsity == pytest.approx(0.8, abs=0.005)
    # .95 of it for the mlp; which weights stay, and so this, may hang on the last bit of a gradient.
    assert loss(after) < 0.98 * loss(before)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_pruning_stage_asks_no_mean_loss_to_fall_below_zero(batch_size, monkeypatch):
    asked, solve = [], pruning_problem
    monkeypatch.setattr(stages, "pruning_problem", lambda *args: asked.append(args[4]) or solve(*args))
    model = again(mlp)
    losses = rows_of(model, 0, batch_size)[1]
    run(model, 0.5, first_order=True, seed=SEED, n_rows=ROWS, batch_size=batch_size)
    assert np.allclose(asked[0], min(1.0, batch_size * losses.mean()), rtol=1e-5)
    assert 0 < losses.mean() < 1


@pytest.mark.parametrize("make", [mlp, conv])
def test_the_weights_at_the_end_are_the_mean_of_the_last_refits(make):
    weights, after, metrics = choose(again(make)), [], []
    run(last := again(make), 0.8, refit_stages=4, callback=lambda _: after.append(weights.read(last)))
    mean = again(make)
    report = run(
        mean, 0.8, refit_stages=4, refit=Refit(average=3), evaluate=lambda m: metrics.append(loss(m)) or metrics[-1]
    )
    assert np.allclose(weights.read(mean), np.mean(after[-3:], axis=0), atol=1e-6)
    assert np.abs(after[-1] - after[-3]).max() > 1e-3
    assert report.metric_after == metrics[-1] == loss(mean)
    assert np.array_equal(weights.read(mean) != 0, after[-1] != 0)


def test_the_same_seed_gives_the_same_weights():
    options = {"stages": 2, "refit_stages": 2, "refit": Refit(between=2, n_rows=30, momentum=0.5), "scale_rows": True}
    one, other, third = again(mlp), again(mlp), again(mlp)
    run(one, 0.8, **options)
    run(other, 0.8, **options)
    run(third, 0.8, seed=1, **options)
    assert same(one, state(other))
    assert not same(one, state(third))


def test_a_mask_holds_through_refits():
    mask = {name: torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)) < 0.6
            for name, tensor in again(mlp).state_dict().items() if name in BOTH}  # fmt: skip
    model = again(mlp)
    run(model, 0.5, mask=mask, stages=2, refit_stages=2, refit=Refit(between=2, n_rows=20, momentum=0.5))
    assert not any((model.get_parameter(name) != 0)[~mask[name]].any() for name in BOTH)


def test_refits_settle_no_damping():
    report = run(again(mlp), 0.8, l2="auto", stages=2, refit_stages=1, refit=Refit(between=1, l2=7.0))
    assert report.l2 in stages.L2_GRID


@pytest.mark.parametrize(("error", "name", "value"), [
    *((ValueError, name, -1) for name in ("average", "between", "n_rows", "l2", "momentum")),
    *((TypeError, name, value) for name in ("average", "between", "n_rows") for value in (1.0, True)),
    *((TypeError, name, value) for name in ("l2", "momentum") for value in ("auto", True)),
    (ValueError, "n_rows", 0), (ValueError, "l2", math.nan), (ValueError, "momentum", 1),
    (ValueError, "momentum", math.nan),
])  # fmt: skip
def test_wrong_options_are_refused_when_they_are_written(error, name, value):
    refuse(lambda: Refit(**{name: value}), error, f"refit.{name}:", repr(value))


def test_supports_do_not_change_in_refits():
    short, long = again(mlp), again(mlp)
    options = {"stages": 1, "first_order": True}
    run(short, 0.8, **options)
    run(long, 0.8, refit_stages=3, refit=Refit(momentum=0.9, n_rows=30), **options)
    assert equal(supports(long), supports(short))
    assert not same(long, state(short))


def test_a_single_stage_keeps_its_first_order_term():
    with_it, without, between = again(mlp), again(mlp), again(mlp)
    run(with_it, 0.8, first_order=True)
    run(without, 0.8, first_order=False)
    run(between, 0.8, first_order=True, refit=Refit(between=2))
    assert same(between, state(with_it))
    assert not same(between, state(without))


def test_a_negative_loss_has_no_first_order_term():
    moved, kept = again(mlp), again(mlp)
    options = ONE_STAGE | {"method": "magnitude", "refit_stages": 1}
    prune(moved, cross_entropy, DATA, 0.5, **options)
    prune(kept, lambda outputs, targets: cross_entropy(outputs, targets) - 1e3, DATA, 0.5, **options)
    run(only := again(mlp), 0.5, method="magnitude")
    assert all(torch.allclose(kept.get_parameter(name), only.get_parameter(name), atol=1e-5) for name in BOTH)
    assert not all(torch.allclose(moved.get_parameter(name), only.get_parameter(name), atol=1e-3) for name in BOTH)
