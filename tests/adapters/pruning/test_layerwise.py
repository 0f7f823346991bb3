"""prune_layers: each layer's own problem on the inputs of the model pruned so far; budgets, files, stops, refusals."""

import copy
import tracemalloc
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import PruneReport, attach_masks, prune_layers
from l0quad_adapters.torch.budgets import kept
from l0quad_adapters.torch.pruning import layerwise
from prune_runs import BOTH, DATA, again, conv, mlp, nonzeros, same, state
from refusals import refuse
from torch import nn

import l0quad

X = DATA[0]
DAMPING = 0.01


def run(model, sparsity=0.5, batches=X, **options):
    return prune_layers(model, batches, sparsity, **({"n_threads": 1} | options))


class Attending(nn.Module):
    """Attention of a sequence to another, one linear layer that is called twice, and one that nothing reaches."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(4, 4)
        self.out = nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.twice = nn.Linear(8, 8)

    def forward(self, x, memory):
        x, memory = self.twice(x), self.twice(memory)
        return self.out(self.attention(x, memory, memory, need_weights=False)[0])


def attending():
    torch.manual_seed(0)
    return Attending().eval().double(), [(torch.randn(6, 3, 8).double(), torch.randn(6, 5, 8).double())] * 2


def by_hand(layer, inputs, k, method, damping=DAMPING):
    """Solve a linear layer's problem from its inputs, here and now."""
    gram = inputs.T @ inputs
    weights = layer.weight.detach().double().numpy().T
    return l0quad.Layer(weights, H=gram, k=k, ridge=damping * gram.diagonal().mean() / 2).solve(method, n_threads=1)


@pytest.mark.parametrize("method", ["auto", "admm", "sparsegpt", "wanda", "magnitude"])
def test_every_layer_is_solved_on_the_inputs_of_the_network_pruned_so_far(method):
    model, twin = again(mlp).double(), again(mlp).double()
    report = run(model, 0.6, X.double(), method=method)
    x = X.double().numpy()
    first = by_hand(twin[0], x, 32, method)
    hidden = np.maximum(x @ first.W + twin[0].bias.detach().numpy(), 0)
    second = by_hand(twin[3], hidden, 12, method)
    for found, expected, stage in zip((model[0], model[3]), (first, second), report.stages, strict=True):
        np.testing.assert_allclose(found.weight.detach().numpy().T, expected.W, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(stage.objective, expected.objective, rtol=1e-6)
        np.testing.assert_allclose(stage.lower_bound, expected.lower_bound, rtol=1e-5)
        np.testing.assert_allclose(stage.relative_error, expected.relative_error, rtol=1e-6)
        assert stage.rows == len(X)
    assert [stage.layer for stage in report.stages] == list(BOTH)
    assert torch.equal(model[0].bias, twin[0].bias)


def test_a_convolution_is_solved_on_what_its_places_see():
    model, twin = again(conv).double(), again(conv).double()
    run(model, {"1.weight": 0.5}, X.double())
    images = nn.functional.pad(twin[0](X.double()), (1, 1, 1, 1))
    rows = nn.functional.unfold(images, 2).transpose(1, 2).reshape(-1, 8).numpy()
    gram, W0 = rows.T @ rows, twin[1].weight.detach().reshape(6, 8).numpy()
    E, W = model[1].weight.detach().reshape(6, 8).numpy() - W0, model[1].weight.detach().reshape(6, 8).numpy()
    gradient = E @ (gram + DAMPING * gram.diagonal().mean() * np.eye(8))
    assert np.count_nonzero(W) == 24
    assert np.abs(gradient[W != 0]).max() <= 1e-9 * np.abs(gradient).max(), "the best weights on their support"
    assert torch.equal(model[5].weight, twin[5].weight)


def test_attention_and_a_layer_that_is_called_twice():
    (model, batches), (twin, _) = attending(), attending()
    report = run(model, 0.5, [(each, each[0]) for each in batches], exclude="unused")
    names = ("twice.weight", "attention.in_proj_weight", "attention.out_proj.weight", "out.weight")
    assert [stage.layer for stage in report.stages] == list(names), "in the order of the calls"
    assert [stage.rows for stage in report.stages] == [96, 60, 36, 36], "of a call, with zeros where keys are more"
    inputs = np.concatenate([part.reshape(-1, 8).numpy() for batch in batches for part in batch])
    expected = by_hand(twin.twice, inputs, 32, "auto")
    np.testing.assert_allclose(model.twice.weight.detach().numpy().T, expected.W, rtol=1e-6, atol=1e-9)
    query = twin.attention.in_proj_weight[:8]
    twin.twice.weight.data.copy_(model.twice.weight)
    with torch.no_grad():
        x = np.concatenate([twin.twice(batch[0]).reshape(-1, 8).numpy() for batch in batches])
    expected = by_hand(type("Query", (), {"weight": query}), x, 32, "auto")
    np.testing.assert_allclose(model.attention.in_proj_weight[:8].detach().numpy().T, expected.W, rtol=1e-6, atol=1e-9)
    assert [int(part.count_nonzero()) for part in model.attention.in_proj_weight.chunk(3)] == [32, 32, 32]


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.77])
def test_the_share_of_zeros_is_exact_in_every_layer_or_output(sparsity):
    whole, by_output = again(conv), again(conv)
    run(whole, sparsity)
    run(by_output, sparsity, per_output=True)
    for name in ("1.weight", "5.weight"):
        weight = by_output.get_parameter(name).flatten(1)
        assert nonzeros(whole, name) == kept(sparsity, weight.numel())
        assert (weight != 0).sum(dim=1).tolist() == [kept(sparsity, weight.shape[1])] * len(weight)


def test_sparsity_by_layer_exclude_and_patterns():
    model, before = again(conv), state(again(conv))
    report = run(model, {"1": l0quad.NofM(1, 2), nn.Linear: 0.9})
    assert (model[1].weight != 0).sum(dim=1).max() == 1, "of two channels at each place of the kernel"
    assert nonzeros(model, "1.weight") == 24
    assert nonzeros(model, "5.weight") == kept(0.9, 162)
    assert [stage.sparsity for stage in report.stages] == [0.5, 0.9]
    model = again(conv)
    report = run(model, 0.9, exclude=nn.Linear)
    assert torch.equal(model[5].weight, before["5.weight"])
    assert [each.name for each in report.left_out if not each.is_expected] == ["5.weight"]


@pytest.mark.parametrize("method", ["auto", "sparsegpt", "magnitude"])
def test_groups_of_a_pattern_end_with_the_channels(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Conv2d(4, 6, 2, groups=2)).eval()
    for pattern, most in ((l0quad.NofM(2, 4), (2, 2)), (l0quad.NofM(1, 2), (2, 1))):
        pruned = copy.deepcopy(model)
        run(pruned, pattern, torch.randn(9, 3, 5, 5), method=method)
        for layer, n in zip(pruned, most, strict=True):
            # Three channels are one group of four, or one of two and one of its own.
            assert ((layer.get_parameter("weight") != 0).sum(dim=1) == n).all()


def test_what_exchanges_reach_is_no_worse_than_the_published_rules():
    errors = {m: run(again(mlp), 0.6, method=m).stages[0].objective for m in ("auto", "sparsegpt", "wanda")}
    assert errors["auto"] < min(errors["sparsegpt"], errors["wanda"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_dtype_and_sums_in_double(dtype):
    model = again(mlp).to(dtype)
    report = run(model, 0.5, X.to(dtype))
    assert model[0].weight.dtype == dtype
    assert [nonzeros(model, name) for name in BOTH] == [40, 15]
    x = X.to(dtype).double().numpy()
    E = model[0].weight.detach().double().numpy().T - again(mlp).to(dtype)[0].weight.detach().double().numpy().T
    gram = x.T @ x
    expected = np.sum(E * (gram @ E)) / 2 + DAMPING * gram.diagonal().mean() / 2 * np.sum(E * E)
    np.testing.assert_allclose(report.stages[0].objective, expected, rtol=1e-12)
    assert report.stages[0].lower_bound <= expected


def test_batches_of_any_form_give_the_same_network():
    model = again(mlp)
    run(model, batch_size=60)
    expected = state(model)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*DATA), 60)
    for batches in (DATA, list(X.split(60)), loader, [(x, None) for x in X.split(60)], ((x, 0) for x in X.split(60))):
        model = again(mlp)
        run(model, batches=batches, batch_size=60)
        assert same(model, expected)
    wrapped: Any = nn.Module()
    wrapped.inner = again(mlp)
    wrapped.forward = lambda x, label: wrapped.inner(x)
    run(wrapped.eval(), batches=[{"x": x, "label": None} for x in X.split(60)])
    assert same(wrapped.inner, expected)


def test_a_pass_ends_at_its_layer():
    model, calls = again(mlp), []
    model[3].register_forward_hook(lambda *_: calls.append(1))
    run(model, {"0.weight": 0.5}, batch_size=60)
    assert len(calls) == 4, "of the survey alone"


class Stop(Exception):
    pass


def stop_after(number):
    def callback(stage):
        if stage.stage == number:
            raise Stop

    return callback


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path):
    (model, batches), (whole, _) = attending(), attending()
    options = {"batches": [(each, None) for each in batches], "exclude": "unused"}
    expected = run(whole, **options)
    for number in (1, 3):
        model, path = attending()[0], tmp_path / f"{number}.pt"
        with pytest.raises(Stop):
            run(model, checkpoint=path, callback=stop_after(number), **options)
        assert same(model, state(attending()[0]))
        seen = []
        report = run(model, checkpoint=path, callback=lambda each, seen=seen: seen.append(each.stage), **options)
        assert seen == list(range(number + 1, 5))
        assert same(model, state(whole))
        assert [each.objective for each in report.stages] == [each.objective for each in expected.stages]
    other = options | {"batches": [(tuple(2 * x for x in each), None) for each in batches]}
    for changed, word in ((other, "batches"), (options | {"damping": 0.1}, "damping")):
        model = attending()[0]
        refuse(lambda m=model, c=changed: run(m, checkpoint=path, **c), ValueError, "checkpoint:", f"run: {word}")


@pytest.mark.parametrize("keep_finished", [False, True])
def test_an_interrupt_keeps_finished_layers_or_restores_all(keep_finished, monkeypatch):
    before, half, solve, solved = again(mlp), again(mlp), l0quad.Layer.solve, []
    run(half, {"0.weight": 0.5})

    def interrupt(_):
        raise KeyboardInterrupt

    def interrupted(layer, *args, **options):
        solved.append(layer)
        return solve(layer, *args, **options, callback=interrupt if len(solved) == 2 else None)

    monkeypatch.setattr(l0quad.Layer, "solve", interrupted)
    model = again(mlp)
    with pytest.raises(KeyboardInterrupt):
        run(model, keep_finished=keep_finished)
    assert same(model, state(half if keep_finished else before))
    assert not any(layer._forward_hooks for layer in model)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.pair, self.out = nn.GRU(4, 5, batch_first=True), nn.Bilinear(5, 5, 4), nn.Linear(4, 3)

    def forward(self, x):
        seen = self.cells(x)[0]
        return self.out(self.pair(seen, seen))


def test_layers_whose_inputs_no_hook_sees_are_named_unless_they_stay_dense():
    torch.manual_seed(0)
    model, x = Recurrent().eval(), torch.randn(9, 6, 4)
    before = state(model)
    named = ("cells.weight_ih_l0 (GRU)", "cells.weight_hh_l0 (GRU)", "pair.weight (Bilinear)", "exclude=")
    refuse(lambda: run(model, 0.5, x), ValueError, "weights:", *named)
    refuse(lambda: run(model, 0.5, x, exclude=nn.GRU), ValueError, "weights:", named[2])
    assert same(model, before)
    for options in ({"sparsity": {nn.Linear: 0.5}}, {"exclude": [nn.GRU, nn.Bilinear]}, {"weights": "out"}):
        pruned = copy.deepcopy(model)
        report = run(pruned, batches=x, **options)
        assert [stage.layer for stage in report.stages] == ["out.weight"]
        assert nonzeros(pruned, "out.weight") == 6
        assert same(pruned.cells, {name: before[f"cells.{name}"] for name in pruned.cells.state_dict()})


@pytest.mark.parametrize(("method", "bound"), [("auto", "none"), ("auto", "fast"), ("sparsegpt", "none")])
def test_the_memory_that_is_asked_for_is_what_is_taken(method, bound, monkeypatch):
    torch.manual_seed(0)
    model, x, asked = nn.Linear(256, 128).eval(), torch.randn(300, 256), []
    monkeypatch.setattr(
        layerwise, "_memory", lambda *given, own=layerwise._memory: asked.append(own(*given)) or asked[-1]
    )
    tracemalloc.start()
    run(model, 0.5, x, method=method, bound=bound)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < asked[0] < 4 * taken


def test_progress_tells_the_layer_and_the_time_left(capsys):
    run(again(mlp), progress=True)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("prune_layers: layer 1 of 2")
    assert second.startswith("prune_layers: layer 2 of 2")
    assert second.endswith("s left")


def test_the_report_sums_layers_and_goes_into_files(tmp_path):
    model, metric = again(mlp), []
    report = run(model, 0.5, evaluate=lambda m: metric.append(nonzeros(m, "0.weight")) or metric[-1])
    assert metric == [80, 40, 40] == [report.metric_before, *(stage.metric for stage in report.stages)]
    total = report.total
    assert total.objective == sum(stage.objective for stage in report.stages)
    assert 0 < total.lower_bound <= total.objective
    assert total.relative_gap == pytest.approx((total.objective - total.lower_bound) / total.objective)
    assert "2 layers" in repr(report)
    report.save(tmp_path / "report.safetensors")
    again_there = PruneReport.load(tmp_path / "report.safetensors")
    assert again_there.to_json() == report.to_json()
    assert [stage.layer for stage in again_there.stages] == list(BOTH)
    fresh = again(mlp)
    again_there.apply(fresh)
    assert same(fresh, state(model))


def test_wrong_input_is_refused_before_the_model_is_changed(monkeypatch):
    model, batches = attending()
    pairs = [(each, None) for each in batches]
    cases = [
        (lambda: run(model, batches=pairs), ValueError, ["batches:", "no batch reaches unused.weight", "exclude="]),
        (lambda: run(again(mlp), batches=X[:0]), ValueError, ["batches:", "samples"]),
        (lambda: run(again(mlp), batches=3), TypeError, ["batches:"]),
        (lambda: run(again(mlp).train()), ValueError, ["model:", "train"]),
        (lambda: run(again(mlp), 0.0), ValueError, ["sparsity:", "zeros"]),
        (lambda: run(again(mlp), 1.5), ValueError, ["sparsity:"]),
        (lambda: run(again(mlp), method="backsolve"), ValueError, ["method:", "sparsegpt"]),
        (lambda: run(again(mlp), damping=-1.0), ValueError, ["damping:"]),
        (lambda: run(again(mlp), bound="most"), ValueError, ["bound:"]),
        (lambda: run(again(mlp), keep_finished=1), TypeError, ["keep_finished:"]),
        (lambda: run(again(mlp), batch_size=0), ValueError, ["batch_size:"]),
        (lambda: run(again(mlp), n_threads=0), ValueError, ["n_threads:"]),
        (lambda: run(again(mlp), checkpoint="/"), ValueError, ["checkpoint:"]),
    ]
    for call, error, words in cases:
        refuse(call, error, *words)
    odd = again(mlp)
    refuse(lambda: run(odd, batches=X * float("inf")), ValueError, "batches:", "0.weight", "finite")
    broken = again(mlp)
    broken[3].weight.data[0, 0] = float("nan")
    refuse(lambda: run(broken), ValueError, "model:", "3.weight", "finite")
    attach_masks(odd)
    refuse(lambda: run(odd.eval()), ValueError, "model:", "masks")
    monkeypatch.setattr(layerwise, "free_memory", lambda: 8000)
    narrow = again(mlp)
    refuse(lambda: run(narrow), ValueError, "weights: 0.weight has 8 inputs", "MB", "exclude=")
    assert same(narrow, state(again(mlp)))
    assert same(model, state(attending()[0]))
