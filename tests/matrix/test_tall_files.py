"""Tall column files: one sweep brings a problem of p rows; what is proven of that holds for the one that is meant."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from matrices import column_files
from problems import PROBLEMS
from rational import Exact

import l0quad
from l0quad import Dual, Problem, Status, Trivial
from l0quad.linalg import tall as blocks
from l0quad.problem import core
from l0quad.problem.reduction import proven_triangle


@pytest.fixture(autouse=True)
def _all_files_are_large(monkeypatch):
    monkeypatch.setattr(core, "FILE_BYTES", 0)


def tall(order, folder, n=300, p=30, ridge=0.1, seed=4, **terms):
    """Return a problem on files, and the same one in memory."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p)).astype(np.float32)
    b = A[:, :5].astype(np.float64) @ np.arange(1.0, 6.0) + 0.1 * rng.standard_normal(n)
    return Problem(column_files(A, order, folder), b, 5, ridge, **terms), Problem(A, b, 5, ridge, **terms)


@pytest.mark.parametrize("method", [name for name in l0quad.METHODS if name != "block_backsolve"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_sweep_serves_every_method_and_its_bound(order, method, tmp_path):
    problem, in_memory = tall(order, tmp_path)
    result = l0quad.solve(problem, method)
    assert result.n_sweeps == 1.0
    np.testing.assert_array_equal(result.support, np.arange(5))
    assert result.objective == pytest.approx(in_memory.objective(result.w), rel=1e-11)
    assert result.status is Status.OPTIMAL
    check = result.check(problem)
    assert check.ok, check.message
    # Neither the check nor another k or ridge reads the files again.
    again = l0quad.solve(problem.with_(k=3, ridge=0.2), method)
    assert again.n_sweeps == 0.0
    assert again.objective == pytest.approx(in_memory.with_(k=3, ridge=0.2).objective(again.w), rel=1e-11)


@pytest.mark.parametrize("bound", ["fast", "tight"])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_bounds_are_those_in_memory(bound, ridge, tmp_path):
    """To the rounding that is allowed for; from another b the file is read again."""
    problem, in_memory = tall("C", tmp_path, ridge=ridge)
    b = np.random.default_rng(0).standard_normal(300)
    found, expected = (l0quad.solve(each.with_(b=b), bound=bound) for each in (problem, in_memory))
    assert found.n_sweeps == 1.0
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-9)
    assert type(found.certificate) is type(expected.certificate)
    assert found.check(problem.with_(b=b)).ok


def test_a_dual_point_is_one_of_the_reduced_rows(tmp_path):
    problem, _ = tall("F", tmp_path, ridge=100.0)
    problem = problem.with_(b=np.random.default_rng(0).standard_normal(300))
    result = l0quad.solve(problem, "rounding", bound="none")
    assert isinstance(result.certificate, Dual)
    assert result.certificate.nu.shape == (30,)
    assert result.check(problem).ok
    assert l0quad.bound(problem, result).value >= result.lower_bound


def test_a_path_takes_one_sweep(tmp_path):
    problem, in_memory = tall("F", tmp_path)
    before = problem.matrix.bytes_read
    found = l0quad.path(problem.matrix, problem.b, ks=range(1, 6), ridges=[0.1, 1.0], fit_intercept=False)
    assert problem.matrix.bytes_read - before == problem.matrix.nbytes
    expected = l0quad.path(in_memory.matrix, in_memory.b, ks=range(1, 6), ridges=[0.1, 1.0], fit_intercept=False)
    for one, other in zip(found, expected, strict=True):
        assert one.result.objective == pytest.approx(other.result.objective, rel=1e-9)
        assert one.result.lower_bound == pytest.approx(other.result.lower_bound, rel=1e-6)
        # The part of b that no column can follow is in the criteria too.
        assert one.rss == pytest.approx(other.rss, rel=1e-6)
        assert one.scores["ebic"] == pytest.approx(other.scores["ebic"], rel=1e-6)


@pytest.mark.parametrize("far", [0.0, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_path_with_an_intercept_takes_few_sweeps_more(far, weighted, tmp_path):
    problem, in_memory = tall("C", tmp_path)
    A = in_memory.matrix.take(np.arange(30)) + np.float32(far)
    M = column_files(A, "C", tmp_path)
    options: dict[str, Any] = {"ks": range(1, 6), "fit_intercept": True, "standardize": True}
    if weighted:
        options["weights"] = np.arange(1.0, 301.0)
    found, expected = (l0quad.path(each, problem.b, **options) for each in (M, A))
    assert M.bytes_read <= 6 * M.nbytes
    assert found.fits[-1].result.n_sweeps <= 6
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.coef, other.coef, rtol=1e-6, atol=1e-9)
        assert one.rss == pytest.approx(other.rss, rel=1e-8)
        assert one.result.lower_bound <= other.result.objective
        assert one.result.lower_bound == pytest.approx(other.result.lower_bound, rel=1e-5)


def test_a_limit_within_the_sweep_returns_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", 1)
    problem, _ = tall("F", tmp_path)
    result = l0quad.solve(problem, time_limit=0.0)
    assert result.status is Status.TIME_LIMIT
    assert not result.w.any()
    assert result.n_sweeps < 0.5
    assert result.objective == problem.objective(result.w)


def test_an_interrupt_within_the_sweep_reads_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", 1)
    problem, _ = tall("F", tmp_path, w0=np.ones(30))
    read, counts = problem.matrix._rows, iter(range(4))

    def interrupted(home, rows):
        if next(counts) == 3:
            raise KeyboardInterrupt
        return read(home, rows)

    monkeypatch.setattr(problem.core.matrix, "_rows", interrupted)
    result = l0quad.solve(problem)
    assert result.status is Status.INTERRUPTED
    assert 0 < result.n_sweeps < 0.5
    assert result.message.startswith("interrupted; this is the best point so far; the bound is the trivial one;")


def test_a_limit_within_the_sweep_ends_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", 1)
    problem, _ = tall("F", tmp_path, w0=np.ones(30))
    before = problem.matrix.bytes_read
    found = l0quad.bound(problem, time_limit=0.0)
    assert isinstance(found.certificate, Trivial)
    assert 0 < found.value <= 0.1 * 25
    assert problem.matrix.bytes_read - before < 0.5 * problem.matrix.nbytes


def test_a_checkpoint_reads_no_columns_for_a_linear_term(tmp_path):
    problem, _ = tall("C", tmp_path, w0=np.ones(30), linear=np.linspace(-1, 1, 30))
    known = problem.matrix.bytes_read
    file = tmp_path / "run.npz"
    result = l0quad.solve(problem, "iht", checkpoint=file)
    # Sixteen columns tell the file's solve from others.
    assert problem.matrix.bytes_read - known == problem.matrix.nbytes + 16 * 300 * 4
    assert result.n_sweeps == 1.0
    with np.load(file) as members:
        assert float(members["objective"]) == pytest.approx(result.objective, rel=1e-6)


def test_a_target_of_extreme_size_is_swept_once(tmp_path):
    """It is scaled for each problem anew."""
    problem, _ = tall("F", tmp_path)
    large = problem.with_(b=problem.b * 1e40)
    assert l0quad.solve(large).n_sweeps == 1.0
    assert l0quad.solve(large.with_(ridge=0.2)).n_sweeps == 0.0


NAMES = [name for name, each in PROBLEMS.items() if each.dense.shape[0] > each.p and not each.gram and each.p <= 10]
NAMES += ["linear_w0", "per_block_must", "groups_w0", "must_never", "float32", "groups_linear", "k_zero", "all_zero"]


DEPENDENT = [name for name in NAMES if "repeated" in name and PROBLEMS[name].ridge == 0]


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_problem_is_bounded_in_exact_arithmetic(name, tmp_path):
    instance = PROBLEMS[name]
    problem = instance.but(A=column_files(np.asarray(instance.dense), "C", tmp_path)).problem()
    result = l0quad.solve(problem, bound="tight")
    exact = Exact.of(instance.dense, instance.b, instance.k, instance.ridge, instance.w0, instance.linear)
    assert Fraction(result.lower_bound) <= exact.optimum()
    assert result.objective == pytest.approx(float(exact.objective(result.w)), abs=1e-11 * instance.size(result.w))
    assert instance.allows(result.support)
    check = result.check(problem)
    assert check.ok, check.message
    assert result.n_sweeps == 1.0
    if name in DEPENDENT:
        assert result.lower_bound == 0
        assert "which rounding hides, because columns are nearly dependent" in result.message
    else:
        expected = l0quad.solve(instance.problem(), bound="tight")
        assert result.lower_bound >= expected.lower_bound - 1e-9 * instance.size(result.w)


def test_columns_of_zeros_hide_no_bound(tmp_path):
    problem, in_memory = tall("F", tmp_path, ridge=0.0)
    A = in_memory.matrix.take(np.arange(30)).copy()
    A[:, [0, 7]] = 0.0
    result = l0quad.solve(Problem(column_files(A, "C", tmp_path), problem.b, 5))
    assert result.lower_bound == pytest.approx(l0quad.minimize(A, problem.b, 5).lower_bound, rel=1e-7)


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_sizes_of_columns_hide_no_bound(ridge, tmp_path):
    """Of incomes and ages, say: what rounding may have moved is as with columns of one size."""
    problem, in_memory = tall("F", tmp_path, ridge=ridge)
    A = in_memory.matrix.take(np.arange(30)) * 10.0 ** np.linspace(-5, 5, 30)
    result = l0quad.solve(Problem(column_files(A, "C", tmp_path), problem.b, 5, ridge))
    assert result.status is Status.OPTIMAL
    assert result.lower_bound >= result.objective * (1 - 1e-5)
    assert result.lower_bound <= l0quad.minimize(A, problem.b, 5, ridge=ridge).objective


def test_a_perfect_fit_is_not_laid_to_dependent_columns(tmp_path):
    _, in_memory = tall("C", tmp_path, ridge=0.0)
    A = np.round(4 * in_memory.matrix.take(np.arange(30)))
    result = l0quad.solve(Problem(column_files(A, "F", tmp_path), A[:, 0] - 2 * A[:, 3], 2))
    assert result.lower_bound == 0
    assert "which rounding hides, because the fit is as good as that" in result.message


def test_columns_that_underflow_prove_nothing(tmp_path):
    """The factor may have lost them; b may lie along them."""
    A = np.zeros((40, 2))
    A[:20, 0], A[20:, 1] = 1.0, 5e-324
    for b in (A[:, 0] + (A[:, 1] > 0), np.ones(40) / 3):
        result = l0quad.solve(Problem(column_files(A, "F", tmp_path), b, 2))
        assert Fraction(result.lower_bound) <= Exact.of(A, b, 2).optimum()


@pytest.mark.parametrize("method", ["auto", "exact"])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_bounds_hold_in_exact_arithmetic(offset, method, tmp_path):
    """Columns that differ by little, and a good fit: rounding is all that is left of the objective."""
    rng = np.random.default_rng(2)
    A = (offset + rng.standard_normal((40, 5))).astype(np.float32)
    b = A[:, [1, 3]].astype(np.float64) @ [1.0, -2.0]
    b[0] += 1e-6 * (1 + offset)
    problem = Problem(column_files(A, "F", tmp_path), b, 2)
    result = l0quad.solve(problem, method, bound="tight")
    assert Fraction(result.lower_bound) <= Exact.of(A, b, 2).optimum()
    assert result.lower_bound >= 0.0
    assert result.check(problem).ok


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_how_far_rounding_moves_an_optimum_is_bounded(scale, tmp_path):
    """In exact arithmetic, at points as good as w = 0: |F - F_T| is within what is said."""
    rng = np.random.default_rng(3)
    A = rng.standard_normal((60, 4)).astype(np.float32)
    A[:, 3] = A[:, 2] + np.float32(scale) * A[:, 3]
    b = rng.standard_normal(60)
    problem = Problem(column_files(A, "F", tmp_path), b, 2)
    reduced = problem.in_memory()
    T = proven_triangle(problem.core.matrix, problem.core.b)
    exact, found = Exact.of(A, b, 2), Exact.of(T.R, T.c[:4], 2)
    rest = Fraction(float(T.c[4])) ** 2 / 2
    dense = np.linalg.lstsq(A, b, rcond=None)[0]
    for _ in range(20):
        w = dense * rng.uniform(0, 1, 4)
        apart = abs(exact.objective(w) - found.objective(w) - rest)
        assert 0 < apart <= Fraction(reduced.units.moved)
    assert reduced.units.moved < 1e-9 * reduced.core.objective_at_zero / scale**2
