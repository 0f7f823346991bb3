"""Whole groups: the exact costs of their changes against refits, local search against naive twins and brute force."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from narrowed import some
from problems import Instance, gaussian, pruning, stored_as, thinned

import l0quad.solvers.swap
from l0quad import OBS, Auto, Forward, Groups, Problem, Status, Swap, Unsuited, solve
from l0quad.solvers.group_moves import GroupTableau, group_scores, tableau_of

CENTRE = np.random.default_rng(11).standard_normal(14)
LABELS = np.array([0, 1, 2, 0, 1, 2, 1, 1, 0, 2, 4, 4, 5, 3])

SMALL = {
    "ridge": gaussian(20, 14, Groups(LABELS, 3), rho=0.9, ridge=0.1),
    "no_ridge": gaussian(25, 14, Groups(LABELS, 3), seed=1, rho=0.9),
    "w0": gaussian(25, 14, Groups(LABELS, 2), seed=2, rho=0.9, ridge=0.3, w0=CENTRE),
    "must": gaussian(25, 14, Groups(LABELS, 3, must=[12], never=[0, 3, 13]), seed=3, rho=0.9, ridge=0.3, w0=CENTRE),
    "wide": gaussian(9, 14, Groups(LABELS, 3), seed=4, rho=0.6, ridge=0.05),
    "tall": gaussian(90, 14, Groups(np.arange(14) // 2, 3), seed=5, rho=0.98),
    "singles": gaussian(20, 14, Groups(np.arange(14), 4), seed=6, rho=0.9, ridge=0.1),
    "float32": stored_as(gaussian(20, 14, Groups(LABELS, 3), seed=7, rho=0.9, ridge=0.1), np.float32),
    "csc": stored_as(stored_as(gaussian(20, 14, Groups(LABELS, 3), seed=8, ridge=0.1), thinned), sp.csc_array),
}
# More kept columns than rows.
KEPT = {
    "plain": pruning(12, 60, Groups(np.arange(60) // 3, 8), seed=1, ridge=0.3),
    "must": pruning(12, 60, Groups(np.arange(60) % 25, 8, must=[3], never=[0, 25, 50]), seed=2, ridge=0.1),
    "small_ridge": pruning(15, 60, Groups(np.arange(60) // 4, 6), seed=3, ridge=1e-3),
}
over_small = pytest.mark.parametrize("name", SMALL)
over_kept = pytest.mark.parametrize("name", KEPT)


def value(instance, support):
    return reference.value(instance.dense, instance.b, np.sort(support), instance.ridge, instance.w0)


def random_support(instance, seed):
    return instance.core().constraint.select(np.random.default_rng(seed).random(instance.p))


def tolerance(instance):
    return (1e-6 if instance.A.dtype == np.float32 else 1e-10) * instance.size(np.zeros(instance.p))


def is_swap_optimal(instance, result):
    arguments = instance.dense, instance.b, instance.k, result.support, instance.ridge, instance.w0
    return reference.best_neighbour(*arguments) >= result.objective * (1 - 2e-9) - tolerance(instance)


def is_right(tableau, instance):
    """Its blocks, gains and costs are what refits say."""
    S, units = tableau.slots, tableau.problem.constraint.units
    before = value(instance, S)
    gains, addable = tableau.allowed_gains(), {int(j) for j, _ in reference.additions(S, instance.k, instance.p)}
    for unit, gain in zip(units, gains, strict=True):
        if np.isin(unit, S).any():
            assert gain == 0
        else:
            expected = before - value(instance, np.append(S, unit)) if unit[0] in addable else 0.0
            assert gain == pytest.approx(expected, rel=1e-7, abs=tolerance(instance))
    removable = tableau.removable()
    for move, cost in zip(removable, tableau.removal_costs(removable), strict=True):
        expected = value(instance, np.setdiff1d(S, units[move])) - before
        assert cost == pytest.approx(expected, rel=1e-7, abs=tolerance(instance))


@over_small
def test_costs_and_gains_after_any_sequence_of_changes(name):
    instance, rng = SMALL[name], np.random.default_rng(0)
    core = instance.core()
    core = replace(core, constraint=replace(instance.k, k=5).bind(instance.p))
    instance = instance.but(k=replace(instance.k, k=5))
    tableau = tableau_of(core, core.constraint.closed(np.empty(0, dtype=np.int64)))
    assert isinstance(tableau, GroupTableau)
    for step in range(30):
        is_right(tableau, instance)
        gains, removable = tableau.allowed_gains(), tableau.removable()
        if step % 7 == 6:
            tableau.reset(tableau.support)
        elif step % 5 == 4:
            tableau = tableau.copy()
        elif removable.size and (rng.random() < 0.5 or not gains.any()):
            unit = some(core.constraint.units)[move := int(rng.choice(removable))]
            assert sorted(tableau.take_out(move)) == unit.tolist()
        elif gains.any():
            assert tableau.join(int(rng.choice(np.flatnonzero(gains))))


@over_small
def test_best_swap_is_the_best_of_all_refits(name):
    instance, ends = SMALL[name], 0
    units = some(instance.core().constraint.units)
    for seed in range(4):
        tableau = tableau_of(instance.core(), random_support(instance, seed))
        for _ in range(20):
            S = tableau.slots.copy()
            before = value(instance, S)
            changes = {
                (i, j): value(instance, other) - before for i, j, other in reference.swaps(S, instance.k, instance.p)
            }
            leaving, joining, change = tableau.best_swap()
            if leaving < 0:
                assert min(changes.values()) >= -tolerance(instance)
                ends += 1
                break
            assert change == pytest.approx(min(changes.values()), rel=1e-7, abs=tolerance(instance))
            named = changes[units[leaving][0], units[joining][0]]
            assert named == pytest.approx(change, rel=1e-7, abs=tolerance(instance))
            assert tableau.exchange(leaving, joining)
            assert tableau.objective == pytest.approx(before + change, abs=tolerance(instance))
    assert ends


@over_small
@pytest.mark.parametrize("width", [1, 3])
def test_forward_is_stepwise_refitting(name, width):
    instance = SMALL[name]
    path, support = reference.stepwise(instance.dense, instance.b, instance.k, instance.ridge, instance.w0, width)
    result = solve(instance.problem(), Forward(width), bound="none")
    np.testing.assert_array_equal(result.support, support)
    assert [state.objective for state in result.history] == pytest.approx(path, rel=1e-9)


@over_small
def test_swap_ends_swap_optimal(name):
    instance = SMALL[name]
    problem = instance.problem()
    for seed in range(5):
        start = random_support(instance, seed)
        result = solve(problem, Swap(kicks=seed % 3), start=start[: start.size - seed % 3], bound="none")
        assert result.status is Status.SWAP_OPTIMAL
        assert "whole group" in result.message
        assert instance.allows(result.support)
        assert result.objective <= value(instance, start) + tolerance(instance)
        assert is_swap_optimal(instance, result)


def test_swap_optimal_is_said_only_when_true():
    seen = set()
    for (name, instance), seed, max_iter in itertools.product(SMALL.items(), range(3), (0, 1, 2, 1000)):
        result = solve(instance.problem(), Swap(max_iter), start=random_support(instance, seed), bound="none")
        seen.add(result.status)
        assert result.status is Status.ITERATION_LIMIT or is_swap_optimal(instance, result), (name, seed)
    assert seen == {Status.SWAP_OPTIMAL, Status.ITERATION_LIMIT}


def dependent():
    """Groups that repeat each other, a zero column, and one that is a sum of others."""
    base = gaussian(20, 9, Groups([0, 0, 1, 1, 2, 2, 3, 3, 3], 3), seed=12)
    A = base.A.copy()
    A[:, 2], A[:, 4], A[:, 5], A[:, 8] = A[:, 0], 0.0, A[:, 0] - 2 * A[:, 1], A[:, 3] + A[:, 6]
    return base.but(A=A)


@pytest.mark.parametrize("method", ["auto", "forward", "swap"])
def test_dependent_columns_without_a_ridge(method):
    instance = dependent()
    optimum, _ = reference.brute_force(instance.A, instance.b, instance.k)
    result = solve(instance.problem(), method)
    assert instance.allows(result.support)
    assert result.objective >= optimum * (1 - 1e-12)
    assert result.objective == pytest.approx(optimum, rel=1e-9) or method == "forward"


def test_singles_are_a_cardinality():
    instance = SMALL["singles"]
    for method in ("auto", "forward", "swap", "rounding", "iht", "magnitude", "admm"):
        one, other = (solve(each.problem(), method) for each in (instance, instance.but(k=4)))
        np.testing.assert_array_equal(one.support, other.support)
        assert one.objective == pytest.approx(other.objective, rel=1e-9)
        # All supports of single columns are tried, so that no relaxation is rounded, whose bound would count.
        assert method == "auto" or one.lower_bound == pytest.approx(other.lower_bound, rel=1e-3)


@over_kept
def test_group_scores_are_what_a_refit_changes(name):
    instance = KEPT[name]
    problem = instance.core()
    units = some(problem.constraint.units)
    support = random_support(instance, 1)
    before = value(instance, support)
    scores = some(group_scores(problem, problem.restricted(support), units))
    assert np.all(np.delete(scores, [each[0] for each in units]) == 0)
    for each in units:
        other = np.setdiff1d(support, each) if each[0] in support else np.append(support, each)
        assert scores[each[0]] == pytest.approx(abs(value(instance, other) - before), rel=1e-5, abs=1e-8 * before)


@over_kept
def test_batches_are_feasible_and_not_worse(monkeypatch, name):
    monkeypatch.setattr(l0quad.solvers.swap, "_TABLE_ENTRIES", 0)
    instance, better = KEPT[name], 0
    for seed in range(5):
        start = random_support(instance, seed)
        for begin in (start, start[:4]):
            result = solve(instance.problem(), Swap(), start=begin, bound="none")
            assert result.status is Status.CONVERGED
            assert instance.allows(result.support)
            assert result.objective <= value(instance, begin) * (1 + 1e-9)
            better += result.objective < 0.9 * value(instance, start)
    assert better >= 5


@over_kept
def test_auto_in_pruning(name):
    instance = KEPT[name]
    problem = instance.problem()
    for effort in ("fast", "thorough"):
        result = solve(problem, Auto(effort), bound="tight")
        assert instance.allows(result.support)
        assert result.lower_bound <= result.objective
        assert result.objective <= solve(problem, "magnitude").objective


def test_obs_is_unsuited():
    with pytest.raises(Unsuited, match=r"'obs' needs columns that come and go one by one.*'auto'"):
        solve(SMALL["ridge"].problem(), OBS())


def small(seed) -> Instance:
    """As docs/benchmarks/groups.py makes them: AR(1) columns in groups of 1 to 4, a truth on k groups, noise."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(6, 15))
    sizes: list[int] = []
    while sum(sizes) < p:
        sizes.append(min(int(rng.integers(1, 5)), p - sum(sizes)))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n, k = int(rng.integers(p + 2, 60)), int(rng.integers(1, max(2, len(sizes) // 2 + 1)))
    base = gaussian(n, p, Groups(labels, k), seed=seed, rho=float(rng.choice([0.0, 0.5, 0.9, 0.95])))
    truth = np.where(np.isin(labels, rng.choice(len(sizes), k, replace=False)), rng.standard_normal(p), 0.0)
    signal = base.A @ truth
    b = signal + rng.standard_normal(n) * np.sqrt(np.mean(signal**2) / rng.choice([0.2, 1.0, 5.0]))
    return base.but(b=b, ridge=0.3, w0=rng.standard_normal(p)) if seed % 2 else base.but(b=b)


@pytest.mark.parametrize("effort", ["fast", "thorough"])
def test_small_instances_are_solved(effort):
    solved = 0
    for seed in range(60):
        instance = small(1000 + seed)
        optimum, _ = reference.brute_force(instance.A, instance.b, instance.k, instance.ridge, instance.w0)
        result = solve(instance.problem(), Auto(effort))
        assert result.lower_bound <= optimum * (1 + 1e-12)
        assert result.objective >= optimum * (1 - 1e-9)
        assert result.status is not Status.SWAP_OPTIMAL or is_swap_optimal(instance, result)
        solved += result.objective <= optimum * (1 + 1e-9)
    assert solved >= 59


def test_planted_groups_are_found():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 4)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        A, kept = rng.standard_normal((100, 240)), np.sort(rng.choice(60, 5, replace=False))
        truth = np.where(np.isin(labels, kept), rng.standard_normal(240), 0.0)
        for ridge in (0.0, 1e-10):
            result = solve(Problem(A, A @ truth, Groups(labels, 5), ridge))
            np.testing.assert_array_equal(result.support, np.flatnonzero(truth))
