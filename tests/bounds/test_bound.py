"""Which bounds are reported: never a worse one for a small ridge, with the reason where it proves little."""

from importlib import resources

import numpy as np
import pytest
from problems import gaussian

import l0quad
from l0quad import AllColumns, Dual, Problem, Separable, Trivial, solve
from l0quad.bounds.bound import first_bound, lower_bound
from l0quad.run.monitor import SolveMonitor


@pytest.fixture(scope="module")
def diabetes():
    with resources.files("l0quad").joinpath("data/diabetes.csv").open(encoding="ascii") as file:
        data = np.loadtxt(file, delimiter=",", skiprows=1)
    return data[:, :10], data[:, 10]


@pytest.mark.parametrize("bound", ["fast", "tight"])
def test_a_small_ridge_is_not_worse_than_none(diabetes, bound):
    A, b = diabetes
    gaps = [l0quad.minimize(A, b, 3, ridge=ridge, bound=bound).relative_gap for ridge in (0.0, 1e-3, 1.0)]
    assert max(gaps) <= 0.06
    assert max(gaps) <= 1.01 * gaps[0]


def test_uncentred_columns():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((2000, 50))
    A[:, 1:] = 0.6 * A[:, 1:] + 0.8 * A[:, :-1] + 3
    b = A[:, 3] + rng.standard_normal(2000)
    for ridge in (0.0, 1e-3, 1.0):
        result = l0quad.minimize(A, b, 5, ridge=ridge, method="swap")
        assert result.relative_gap <= 0.02
        assert isinstance(result.certificate, Separable)


def test_nearly_dependent_columns_have_the_ridge():
    """Without one nothing is proven beyond 0; with a small one the relaxation is with it."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((60, 8))
    A[:, 7] = A[:, 0] + 1e-9 * rng.standard_normal(60)
    b = A[:, 0] + A[:, 3] + rng.standard_normal(60)
    small = l0quad.minimize(A, b, 2, ridge=1e-6)
    least = 0.5 * np.sum((b - A[:, :7] @ np.linalg.lstsq(A[:, :7], b)[0]) ** 2)
    assert small.lower_bound >= 0.95 * least
    assert small.check(Problem(A, b, 2, 1e-6)).ok
    none = l0quad.minimize(A, b, 2)
    assert none.lower_bound >= 0
    assert "nearly dependent" in none.message or none.relative_gap < 0.1


def test_the_reason_is_named():
    rng = np.random.default_rng(2)
    A = rng.standard_normal((40, 120))
    b = A[:, :3] @ np.ones(3) + 0.1 * rng.standard_normal(40)
    result = l0quad.minimize(A, b, 3, ridge=1e-6, method="swap")
    assert result.relative_gap > 0.5
    assert "fewer rows than columns" in result.message
    assert "more rows" in result.message
    # The ridge that is named does what is said of it.
    ridge = float(result.message.split("ridge >= ")[1].split()[0].rstrip(";,"))
    assert l0quad.minimize(A, b, 3, ridge=ridge, method="swap").relative_gap <= 0.15
    assert "would help" not in l0quad.minimize(A, b, 3, ridge=10 * ridge, method="swap").message


def test_what_cannot_matter_is_not_computed():
    """Where the residual proves hopelessly little, the default asks for one product more than none."""
    rng = np.random.default_rng(3)
    A = rng.standard_normal((40, 120))
    b = A[:, :3] @ np.ones(3) + 0.1 * rng.standard_normal(40)
    problem = Problem(A, b, 3, 1e-6)
    point = problem.core.restricted(np.arange(3))
    asked = []

    class Asked(SolveMonitor):
        def affords(self, bytes_read, flops):
            asked.append(flops)
            return True

    monitor = Asked(point, first_bound(problem.core), problem.units)
    found = lower_bound(problem, point, "fast", monitor)
    assert isinstance(found.bound.certificate, Trivial)
    assert asked == [0.0]


def test_the_kinds_of_bounds():
    rng = np.random.default_rng(4)
    tall, wide = rng.standard_normal((50, 10)), rng.standard_normal((20, 30))
    b = rng.standard_normal(50)
    assert isinstance(l0quad.minimize(tall, b, 3, method="swap").certificate, Separable)
    assert isinstance(l0quad.minimize(wide, b[:20], 3, ridge=1.0, method="swap").certificate, Dual)
    repeated = np.column_stack([tall, tall[:, 0]])
    assert isinstance(l0quad.minimize(repeated, b, 3, method="swap").certificate, AllColumns)
    assert isinstance(solve(Problem(tall, b, 3), bound="none").certificate, Trivial)


@pytest.mark.parametrize("mode", ["fast", "tight"])
@pytest.mark.parametrize("ridge", [1e-3, 0.3])
def test_a_tree_that_does_not_close_reports_no_less_than_the_relaxation(mode, ridge):
    """The d of a tree is not moved to where the bound of the root is best."""
    problem = gaussian(70, 60, 12, seed=1, rho=0.95, ridge=ridge).problem()
    found = solve(problem, l0quad.Exact(node_limit=30), bound=mode)
    alone = l0quad.bound(problem, start=found, mode=mode)
    assert found.lower_bound >= alone.value - 1e-9 * abs(alone.value)
    assert found.check(problem).ok


def test_weights_that_differ_in_their_last_digits_alone():
    """Scores so close share all but the last bits, by which the best of each block are found."""
    rng = np.random.default_rng(0)
    w0 = np.sqrt(1 + rng.integers(-200, 200, 800) * 2.0**-53)
    k = l0quad.PerBlock(np.repeat([0, 1], 400), [300, 300])
    problem = Problem(1e-3 * rng.standard_normal((20, 800)), np.zeros(20), k, ridge=1.0, w0=w0)
    w = w0 * (np.arange(800) % 400 < 300)
    result = solve(problem)
    assert result.support.size == 600
    assert max(l0quad.bound(problem).value, result.lower_bound) <= problem.objective(w)
