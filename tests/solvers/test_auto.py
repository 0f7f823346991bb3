"""The default method: brute force on small instances, planted supports, and the shapes where other methods give up."""

import numpy as np
import pytest
import reference
from problems import Instance, gaussian, pruning

import l0quad.solvers.auto
from l0quad import Auto, NofM, PerBlock, Problem, Status, solve

efforts = pytest.mark.parametrize("effort", ["fast", "thorough"])


def small(seed):
    """AR(1) columns, a sparse truth of +-(0.5 to 1.5) and noise; every second one with a ridge and a Gaussian w0."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(6, 15))
    n, k = int(rng.integers(p + 2, 60)), int(rng.integers(2, p // 2 + 1))
    base = gaussian(n, p, k, seed=seed, rho=rng.choice([0.0, 0.5, 0.9, 0.95]))
    truth = np.zeros(p)
    truth[rng.choice(p, k, replace=False)] = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 1.5, k)
    signal = base.A @ truth
    noise = rng.standard_normal(n) * np.sqrt(np.mean(signal**2) / rng.choice([0.2, 1.0, 5.0]))
    if seed % 2:
        return base.but(b=signal + noise, ridge=0.3, w0=rng.standard_normal(p))
    return base.but(b=signal + noise)


def planted(n, p, k, seed):
    rng = np.random.default_rng(seed)
    A, support = rng.standard_normal((n, p)), np.sort(rng.choice(p, k, replace=False))
    return A, A[:, support] @ rng.standard_normal(k), support


def test_small_instances_are_solved():
    solved = {"fast": 0, "thorough": 0}
    for seed in range(100):
        instance = small(seed)
        optimum, support = reference.best_subset(instance.A, instance.b, instance.k, instance.ridge, instance.w0)
        for effort in ("fast", "thorough") if seed < 30 else ("fast",):
            result = solve(instance.problem(), Auto(effort), bound="none")
            assert result.objective >= optimum * (1 - 1e-9)
            solved[effort] += result.objective <= optimum * (1 + 1e-9)
            assert result.objective > optimum * (1 + 1e-9) or np.array_equal(result.support, np.sort(support))
    assert solved["fast"] >= 98
    assert solved["thorough"] >= 29


@efforts
@pytest.mark.parametrize("ridge", [0.0, 1e-10])
@pytest.mark.parametrize("shape", [(40, 60, 6), (60, 120, 10), (100, 30, 8)], ids=str)
def test_planted_supports_are_found(shape, ridge, effort):
    for seed in range(4 if effort == "fast" else 1):
        A, b, support = planted(*(*shape, seed))
        result = solve(Problem(A, b, shape[2], ridge), Auto(effort))
        np.testing.assert_array_equal(result.support, support)
        assert result.objective <= 1e-7 * (b @ b)
        if ridge == 0:
            assert result.status is Status.OPTIMAL


@efforts
@pytest.mark.parametrize("k", [1, 4, 9, 10, 13, 25], ids="k={}".format)
def test_no_ridge_and_more_columns_than_rows(k, effort):
    """From k = n on, the best value is that of all columns: zero."""
    instance = gaussian(10, 25, k, seed=1)
    result = solve(instance.problem(), Auto(effort))
    assert instance.allows(result.support)
    assert np.all(np.isfinite(result.w))
    size = 0.5 * instance.b @ instance.b
    if k >= 10:
        assert result.objective <= 1e-20 * size
        assert result.status is Status.OPTIMAL
    else:
        greedy = reference.stepwise(instance.A, instance.b, k)[0][-1]
        assert result.objective <= greedy + 1e-12 * size


@efforts
@pytest.mark.parametrize("k", [4, 5, 7, 12], ids="k={}".format)
def test_a_budget_of_at_least_the_rank(k, effort):
    """rank A = 4: any four independent columns attain the bound of all columns.

    That is proven where columns repeat each other exactly; where they do up to rounding, what rounding adds is unknown.
    """
    rng = np.random.default_rng(3)
    A, b, w0 = rng.standard_normal((20, 4)), rng.standard_normal(20), np.arange(12.0)
    A = np.hstack([A, -A, A])
    rounded = solve(Problem(A @ rng.standard_normal((12, 12)), b, k, w0=w0), Auto(effort))
    assert rounded.objective == pytest.approx(reference.objective(A, b, np.linalg.pinv(A, rcond=1e-12) @ b), rel=1e-9)
    # Of four columns each, all supports are tried.
    assert (rounded.status is Status.OPTIMAL) == (k == 4)
    if k > 4:
        assert rounded.lower_bound <= rounded.objective * 1e-9
    best = reference.objective(A, b, np.linalg.pinv(A, rcond=1e-12) @ b)
    for centre in (None, w0):
        result = solve(Problem(A, b, k, w0=centre), Auto(effort))
        assert result.support.size <= k
        assert result.objective == pytest.approx(best, rel=1e-9)
        assert result.status is Status.OPTIMAL


def test_a_budget_of_the_rank_needs_the_right_columns(monkeypatch):
    """Pursuit alone takes columns that repeat each other; independent ones attain the bound."""
    monkeypatch.setattr(l0quad.solvers.auto, "table_fits", lambda problem: False)
    rng = np.random.default_rng(5)
    basis = rng.standard_normal((30, 6))
    copies = basis[:, rng.integers(0, 6, 60)] * rng.choice([-1.0, 1.0], 60)
    A = np.concatenate([copies, basis], axis=1)[:, rng.permutation(66)]
    b = rng.standard_normal(30)
    best = reference.objective(A, b, np.linalg.pinv(A, rcond=1e-12) @ b)
    for k in (6, NofM(6, 66)):
        result = solve(Problem(A, b, k))
        assert result.support.size == 6
        assert result.objective == pytest.approx(best, rel=1e-9)
        assert result.status is Status.OPTIMAL


@efforts
@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(30, 12), (8, 20), (70, 12)], ids=str)
def test_no_budget_and_the_whole_budget(shape, ridge, effort):
    w0 = np.random.default_rng(1).standard_normal(shape[1])
    base = gaussian(*(*shape, 0), ridge=ridge, w0=w0)
    nothing = solve(base.problem(), Auto(effort))
    assert nothing.support.size == 0
    assert nothing.objective == pytest.approx(base.objective(np.zeros(shape[1])), rel=1e-12)
    assert nothing.success
    for k in (shape[1], shape[1] + 5):
        everything = solve(base.but(k=k).problem(), Auto(effort))
        size = base.size(np.zeros(shape[1]))
        expected = base.objective(base.refit(np.arange(shape[1])))
        assert everything.objective == pytest.approx(expected, rel=1e-9, abs=1e-12 * size)
        assert everything.success


@efforts
@pytest.mark.parametrize("k", [PerBlock(np.arange(12) % 3, [2, 0, 2]), NofM(1, 3), PerBlock([0] * 6 + [1] * 6, [1, 3])])
def test_budgets_by_part(k, effort):
    solved, seeds = 0, 8 if effort == "fast" else 4
    for seed in range(seeds):
        instance = gaussian(20, 12, k, seed=seed, rho=0.9, ridge=0.1 * (seed % 2))
        result = solve(instance.problem(), Auto(effort), bound="none")
        assert instance.allows(result.support)
        optimum = reference.brute_force(instance.A, instance.b, k, instance.ridge)[0]
        solved += result.objective <= optimum * (1 + 1e-9)
    assert solved >= seeds - 1


@efforts
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.5])
def test_pruning(ridge, effort):
    """More kept columns than rows; never above the refit of its start, and better than what magnitude alone keeps."""
    for seed in range(3 if effort == "fast" else 1):
        instance = pruning(15, 80, 30, seed=seed, ridge=ridge)
        problem = instance.problem()
        magnitude = solve(problem, "magnitude", bound="none")
        result = solve(problem, Auto(effort), bound="none")
        assert instance.allows(result.support)
        size = instance.size(instance.w0)
        assert result.objective <= magnitude.objective + 1e-12 * size
        if ridge:
            assert result.objective < 0.95 * magnitude.objective
        start = problem.constraint.select(np.random.default_rng(seed).random(80))
        again = solve(problem, Auto(effort), start=start, bound="none")
        assert again.objective <= instance.objective(instance.refit(start)) + 1e-12 * size


def test_the_seed_decides():
    instance = gaussian(40, 60, 8, seed=4, rho=0.95)
    first, again = (solve(instance.problem(), seed=7, bound="none") for _ in range(2))
    assert first.w.tobytes() == again.w.tobytes()
    assert [s.objective for s in first.history] == [s.objective for s in again.history]
    other = solve(instance.problem(), seed=8, bound="none")
    assert [s.objective for s in first.history] != [s.objective for s in other.history]


def test_thorough_is_not_worse_than_fast():
    for seed in range(3):
        instance = gaussian(50, 80, 8, seed=seed, rho=0.95, ridge=0.01)
        fast, thorough = (solve(instance.problem(), Auto(effort), bound="none") for effort in ("fast", "thorough"))
        assert thorough.objective <= fast.objective * (1 + 1e-9)


def test_swap_optimal_is_said_only_when_true():
    said = 0
    for seed in range(20):
        instance: Instance = small(seed)
        result = solve(instance.problem(), bound="none")
        if result.status is Status.SWAP_OPTIMAL:
            arguments = instance.A, instance.b, instance.k, result.support, instance.ridge, instance.w0
            assert reference.best_neighbour(*arguments) >= result.objective * (1 - 2e-9)
            said += 1
    assert said > 10
