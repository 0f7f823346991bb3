"""Matrices in files: what is refused, what is read, and solves that know how often they read."""

import os
import pickle
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from matrices import column_files, values
from narrowed import some
from problems import PROBLEMS, monitor_of, suited

import l0quad
from l0quad import Backsolve, BadFile, Status
from l0quad.bounds.dual import dual_bound, dual_bound_at, with_bound
from l0quad.linalg import pieces as linalg_pieces
from l0quad.linalg import symmetric
from l0quad.matrix import sweeps
from l0quad.problem import core
from l0quad.problem.constraints import ranking
from l0quad.problem.counted import counted_refit
from l0quad.solvers import block_backsolve
from l0quad.solvers.working_set import exchanged


@pytest.fixture
def pruning(tmp_path):
    """(matrix in two files, the same in memory, b, w0)."""
    rng = np.random.default_rng(0)
    A = (rng.standard_normal((40, 900)) / 8).astype(np.float32)
    w0 = rng.standard_normal(900)
    return column_files(A, "F", tmp_path, 1 << 16), A, A.astype(np.float64) @ w0, w0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_first_bad_value_is_named_by_its_place(order, bad, tmp_path):
    A = np.ones((6, 40))
    A[4, 33] = bad
    problem = l0quad.Problem(column_files(A, order, tmp_path), np.ones(6), 8, ridge=0.1, w0=np.ones(40))
    with pytest.raises(
        BadFile, match=rf"A: .*, got {re.escape(str(bad))} in row 4, column 13 of .*{order}1float64.npy"
    ):
        l0quad.solve(problem)


def test_a_file_that_is_cut_off_or_changed_is_named(pruning):
    M, _, b, w0 = pruning
    problem = l0quad.Problem(M, b, 90, ridge=0.01, w0=w0)
    path = M._files[1].path
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.truncate(before.st_size - 100)
    with pytest.raises(BadFile, match=rf"{path.name} has changed since it was opened"):
        l0quad.solve(problem)
    # As if it were cut off while it is read.
    M._files = tuple(
        each._replace(stamp=(os.stat(each.path).st_size, os.stat(each.path).st_mtime_ns)) for each in M._files
    )
    with pytest.raises(BadFile, match=rf"{path.name} ends before its last value"):
        l0quad.solve(problem)


def test_nothing_is_read_at_the_door(pruning):
    M, _, b, w0 = pruning
    l0quad.Problem(M, b, 90, ridge=0.01, w0=w0)
    assert M.bytes_read == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_back_solve_and_its_bound_take_two_sweeps(order, dtype, tmp_path):
    rng = np.random.default_rng(1)
    A = (rng.standard_normal((40, 900)) / 8).astype(dtype)
    w0 = rng.standard_normal(900)
    b = A.astype(np.float64) @ w0
    M = column_files(A, order, tmp_path, 1 << 16)
    result = l0quad.solve(l0quad.Problem(M, b, 90, ridge=1.0, w0=w0), Backsolve(steps=0))
    assert result.n_sweeps == 2.0
    assert result.bytes_read == 2 * A.nbytes == M.bytes_read
    assert result.history[-1].bytes_read == 2 * A.nbytes
    exact = A.astype(np.float32 if M.dtype == np.float32 else np.float64)
    in_memory = l0quad.Problem(exact, b, 90, ridge=1.0, w0=w0)
    expected = l0quad.solve(in_memory, Backsolve(steps=0), bound="none")
    np.testing.assert_array_equal(result.support, expected.support)
    assert result.objective == pytest.approx(expected.objective, rel=1e-9)
    assert result.objective == pytest.approx(in_memory.objective(result.w), rel=1e-11)
    assert result.check(in_memory).ok
    assert result.lower_bound <= l0quad.bound(in_memory, start=result).value * (1 + 1e-9)


@pytest.mark.parametrize("block_size", [1, 7, 90, 450, 1000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_block_back_solve_and_its_bound_take_two_sweeps(order, block_size, tmp_path, monkeypatch):
    from l0quad.solvers import block_backsolve

    rng = np.random.default_rng(1)
    A = (rng.standard_normal((40, 900)) / 8).astype(np.float32)
    w0 = rng.standard_normal(900)
    b = A.astype(np.float64) @ w0 + rng.standard_normal(40)
    M = column_files(A, order, tmp_path, 1 << 16)
    # Several blocks together, and one that does not fit beside the others.
    monkeypatch.setattr(block_backsolve, "CHUNK_BYTES", 200 * 8 * 40)
    problem = l0quad.Problem(M, b, 90, ridge=1.0, w0=w0)
    result = l0quad.solve(problem, l0quad.BlockBacksolve(block_size))
    assert result.n_sweeps == 2.0
    in_memory = l0quad.Problem(A, b, 90, ridge=1.0, w0=w0)
    expected = l0quad.solve(in_memory, l0quad.BlockBacksolve(block_size), bound="none")
    np.testing.assert_allclose(result.w, expected.w, rtol=1e-5, atol=1e-6)
    assert result.objective == pytest.approx(in_memory.objective(result.w), rel=1e-11)
    assert result.check(in_memory).ok
    # The bound is that of the best w on the same support.
    best = l0quad.solve(problem, Backsolve(steps=0))
    assert result.lower_bound == pytest.approx(best.lower_bound, rel=1e-9)


def test_blocks_that_do_not_fit_are_refused(pruning, monkeypatch):
    from l0quad.solvers import block_backsolve

    M, _, b, w0 = pruning
    monkeypatch.setattr(block_backsolve, "_MOST_BLOCK_BYTES", 100 * 8 * 40)
    problem = l0quad.Problem(M, b, 90, ridge=0.01, w0=w0)
    with pytest.raises(l0quad.Unsuited, match="blocks of at most 100 columns"):
        l0quad.solve(problem, l0quad.BlockBacksolve(101))
    assert l0quad.solve(problem, l0quad.BlockBacksolve(100)).support.size == 90


def test_a_limit_leaves_the_start_of_a_block_back_solve(pruning):
    M, _, b, w0 = pruning
    problem = l0quad.Problem(M, b, 90, ridge=0.01, w0=w0)
    result = l0quad.solve(problem, "block_backsolve", callback=lambda state: True, bound="none")
    kept = np.zeros(900)
    kept[result.support] = w0[result.support]
    assert result.status is Status.INTERRUPTED
    np.testing.assert_allclose(result.w, kept, rtol=1e-6)
    assert result.objective == pytest.approx(problem.objective(result.w), rel=1e-11)


@pytest.mark.parametrize("size", [20, 90])
def test_what_a_refit_brings(size, pruning):
    """The residual, and the dual point with its scores, for |S| <= n and |S| > n: each as it is computed from A."""
    M, A, b, w0 = pruning
    A = A.astype(np.float64)
    problem = l0quad.Problem(M, b, size, ridge=0.1, w0=w0)
    point = problem.core.restricted(np.sort(np.argsort(-np.abs(w0))[:size]))
    refit = some(point.refit)
    nu = some(refit.nu)
    np.testing.assert_allclose(some(refit.residual), A[:, point.support] @ point.w - b, atol=1e-11)
    np.testing.assert_allclose(nu, some(refit.residual), atol=1e-4)
    np.testing.assert_allclose(some(refit.Atnu), A.T @ nu, atol=1e-11)
    assert M.bytes_read == M.nbytes * 2
    dual = l0quad.Problem(A, b, size, ridge=0.1, w0=w0).core
    assert dual_bound_at(problem.core, point).value == pytest.approx(dual_bound(dual, nu).value, rel=1e-10)
    assert M.bytes_read == M.nbytes * 2


def test_each_refit_takes_two_sweeps_and_scores_none(tmp_path):
    rng = np.random.default_rng(2)
    A = rng.standard_normal((30, 600)) / 8
    w0 = rng.standard_normal(600)
    # By rows whole chunks are read.
    M = column_files(A, "C", tmp_path, 1 << 16)
    result = l0quad.solve(l0quad.Problem(M, A @ w0, 200, ridge=0.01, w0=w0), l0quad.IHT(refit=True, max_iter=1))
    refits = round(result.n_sweeps / 2)
    assert result.n_sweeps == pytest.approx(2 * refits)
    assert result.n_iter <= refits


@pytest.mark.parametrize(
    "name", ["gaussian", "no_ridge", "tall", "wide", "pruning", "float32", "k_zero", "linear_w0", "per_block"]
)
@pytest.mark.parametrize("method", l0quad.METHODS)
def test_every_method_finds_in_files_what_it_finds_in_memory(method, name, tmp_path):
    """The contract: feasible, bounded, reproducible; the same objective up to rounding where the method is global."""
    if not suited(method, PROBLEMS[name]):
        pytest.skip("unsuited")
    instance = PROBLEMS[name]
    in_memory = instance.problem()
    stored = instance.but(A=column_files(np.asarray(instance.A), "F", tmp_path)).problem()
    result = l0quad.solve(stored, method)
    assert instance.allows(result.support)
    assert abs(result.objective - instance.objective(result.w)) <= 1e-10 * instance.size(result.w)
    assert result.lower_bound <= result.objective
    assert result.lower_bound <= l0quad.solve(in_memory, method).objective + 1e-12 * instance.size(result.w)
    assert result.check(in_memory).ok
    assert l0quad.solve(stored, method).w.tobytes() == result.w.tobytes()
    if l0quad.METHODS[method].needs.final_solve:
        np.testing.assert_allclose(
            result.w, instance.refit(result.support), atol=1e-5 * np.abs(result.w).max(initial=1)
        )


@pytest.mark.parametrize("k", [15, 40, 60, 200])
@pytest.mark.parametrize("max_iter", [1, 12])
def test_rounding_takes_two_sweeps_a_step_and_finds_what_it_finds_in_memory(max_iter, k, tmp_path):
    rng = np.random.default_rng(3)
    A = (rng.standard_normal((40, 900)) / 8).astype(np.float32)
    w0 = rng.standard_normal(900)
    b = A.astype(np.float64) @ w0
    M = column_files(A, "C", tmp_path, 1 << 16)
    problem = l0quad.Problem(M, b, k, ridge=0.01, w0=w0)
    result = l0quad.solve(problem, l0quad.Rounding(max_iter=max_iter))
    assert result.n_sweeps <= 2 * max_iter + 6
    assert result.bytes_read == M.bytes_read
    in_memory = l0quad.Problem(A, b, k, ridge=0.01, w0=w0)
    expected = l0quad.solve(in_memory, l0quad.Rounding(max_iter=max_iter))
    assert result.lower_bound == pytest.approx(expected.lower_bound, rel=1e-6)
    assert result.objective <= expected.objective * (1 + 1e-6)
    assert result.objective == pytest.approx(in_memory.objective(result.w), rel=1e-11)
    assert result.check(in_memory).ok
    assert result.objective <= l0quad.solve(problem, Backsolve(steps=0)).objective


@pytest.mark.parametrize(
    ("method", "n_sweeps"),
    [
        ("magnitude", 2),
        (l0quad.IHT(max_iter=0), 2),
        (l0quad.IHT(refit=True, max_iter=1), 4),
        (Backsolve(steps=0), 2),
        (Backsolve(steps=1), 4),
        (l0quad.BlockBacksolve(50), 2),
        # The last iteration makes no second pass; the refits ride, but for the second sweep of one at the end.
        (l0quad.ADMM(max_iter=4), 2 + 2 * 4 - 1),
        (l0quad.ADMM(max_iter=5), 2 + 2 * 5 + 1),
        (l0quad.ActiveSet(max_iter=0), 2),
    ],
    ids=str,
)
def test_methods_sweep_as_often_as_they_say(method, n_sweeps, tmp_path, monkeypatch):
    monkeypatch.setattr(core, "FILE_BYTES", 0)
    rng = np.random.default_rng(0)
    A = (rng.standard_normal((40, 900)) / 8).astype(np.float32)
    w0 = rng.standard_normal(900)
    M = column_files(A, "C", tmp_path, 1 << 16)
    result = l0quad.solve(l0quad.Problem(M, A.astype(np.float64) @ w0, 200, ridge=0.01, w0=w0), method)
    assert result.n_sweeps == n_sweeps


def test_a_round_of_the_active_set_takes_one_sweep_beside_its_refits(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    A = rng.standard_normal((40, 900)) / 8
    b = A[:, :30] @ rng.standard_normal(30) + 0.1 * rng.standard_normal(40)
    M = column_files(A, "C", tmp_path, 1 << 16)
    refits, found = [], counted_refit
    monkeypatch.setattr(core, "counted_refit", lambda *terms: refits.append(terms[0].shape[1]) or found(*terms))
    result = l0quad.solve(l0quad.Problem(M, b, 60, ridge=0.01), l0quad.ActiveSet(max_iter=1, extra=0.1), bound="none")
    # By rows whole chunks are read, of the working set too; those of a small support alone may be fewer.
    assert any(columns < 900 for columns in refits)
    assert 2 * len(refits) < result.n_sweeps <= 2 * len(refits) + 1


def test_exchanges_on_files_take_two_sweeps_and_a_refit(tmp_path):
    rng = np.random.default_rng(6)
    A = rng.standard_normal((60, 900)) / 8
    A[:, 1::2] = A[:, ::2] + 0.05 * A[:, 1::2]
    b = A[:, :16] @ rng.standard_normal(16) + 0.1 * rng.standard_normal(60)
    M = column_files(A, "C", tmp_path, 1 << 16)
    problem = l0quad.Problem(M, b, 8, ridge=0.01)
    point = with_bound(problem.core, problem.core.restricted(np.arange(20, 28)))
    before = M.bytes_read
    monitor = monitor_of(problem.core)
    better = exchanged(problem.core, point, 40, 1e9, monitor)
    assert better.objective < point.objective
    # Scores, the promising columns, and two for the refit; the columns' norms came with the first refit.
    assert M.bytes_read - before <= 4 * M.nbytes
    in_memory = l0quad.Problem(A, b, 8, ridge=0.01)
    expected = exchanged(in_memory.core, in_memory.core.restricted(np.arange(20, 28)), 40, 1e9, monitor)
    np.testing.assert_array_equal(better.support, expected.support)


FRUGAL: dict[str, Any] = {
    "magnitude": "magnitude",
    "iht": l0quad.IHT(max_iter=2),
    "iht, refit": l0quad.IHT(max_iter=2, refit=True),
    "active_set": l0quad.ActiveSet(max_iter=2),
    "active_set, iht": l0quad.ActiveSet(max_iter=2, inner=l0quad.IHT(max_iter=2)),
    "admm": l0quad.ADMM(max_iter=6),
    "rounding": l0quad.Rounding(max_iter=3),
    "auto": l0quad.Auto(),
    "backsolve": Backsolve(),
    "block_backsolve": l0quad.BlockBacksolve(50),
}


@pytest.fixture
def small_buffers(monkeypatch):
    monkeypatch.setattr(core, "FILE_BYTES", 0)
    monkeypatch.setattr(sweeps, "_GATHER_BYTES", 0)
    monkeypatch.setattr(sweeps, "_CACHE_BYTES", 1 << 14)
    monkeypatch.setattr(sweeps, "_LEAST_GATHERED", 16)
    monkeypatch.setattr(block_backsolve, "CHUNK_BYTES", 1 << 16)
    monkeypatch.setattr(ranking, "_PARTITIONED", 0)
    monkeypatch.setattr(linalg_pieces, "_PIECE", 1 << 10)
    monkeypatch.setattr(symmetric, "_BYTES", 0)
    monkeypatch.setattr(symmetric, "_LEAST_ROWS", 32)


@pytest.mark.parametrize("noise", [0, 1])
@pytest.mark.parametrize(("share", "given"), [(0.5, 1), (0.9, 0)])
@pytest.mark.parametrize("name", FRUGAL)
def test_ten_vectors_as_long_as_w0_are_enough(name, share, given, noise, tmp_path, small_buffers):
    """What NumPy allocates; of half of the columns with the caller's w0. Buffers are small; b is near A w0, or not."""
    p = 100_000
    rng = np.random.default_rng(0)
    w0 = rng.standard_normal(p)
    A = rng.standard_normal((4, p)).astype(np.float32)
    b = A.astype(np.float64) @ w0 + noise * 30 * p**0.5 * rng.standard_normal(4)
    M = column_files(A, "F", tmp_path, 1 << 17)
    small = l0quad.Problem(column_files(A[:, :600], "C", tmp_path), b, 60, ridge=1.0, w0=w0[:600])
    # Kernels are compiled.
    l0quad.solve(small, FRUGAL[name])
    tracemalloc.start()
    result = l0quad.solve(l0quad.Problem(M, b, int(share * p), ridge=1.0, w0=w0), FRUGAL[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.support.size == int(share * p)
    assert peak + given * w0.nbytes <= 10 * 8 * p + 2e5


@pytest.mark.parametrize("noise", [0, 1])
@pytest.mark.parametrize("name", ["active_set", "admm", "rounding", "backsolve", "block_backsolve"])
def test_five_matrices_of_rows_by_rows_are_enough(name, noise, tmp_path, small_buffers):
    n, p = 200, 2000
    rng = np.random.default_rng(0)
    w0 = rng.standard_normal(p)
    A = rng.standard_normal((n, p)).astype(np.float32)
    b = A.astype(np.float64) @ w0 + noise * 30 * p**0.5 * rng.standard_normal(n)
    M = column_files(A, "F", tmp_path, 1 << 17)
    small = l0quad.Problem(column_files(A[:4, :600], "C", tmp_path), b[:4], 60, ridge=1.0, w0=w0[:600])
    l0quad.solve(small, FRUGAL[name])
    del A
    tracemalloc.start()
    l0quad.solve(l0quad.Problem(M, b, 700, ridge=10.0, w0=w0), FRUGAL[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Of n x n matrices 5, vectors, the columns that wait for a product (twice 16 for each sum) and what is read.
    assert peak <= 8 * (5 * n**2 + 10 * p + 10 * 16 * n) + 4e5


@pytest.mark.parametrize("k", [0, l0quad.NofM(0, 3), l0quad.Cardinality(9, never=range(900))], ids=str)
@pytest.mark.parametrize("ridge", [0.0, 0.01])
def test_no_column_of_large_files_may_be_used(k, ridge, pruning, monkeypatch):
    M, _, b, w0 = pruning
    monkeypatch.setattr(core, "FILE_BYTES", 0)
    result = l0quad.solve(l0quad.Problem(M, b, k, ridge=ridge, w0=w0))
    assert result.status is Status.OPTIMAL
    assert not result.w.any()


@pytest.mark.parametrize("method", ["exact", "forward", "obs", "swap"])
def test_methods_that_hold_tables_say_so(method, pruning, monkeypatch):
    M, _, b, w0 = pruning
    problem = l0quad.Problem(M, b, 90, ridge=0.01, w0=w0)
    monkeypatch.setattr(core, "FILE_BYTES", 0)
    with pytest.raises(l0quad.Unsuited, match=rf"'{method}' needs A in memory; .*'backsolve'"):
        l0quad.solve(problem, method)


def test_an_interrupt_comes_between_chunks(pruning):
    M, _, b, w0 = pruning
    problem = l0quad.Problem(M, b, 90, ridge=0.01, w0=w0)
    result = l0quad.solve(problem, callback=lambda state: True)
    assert result.status is Status.INTERRUPTED
    limited = l0quad.solve(problem, time_limit=0.0)
    assert limited.status is Status.TIME_LIMIT


def test_copies_read_the_same_files(pruning):
    M, A, _, _ = pruning
    again = pickle.loads(pickle.dumps(M))
    np.testing.assert_array_equal(again.take(np.arange(900)), A)
    np.testing.assert_array_equal(M.subset(np.array([5, 700])).subset(np.array([1])).take(np.array([0])), A[:, [700]])


def test_rows_come_in_blocks(tmp_path):
    A = values((17, 9), np.float32)
    M = column_files(A, "C", tmp_path)
    np.testing.assert_array_equal(np.concatenate(list(M.row_blocks(5))), A)
    np.testing.assert_allclose(M.inner(), A.T.astype(np.float64) @ A, atol=1e-12)
