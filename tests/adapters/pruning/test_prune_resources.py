"""prune: memory told and kept to, runs that go on, statistics that are compared, names that tell methods apart."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import MagnitudePruning, Refit, choose, gradient_matrix, memory_needed, prune
from l0quad_adapters.torch.network.batchnorm import better_statistics, has_batchnorm, mean_loss, recalibrate_batchnorm
from l0quad_adapters.torch.network.data import Samples
from l0quad_adapters.torch.pruning import memory, stages
from l0quad_adapters.torch.pruning.problem import pruning_problem
from l0quad_adapters.torch.pruning.window import Window
from prune_runs import BOTH, DATA, again, conv, equal, loss, mlp, nonzeros, run, same, state, supports
from refusals import refuse
from torch.nn.functional import cross_entropy

import l0quad

SHARING = {"stages": 3, "refit_stages": 2, "refit": Refit(between=1, n_rows=20, momentum=0.5, average=2)}


@pytest.mark.parametrize("options", [{}, SHARING, {"stages": 2, "refit_stages": 1, "method": "auto"}])
def test_rows_in_a_file_give_the_same_network(tmp_path, options):
    here, there = again(conv), again(conv)
    run(here, 0.8, **options)
    run(there, 0.8, out=tmp_path / "A.bin", **options)
    for name in ("1.weight", "5.weight"):
        assert torch.equal(here.get_parameter(name) != 0, there.get_parameter(name) != 0)
        torch.testing.assert_close(here.get_parameter(name), there.get_parameter(name), rtol=1e-3, atol=1e-4)
    assert (tmp_path / "A.bin").stat().st_size == 4 * 60 * choose(here).size


def test_rows_in_memory_lie_by_columns_and_in_a_file_by_rows(tmp_path):
    for window, order in ((Window(6, 5), "F_CONTIGUOUS"), (Window(6, 5, tmp_path / "A"), "C_CONTIGUOUS")):
        for shape in ((6, 5), (3, 2), (6, 1)):
            room = window.fresh(*shape)
            assert room.shape == shape
            assert room.flags[order]
            room[:] = 1.0
        assert [window.oldest(2).start for _ in range(4)] == [0, 2, 4, 0]


@pytest.mark.parametrize(("way", "chunk", "samples"), [("loop", 7, 1), ("layers", 7, 7)])
def test_the_way_and_the_chunk_are_those_asked_for(way, chunk, samples):
    model, seen = again(mlp), []
    model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    run(model, 0.8, n_rows=14, batch_size=1, way=way, chunk=chunk)
    assert max(seen) == samples
    assert sum(seen) == 14


def test_refits_hold_the_columns_of_the_support_alone(monkeypatch):
    seen, solve = [], pruning_problem
    monkeypatch.setattr(stages, "pruning_problem", lambda A, *rest: seen.append(A) or solve(A, *rest))
    run(again(mlp), 0.8, refit_stages=2)
    first, *refits = seen
    assert [A.shape for A in seen] == [(60, 110), (60, 22), (60, 22)]
    assert all(np.shares_memory(A, first) for A in refits), "in the memory that there is"


def test_gradients_of_some_columns():
    model = again(mlp)
    whole = gradient_matrix(model, cross_entropy, [DATA], n_rows=20)
    columns = np.array([3, 0, 109])
    found = gradient_matrix(model, cross_entropy, [DATA], n_rows=20, columns=columns)
    assert np.array_equal(found, whole[:, columns])


def test_what_cannot_fit_is_refused_before_any_work(tmp_path, monkeypatch):
    needed = memory_needed(10**9, 1000)
    assert needed.matrix == 4 * 10**12 < needed.peak
    in_file = memory_needed(10**9, 1000, in_file=True)
    assert in_file.disk == in_file.matrix == needed.peak - in_file.peak
    model = again(mlp)
    before = state(model)
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    refuse(lambda: run(model, 0.5, loss_fn=None), ValueError, "n_rows:", "0.0264 MB", "out=")
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    refuse(lambda: run(model, 0.5, loss_fn=None, out=tmp_path / "A"), ValueError, "out:", "0.0264 MB")
    monkeypatch.undo()
    refuse(lambda: run(model, 0.5, loss_fn=None, out=tmp_path), ValueError, "out:", "file")
    assert same(model, before)


class Stop(Exception):
    pass


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("stage", [1, 2, 4, 7])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, stage, in_file):
    def stop(report):
        if report.stage == stage:
            raise Stop

    options = SHARING | {"l2": "auto"} | ({"out": tmp_path / "A"} if in_file else {})
    model, whole = again(conv), again(conv)
    expected = run(whole, 0.8, **SHARING | {"l2": "auto"} | ({"out": tmp_path / "B"} if in_file else {}))
    path = tmp_path / "run.pt"
    with pytest.raises(Stop):
        run(model, 0.8, checkpoint=path, callback=stop, **options)
    assert same(model, state(again(conv)))
    seen = []
    report = run(model, 0.8, checkpoint=path, callback=lambda each: seen.append(each.stage), **options)
    assert seen == list(range(stage + 1, 8))
    assert same(model, state(whole))
    assert [each.kept for each in report.stages] == [each.kept for each in expected.stages]
    assert report.l2 == expected.l2
    refuse(lambda: run(model, 0.7, checkpoint=path, **options), ValueError, "checkpoint:", "another run")


def test_frozen_weights_are_pruned_by_magnitude_alone():
    model = again(mlp)
    model[3].weight.requires_grad_(False)
    run(model, 0.8, method="magnitude")
    assert sum(nonzeros(model, name) for name in BOTH) == 22
    for options in ({}, {"method": "magnitude", "refit_stages": 1}):
        refuse(lambda options=options: run(model, 0.9, **options), ValueError, "weights:", "3.weight", "magnitude")


def test_two_methods_of_one_name_are_told_apart():
    plain, refitted, by_options = again(mlp), again(mlp), again(mlp)
    assert run(plain, 0.8, method="magnitude").method == "magnitude"
    assert run(again(mlp), 0.8, method=MagnitudePruning()).method == "magnitude"
    report = run(refitted, 0.8, method="magnitude_refit")
    assert report.method == "magnitude_refit"
    assert repr(report).startswith("PruneReport: magnitude_refit,")
    assert run(by_options, 0.8, method=l0quad.Magnitude()).method == "magnitude_refit"
    assert same(by_options, state(refitted))
    assert not same(refitted, state(plain))
    assert all(torch.equal(mask, supports(plain)[name]) for name, mask in supports(refitted).items())


@pytest.mark.parametrize("bound", ["none", "fast", "tight"])
def test_the_total_keeps_the_bound_that_was_paid_for(bound):
    report = run(again(mlp), 0.8, stages=2, refit_stages=2, bound=bound)
    pruned = report.stages[1]
    assert math.isnan(pruned.lower_bound) == (bound == "none")
    kept = report.stages[-1] if bound == "none" else pruned
    assert repr(report.total.objective) == repr(kept.objective)
    assert repr(report.total.lower_bound) == repr(kept.lower_bound)


def test_the_better_statistics_are_kept_and_it_is_said():
    own, foreign = again(conv), again(conv)
    with torch.no_grad():
        foreign[2].running_mean += 3.0
    for model, words in ((own, "kept"), (foreign, "renewed")):
        before = state(model)
        better, old, new = better_statistics(model, cross_entropy, Samples(DATA), DATA, n_samples=240, seed=0)
        assert same(model, before)
        assert better == (new < old)
        if model is own:
            assert old == pytest.approx(loss(model), rel=1e-4)
        report = run(model, 0.5, l2=1.0)
        assert report.statistics.startswith("batch statistics renewed" if better else "batch statistics kept")
        assert torch.equal(model[2].running_mean, before["2.running_mean"]) == (not better)
        assert words == "kept" or better
    assert run(again(conv), 0.5, recalibrate=False).statistics == "batch statistics kept, as asked"
    assert run(again(mlp), 0.5).statistics == ""


def test_frozen_statistics_stay():
    model = again(conv)
    model[2].momentum = 0.0
    before = state(model)
    assert not has_batchnorm(model)
    assert run(model, 0.5, recalibrate=True).statistics == ""
    assert torch.equal(model[2].running_mean, before["2.running_mean"])


def test_l2_is_compared_with_the_statistics_that_it_would_have(monkeypatch):
    calls, renew, measure = [], recalibrate_batchnorm, mean_loss
    monkeypatch.setattr(stages, "recalibrate_batchnorm", lambda *a, **k: calls.append("renew") or renew(*a, **k))
    monkeypatch.setattr(stages, "mean_loss", lambda *a: calls.append("loss") or measure(*a))
    run(again(conv), 0.5, l2="auto", recalibrate=True)
    assert calls == ["renew", "loss"] * len(stages.L2_GRID) + ["renew"]


def test_missing_samples_for_auto_are_found_before_any_gradient():
    before = state(model := again(mlp))
    refuse(lambda: run(model, 0.5, l2="auto", n_rows=240, loss_fn=None), ValueError, "l2:", "240")
    assert same(model, before)


def test_a_report_on_another_network_warns():
    model, other = again(mlp), again(mlp)
    report = run(model, 0.8)
    report.apply(fresh := again(mlp))
    assert same(fresh, state(model))
    with torch.no_grad():
        other[3].bias += 1
    with pytest.warns(UserWarning, match=r"^model: 1 parameters .*3\.bias.*save_sparse"):
        report.apply(other)


def test_defaults_take_what_the_data_have():
    report = prune(model := again(mlp), cross_entropy, DATA, 0.5)
    assert (report.n_rows, report.batch_size, len(report.stages)) == (240 * 9 // 10 // 16, 16, 15)
    assert sum(nonzeros(model, name) for name in BOTH) == 55
    batches = list(zip(DATA[0].split(50), DATA[1].split(50), strict=True))
    assert prune(again(mlp), cross_entropy, batches, 0.5).n_rows == 13


@pytest.mark.parametrize("options", [{}, {"method": "magnitude"}, {"l2": "auto"}, {"stages": 2, "refit_stages": 1}])
def test_rows_in_column_files_give_the_same_support(tmp_path, options):
    there, here = again(mlp), again(mlp)
    run(there, 0.8, out=tmp_path / "A", shards=3, **options)
    run(here, 0.8, **options)
    assert equal(supports(there), supports(here))
    for name in BOTH:
        torch.testing.assert_close(there.get_parameter(name), here.get_parameter(name), rtol=1e-4, atol=1e-5)
    if "method" not in options:
        assert len(list((tmp_path / "A").glob("*.npy"))) == 3


def test_workers_of_a_cluster_prune_through_all_stages(tmp_path):
    distributed = pytest.importorskip("distributed")
    there, here = again(mlp), again(mlp)
    options = {"stages": 2, "refit_stages": 1, "out": tmp_path / "A", "shards": 3, "bound": "fast"}
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        report = run(there, 0.8, client=client, **options)
    expected = run(here, 0.8, **options)
    assert equal(supports(there), supports(here))
    assert [stage.objective for stage in report.stages] == pytest.approx(
        [stage.objective for stage in expected.stages], rel=1e-6
    )


def test_a_stopped_run_on_column_files_goes_on(tmp_path):
    options = {"stages": 2, "refit_stages": 1, "out": tmp_path / "A", "shards": 2, "checkpoint": tmp_path / "saved"}
    whole, stopped = again(mlp), again(mlp)
    run(whole, 0.8, **options | {"checkpoint": None})

    def stop(stage):
        if stage.stage == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stopped, 0.8, callback=stop, **options)
    run(stopped, 0.8, **options)
    assert same(stopped, whole.state_dict())


def test_a_folder_that_cannot_be_filled_is_refused_and_not_made(tmp_path, monkeypatch):
    model = again(mlp)
    (tmp_path / "file").touch()
    for name in ("file", "file/below"):
        refuse(lambda name=name: run(model, 0.5, out=tmp_path / name, shards=2), ValueError, "out: must be a folder")
    options = {"stages": 1, "out": tmp_path / "new" / "A", "shards": 2}
    free = type("Usage", (), {"free": 25000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    refuse(lambda: run(model, 0.5, loss_fn=None, **options), ValueError, "out:", "0.0264 MB")
    assert not (tmp_path / "new").exists()
    free.free = 26400
    run(model, 0.5, **options)
    # The files of the first call give their room to the second.
    free.free = 0
    run(again(mlp), 0.5, **options)


def test_what_column_files_are_not_for_is_refused(tmp_path):
    model = again(mlp)
    for options, match in (
        ({"client": object()}, "client: needs out="),
        ({"shards": 2}, "shards: needs out=, a folder"),
        ({"shards": 0, "out": tmp_path}, "shards: must be"),
        ({"shards": 2, "out": tmp_path, "scale_rows": True}, "shards: do not go with scale_rows"),
        ({"shards": 2, "out": tmp_path, "method": "woodfisher"}, "shards: do not go with method"),
        (
            {"shards": 2, "out": tmp_path, "refit": Refit(between=1), "stages": 2},
            "shards: do not go with refit.between",
        ),
    ):
        refuse(lambda options=options: run(model, 0.5, loss_fn=None, **options), ValueError, match)
