"""Time limits: when a solve stops, what may follow, and how often it reports. Time is mostly counted in questions."""

import time
from typing import Any

import numpy as np
import pytest
from problems import PROBLEMS, monitor_of, suited

import l0quad.linalg.cholesky
import l0quad.linalg.orthogonal
import l0quad.linalg.symmetric
import l0quad.matrix.base
import l0quad.matrix.dense
import l0quad.solvers.coordinate_descent
import l0quad.solvers.tableau
from l0quad import METHODS, CoordinateDescent, Status, solve
from l0quad.run.monitor import BYTES_PER_SECOND, FLOPS_PER_SECOND, Limits, SolveMonitor
from l0quad.solvers.coordinate_descent import coordinate_descent


def ended_by_time(result, support_size):
    assert result.status is Status.TIME_LIMIT
    assert not result.success
    assert result.support.size <= support_size
    assert np.isfinite(result.objective)
    assert result.lower_bound <= result.objective


@pytest.mark.parametrize("limit", [0.0, 10.0, 100.0])
def test_time_limit(slow, ticking, limit):
    """From the limit on the time is asked for a few times only, and no more than a grace is worked."""
    result = solve(slow, CoordinateDescent(max_iter=10**9, tol=0.0), time_limit=limit, start=np.arange(300))
    ended_by_time(result, 300)
    assert limit <= ticking["seconds"] <= limit + 8
    assert len(result.history) >= limit / 4
    assert all(state.seconds <= limit + 1 for state in result.history)


def test_a_sweep_ends_where_the_time_does(slow, ticking, monkeypatch):
    monkeypatch.setattr(l0quad.solvers.coordinate_descent, "_SLICE_ENTRIES", 1)
    core = slow.core
    start = core.evaluate(np.arange(300), np.ones(300))
    monitor = monitor_of(core, limits=Limits(20.0))
    point = coordinate_descent(core, start, CoordinateDescent(), monitor).point
    assert 5 <= np.count_nonzero(point.w != start.w) <= 20
    assert point.objective < start.objective


def test_time_limit_by_the_clock(slow):
    began = time.perf_counter()
    result = solve(slow, CoordinateDescent(max_iter=10**9, tol=0.0), time_limit=0.2, start=np.arange(300))
    assert time.perf_counter() - began >= 0.2
    assert result.solve_time >= 0.2
    ended_by_time(result, 300)


UNUSED: Any = None


def test_work_after_the_limit_is_judged_by_its_size(ticking):
    """A tenth of the limit, or after a stop a quarter of a second, at the speeds of `monitor`."""
    monitor = SolveMonitor(UNUSED, UNUSED, UNUSED, Limits(100.0))
    for stopped, seconds, most in ((None, 49, 60), (Status.TIME_LIMIT, 99, 10), (Status.INTERRUPTED, 1e6, 0.25)):
        monitor.stopped = stopped
        for bytes_read, flops in ((BYTES_PER_SECOND, 0.0), (0.0, FLOPS_PER_SECOND)):
            for share, affordable in ((0.99, True), (1.01, False)):
                ticking["seconds"] = seconds
                assert monitor.affords(share * most * bytes_read, share * most * flops) is affordable
    assert SolveMonitor(UNUSED, UNUSED, UNUSED).affords(1e30, 1e30)


@pytest.fixture
def thin(monkeypatch):
    """Long work in slices of next to nothing."""
    for module, name, value in (
        (l0quad.linalg.orthogonal, "_PANEL", 2),
        (l0quad.linalg.orthogonal, "_SLICE_FLOPS", 1),
        (l0quad.linalg.cholesky, "_AT_ONCE", 0),
        (l0quad.linalg.symmetric, "_LEAST_ROWS", 4),
        (l0quad.linalg.symmetric, "_BYTES", 0),
        (l0quad.matrix.dense, "_AT_ONCE_FLOPS", 0),
        (l0quad.matrix.dense, "CHUNK_BYTES", 512),
        (l0quad.matrix.base, "CHUNK_BYTES", 512),
        (l0quad.solvers.tableau, "_SLICE_FLOPS", 1),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gaussian", "no_ridge", "wide", "repeated_columns", "pruning", "groups"])
def test_a_limit_between_any_two_slices(thin, ticking, method, name):
    """Every long step of every method asks for the time, and what is returned is what the best point so far is."""
    instance = PROBLEMS[name]
    if not suited(method, instance):
        return
    for limit in (2, 5, 12, 30, 75, 180):
        ticking["seconds"] = 0.0
        result = solve(instance.problem(), method, time_limit=limit, bound="none")
        assert instance.allows(result.support)
        assert result.objective <= instance.objective(np.zeros(instance.p)) * (1 + 1e-12) or method == "block_backsolve"
        assert abs(result.objective - instance.objective(result.w)) <= 1e-10 * instance.size(result.w)
        if result.status is not Status.TIME_LIMIT:
            break
        assert limit <= ticking["seconds"] <= limit + 12


@pytest.mark.parametrize("method", METHODS)
def test_no_time_at_all(method):
    instance = PROBLEMS["pruning"]
    result = solve(instance.problem(), method, time_limit=0.0)
    assert result.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    assert instance.allows(result.support)
    assert result.objective == pytest.approx(instance.objective(result.w))
    assert "the bound is the trivial one" in result.message, "another would need a pass over A"


def test_verbose_prints_to_stderr(slow, capsys, ticking):
    """At most five lines a second, whatever the number of iterations."""
    ticking["tick"] = 1 / 64
    result = solve(slow, CoordinateDescent(max_iter=10**9, tol=0.0), time_limit=2.0, verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert 6 <= len(lines) <= 10 < result.n_iter
    assert all("iteration" in line and "best" in line for line in lines)
    ticking["seconds"] = 0.0
    solve(slow, CoordinateDescent(max_iter=10**9, tol=0.0), time_limit=2.0)
    assert capsys.readouterr() == ("", "")
