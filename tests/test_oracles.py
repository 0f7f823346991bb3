"""Answers and bounds against optima that are known by other means."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from problems import PROBLEMS, Instance, gaussian, pruning, suited
from reference import brute_force, largest_supports

from l0quad import METHODS, Cardinality, Groups, NofM, PerBlock, Problem, Status, solve
from l0quad.bounds.relaxation import Relaxation

SMALL = [name for name, instance in PROBLEMS.items() if instance.p <= 12 and not name.startswith("gram")]
BOUNDS = ["none", "fast", "tight"]
# What "proven optimal" may be off by, relative to the objective.
OPTIMAL = 1e-6


def optimum_and_rounding(instance: Instance) -> tuple[float, float]:
    optimum, best = brute_force(instance.dense, instance.b, instance.k, instance.ridge, instance.w0, instance.linear)
    return optimum, 1e-13 * instance.size(best)


def check(result, optimum: float, rounding: float) -> None:
    """The bound is a bound, the point is no better than the optimum, and "optimal" is true."""
    assert result.lower_bound <= optimum + rounding
    assert result.objective >= optimum - rounding
    if result.status is Status.OPTIMAL:
        assert result.objective - optimum <= 1.01 * OPTIMAL * abs(result.objective) + rounding


# Good and bad points, and the one method that hands over a dual point; `test_contract` asks the same of every method.
@pytest.mark.parametrize("name", SMALL)
def test_brute_force_on_the_named_problems(name):
    optimum, rounding = optimum_and_rounding(PROBLEMS[name])
    for method in ("auto", "magnitude", "rounding", "block_backsolve"):
        if not suited(method, PROBLEMS[name]):
            continue
        bounds = [solve(PROBLEMS[name].problem(), method, bound=bound) for bound in BOUNDS]
        for result in bounds:
            check(result, optimum, rounding)
        none, fast, tight = (result.lower_bound for result in bounds)
        slack = 1e-5 * abs(tight) + 1e-12 * PROBLEMS[name].size(np.zeros(PROBLEMS[name].p))
        assert none <= fast + slack
        assert fast <= tight + slack


def random_instance(seed: int) -> Instance:
    """Small, of any shape, correlation, ridge and constraint."""
    rng = np.random.default_rng(seed)
    p, n = int(rng.integers(1, 10)), int(rng.integers(1, 16))
    k: Any = [int(rng.integers(0, p + 1)), NofM(int(rng.integers(0, 3)), int(rng.integers(1, 5)))][seed % 3 == 0]
    if seed % 3 == 1:
        k = PerBlock(rng.integers(0, 3, p), rng.integers(0, 4, 3))
    if seed % 4 == 1:
        k = Groups(rng.integers(0, 5, p), int(rng.integers(0, 4)))
    if seed % 2 and (supports := list(largest_supports(k, p)))[0].size:
        must = rng.choice(supports[0], int(rng.integers(0, supports[0].size + 1)), replace=False)
        never = np.setdiff1d(rng.choice(p, int(rng.integers(0, p // 2 + 1)), replace=False), must)
        k = replace(Cardinality(k) if isinstance(k, int) else k, must=must, never=never)
    instance = gaussian(n, p, k, seed=seed, rho=float(rng.choice([0.0, 0.6, 0.95])))
    ridge = float(10.0 ** rng.integers(-9, 4)) * float(rng.random() < 0.8)
    w0 = rng.standard_normal(p) if rng.random() < 0.5 else None
    linear = rng.standard_normal(p) if ridge and rng.random() < 0.3 else None
    if w0 is not None and rng.random() < 0.5:
        instance = instance.but(b=instance.A @ w0)
    return instance.but(ridge=ridge, w0=w0, linear=linear)


def test_brute_force_on_random_problems():
    proven = dict.fromkeys(BOUNDS, 0)
    for seed in range(150):
        instance = random_instance(seed)
        optimum, rounding = optimum_and_rounding(instance)
        method = list(METHODS)[seed % len(METHODS)]
        for bound in BOUNDS:
            result = solve(instance.problem(), method if suited(method, instance) else "auto", bound=bound)
            check(result, optimum, rounding)
            proven[bound] += result.status is Status.OPTIMAL
    assert proven["none"] >= 5
    assert min(proven["fast"], proven["tight"]) >= 40


@pytest.mark.parametrize("bound", ["fast", "tight"])
@pytest.mark.parametrize("ridge", [1e-3, 1e-6, 1e-9, 1e-12])
def test_optimal_is_judged_by_the_objective_not_by_its_folded_form(ridge, bound):
    # Folding a linear term brings in a constant of size ||c||^2 / ridge, by which no gap must be called small.
    rng = np.random.default_rng(0)
    A, b, c = rng.standard_normal((30, 10)), rng.standard_normal(30), rng.standard_normal(10)
    instance = Instance(A, b, 3, ridge, linear=c)
    worst = solve(instance.problem(), "magnitude", start=np.array([0, 1, 2]), bound=bound)
    H, g = A.T @ A + 2 * ridge * np.eye(10), A.T @ b - c
    gain = max(
        0.5 * g[S] @ np.linalg.solve(H[np.ix_(S, S)], g[S]) for S in map(list, itertools.combinations(range(10), 3))
    )
    optimum = 0.5 * b @ b - gain
    assert worst.objective > optimum * 1.01
    assert worst.status is Status.CONVERGED
    assert worst.lower_bound <= optimum
    assert worst.relative_gap == pytest.approx(worst.gap / abs(worst.objective), rel=1e-3)


@pytest.mark.parametrize("small", [1e-8, 1e-14, 1e-17, 1e-25, 1e-60])
def test_a_small_column_is_not_a_dependent_one(small):
    # The three columns are independent, whatever their sizes: the optimum is what it is with all of size 1.
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((10, 3)), rng.standard_normal(10)
    optimum = solve(Problem(A, b, 3)).objective
    for sizes in ([1, small, 1], [1, small, small**2], [1 / small, 1, small]):
        result = solve(Problem(A * sizes, b, 3))
        assert result.lower_bound <= optimum * (1 + 1e-10)
        if result.status is Status.OPTIMAL:
            assert result.objective == pytest.approx(optimum, rel=1e-6)


@pytest.mark.parametrize("small", [1e-7, 1e-12, 1e-18, 1e-30, 1e-100])
def test_small_columns_count_among_dependent_ones(small):
    # Any three of the columns span everything, so that b is fitted exactly; two large ones alone do not.
    rng = np.random.default_rng(1)
    A = rng.standard_normal((3, 5)) * [1, small, 1, small, small]
    result = solve(Problem(A, rng.standard_normal(3), 5), "backsolve")
    assert result.lower_bound <= 1e-15
    assert result.status is not Status.OPTIMAL or result.objective <= 1e-15


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_orthogonal_columns_in_closed_form(method, ridge):
    # With A'A = diag(d) column j alone is worth g_j^2 / (2 (d_j + 2 ridge)): the optimum keeps the most valuable.
    rng = np.random.default_rng(1)
    n, p, k = 60, 40, 9
    A = np.linalg.qr(rng.standard_normal((n, p)))[0] * rng.uniform(0.5, 3.0, p)
    b = rng.standard_normal(n)
    g, H = A.T @ b, (A**2).sum(0) + 2 * ridge
    best = np.sort(np.argsort(g**2 / H)[-k:])
    optimum = 0.5 * b @ b - 0.5 * np.sum(g[best] ** 2 / H[best])
    problem = Problem(A, b, k, ridge)
    if METHODS[method].needs.lacking(problem.core) is not None:
        return
    result = solve(problem, method, start=best)
    assert result.objective == pytest.approx(optimum, rel=1e-12)
    np.testing.assert_array_equal(result.support, best)
    np.testing.assert_allclose(result.w[best], g[best] / H[best], rtol=1e-10)
    free = solve(Problem(A, b, k, ridge), method, bound="tight")
    assert free.lower_bound <= optimum <= free.objective * (1 + 1e-12)


@pytest.mark.parametrize("ridge", [0.01, 0.5, 20.0])
def test_the_relaxations_of_orthonormal_columns(ridge):
    # With the ridge alone it is min 1/2 ||b||^2 - 1/2 sum g_j^2 z_j / (z_j + mu) over 0 <= z <= 1, sum z <= k: hence
    # z_j = clip(|g_j| t - mu, 0, 1) for the t that uses up the budget.
    rng = np.random.default_rng(2)
    A, b, k, mu = np.linalg.qr(rng.standard_normal((30, 30)))[0], rng.standard_normal(30), 7, 2 * ridge
    g = np.abs(A.T @ b)
    low, high = 0.0, 1e3 * (1 + mu) / g.min()
    for _ in range(200):
        t = 0.5 * (low + high)
        low, high = (t, high) if np.clip(g * t - mu, 0, 1).sum() <= k else (low, t)
    z = np.clip(g * low - mu, 0, 1)
    relaxation = 0.5 * b @ b - 0.5 * np.sum(g**2 * z / (z + mu))
    problem = Problem(A, b, k, ridge)
    ascent = Relaxation(problem.core, problem.core.restricted(np.arange(k)))
    for _ in range(100):
        ascent.step(ascent.bound().value)
    assert relaxation * (1 - 1e-4) <= ascent.bound().value <= relaxation * (1 + 1e-10)
    # The separable one is exact.
    optimum = 0.5 * b @ b - 0.5 * np.sum(np.sort(g**2)[-k:]) / (1 + mu)
    bound = solve(problem, bound="tight").lower_bound
    assert optimum * (1 - 1e-2) <= bound <= optimum * (1 + 1e-10)


def best_by_cardinality(A: np.ndarray, b: np.ndarray, ridge: float) -> np.ndarray:
    """The largest decrease of the objective that 0, 1, ..., p columns of one block can bring."""
    p = A.shape[1]
    H, g = A.T @ A + 2 * ridge * np.eye(p), A.T @ b
    gain = np.zeros(p + 1)
    for size in range(1, p + 1):
        S = np.array(list(itertools.combinations(range(p), size)))
        w = np.linalg.solve(H[S[:, :, None], S[:, None, :]], g[S][..., None])[..., 0]
        gain[size] = 0.5 * np.einsum("ij,ij->i", g[S], w).max()
    return gain


@pytest.mark.parametrize("k", [20, 160, 500])
def test_knapsack_over_a_block_diagonal_gram(k):
    rng = np.random.default_rng(3)
    width, blocks, ridge = 8, 100, 2.0
    parts = [gaussian(4, width, 0, seed=1000 + q, rho=0.8) for q in range(blocks)]
    gains = [best_by_cardinality(part.A, part.b, ridge) for part in parts]
    best = np.zeros(1)
    for gain in gains:
        padded = np.full((gain.size, best.size + width), -np.inf)
        for size in range(gain.size):
            padded[size, size : size + best.size] = best + gain[size]
        best = padded.max(0)
    b = np.concatenate([part.b for part in parts])
    optimum = 0.5 * b @ b - best[k]
    order = rng.permutation(width * blocks)
    A = scipy.linalg.block_diag(*(part.A for part in parts))[:, order]
    problem = Problem(scipy.sparse.csc_array(A), b, k, ridge)
    for method in ("auto", "magnitude"):
        result = solve(problem, method, bound="fast", n_threads=1)
        assert result.lower_bound <= optimum * (1 + 1e-12)
        assert result.objective >= optimum * (1 - 1e-12)
    tight = solve(problem, "magnitude", bound="tight", n_threads=1)
    assert 0.8 * optimum <= tight.lower_bound <= optimum * (1 + 1e-12)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 10.0])
@pytest.mark.parametrize("method", METHODS)
def test_planted_zero_is_found_and_proven(method, ridge):
    rng = np.random.default_rng(7)
    A, w0 = rng.standard_normal((30, 50)), np.zeros(50)
    w0[rng.choice(50, 12, replace=False)] = rng.standard_normal(12)
    problem = Problem(A, A @ w0, 12, ridge, w0)
    if METHODS[method].needs.lacking(problem.core) is not None:
        return
    for result in (solve(problem, method), solve(problem, method, start=w0, bound="tight")):
        assert result.objective <= 1e-20
        assert result.lower_bound >= 0.0
        assert result.status is Status.OPTIMAL
        np.testing.assert_allclose(result.w, w0, atol=1e-10)


def test_the_objective_is_that_of_w_as_it_is_rounded():
    """b is fitted exactly by a w that float32 does not hold: what is returned fits it to float32 only, and says so."""
    rng = np.random.default_rng(7)
    A, w0 = rng.standard_normal((30, 8)).astype(np.float32), rng.standard_normal(8)
    instance = Instance(A, A.astype(np.float64) @ w0, 8)
    for method in ("auto", "magnitude", "iht"):
        result = solve(instance.problem(), method)
        assert result.w.dtype == np.float32
        assert 1e-16 < result.objective < 1e-11
        assert result.objective == pytest.approx(instance.objective(result.w), rel=1e-3)


def test_pruning_keeps_everything_where_k_allows():
    instance = pruning(12, 40, 40)
    result = solve(instance.problem())
    assert result.objective <= 1e-20
    assert result.status is Status.OPTIMAL
