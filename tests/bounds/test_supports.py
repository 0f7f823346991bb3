"""The bound of all supports: the optimum up to rounding, never above it."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import reference
from local_search import SMALL, arguments, over_small
from rational import Exact

import l0quad
from l0quad import AllSupports, Groups, Problem, Status, solve
from l0quad.bounds.supports import few_supports, supports_bound


@over_small
def test_it_is_the_optimum_and_that_support(name):
    instance = SMALL[name]
    core = instance.core()
    assert few_supports(core, 1e7)
    bound, point = supports_bound(core)
    optimum = reference.brute_force(*arguments(instance))[0]
    size = core.objective_at_zero
    tolerance = 1e-5 if instance.A.dtype == np.float32 else 1e-10
    assert optimum - tolerance * size <= bound.value <= optimum + tolerance * size
    assert instance.allows(point.support)
    assert point.objective == pytest.approx(optimum, abs=tolerance * size)
    assert 0 <= bound.allowance <= tolerance * size


@pytest.mark.parametrize("power", [4, 12, 20, 26, 40, 52])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_below_the_exact_optimum_of_nearly_dependent_columns(power, seed):
    """A difference of two columns, of 2**-power, explains b alone."""
    rng = np.random.default_rng(seed)
    A = rng.integers(-4, 5, (6, 5)).astype(float)
    b = rng.integers(-9, 10, 6).astype(float)
    A[:, 3] = A[:, 0] + 2.0**-power * b
    for k, ridge in itertools.product((1, 2, 3), (0.0, 2.0**-30)):
        bound = supports_bound(Problem(A, b, k, ridge).core)[0]
        optimum = Exact.of(A, b, k, ridge).optimum()
        assert bound.value == -np.inf or Fraction(bound.value) <= optimum
        if power <= 12:
            assert bound.value >= float(optimum) - 1e-4 * float(b @ b)


@pytest.mark.parametrize("seed", range(5))
def test_groups_and_a_matrix_of_products(seed):
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1, 2, 0, 1, 2, 1, 3, 0, 3])
    A, b, k = rng.standard_normal((12, 10)), rng.standard_normal(12), Groups(labels, 2, must=[2] if seed % 2 else ())
    bound, point = supports_bound(Problem(A, b, k).core)
    w = reference.brute_force(A, b, k)[1]
    np.testing.assert_array_equal(k.bind(10).closed(np.flatnonzero(w)), point.support)
    H, g = A.T @ A, A.T @ b
    exact = Exact.of_gram(0.5 * (H + H.T), g, 3).optimum()
    bound, _ = supports_bound(Problem.from_gram(H, g, 3).core)
    assert float(exact) - 1e-10 <= bound.value
    assert Fraction(bound.value) <= exact


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize("shape", [(30, 40), (45, 40), (12, 400), (4, 1), (3, 3)])
def test_few_supports_are_proven_by_default(shape, ridge):
    """One of 40 columns of correlated data: no relaxation proves anything of note, n p flops do."""
    rng = np.random.default_rng(0)
    n, p = shape
    A = rng.standard_normal((n, p)) + 3 * rng.standard_normal((n, 1))
    problem = Problem(A, A[:, : min(p, 3)].sum(1) + 3 * rng.standard_normal(n), 1, ridge)
    result = solve(problem)
    assert result.status is Status.OPTIMAL
    assert result.check(problem).ok


def test_columns_that_add_nothing_are_no_hindrance():
    """Zero columns, and columns that repeat others, or their negatives."""
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((8, 14)), rng.standard_normal(8)
    A[:, 3], A[:, 5], A[:, 9] = 0.0, A[:, 1], -A[:, 1]
    for k in (2, l0quad.Cardinality(3, must=[9], never=[1]), l0quad.Cardinality(2, must=[3])):
        result = solve(Problem(A, b, k))
        assert result.status is Status.OPTIMAL
        assert result.objective == pytest.approx(reference.brute_force(A, b, k)[0])


def test_a_better_point_is_taken():
    """All supports are tried for the proof where the search for the answer was a local one."""
    rng = np.random.default_rng(1)
    problem = Problem(rng.standard_normal((6, 150)), rng.standard_normal(6), 3)
    result = solve(problem)
    assert result.status is Status.OPTIMAL
    assert isinstance(result.certificate, AllSupports)
    assert result.check(problem).ok
    assert result.objective <= solve(problem, bound="none").objective


def test_columns_held_at_zero_cost_what_rounding_makes_of_it():
    """2500 of them, beside two that cost next to nothing."""
    for seed in (5, 11, 47, 52, 97):
        rng = np.random.default_rng(seed)
        A, b, w0 = np.zeros((1, 2500)), 1e-3 * rng.standard_normal(1), np.full(2500, rng.random())
        A[:, :2] = 1e-2 * rng.standard_normal(2)
        problem = Problem(A, b, l0quad.Cardinality(1, never=range(2, 2500)), 1.0, w0=w0)
        bound = problem.units.lower(supports_bound(problem.core)[0].value)
        outside = 2498 * Fraction(float(w0[0])) ** 2
        assert Fraction(bound) <= Exact.of(A[:, :2], b, 1, 1.0, w0[:2]).optimum() + outside


def test_dense_supports_are_walked_in_short_slices():
    """Of nearly dependent columns each support takes an inverse: that is counted, and the walk pauses in between."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((90, 40)) + 3 * rng.standard_normal((90, 1))
    core, calls = Problem(A, rng.standard_normal(90), 37).core, []
    assert not few_supports(core, 1e8)
    assert few_supports(core, 3e8)
    supports_bound(core, lambda: calls.append(1))
    assert len(calls) > 10


@pytest.mark.parametrize("power", [20, 150, 400, 480])
def test_columns_of_any_size(power):
    """Where squares of columns, or products of them, underflow, nothing is proven that is false."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        A, b = rng.standard_normal((7, 6)), rng.standard_normal(7)
        A[:, :3] *= 2.0**-power
        A[:, 1] += A[:, 0]
        problem = Problem(A, b, 3)
        bound = problem.units.lower(supports_bound(problem.core)[0].value)
        optimum = Exact.of(A, b, 3).optimum()
        assert Fraction(bound) <= optimum
        assert power > 300 or bound >= float(optimum) * (1 - 1e-10)
