"""The size of the data decides nothing: A s, b s t, w0 t, ridge s^2 and linear s^2 t give t w and (s t)^2 F."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
from problems import PROBLEMS, suited

from l0quad import METHODS, Problem, Status, solve

NAMES = ["gaussian", "no_ridge", "wide", "tall", "pruning", "csc", "linear_w0", "per_block"]
# (s, s t): the sizes of A and of b.
DOUBLE = [(1e-150, 1.0), (1e150, 1.0), (1.0, 1e-150), (1.0, 1e150), (1e-150, 1e-150), (1e150, 1e150)]
DOUBLE += [(1e150, 1e-150), (1e-150, 1e150), (1e-40, 1.0), (1e40, 1e-20), (1e-30, 1e-30), (1e30, 1e10)]
SINGLE = [(1e-30, 1.0), (1e30, 1.0), (1.0, 1e-30), (1.0, 1e30), (1e-30, 1e-30), (1e30, 1e30), (1e-8, 1.0)]


def scaled(instance, s, st):
    t = st / s
    return instance.but(
        A=instance.A * np.float64(s).astype(instance.A.dtype),
        b=np.asarray(instance.b) * st,
        ridge=instance.ridge * s * s,
        w0=None if instance.w0 is None else instance.w0 * t,
        linear=None if instance.linear is None else instance.linear * s * st,
    )


@functools.cache
def unscaled(name, method):
    return solve(PROBLEMS[name].problem(), method)


def compare(name, method, s, st, rel):
    instance, plain = PROBLEMS[name], unscaled(name, method)
    result = solve(scaled(instance, s, st).problem(), method)
    size, t = instance.size(plain.w), st / s
    assert np.all(np.isfinite(result.w))
    np.testing.assert_array_equal(result.support, plain.support)
    w = result.w.astype(np.float64) / t
    np.testing.assert_allclose(w, plain.w, rtol=1e2 * rel, atol=1e2 * rel * np.abs(plain.w).max())
    assert result.objective / st / st == pytest.approx(plain.objective, abs=rel * size)
    assert result.lower_bound / st / st == pytest.approx(plain.lower_bound, abs=1e-3 * plain.gap + rel * size)
    assert result.gap >= 0
    assert (result.status is Status.OPTIMAL) == (plain.status is Status.OPTIMAL)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["auto", "iht", "backsolve", "block_backsolve"])
def test_double_precision(method, name):
    for s, st in DOUBLE:
        compare(name, method, s, st, 1e-9)


@pytest.mark.parametrize("name", ["float32", "float32_fortran", "pruning_float32", "coo_float32"])
@pytest.mark.parametrize("method", METHODS)
def test_single_precision(method, name):
    for s, st in SINGLE:
        compare(name, method, s, st, 1e-5)


@pytest.mark.parametrize("exponent", [-400, -130, -90, 90, 130, 400])
@pytest.mark.parametrize("name", ["gaussian", "no_ridge", "wide", "pruning"])
def test_powers_of_two_change_nothing_at_all(name, exponent):
    s = 2.0**exponent
    plain, result = unscaled(name, "auto"), solve(scaled(PROBLEMS[name], s, 1.0).problem())
    np.testing.assert_allclose(result.w * s, plain.w, rtol=1e-12)
    assert result.objective == pytest.approx(plain.objective, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ridge", [5e-324, 1e-300, 1e-200, 1e-40])
def test_tiny_ridge_is_no_ridge(method, ridge):
    for name in ("gaussian", "wide", "pruning"):
        instance = PROBLEMS[name].but(w0=None)
        if not suited(method, instance.but(ridge=0.0)):
            assert not suited(method, instance.but(ridge=ridge))
            continue
        plain = solve(instance.but(ridge=0.0).problem(), method, start=np.arange(4))
        result = solve(instance.but(ridge=ridge).problem(), method, start=np.arange(4))
        assert result.objective == pytest.approx(plain.objective, rel=1e-9, abs=1e-12 * instance.size(plain.w))
        assert 0 <= result.lower_bound <= result.objective


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ridge", [1e40, 1e300])
def test_huge_ridge_leaves_w0(method, ridge):
    instance = PROBLEMS["gaussian"].but(ridge=ridge)
    result = solve(instance.problem(), method)
    np.testing.assert_allclose(result.w, 0.0, atol=1e3 / ridge)
    assert result.objective == pytest.approx(0.5 * instance.b @ instance.b)
    w0 = np.where(np.arange(12) < 4, 1.0, 0.0)
    result = solve(instance.but(w0=w0).problem(), method)
    np.testing.assert_allclose(result.w, w0, atol=1e-12)
    assert result.lower_bound <= instance.but(w0=w0).objective(w0)


@pytest.mark.parametrize("changes", [{"b": 1e200}, {"w0": 1e200}, {"b": 1e308}, {"ridge": 1e308, "w0": 1e10}])
def test_an_objective_that_overflows_is_refused(changes):
    arguments = {"b": 1.0, "w0": 1.0, "ridge": 1.0, **changes}
    with pytest.raises(ValueError, match="overflows float64"):
        Problem(np.eye(3), np.full(3, arguments["b"]), 1, ridge=arguments["ridge"], w0=np.full(3, arguments["w0"]))


def test_a_linear_term_that_overflows_is_refused():
    with pytest.raises(ValueError, match=r"linear: .* overflows float64"):
        Problem(np.eye(3), np.ones(3), 1, ridge=1e-300, linear=np.full(3, 1e200))


@pytest.mark.parametrize("huge", [1e300, 1e308])
@pytest.mark.parametrize("convert", [np.array, np.asfortranarray, sp.csc_array, sp.csr_array])
def test_the_largest_matrices(huge, convert):
    instance = PROBLEMS["gaussian"]
    A = instance.A / np.abs(instance.A).max()
    plain = solve(Problem(A, instance.b, 4))
    result = solve(Problem(convert(A * huge), instance.b, 4))
    np.testing.assert_array_equal(result.support, plain.support)
    assert result.objective == pytest.approx(plain.objective, rel=1e-6)


@pytest.mark.parametrize("tiny", [1e-300, 5e-322])
def test_subnormal_entries_are_numbers(tiny):
    # One column: every multiple of the smallest subnormal counts.
    A = np.array([[1.0], [2.0], [3.0]]) * tiny
    result = solve(Problem(A, np.array([1.0, 2.0, 3.0]) * tiny, 1))
    assert result.w[0] == pytest.approx(1.0)
    assert result.status is Status.OPTIMAL


def test_columns_of_very_different_sizes():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((20, 6)), rng.standard_normal(20)
    sizes = 10.0 ** np.array([-100, -50, 0, 50, 100, 10])
    plain = solve(Problem(A, b, 6), "backsolve")
    result = solve(Problem(A * sizes, b, 6), "backsolve")
    assert np.all(np.isfinite(result.w))
    assert plain.objective * (1 - 1e-9) <= result.objective <= 0.5 * b @ b
    assert result.lower_bound <= plain.objective * (1 + 1e-12)
