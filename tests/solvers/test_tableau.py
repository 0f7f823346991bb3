"""The exact costs of one change: the updated state against a new one, the costs against refits of every change."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from problems import gaussian, pruning, stored_as, thinned

from l0quad import Cardinality, NofM, PerBlock
from l0quad.solvers.tableau import Tableau

CENTRE = np.random.default_rng(11).standard_normal(14)
LABELS = np.array([0, 1, 2, 0, 1, 2, 1, 1, 0, 2, 1, 0])

INSTANCES = {
    "no_ridge": gaussian(20, 12, 5, rho=0.7),
    "ridge": gaussian(20, 12, 5, rho=0.9, ridge=0.1),
    "w0": gaussian(20, 14, 6, seed=2, ridge=0.3, w0=CENTRE),
    "w0_no_ridge": gaussian(20, 14, 6, seed=2, w0=CENTRE),
    "wide": gaussian(8, 14, 6, seed=3, ridge=0.2, w0=CENTRE),
    "wide_no_ridge": gaussian(9, 14, 5, seed=3),
    "more_kept_than_rows": pruning(5, 14, 9, seed=4, ridge=0.2),
    "tall": gaussian(90, 12, 5, seed=5, rho=0.95),
    "float32": stored_as(gaussian(20, 12, 5, seed=6, ridge=0.1), np.float32),
    "fortran": stored_as(gaussian(20, 12, 5, seed=6), np.asfortranarray),
    "csc": stored_as(stored_as(gaussian(20, 12, 5, seed=7, ridge=0.1), thinned), sp.csc_array),
    "per_block": gaussian(20, 12, PerBlock(LABELS, [2, 3, 1]), seed=8, rho=0.6, ridge=0.1, w0=CENTRE[:12]),
    "per_block_no_ridge": gaussian(20, 12, PerBlock(LABELS, [2, 0, 3]), seed=9),
    "must": gaussian(20, 12, Cardinality(5, must=[3, 10], never=[0, 6]), seed=11, rho=0.6, ridge=0.1),
    "per_block_must": gaussian(20, 12, PerBlock(LABELS, [2, 3, 1], must=[0, 5], never=[4]), seed=12, rho=0.6),
    "n_of_m": gaussian(20, 14, NofM(2, 4), seed=10, rho=0.6, ridge=0.1),
}
over_instances = pytest.mark.parametrize("name", INSTANCES)


def value(instance, support):
    return reference.value(instance.dense, instance.b, support, instance.ridge, instance.w0)


def started(instance, support=(), capacity=None):
    core = instance.core()
    if capacity is not None:
        core = replace(core, constraint=Cardinality(capacity).bind(instance.p))
    return Tableau(core, np.array(support, dtype=np.int64))


def random_support(instance, rng, share=1.0):
    """Slots in random order; with a share below 1 some of the budget is left."""
    support = rng.permutation(instance.problem().constraint.select(rng.random(instance.p)))
    return support[: max(1, round(share * support.size))]


def is_right(tableau, instance):
    """Everything the tableau keeps is what its support alone determines."""
    m, S = tableau.size, tableau.slots
    assert len(set(S.tolist())) == m
    state = reference.tableau_state(instance.dense, instance.b, S, instance.ridge, instance.w0)
    kept = {"E": tableau._E[:m, :m], "B": tableau._B[:m], "w": tableau.w, "r": tableau.r, "s": tableau.s}
    for key, expected in state.items():
        assert kept[key].shape == expected.shape
        atol = 1e-9 * np.abs(expected).max(initial=1)
        np.testing.assert_allclose(kept[key], expected, rtol=1e-9, atol=atol, err_msg=key)
    assert np.all(tableau.r[S] == 0)
    assert np.all(tableau.s[S] == 0)
    assert tableau.objective == pytest.approx(value(instance, S), abs=1e-10 * instance.size(np.zeros(instance.p)))


@over_instances
def test_a_new_state_is_right(name):
    instance, rng = INSTANCES[name], np.random.default_rng(0)
    is_right(started(instance), instance)
    for share in (0.3, 0.7, 1.0):
        support = random_support(instance, rng, share)
        tableau = started(instance, support)
        np.testing.assert_array_equal(tableau.slots, support)
        is_right(tableau, instance)


@over_instances
def test_any_sequence_of_changes_keeps_it_right(name):
    instance, rng = INSTANCES[name], np.random.default_rng(1)
    most = min(instance.p, instance.A.shape[0] if instance.ridge == 0 else instance.p) - 2
    tableau = started(instance, random_support(instance, rng, 0.5), most)
    expected = set(tableau.slots.tolist())
    earlier = []
    for step in range(60):
        choice = rng.integers(5)
        if choice == 0 and step % 3 == 0:
            tableau.reset(rng.permutation(tableau.slots))
        elif choice == 1:
            earlier.append((tableau, tableau.slots.copy()))
            tableau = tableau.copy()
        elif (choice == 2 or tableau.size == most) and tableau.size:
            slot = int(rng.integers(tableau.size))
            column = int(tableau.slots[slot])
            assert tableau.remove(slot) == column
            expected.remove(column)
        elif tableau.size < most:
            j = int(rng.choice(np.setdiff1d(np.arange(instance.p), tableau.slots)))
            tableau.add(j)
            assert tableau.slots[-1] == j
            expected.add(j)
        assert set(tableau.slots.tolist()) == expected
        is_right(tableau, instance)
    assert len(earlier) > 3
    for copied, support in earlier:
        np.testing.assert_array_equal(copied.slots, support)
        is_right(copied, instance)


@pytest.mark.parametrize("part", ["_w", "_E"])
def test_drift_tells_of_lost_digits(part):
    instance = INSTANCES["ridge"]
    exchange = started(instance, [9, 2, 5])
    exchange.add(0)
    assert exchange.drift < 1e-12
    kept = getattr(exchange, part)
    kept[..., exchange.size - 1] *= 1 + 1e-5
    assert 1e-8 < exchange.drift < 1e-3
    exchange.reset(exchange.support.copy())
    assert exchange.drift < 1e-12
    assert started(instance).drift == 0


@over_instances
def test_gains_and_costs_are_what_a_refit_changes(name):
    instance, rng = INSTANCES[name], np.random.default_rng(2)
    for share in (0.4, 1.0):
        tableau = started(instance, random_support(instance, rng, share))
        S = tableau.slots
        before, size = value(instance, S), instance.size(np.zeros(instance.p))
        gains, costs = tableau.gains(), tableau.w**2 / (2 * tableau.e)
        assert np.all(gains[S] == 0)
        never = tableau.problem.constraint.never
        assert np.all(gains[never] == 0)
        for j in np.setdiff1d(np.arange(instance.p), [*S, *never]):
            assert gains[j] == pytest.approx(before - value(instance, np.append(S, j)), rel=1e-7, abs=1e-10 * size)
        for slot, i in enumerate(S):
            assert costs[slot] == pytest.approx(
                value(instance, np.setdiff1d(S, i)) - before, rel=1e-7, abs=1e-10 * size
            )


@over_instances
def test_best_swap_is_the_best_of_all_refits(name):
    instance, rng = INSTANCES[name], np.random.default_rng(3)
    size, ends = instance.size(np.zeros(instance.p)), 0
    for share in (1.0, 1.0, 0.6, 0.6):
        tableau = started(instance, random_support(instance, rng, share))
        for _ in range(30):
            S = tableau.slots.copy()
            before = value(instance, S)
            swaps = reference.swaps(S, instance.k, instance.p)
            changes = {(i, j): value(instance, other) - before for i, j, other in swaps}
            least = min(changes.values())
            slot, j, change = tableau.best_swap()
            if change > -1e-10 * size:
                assert least >= -1e-10 * size
                ends += 1
                break
            assert change == pytest.approx(least, rel=1e-7, abs=1e-10 * size)
            assert changes[S[slot], j] == pytest.approx(least, rel=1e-7, abs=1e-10 * size)
            tableau.remove(slot)
            tableau.add(j)
            assert tableau.objective == pytest.approx(before + change, abs=1e-10 * size)
    assert ends


@over_instances
def test_best_swap_never_names_a_column_of_the_support(name):
    """To take a column out and the same one in changes nothing; rounding must not make it the best swap."""
    instance, rng = INSTANCES[name], np.random.default_rng(3)
    for share in (1.0, 1.0, 0.6, 0.6):
        tableau = started(instance, random_support(instance, rng, share))
        for _ in range(30):
            slot, j, _ = tableau.best_swap()
            if slot < 0:
                break
            assert j not in tableau.slots
            tableau.remove(slot)
            tableau.add(j)


def test_a_swap_goes_to_another_part_only_where_there_is_room():
    labels = np.repeat([0, 1], 6)
    instance = gaussian(20, 12, PerBlock(labels, [3, 3]), seed=1)
    crossed = 0
    for seed in range(20):
        support = random_support(instance, np.random.default_rng(seed), 0.5)
        tableau = started(instance, support)
        slot, j, _ = tableau.best_swap()
        counts = np.bincount(labels[support], minlength=2)
        if slot >= 0 and labels[j] != labels[tableau.slots[slot]]:
            assert counts[labels[j]] < 3
            crossed += 1
    assert crossed > 2


def dependent(ridge):
    """Columns 4 and 5 are zero and a sum of others, 6 to 8 repeat 0 to 2, one of them scaled, one negated."""
    base = gaussian(20, 9, 6, seed=12, ridge=ridge)
    A = base.A.copy()
    A[:, 4], A[:, 5] = 0.0, A[:, 0] - 2 * A[:, 1]
    A[:, 6], A[:, 7], A[:, 8] = A[:, 0], 4 * A[:, 1], -A[:, 2]
    return base.but(A=A)


def test_dependent_columns_are_never_added():
    instance = dependent(0.0)
    for begin in itertools.combinations(range(4), 2):
        tableau = started(instance, begin, 9)
        while (j := int(np.argmax(gains := tableau.gains()))) >= 0 and gains[j] > 0:
            tableau.add(j)
            assert np.linalg.matrix_rank(instance.A[:, tableau.slots]) == tableau.size
        assert tableau.size == 4
        assert tableau.best_swap()[2] >= -1e-9 * tableau.objective
        is_right(tableau, instance)
    assert started(instance, [0, 1]).gains()[[4, 5, 6, 7]].tolist() == [0, 0, 0, 0]
    assert started(instance, [2]).gains()[[4, 8]].tolist() == [0, 0]


def test_a_dependent_support_shrinks_to_independent_columns():
    instance = dependent(0.0)
    for support in ([0, 6], [4], [0, 1, 5], [7, 2, 1, 8, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8]):
        tableau = started(instance, support)
        assert set(tableau.slots.tolist()) <= set(support)
        assert np.linalg.matrix_rank(instance.A[:, support]) == tableau.size
        assert tableau.objective == pytest.approx(value(instance, support), rel=1e-9)
        is_right(tableau, instance)


def test_a_ridge_makes_equal_columns_independent():
    instance = dependent(0.2)
    tableau = started(instance, [0, 1, 2, 6, 7, 8])
    assert tableau.size == 6
    is_right(tableau, instance)


def test_points():
    instance = INSTANCES["w0"]
    tableau = started(instance, [9, 2, 13, 5])
    tableau.add(0)
    tableau.remove(1)
    for point in (tableau.point(), tableau.snapshot()):
        assert point.support.tolist() == [0, 5, 9, 13]
        w = np.zeros(instance.p)
        w[point.support] = point.w
        np.testing.assert_allclose(w, instance.refit(point.support), rtol=1e-9, atol=1e-12)
        assert point.objective == pytest.approx(instance.objective(w), rel=1e-12)
    assert tableau.point().restricted_optimum
    kept = tableau.snapshot()
    tableau.add(3)
    np.testing.assert_allclose(kept.w, instance.refit(kept.support)[kept.support], rtol=1e-9)
