"""What every method promises of a checkpoint: stopped anywhere, it goes on to the same bytes; and of its file."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killed import SOLVES
from matrices import column_files
from problems import PROBLEMS, gaussian, pruning, suited

import l0quad
import l0quad.api.checkpoint
import l0quad.files.checkpoint
import l0quad.problem.core
from l0quad import METHODS, Status, solve

ABLE = [name for name, method in METHODS.items() if method.needs.resumes]
NAMES = ["gaussian", "no_ridge", "pruning", "groups", "tall", "must_never", "gram"]
LARGER = SOLVES["exact"][0]
# Options under which a method takes several steps.
OPTIONS: dict[str, Any] = {
    "swap": l0quad.Swap(kicks=4),
    "coordinate_descent": l0quad.CoordinateDescent(12),
    "auto": l0quad.Auto("thorough"),
    "backsolve": l0quad.Backsolve(5),
}


@pytest.fixture(params=[0.0, 30.0], ids=["at every step", "when it is stopped"])
def seconds(request, monkeypatch):
    """How far apart the writes are: written at every step, or from what is held when the solve is stopped."""
    monkeypatch.setattr(l0quad.api.checkpoint, "SECONDS", request.param)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def stop_at(count):
    return lambda state: state.n_iter >= count


def is_the_same(result, expected):
    """The same bytes, and a history that goes on."""
    assert result.w.tobytes() == expected.w.tobytes()
    assert result.support.tobytes() == expected.support.tobytes()
    for name in ("objective", "lower_bound", "relative_gap", "status", "message", "n_iter"):
        assert getattr(result, name) == getattr(expected, name), name
    told = [[(s.n_iter, s.objective, s.lower_bound, s.nodes) for s in each.history] for each in (result, expected)]
    assert told[0] == told[1]
    passed = [0.0, *(state.seconds for state in result.history), result.solve_time]
    assert passed == sorted(passed)


def some(count):
    """Some of the iterations of a run, the first and the last ones among them."""
    return sorted({each for each in (1, 2, count // 2, count - 1, count) if 0 < each <= count})


@pytest.mark.parametrize("method", ABLE)
@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_to_the_same_bytes(path, seconds, method, name):
    instance, options = PROBLEMS[name], OPTIONS.get(method, method)
    if not suited(method, instance):
        return
    # With a bound, `auto` goes on with a tree.
    bound = "fast" if method == "auto" else "none"
    expected = solve(instance.problem(), options, bound=bound)
    for count in some(expected.n_iter):
        path.unlink(missing_ok=True)
        stopped = solve(instance.problem(), options, bound=bound, checkpoint=path, callback=stop_at(count))
        assert stopped.status in (Status.INTERRUPTED, Status.OPTIMAL)
        is_the_same(solve(instance.problem(), options, bound=bound, checkpoint=path), expected)


@pytest.mark.parametrize("method", ABLE)
def test_a_finished_run_is_not_run_again(path, method):
    """Its method is not: what follows it, the bound among it, comes to the same."""
    instance, options = PROBLEMS["gaussian"], OPTIONS.get(method, method)
    expected = solve(instance.problem(), options, checkpoint=path, bound="none")
    before = path.read_bytes()
    again = solve(instance.problem(), options, checkpoint=path, callback=lambda _: pytest.fail("a step"), bound="none")
    is_the_same(again, expected)
    assert path.read_bytes() == before


@pytest.mark.parametrize("method", ["exact", "auto", l0quad.Swap(kicks=20), "admm"])
def test_many_stops(path, method):
    """One after the other, as on a cluster whose jobs are short; each a little later."""
    expected = solve(LARGER.problem(), method)
    for count in range(3, expected.n_iter, max(2, expected.n_iter // 8)):
        solve(LARGER.problem(), method, checkpoint=path, callback=stop_at(count))
    result = solve(LARGER.problem(), method, checkpoint=path)
    is_the_same(result, expected)


@pytest.mark.parametrize("method", ["exact", "iht", "rounding", "admm", "obs", "swap", "auto"])
def test_a_limit_between_any_two_slices(path, seconds, ticking, method):
    """What is cut short within a step is done anew."""
    expected = solve(PROBLEMS["pruning"].problem(), method, bound="none")
    for limit in (3.0, 10.0, 30.0, 60.0):
        ticking["seconds"] = 0.0
        solve(PROBLEMS["pruning"].problem(), method, bound="none", checkpoint=path, time_limit=limit)
    ticking["seconds"] = 0.0
    result = solve(PROBLEMS["pruning"].problem(), method, bound="none", checkpoint=path)
    assert result.w.tobytes() == expected.w.tobytes()
    assert (result.status, result.message, result.n_iter) == (expected.status, expected.message, expected.n_iter)


FILES = ["iht", l0quad.IHT(refit=True), "backsolve", "rounding", "admm", "active_set", "block_backsolve", "auto"]


@pytest.mark.parametrize("method", FILES, ids=str)
def test_column_files(tmp_path, path, seconds, method):
    """From files too, and without sweeps over again: the refit is in the file, only A's norms are not."""
    instance = pruning(12, 300, 60, seed=2)
    A = column_files(instance.A.astype(np.float32), "F", tmp_path)

    def problem():
        return instance.but(A=A).problem()

    expected = solve(problem(), method)
    for count in some(expected.n_iter):
        path.unlink(missing_ok=True)
        stopped = solve(problem(), method, checkpoint=path, callback=stop_at(count))
        result = solve(problem(), method, checkpoint=path)
        is_the_same(result, expected)
        assert result.n_sweeps <= stopped.n_sweeps + expected.n_sweeps + 2
        if method == "rounding" and count > 1:
            # The norms come with the next step.
            assert result.n_sweeps < expected.n_sweeps + 1
    again = solve(problem(), method, checkpoint=path)
    assert again.n_sweeps - result.n_sweeps <= 2


@pytest.mark.parametrize("inner", [l0quad.IHT(6), l0quad.IHT(refit=True)], ids=str)
def test_an_active_set_that_is_all_columns_of_large_files(tmp_path, path, seconds, monkeypatch, inner):
    """That it is all of them does not hang on the start, of which a solve that goes on has none."""
    monkeypatch.setattr(l0quad.problem.core, "FILE_BYTES", 0)
    instance = pruning(40, 300, 120, seed=3)
    b = instance.b + np.random.default_rng(0).standard_normal(40)
    problem = instance.but(A=column_files(instance.A.astype(np.float32), "F", tmp_path), b=b).problem()
    expected = solve(problem, l0quad.ActiveSet(inner=inner))
    for count in some(expected.n_iter):
        path.unlink(missing_ok=True)
        solve(problem, l0quad.ActiveSet(inner=inner), checkpoint=path, callback=stop_at(count))
        is_the_same(solve(problem, l0quad.ActiveSet(inner=inner), checkpoint=path), expected)


def test_a_ridgeless_problem_of_uneven_columns(path, seconds):
    """The state is that of the evened problem, with the rows of A'A that it knows."""
    instance = gaussian(60, 40, 6, seed=5, rho=0.9)
    uneven = instance.but(A=instance.A * 10.0 ** (np.arange(40) % 7 - 3))
    expected = solve(uneven.problem(), l0quad.Swap(kicks=10), start=np.arange(6))
    for count in some(expected.n_iter):
        path.unlink(missing_ok=True)
        options = {"checkpoint": path, "start": np.arange(6)}
        solve(uneven.problem(), l0quad.Swap(kicks=10), callback=stop_at(count), **options)
        is_the_same(solve(uneven.problem(), l0quad.Swap(kicks=10), **options), expected)


def test_what_the_problem_knows_already_plays_no_part(path):
    """The second solve on a problem finds rows of A'A; one with a checkpoint does not look at them."""
    problem = LARGER.problem()
    expected = solve(LARGER.problem(), "auto")
    solve(problem, "swap", start=np.arange(8))
    solve(problem, "auto", checkpoint=path, callback=stop_at(5))
    is_the_same(solve(problem, "auto", checkpoint=path), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="a signal that Windows does not have")
@pytest.mark.parametrize(("name", "count"), [("exact", 20), ("descent", 10)])
def test_killed_at_any_moment(path, name, count):
    """By a signal that no program can catch."""
    command = [sys.executable, Path(__file__).parent / "killed.py", name, path, str(count)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    instance, method = SOLVES[name]
    with np.load(path, allow_pickle=False) as members:
        w = np.zeros(instance.p)
        w[members["support"]] = members["w"]
        assert instance.objective(w) == pytest.approx(float(members["objective"]), rel=1e-9)
    steps = []
    result = solve(instance.problem(), method, checkpoint=path, callback=steps.append)
    assert steps[0].n_iter > 1, "it went on"
    is_the_same(result, solve(instance.problem(), method))


def test_methods_that_cannot_are_unsuited(path):
    unable = set(METHODS) - set(ABLE)
    assert unable == {"magnitude", "forward"}
    for method in unable:
        with pytest.raises(l0quad.Unsuited, match=f"'{method}' cannot go on from a checkpoint; .*'auto', 'iht'"):
            solve(PROBLEMS["gaussian"].problem(), method, checkpoint=path)
    assert not path.exists()


BASE = PROBLEMS["must_never"].but(ridge=0.1)
OTHERS = {
    "A": {"A": BASE.A + 1e-15},
    "b": {"b": -BASE.b},
    "k": {"k": l0quad.Cardinality(5, must=[2, 7], never=[0, 5])},
    "ridge": {"ridge": 0.2},
    "w0": {"w0": None},
    "linear": {"linear": np.ones(12)},
}


@pytest.fixture
def written(path):
    """The file of a solve."""
    solve(BASE.problem(), "iht", checkpoint=path)
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_the_file_of_another_problem_is_refused(written, name):
    before = written.read_bytes()
    with pytest.raises(
        l0quad.BadFile, match=rf"checkpoint: .*run\.npz is of another solve: {name} is .* there, .* here"
    ):
        solve(BASE.but(**OTHERS[name]).problem(), "iht", checkpoint=written)
    assert written.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("the method", {"method": l0quad.IHT(max_iter=4)}),
        ("start", {"method": "iht", "start": [2, 7]}),
        ("seed", {"method": "iht", "seed": 1}),
    ],
)
def test_the_file_of_another_solve_is_refused(written, name, options):
    with pytest.raises(l0quad.BadFile, match=f"another solve: {name} is"):
        solve(BASE.problem(), checkpoint=written, **options)


def test_a_gram_problem_is_told_from_another(path):
    gram = BASE.but(gram=True)
    expected = solve(gram.problem(), "iht", checkpoint=path)
    is_the_same(solve(gram.problem(), "iht", checkpoint=path), expected)
    with pytest.raises(l0quad.BadFile, match="another solve: b is"):
        solve(gram.but(b=2 * BASE.b).problem(), "iht", checkpoint=path)


def test_a_damaged_file_is_refused_by_name(written):
    whole = written.read_bytes()
    for damaged in (whole[:-100], whole[: len(whole) // 2], b"", b"PK", whole[:300] + b"\xff" * 40 + whole[340:]):
        written.write_bytes(damaged)
        with pytest.raises(l0quad.BadFile, match=r"checkpoint: .*run\.npz is damaged, or none of l0quad's"):
            solve(BASE.problem(), "iht", checkpoint=written)
        assert written.read_bytes() == damaged
    np.savez(written, A=np.eye(3))
    with pytest.raises(l0quad.BadFile, match="damaged, or none of l0quad's"):
        solve(BASE.problem(), "iht", checkpoint=written)


def test_a_file_of_another_format_is_refused(written, monkeypatch):
    monkeypatch.setattr(l0quad.files.checkpoint, "_FORMAT", 2)
    with pytest.raises(l0quad.BadFile, match="must be of format 2, got 1"):
        solve(BASE.problem(), "iht", checkpoint=written)


def test_a_full_disk_costs_a_warning_only(path, monkeypatch):
    """The older file is whole, the answer is what it would be, and there is one warning, however often it fails."""
    monkeypatch.setattr(l0quad.api.checkpoint, "SECONDS", 0.0)
    instance = PROBLEMS["pruning"]
    expected = solve(instance.problem(), "admm")
    solve(instance.problem(), "admm", checkpoint=path, callback=stop_at(10))
    before = path.read_bytes()

    def full(file, **members):
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(np, "savez", full)
        with pytest.warns(l0quad.CheckpointWarning, match=r"run\.npz cannot be written, .*No space left") as caught:
            result = solve(instance.problem(), "admm", checkpoint=path)
    assert len(caught) == 1
    is_the_same(result, expected)
    assert [each.name for each in path.parent.iterdir()] == ["run.npz"]
    assert path.read_bytes() == before
    is_the_same(solve(instance.problem(), "admm", checkpoint=path), expected)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, TypeError, "checkpoint: must be a path, got 3"),
        ("run.txt", ValueError, r"checkpoint: run\.txt: must end in \.npz"),
        ("nowhere/run.npz", ValueError, "checkpoint: .*there is no folder"),
    ],
)
def test_a_path_is_checked_before_any_work(folder, given, error, message):
    with pytest.raises(error, match=message):
        solve(BASE.problem(), checkpoint=given, callback=lambda _: pytest.fail("work was done"))


def test_ctrl_c_while_the_file_is_written_keeps_the_result(path, monkeypatch):
    def interrupted(file, **members):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    result = solve(BASE.problem(), "iht", checkpoint=path)
    assert result.status is Status.INTERRUPTED
    assert result.objective == pytest.approx(BASE.objective(result.w))
    assert list(path.parent.iterdir()) == []


def test_minimize_takes_it(path):
    first = l0quad.minimize(LARGER.A, LARGER.b, 8, ridge=0.05, checkpoint=path)
    again = l0quad.minimize(LARGER.A, LARGER.b, 8, ridge=0.05, checkpoint=path)
    is_the_same(again, first)


def test_a_file_is_read_without_pickle_and_each_array_once(path):
    """The best point, the refit and the state share arrays, in memory as in the file."""
    solve(pruning(12, 300, 60).problem(), l0quad.IHT(refit=True), checkpoint=path)
    assert path.stat().st_size < 4 * 8 * 300 + 20000
    with warnings.catch_warnings(), np.load(path, allow_pickle=False) as members:
        warnings.simplefilter("error")
        assert all(members[name].dtype.kind in "fiub" for name in members.files)
