"""OBS, ADMM and rounding: what they promise, then naive twins and dense inverses."""

import itertools

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from local_search import CENTRE, KEPT, SMALL, arguments, over_kept, random_support, value
from problems import gaussian, monitor_of, pruning, stored_as

import l0quad.solvers.auto
import l0quad.solvers.obs
from l0quad import ADMM, METHODS, OBS, Auto, Forward, Problem, Rounding, Status, Swap, Unsuited, solve
from l0quad.matrix.sweeps import union
from l0quad.solvers.admm import _Passes, _Tall, _Wide
from l0quad.solvers.swap import saliency

IMPROVERS = ["swap", "admm", "rounding", "obs", "auto"]
improvers = pytest.mark.parametrize("method", IMPROVERS)
FORMS = [np.asarray, np.asfortranarray, sp.csc_array, np.float32]


def removals(monkeypatch):
    sizes, found = [], saliency

    def spied(problem, point):
        sizes.append(point.support.size)
        return found(problem, point)

    monkeypatch.setattr(l0quad.solvers.obs, "saliency", spied)
    return sizes


ELIMINATED = ["ridge", "w0", "wide", "float32", "csc"]


def run_obs(instance, options):
    problem = instance.core()
    return l0quad.solvers.obs.obs(problem, problem.zero(), options, monitor_of(problem))


@pytest.mark.parametrize("name", ELIMINATED)
def test_obs_of_many_batches_is_the_naive_one(monkeypatch, name):
    instance, sizes = SMALL[name], removals(monkeypatch)
    point = run_obs(instance, OBS(200)).point
    assert all(0 <= one - other <= 1 for one, other in itertools.pairwise(sizes))
    np.testing.assert_array_equal(point.support, reference.backward(*arguments(instance)))
    assert point.objective == pytest.approx(value(instance, point.support), rel=1e-9)


@pytest.mark.parametrize("name", [*ELIMINATED, "per_block"])
def test_obs_of_one_batch_is_the_one_shot_rule(name):
    instance = SMALL[name]
    point = run_obs(instance, OBS(1)).point
    np.testing.assert_array_equal(point.support, reference.one_shot(*arguments(instance)))


@over_kept
def test_obs_within_the_budgets(name):
    instance = KEPT[name]
    for batches in (1, 3, 8, 100):
        result = solve(instance.problem(), OBS(batches), bound="none")
        assert instance.allows(result.support)
        assert result.support.size == instance.problem().constraint.total


# admm and rounding


@pytest.mark.parametrize("form", FORMS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("shape", [(7, 20), (20, 7), (9, 9), (1, 5), (5, 1)], ids=str)
def test_the_iterates_of_admm(shape, form):
    """Each step as it is defined, from A'A, whatever spares passes over A."""
    instance = stored_as(gaussian(*(*shape, 1), w0=CENTRE[:1].repeat(shape[1]), ridge=0.2), form)
    A, core, g = instance.dense, instance.core(), instance.dense.T @ instance.b + 0.4 * instance.w0
    passes = _Passes(core, core.evaluate(np.arange(1), np.ones(1)))
    split = (_Wide if shape[1] >= shape[0] else _Tall)(core, passes)
    z, u, growth = np.zeros(shape[1]), np.zeros(shape[1]), 1.3
    z[:1] = passes.best.w
    for rho in (1e-3, 1.1e-3, 1.15e-3, 0.4, 1e4):
        tau = 0.4 + rho
        x = np.linalg.inv(A.T @ A + tau * np.eye(shape[1])) @ (g + rho * (z - u)) + u
        support = split.step(rho, growth)
        kept = union((support,), x.size)
        np.testing.assert_array_equal(np.flatnonzero(kept), core.constraint.nearest(x))
        z = np.zeros(shape[1])
        z[kept] = x[kept]
        u = (x - z) / growth
        # One vector holds both.
        np.testing.assert_allclose(split._both[kept], z[kept], rtol=1e-7)
        np.testing.assert_allclose(split._both[~kept], u[~kept], rtol=1e-7, atol=1e-8 * np.abs(x).max())
        split.look()


@over_kept
@improvers
def test_improvers_improve(method, name):
    instance = KEPT[name]
    problem, gains = instance.problem(), []
    for seed in range(3):
        support = random_support(problem, seed)
        result = solve(problem, method, start=support, bound="none")
        assert instance.allows(result.support)
        gains.append(1 - result.objective / value(instance, support))
    assert min(gains) > -1e-6
    assert max(gains) > 0.1


@over_kept
@improvers
def test_a_good_start_is_kept(method, name):
    """No improver ends above the refit of a start that it could hardly have found itself."""
    instance = KEPT[name].but(ridge=0.3)
    problem = instance.problem()
    good = solve(problem, Swap(kicks=5), bound="none")
    result = solve(problem, method, start=good.support, bound="none")
    assert result.objective <= good.objective * (1 + 1e-6)


@improvers
def test_without_a_ridge_nothing_breaks(method):
    for instance in (KEPT["plain"].but(ridge=0.0), KEPT["rows_suffice"].but(ridge=0.0), SMALL["no_ridge"]):
        problem = instance.problem()
        support = random_support(problem, 5)
        if METHODS[method].needs.lacking(problem.core) is not None:
            with pytest.raises(Unsuited, match="needs a ridge"):
                solve(problem, method, start=support, bound="none")
            continue
        result = solve(problem, method, start=support, bound="none")
        size = instance.size(instance.refit(support))
        assert result.objective <= value(instance, support) + 1e-9 * size


# With so little curvature beside rho, ADMM takes long to settle.
@pytest.mark.parametrize("method", ["swap", ADMM(max_iter=400), "rounding", "obs", "auto"], ids=str)
@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_with_orthonormal_columns_the_largest_correlations_are_best(method, ridge):
    rng = np.random.default_rng(2)
    A, b = np.linalg.qr(rng.standard_normal((40, 30)))[0], rng.standard_normal(40)
    for k in (3, 12):
        result = solve(Problem(A, b, k, ridge), method, start=np.argsort(np.abs(A.T @ b))[:k], bound="none")
        np.testing.assert_array_equal(result.support, reference.select(np.abs(A.T @ b), k))


@pytest.mark.parametrize(
    ("options", "wrong", "error"),
    [
        (Forward, {"width": 0}, ValueError),
        (Forward, {"width": 1.5}, TypeError),
        (Swap, {"max_iter": -1}, ValueError),
        (Swap, {"kicks": -1}, ValueError),
        (Swap, {"kicks": 2.0}, TypeError),
        (OBS, {"batches": 0}, ValueError),
        (ADMM, {"max_iter": -1}, ValueError),
        (ADMM, {"growth": 0.99}, ValueError),
        (ADMM, {"growth": "1"}, TypeError),
        (Rounding, {"max_iter": -1}, ValueError),
        (Auto, {"effort": "slow"}, ValueError),
        (Auto, {"effort": None}, ValueError),
    ],
)
def test_wrong_options_are_named(options, wrong, error):
    with pytest.raises(error, match=next(iter(wrong))):
        options(**wrong)


def test_rounding_ends_at_a_proven_gap():
    problem = pruning(40, 300, 60, seed=2, ridge=20.0).problem()
    whole = solve(problem, Rounding(max_iter=60), bound="fast")
    early = solve(problem, Rounding(max_iter=60, tol=0.02), bound="fast")
    assert whole.relative_gap < 0.02
    assert early.n_iter < whole.n_iter
    assert early.relative_gap <= 0.02
    assert early.status is Status.CONVERGED


def test_the_bound_that_rounding_hands_over_is_its_best():
    """Newton steps may lower the bound on the way; more of them never give a worse one."""
    for seed, ridge in enumerate((20.0, 1.0, 0.1)):
        problem = pruning(40, 300, 60, seed=seed, ridge=ridge).problem()
        bounds = [solve(problem, Rounding(steps)).lower_bound for steps in range(1, 13)]
        assert all(after >= before * (1 - 1e-9) for before, after in itertools.pairwise(bounds))


def test_auto_hands_the_bound_of_its_rounding_over(monkeypatch):
    monkeypatch.setattr(l0quad.solvers.auto, "table_fits", lambda problem: False)
    for seed, ridge in enumerate((20.0, 0.1)):
        problem = pruning(40, 300, 60, seed=seed, ridge=ridge).problem()
        expected = solve(problem, Rounding(40)).lower_bound
        assert solve(problem, Auto("thorough")).lower_bound == pytest.approx(expected, rel=1e-6)
