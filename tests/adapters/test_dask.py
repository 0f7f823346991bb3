"""Sharded matrices on real worker processes: the same solves, and what happens where workers and files fail."""

import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from problems import PROBLEMS, suited

import l0quad
from l0quad.matrix.sweeps import Columns
from l0quad.problem import core

distributed = pytest.importorskip("distributed")
import dask
from l0quad_adapters.dask import cluster as adapter
from l0quad_adapters.dask import matrix, sharded
from l0quad_adapters.dask.shard import aligned

CONTRACT = ["gaussian", "float32_fortran", "pruning", "n_of_m", "groups_w0"]

posix = pytest.mark.skipif(os.name != "posix", reason="SIGKILL and SIGSTOP are of POSIX")


@pytest.fixture(scope="module")
def client():
    settings = {"distributed.worker.profile.enabled": False}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, memory_limit=0, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def shards(A, folder, count, order="F"):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}of{count}.npy" for number in range(count)]
    for path, part in zip(paths, np.array_split(A, count, axis=1), strict=True):
        np.save(path, np.asarray(part, order=order))
    return paths


@pytest.fixture
def pruning():
    """(A, b, w0)"""
    rng = np.random.default_rng(0)
    A = (rng.standard_normal((40, 900)) / 8).astype(np.float32)
    w0 = rng.standard_normal(900)
    return A, A.astype(np.float64) @ w0, w0


def solved(A, b, w0):
    return l0quad.solve(l0quad.Problem(A, b, 90, ridge=1.0, w0=w0), l0quad.Backsolve(steps=0))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_give_what_memory_gives_in_two_sweeps(count, client, pruning, tmp_path):
    A, b, w0 = pruning
    M = sharded(shards(A, tmp_path, count), client)
    found = solved(M, b, w0)
    expected = l0quad.solve(l0quad.Problem(A, b, 90, ridge=1.0, w0=w0), l0quad.Backsolve(steps=0), bound="none")
    np.testing.assert_array_equal(found.support, expected.support)
    assert found.objective == pytest.approx(expected.objective, rel=1e-10)
    assert found.n_sweeps == 2.0
    assert found.bytes_read == 2 * A.nbytes
    assert found.check(l0quad.Problem(A, b, 90, ridge=1.0, w0=w0)).ok
    again = solved(M, b, w0)
    assert again.w.tobytes() == found.w.tobytes()
    assert again.lower_bound == found.lower_bound


def over(names):
    """The pairs of methods and problems that go together."""
    pairs = [(method, name) for name in names for method in l0quad.METHODS if suited(method, PROBLEMS[name])]
    return pytest.mark.parametrize(("method", "name"), pairs)


def keeps_its_promises(instance, paths, client, method):
    """The answer is feasible, consistent, checked, and the one that is found in memory."""
    result = l0quad.solve(instance.but(A=sharded(paths, client)).problem(), method)
    assert instance.allows(result.support)
    np.testing.assert_array_equal(result.support, np.flatnonzero(result.w))
    assert abs(result.objective - instance.objective(result.w)) <= 1e-10 * instance.size(result.w)
    assert result.lower_bound <= result.objective
    assert result.check(instance.problem()).ok
    in_memory = l0quad.solve(instance.problem(), method)
    np.testing.assert_array_equal(result.support, in_memory.support)
    assert abs(result.objective - in_memory.objective) <= 1e-10 * instance.size(result.w)
    return result


@over(CONTRACT)
def test_methods_keep_their_promises_on_shards(method, name, client, tmp_path):
    instance = PROBLEMS[name]
    paths = shards(np.asarray(instance.A), tmp_path, 3)
    result = keeps_its_promises(instance, paths, client, method)
    again = l0quad.solve(instance.but(A=sharded(paths, client)).problem(), method)
    assert again.w.tobytes() == result.w.tobytes()
    assert again.lower_bound == result.lower_bound
    # A comes here once; sweeps before that are the cluster's: of refits, and two for each step of rounding and ADMM.
    assert result.n_sweeps <= (300 if method in ("rounding", "admm") else 8)


@over(["pruning"])
def test_methods_keep_their_promises_where_a_is_too_large_to_come_here(method, name, client, tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "_SMALL_BYTES", 0)
    monkeypatch.setattr(core, "FILE_BYTES", 0)
    instance = PROBLEMS[name]
    if not suited(method, instance.but(A=sharded(shards(instance.A, tmp_path, 2), client))):
        with pytest.raises(l0quad.Unsuited, match=r"needs A in memory; these methods do not"):
            l0quad.solve(instance.but(A=sharded(shards(instance.A, tmp_path, 2), client)).problem(), method)
        return
    keeps_its_promises(instance, shards(instance.A, tmp_path, 2), client, method)


@pytest.mark.parametrize("method", ["auto", "iht", "rounding"])
def test_any_number_of_shards_gives_the_same_support_and_objective(method, client, tmp_path):
    instance = PROBLEMS["pruning"]
    in_memory = l0quad.solve(instance.problem(), method)
    for count in (1, 8):
        A = sharded(shards(instance.A, tmp_path, count), client)
        result = l0quad.solve(instance.but(A=A).problem(), method)
        np.testing.assert_array_equal(result.support, in_memory.support)
        assert result.objective == pytest.approx(in_memory.objective, rel=1e-10)


@pytest.mark.parametrize("exponent", [0, -40])
def test_every_product(exponent, client, tmp_path):
    rng = np.random.default_rng(1)
    A = rng.standard_normal((12, 23)).astype(np.float32)
    M = sharded(shards(A, tmp_path, 3, "C"), client).scaled(exponent)
    A = np.ldexp(A.astype(np.float64), exponent)
    r, scale = rng.standard_normal(12), 2.0**exponent
    factor = np.linalg.cholesky(np.eye(12) + 0.1).astype(np.float64)
    for columns in (None, np.array([20, 3, 9]), np.array([4, 17]), np.arange(23)):
        A_S = A if columns is None else A[:, columns]
        w = rng.standard_normal(A_S.shape[1])
        t, product = M.rmatvec_and_matvec(columns, r, w)
        for found, expected in (
            (M.rmatvec(r, columns), A_S.T @ r),
            (M.matvec(columns, w), A_S @ w),
            (t, A_S.T @ r),
            (product, A_S @ (w + A_S.T @ r)),
            (M.outer(columns), A_S @ A_S.T),
            (M.inner(columns), A_S.T @ A_S),
            (M.column_quad(factor, columns), (np.linalg.solve(factor, A_S) ** 2).sum(axis=0)),
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * scale)
    np.testing.assert_allclose(M.column_sq_norms(), (A**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(np.vstack(list(M.row_blocks(5))), A)
    for columns in (np.array([2, 8, 21]), np.array([21, 2])):
        part = M.subset(columns)
        np.testing.assert_array_equal(part.take(np.arange(columns.size)), A[:, columns])
        np.testing.assert_array_equal(part.subset(np.array([1])).take(np.array([0])), A[:, columns[1:2]])
        np.testing.assert_allclose(part.rmatvec(r), A[:, columns].T @ r, atol=1e-12 * scale)


def dying(folder, before):
    """Tasks that kill their own process at most once for each ``before(arguments)``, which names an occasion."""

    def deadly(shard, do, *arguments):
        import os
        import signal

        from l0quad_adapters.dask.shard import answer

        try:
            os.close(os.open(f"{folder}/{before(arguments)}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return answer(shard, do, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    return deadly


@posix
def test_a_worker_killed_in_each_sweep_changes_nothing(client, pruning, tmp_path, monkeypatch):
    A, b, w0 = pruning
    M = sharded(shards(A, tmp_path, 4), client)
    expected = solved(M, b, w0)
    occasions = tmp_path / "killed"
    occasions.mkdir()
    kill = dying(occasions, lambda arguments: "first" if arguments[1].follow is None else "second")
    monkeypatch.setattr(adapter, "answer", kill)
    found = solved(M, b, w0)
    assert sorted(os.listdir(occasions)) == ["first", "second"]
    assert found.w.tobytes() == expected.w.tobytes()
    assert found.lower_bound == expected.lower_bound


@posix
def test_a_shard_that_kills_its_workers_is_named(client, pruning, tmp_path, monkeypatch):
    A, b, w0 = pruning
    M = sharded(shards(A, tmp_path, 1), client)
    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)

    def deadly(shard, do, *arguments):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(adapter, "answer", deadly)
    with pytest.raises(RuntimeError, match=r"A: the workers that read .*0of1.npy died"):
        solved(M, b, w0)


@contextmanager
def hanging(client):
    """No worker returns."""
    workers = list(client.run(os.getpid).values())
    for each in workers:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in workers:
            os.kill(each, signal.SIGCONT)


def test_a_worker_that_never_returns_is_given_up(client, pruning, tmp_path):
    A, b, w0 = pruning
    M = sharded(shards(A, tmp_path, 2), client, timeout=0.5)
    with hanging(client), pytest.raises(TimeoutError, match=r"A: nothing came back within 0.5 s; .*of2.npy"):
        solved(M, b, w0)


def after_iterations(count, do):
    """A callback that does something once."""
    return lambda state: do() if state.n_iter == count else None


def test_a_time_limit_gives_the_best_point_while_workers_hang(client, pruning, tmp_path):
    A, b, w0 = pruning
    problem = l0quad.Problem(sharded(shards(A, tmp_path, 2), client), b, 90, ridge=1.0, w0=w0)
    known = l0quad.solve(problem, l0quad.Backsolve(steps=0), bound="none")
    with ExitStack() as stack:
        stop = after_iterations(1, lambda: stack.enter_context(hanging(client)))
        found = l0quad.solve(problem, "backsolve", time_limit=3.0, callback=stop)
    assert found.status is l0quad.Status.TIME_LIMIT
    assert found.objective == pytest.approx(known.objective, rel=1e-10)
    assert found.check(l0quad.Problem(A, b, 90, ridge=1.0, w0=w0)).ok


def test_what_a_limit_still_asks_of_workers_that_hang_is_given_up(client, pruning, tmp_path, monkeypatch):
    """Gradient steps need the columns of the best point once more."""
    monkeypatch.setattr(matrix, "_SMALL_BYTES", 0)
    A, b, w0 = pruning
    M = sharded(shards(A, tmp_path, 2), client, grace=0.2)
    with ExitStack() as stack:
        stop = after_iterations(2, lambda: stack.enter_context(hanging(client)))
        with pytest.raises(TimeoutError, match=r"within 0.2 s after the solve's limit; .*of2.npy"):
            l0quad.solve(l0quad.Problem(M, b, 90, w0=w0), "coordinate_descent", time_limit=2.0, callback=stop)


@posix
def test_an_interrupt_gives_the_best_point_while_workers_hang(client, pruning, tmp_path):
    A, b, w0 = pruning
    problem = l0quad.Problem(sharded(shards(A, tmp_path, 2), client), b, 90, ridge=1.0, w0=w0)

    def stop():
        stack.enter_context(hanging(client))
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()

    with ExitStack() as stack:
        found = l0quad.solve(problem, "backsolve", callback=after_iterations(1, stop))
    assert found.status is l0quad.Status.INTERRUPTED
    assert found.check(l0quad.Problem(A, b, 90, ridge=1.0, w0=w0)).ok


def test_workers_align_what_came_over_the_wire():
    message = np.arange(6.0).tobytes()
    values = np.frombuffer(b"0" + message, np.float64, offset=1)
    assert not values.flags.aligned
    wanted = l0quad.Wanted(rows=(values,), weights=(Columns(values.view(np.int64), values),), norms=True)
    name, found, own = aligned(("swept", wanted, place := np.arange(3)))
    assert (name, found.norms, own is place) == ("swept", True, True)
    for array in (found.rows[0], found.weights[0].values, found.weights[0].support.view(np.float64)):
        assert array.flags.aligned
        assert array.tobytes() == message


def test_files_that_are_missing_changed_or_bad_are_named(client, pruning, tmp_path):
    A, b, w0 = pruning
    paths = shards(A, tmp_path, 2)
    with pytest.raises(FileNotFoundError, match=r"A: a worker cannot read .*none.npy"):
        sharded([*paths, tmp_path / "none.npy"], client)
    with pytest.raises(ValueError, match=r"paths: must name a file or more"):
        sharded([], client)
    np.save(tmp_path / "other.npy", np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"same number of rows; .*0of2.npy has 40, .*other.npy has 3"):
        sharded([*paths, tmp_path / "other.npy"], client)
    M = sharded(paths, client)
    A[7, 800] = np.nan
    shards(A, tmp_path, 2)
    with pytest.raises(l0quad.BadFile, match=r"A: .*of2.npy has changed since it was opened"):
        solved(M, b, w0)
    with pytest.raises(l0quad.BadFile, match=r"got nan in row 7, column 350 of .*1of2.npy"):
        solved(sharded(paths, client), b, w0)
    M = sharded(paths, client)
    paths[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"A: a worker cannot read .*1of2.npy"):
        solved(M, b, w0)


def waiting_for(signal_file, first, then=None):
    """Tasks of which that of the ``first`` file waits until a file is there; the others ``then`` do something."""

    def waits(shard, do, *arguments):
        import os
        import time

        from l0quad_adapters.dask.shard import answer

        while shard.path.endswith(first) and not os.path.exists(signal_file):
            time.sleep(0.02)
        if then is not None and not shard.path.endswith(first):
            then(shard)
        return answer(shard, do, *arguments)

    return waits


def test_a_bad_file_is_named_while_an_earlier_one_is_waited_for(client, pruning, tmp_path, monkeypatch):
    A, b, w0 = pruning
    A[7, 800] = np.nan
    M = sharded(shards(A, tmp_path, 2), client, timeout=2.0)
    monkeypatch.setattr(adapter, "answer", waiting_for(f"{tmp_path}/go", "0of2.npy"))
    try:
        with pytest.raises(l0quad.BadFile, match=r"got nan in row 7, column 350 of .*1of2.npy"):
            solved(M, b, w0)
    finally:
        (tmp_path / "go").touch()


@posix
def test_a_shard_that_is_lost_before_its_turn_and_cannot_be_read_again_is_named(client, pruning, tmp_path, monkeypatch):
    A, b, w0 = pruning
    paths = shards(A, tmp_path, 2)
    M = sharded(paths, client)

    def note(shard):
        import os

        with open(f"{os.path.dirname(shard.path)}/pid", "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))

    monkeypatch.setattr(adapter, "answer", waiting_for(f"{tmp_path}/go", "0of2.npy", note))

    def held():
        return {key for keys in client.has_what().values() for key in keys}

    before = held()

    def lose():
        while not held() - before:
            time.sleep(0.02)
        time.sleep(0.2)
        paths[1].unlink()
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        time.sleep(0.5)
        (tmp_path / "go").touch()

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        with pytest.raises(FileNotFoundError, match=r"A: a worker cannot read .*1of2.npy"):
            solved(M, b, w0)
    finally:
        thread.join()
