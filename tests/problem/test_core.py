"""What solvers see: problems over fewer columns and fewer rows have the objective of the whole one."""

import numpy as np
import pytest
from problems import PROBLEMS, gaussian

from l0quad import Problem


@pytest.mark.parametrize(
    "name", ["gaussian", "linear", "linear_w0", "gram", "gram_singular", "pruning", "n_of_m", "csc"]
)
def test_restrict(name):
    """At a point over some columns, with the linear term folded too."""
    instance = PROBLEMS[name]
    problem = instance.problem()
    core, units, rng = problem.core, problem.units, np.random.default_rng(0)
    columns = np.sort(rng.permutation(instance.p)[: max(3, instance.p // 2)])
    part = core.restrict(columns)
    assert part.shape == (core.shape[0], columns.size)
    for size in (0, 1, 3):
        local = np.sort(rng.permutation(columns.size)[:size])
        w = rng.standard_normal(size)
        dense = np.zeros(instance.p)
        dense[columns[local]] = w
        inner, outer = part.evaluate(local, w), core.evaluate(columns[local], w)
        size_of_terms = instance.size(dense) + abs(units.fold)
        assert inner.objective == pytest.approx(outer.objective, abs=1e-12 * size_of_terms)
        assert units.objective(inner.objective) == pytest.approx(instance.objective(dense), abs=1e-11 * size_of_terms)
        best = part.restricted(local)
        np.testing.assert_allclose(best.w, core.restricted(columns[local]).w, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["tall", "tall_no_ridge", "gram"])
def test_reduced(name):
    instance = PROBLEMS[name]
    core = instance.core()
    small = core.reduced()
    assert small.shape[0] <= instance.p
    w = np.random.default_rng(1).standard_normal(2)
    for support in ([0, 3], [2, 7]):
        value = core.evaluate(np.array(support), w).objective
        assert small.evaluate(np.array(support), w).objective == pytest.approx(value, rel=1e-11)


def test_units_there_and_back():
    instance = gaussian(20, 12, 4, ridge=0.1, linear=np.linspace(-1, 1, 12), w0=np.linspace(0, 1, 12))
    for a, f in ((0, 0), (500, -300), (-400, 200)):
        A, b = np.ldexp(instance.A, a), np.ldexp(instance.b, f)
        w0, linear = np.ldexp(instance.w0, f - a), np.ldexp(instance.linear, f + a)
        problem = Problem(A, b, 4, np.ldexp(0.1, 2 * a), w0, linear)
        w = np.ldexp(np.linspace(-2, 3, 12), f - a)
        expected = instance.objective(np.linspace(-2, 3, 12))
        assert problem.objective(w) == pytest.approx(np.ldexp(expected, 2 * f), rel=1e-12)
        gradient = np.ldexp(instance.gradient(np.linspace(-2, 3, 12)), f + a)
        np.testing.assert_allclose(problem.gradient(w), gradient, rtol=1e-10)
        units, core = problem.units, problem.core
        assert units.ridge(core.mu) == pytest.approx(2 * problem.ridge)
        own = units.own_w(w)
        point = core.evaluate(np.arange(12), own)
        assert units.objective(point.objective) == pytest.approx(problem.objective(w), rel=1e-9)
        assert units.lower(point.objective) <= problem.objective(w)
        np.testing.assert_array_equal(problem.dense(point), w)
