"""Exchanges of two columns and the enumeration of all supports, against brute force."""

import itertools

import numpy as np
import pytest
import reference
from local_search import SMALL, arguments, over_small, random_support, value
from problems import monitor_of

from l0quad import Problem, solve
from l0quad.solvers.enumeration import best_of_all, enumeration_flops
from l0quad.solvers.pairs import best_pair_exchange, exchange_pair
from l0quad.solvers.tableau import Tableau


@over_small
def test_enumeration_finds_the_optimum(name):
    instance = SMALL[name]
    found = best_of_all(instance.core())
    optimum = reference.brute_force(*arguments(instance))[0]
    assert instance.allows(found.support)
    assert found.objective == pytest.approx(optimum, rel=1e-6 if instance.A.dtype == np.float32 else 1e-9)


@over_small
def test_the_best_exchange_of_two_columns_is_the_best_of_all_refits(name):
    instance = SMALL[name]
    core, found = instance.core(), 0
    for seed in range(4):
        support = random_support(instance.problem(), seed)
        tableau = Tableau(core, support)
        before, free = value(instance, support), np.setdiff1d(np.arange(instance.p), support)
        others = {
            (*out, *into): np.sort(np.append(np.setdiff1d(support, out), into))
            for out in itertools.combinations(support, 2)
            for into in itertools.combinations(free, 2)
        }
        values = {key: value(instance, each) for key, each in others.items() if instance.allows(each)}
        best = min([before, *values.values()])
        pair = best_pair_exchange(tableau, 1e12, monitor_of(core))
        if best >= before * (1 - 1e-9):
            assert pair is None or pair.change >= -1e-6 * before
            continue
        found += 1
        assert pair is not None
        assert pair.change == pytest.approx(best - before, rel=1e-6)
        exchange_pair(tableau, pair)
        assert instance.allows(tableau.support)
        assert value(instance, tableau.support) == pytest.approx(best, rel=1e-6)
    assert found


def test_two_neighbours_of_opposite_sign_are_found_together():
    """Each alone explains next to nothing of their difference."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((100, 80))
    A[:, 1] = A[:, 0] + 0.05 * rng.standard_normal(100)
    A /= np.linalg.norm(A, axis=0)
    truth = np.array([0, 1, 20, 30, 40, 50, 60, 70])
    b = A[:, truth] @ np.array([40.0, -40.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    problem = Problem(A, b, truth.size)
    assert enumeration_flops(problem.core) > 1e9
    np.testing.assert_array_equal(solve(problem, bound="none").support, truth)


def test_small_powers_are_told_apart():
    """Pairs and triples of monomials without noise: nearly dependent, and optimal at the planted support only."""
    for seed, k in itertools.product(range(10), (2, 3)):
        rng = np.random.default_rng(seed)
        t = np.sort(rng.random(80))
        A = t[:, None] ** np.arange(14)
        A /= np.linalg.norm(A, axis=0)
        truth = np.sort(rng.choice(14, k, replace=False))
        result = solve(Problem(A, A[:, truth] @ rng.choice([-1.0, 1.0], k), k), bound="none")
        np.testing.assert_array_equal(result.support, truth)
