"""Limits, interrupts, threads and processes: how a solve ends, and what it leaves behind."""

import _thread
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from narrowed import some
from problems import PROBLEMS, gaussian, pruning
from threadpoolctl import threadpool_info, threadpool_limits

from l0quad import IHT, METHODS, ActiveSet, CoordinateDescent, Problem, Status, solve
from l0quad.run.outcome import Outcome
from l0quad.solvers import registry
from l0quad.solvers.registry import Method

ITERATIVE = [IHT, CoordinateDescent, ActiveSet]
needs_sigint = pytest.mark.skipif(os.name != "posix", reason="SIGINT to a process is POSIX")


@pytest.fixture
def endless(monkeypatch):
    """The name of a method that only a limit ends; its answer is the start."""

    def run(problem, start, options, monitor):
        while not monitor.record(start):
            time.sleep(0.001)
        return Outcome(start, Status.CONVERGED)

    monkeypatch.setitem(registry.METHODS, "endless", Method(registry.METHODS["magnitude"].options, run))
    return "endless"


def blas_threads():
    return [(each["filepath"], each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"]


@pytest.fixture
def blas_before():
    """The thread counts of BLAS, brought back after a test that may lose them."""
    before = blas_threads()
    yield before
    threadpool_limits(limits=max(count for _, count in before), user_api="blas")


@pytest.mark.parametrize("options", ITERATIVE)
def test_max_iter(options):
    problem = gaussian(40, 60, 10, rho=0.9, ridge=0.01).problem()
    start = np.arange(10) * 6 + 1
    refitted = problem.objective(_dense(problem, start))
    for max_iter in (0, 1, 2):
        result = solve(problem, options(max_iter=max_iter), start=start, bound="none")
        assert result.objective <= refitted * (1 + 1e-9)
        assert result.status is Status.ITERATION_LIMIT or max_iter > 0
    assert solve(problem, options(max_iter=0), start=start).status is Status.ITERATION_LIMIT
    assert not solve(problem, options(max_iter=0), start=start).success


def _dense(problem, support):
    w = np.zeros(problem.shape[1])
    w[support] = problem.core.restricted(support).w
    return w


@pytest.mark.parametrize("options", [IHT, CoordinateDescent])
def test_tol_stops_earlier(options):
    problem = gaussian(40, 60, 10, rho=0.9, ridge=0.01).problem()
    start = np.linspace(1.0, 2.0, 60)
    loose, exact = (solve(problem, options(tol=tol), start=start).n_iter for tol in (0.5, 0.0))
    assert loose < exact


@pytest.mark.parametrize("method", METHODS)
def test_callback_stops(method):
    instance = PROBLEMS["correlated"]
    seen = []

    def callback(state):
        seen.append(state)
        return True

    result = solve(instance.problem(), method, callback=callback)
    assert len(seen) == 1
    assert result.history == tuple(seen)
    assert result.status is Status.INTERRUPTED
    assert not result.success
    assert instance.allows(result.support)
    assert result.objective <= seen[0].objective * (1 + 1e-9)


def test_a_stopped_solve_is_not_called_optimal():
    """Not even where its point happens to be: the caller has asked for an end, and is told that it came."""
    A, w0 = np.random.default_rng(0).standard_normal((9, 6)), np.array([0.0, 2, 0, 0, -1, 0])
    problem = Problem(A, A @ w0, 2, 0.1, w0)
    result = solve(problem, "magnitude", callback=lambda state: True)
    assert result.gap <= 1e-20
    assert result.status is Status.INTERRUPTED
    assert solve(problem, "magnitude").status is Status.OPTIMAL


def test_zeros_of_a_start_are_not_in_its_support():
    instance = PROBLEMS["gaussian"]
    start = np.zeros(instance.p)
    start[7] = 1.0
    assert solve(instance.problem(), "magnitude", start=start).support.tolist() == [7]


def test_callback_sees_the_history_and_its_exceptions_pass():
    problem, seen = PROBLEMS["correlated"].problem(), []
    assert solve(problem, callback=seen.append).history == tuple(seen)

    def callback(state):
        raise RuntimeError("mine")

    before = blas_threads()
    with pytest.raises(RuntimeError, match="mine"):
        solve(problem, callback=callback, n_threads=1)
    assert blas_threads() == before


@pytest.mark.parametrize("after", [0.0, 0.1])
def test_interrupt_returns_the_best_point(slow, endless, after):
    for method in (endless, CoordinateDescent(max_iter=10**9, tol=0.0)):
        timer = threading.Timer(after, _thread.interrupt_main)

        def callback(state, timer=timer):
            if state.n_iter == 1:
                timer.start()

        start = _dense(slow, np.arange(300))
        result = solve(slow, method, callback=callback, bound="none", start=start)
        timer.join()
        assert result.status is Status.INTERRUPTED
        assert 0 < result.support.size <= 300
        assert result.objective <= min(each.objective for each in result.history) * (1 + 1e-9)
        assert result.objective == pytest.approx(slow.objective(result.w), rel=1e-9)


SCRIPT = """
import numpy as np
from l0quad import CoordinateDescent, Problem, solve
rng = np.random.default_rng(0)
A = rng.standard_normal((300, 400)).cumsum(axis=1)
problem = Problem(A, rng.standard_normal(300), 300, 1e-6)
say = lambda state: print("running", flush=True) if state.n_iter == 2 else None
result = solve(problem, CoordinateDescent(max_iter=10**9, tol=0.0), start=np.arange(300), callback=say)
print(result.status.name, result.support.size, flush=True)
"""


@needs_sigint
def test_ctrl_c_in_a_process_of_its_own():
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    stdout = some(process.stdout)
    try:
        assert stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        assert stdout.readline() == "INTERRUPTED 300\n"
        assert process.wait() == 0
    finally:
        process.kill()
        stdout.close()
        process.wait()


def test_interrupted_bound_keeps_the_point(monkeypatch):
    from l0quad.api import solve as _solve

    def interrupted(*args, **rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(_solve, "lower_bound", interrupted)
    result = solve(PROBLEMS["correlated"].problem())
    assert result.status is Status.INTERRUPTED
    assert PROBLEMS["correlated"].allows(result.support)
    assert result.check(PROBLEMS["correlated"].problem()).ok


@pytest.mark.parametrize("method", ["auto", "block_backsolve"])
@pytest.mark.parametrize("n_threads", [None, 1, 2])
def test_thread_counts_are_restored(method, n_threads):
    with threadpool_limits(limits=2, user_api="blas"):
        before, seen = blas_threads(), []
        solve(PROBLEMS["wide"].problem(), method, n_threads=n_threads, callback=lambda _: seen.append(blas_threads()))
        assert blas_threads() == before
        if n_threads == 1:
            assert {count for now in seen for _, count in now} == {1}


@pytest.mark.parametrize("method", ["auto", "block_backsolve"])
def test_two_solves_at_once(method, blas_before):
    problem = gaussian(60, 200, 20, rho=0.9, ridge=0.1).problem()
    expected = solve(problem, method, n_threads=1)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(solve, problem, method, n_threads=1) for _ in range(20)]
        results = [each.result() for each in waiting]
    assert blas_threads() == blas_before
    for result in results:
        np.testing.assert_array_equal(result.support, expected.support)
        assert result.objective == pytest.approx(expected.objective, rel=1e-9)


OVERLAPPING = """
import threading
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threadpoolctl import threadpool_info
from l0quad import Problem, solve
count = lambda: [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
problem = Problem(np.eye(3), np.ones(3), 2)
solve(problem)
before = count()
first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))
def first(_):
    first_is_in.set()
    second_is_in.wait()
def second(_):
    second_is_in.set()
    first_is_out.wait()
with ThreadPoolExecutor(2) as pool:
    one = pool.submit(solve, problem, "magnitude", n_threads=1, callback=first)
    one.add_done_callback(lambda _: first_is_out.set())
    first_is_in.wait()
    pool.submit(solve, problem, "magnitude", n_threads=1, callback=second).result()
print(count() == before)
"""


def test_thread_counts_are_restored_after_overlapping_solves():
    # The first to begin is the first to end, so that the second must not bring back the count of the first. In a
    # process of its own, because BLAS remembers what other tests have set.
    done = subprocess.run([sys.executable, "-c", OVERLAPPING], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_from_a_thread_that_is_not_the_main_one():
    problem, found = PROBLEMS["pruning"].problem(), []
    thread = threading.Thread(target=lambda: found.extend(solve(problem, method).objective for method in METHODS))
    thread.start()
    thread.join()
    assert found == pytest.approx([solve(problem, method).objective for method in METHODS])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork():
    problem = PROBLEMS["pruning"].problem()
    expected = [solve(problem, method) for method in METHODS]
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: send.send([solve(problem, method) for method in METHODS])
    )
    child.start()
    for got, want in zip(receive.recv(), expected, strict=True):
        np.testing.assert_array_equal(got.support, want.support)
        assert got.objective == pytest.approx(want.objective)
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("name", ["gaussian", "float32", "csc", "memmap", "per_block", "linear_w0", "gram"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_problems_and_results_can_be_copied_and_pickled(name, copied):
    problem = PROBLEMS[name].problem()
    result = solve(problem)
    again = solve(copied(problem))
    assert again.w.tobytes() == result.w.tobytes()
    assert again.lower_bound == result.lower_bound
    twin = copied(result)
    assert twin.w.tobytes() == result.w.tobytes()
    assert (twin.status, twin.history, twin.message) == (result.status, result.history, result.message)
    assert repr(twin) == repr(result)
    other = copied(problem)
    with pytest.raises(AttributeError):
        other.ridge = 3.0
    with pytest.raises(ValueError, match="read-only"):
        other.b[:] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        other.core.w0[:] = 0.0


def test_problem_and_result_are_immutable():
    problem = PROBLEMS["gaussian"].problem()
    for name in ("ridge", "k", "b", "anything"):
        with pytest.raises(AttributeError):
            setattr(problem, name, 1)
    for array in (problem.b, problem.w0):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    result = solve(problem)
    with pytest.raises(AttributeError):
        result.objective = 0.0  # type: ignore[misc]


def test_a_problem_does_not_follow_later_changes_of_its_vectors():
    made = pruning(10, 20, 5)
    arguments = [np.array(made.b), np.array(made.w0), np.ones(20)]
    problem = Problem(made.A, arguments[0], 5, 0.5, arguments[1], arguments[2])
    before = problem.objective(np.ones(20))
    for array in arguments:
        array[:] = 7.0
    assert problem.objective(np.ones(20)) == before


@pytest.mark.parametrize("name", ["gaussian", "pruning", "per_block", "linear"])
def test_reprs_are_short(name):
    problem = PROBLEMS[name].problem()
    assert len(repr(problem)) <= 120
    assert len(repr(solve(problem))) <= 200
    assert "\n" not in repr(solve(problem))


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_of_a_method_without_chance_changes_nothing(method):
    problem = PROBLEMS["correlated"].problem()
    assert solve(problem, method, seed=0).w.tobytes() == solve(problem, method, seed=12345).w.tobytes()


def test_an_interrupted_objective_is_that_of_w(monkeypatch):
    """Solvers may record objectives kept over many updates; what is returned is evaluated anew."""
    problem = PROBLEMS["gaussian"].problem()

    def run(problem, start, options, monitor):
        monitor.record(replace(start, objective=start.objective / 2, restricted_optimum=False))
        raise KeyboardInterrupt

    monkeypatch.setitem(registry.METHODS, "drifting", Method(registry.METHODS["magnitude"].options, run))
    result = solve(problem, "drifting")
    assert result.status is Status.INTERRUPTED
    assert result.objective == pytest.approx(problem.objective(result.w), rel=1e-12)
    assert result.lower_bound <= result.objective
