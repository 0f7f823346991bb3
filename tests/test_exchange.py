"""The exact costs of one change: the updated state against a new one, the costs against refits of every change."""

import itertools

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from problems import gaussian, pruning, stored_as, thinned

import l0quad.exchange
from l0quad import NofM, PerBlock
from l0quad.exchange import Exchange, Rows

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
    "n_of_m": gaussian(20, 14, NofM(2, 4), seed=10, rho=0.6, ridge=0.1),
}
over_instances = pytest.mark.parametrize("name", INSTANCES)


def value(instance, support):
    return reference.value(instance.dense, instance.b, support, instance.ridge, instance.w0)


def started(instance, support=(), capacity=None):
    problem = instance.problem()
    capacity = problem.constraint.total if capacity is None else capacity
    return Exchange(problem, Rows(problem), np.array(support, dtype=np.int64), capacity)


def random_support(instance, rng, share=1.0):
    """Slots in random order; with a share below 1 some of the budget is left."""
    support = rng.permutation(instance.problem().constraint.select(rng.random(instance.p)))
    return support[: max(1, round(share * support.size))]


def is_right(exchange, instance):
    """Everything the exchange keeps is what its support alone determines."""
    m, S = exchange.size, exchange.support
    assert len(set(S.tolist())) == m
    state = reference.exchange_state(instance.dense, instance.b, S, instance.ridge, instance.w0)
    kept = {"E": exchange._E[:m, :m], "B": exchange._B[:m], "w": exchange.w, "r": exchange.r, "s": exchange.s}
    for key, expected in state.items():
        assert kept[key].shape == expected.shape
        atol = 1e-9 * np.abs(expected).max(initial=1)
        np.testing.assert_allclose(kept[key], expected, rtol=1e-9, atol=atol, err_msg=key)
    assert np.all(exchange.r[S] == 0)
    assert np.all(exchange.s[S] == 0)
    assert exchange.objective == pytest.approx(value(instance, S), abs=1e-10 * instance.size(np.zeros(instance.p)))


@over_instances
def test_a_new_state_is_right(name):
    instance, rng = INSTANCES[name], np.random.default_rng(0)
    is_right(started(instance), instance)
    for share in (0.3, 0.7, 1.0):
        support = random_support(instance, rng, share)
        exchange = started(instance, support)
        np.testing.assert_array_equal(exchange.support, support)
        is_right(exchange, instance)


@over_instances
def test_any_sequence_of_changes_keeps_it_right(name):
    instance, rng = INSTANCES[name], np.random.default_rng(1)
    most = min(instance.p, instance.A.shape[0] if instance.ridge == 0 else instance.p) - 2
    exchange = started(instance, random_support(instance, rng, 0.5), most)
    expected = set(exchange.support.tolist())
    earlier = []
    for step in range(60):
        choice = rng.integers(5)
        if choice == 0 and step % 3 == 0:
            exchange.reset(rng.permutation(exchange.support))
        elif choice == 1:
            earlier.append((exchange, exchange.support.copy()))
            exchange = exchange.copy()
        elif (choice == 2 or exchange.size == most) and exchange.size:
            slot = int(rng.integers(exchange.size))
            column = int(exchange.support[slot])
            assert exchange.remove(slot) == column
            expected.remove(column)
        elif exchange.size < most:
            j = int(rng.choice(np.setdiff1d(np.arange(instance.p), exchange.support)))
            exchange.add(j)
            assert exchange.support[-1] == j
            expected.add(j)
        assert set(exchange.support.tolist()) == expected
        is_right(exchange, instance)
    assert len(earlier) > 3
    for copied, support in earlier:
        np.testing.assert_array_equal(copied.support, support)
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
        exchange = started(instance, random_support(instance, rng, share))
        S = exchange.support
        before, size = value(instance, S), instance.size(np.zeros(instance.p))
        gains, costs = exchange.gains(), exchange.w**2 / (2 * exchange.e)
        assert np.all(gains[S] == 0)
        for j in np.setdiff1d(np.arange(instance.p), S):
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
        exchange = started(instance, random_support(instance, rng, share))
        for _ in range(30):
            S = exchange.support.copy()
            before = value(instance, S)
            swaps = reference.swaps(S, instance.k, instance.p)
            changes = {(i, j): value(instance, other) - before for i, j, other in swaps}
            least = min(changes.values())
            slot, j, change = exchange.best_swap()
            if change > -1e-10 * size:
                assert least >= -1e-10 * size
                ends += 1
                break
            assert change == pytest.approx(least, rel=1e-7, abs=1e-10 * size)
            assert changes[S[slot], j] == pytest.approx(least, rel=1e-7, abs=1e-10 * size)
            exchange.remove(slot)
            exchange.add(j)
            assert exchange.objective == pytest.approx(before + change, abs=1e-10 * size)
    assert ends


@over_instances
def test_best_swap_never_names_a_column_of_the_support(name):
    """To take a column out and the same one in changes nothing; rounding must not make it the best swap."""
    instance, rng = INSTANCES[name], np.random.default_rng(3)
    for share in (1.0, 1.0, 0.6, 0.6):
        exchange = started(instance, random_support(instance, rng, share))
        for _ in range(30):
            slot, j, _ = exchange.best_swap()
            if slot < 0:
                break
            assert j not in exchange.support
            exchange.remove(slot)
            exchange.add(j)


def test_a_swap_goes_to_another_part_only_where_there_is_room():
    labels = np.repeat([0, 1], 6)
    instance = gaussian(20, 12, PerBlock(labels, [3, 3]), seed=1)
    crossed = 0
    for seed in range(20):
        support = random_support(instance, np.random.default_rng(seed), 0.5)
        exchange = started(instance, support)
        slot, j, _ = exchange.best_swap()
        counts = np.bincount(labels[support], minlength=2)
        if slot >= 0 and labels[j] != labels[exchange.support[slot]]:
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
        exchange = started(instance, begin, 9)
        while (j := int(np.argmax(gains := exchange.gains()))) >= 0 and gains[j] > 0:
            exchange.add(j)
            assert np.linalg.matrix_rank(instance.A[:, exchange.support]) == exchange.size
        assert exchange.size == 4
        assert exchange.best_swap()[2] >= -1e-9 * exchange.objective
        is_right(exchange, instance)
    assert started(instance, [0, 1]).gains()[[4, 5, 6, 7]].tolist() == [0, 0, 0, 0]
    assert started(instance, [2]).gains()[[4, 8]].tolist() == [0, 0]


def test_a_dependent_support_shrinks_to_independent_columns():
    instance = dependent(0.0)
    for support in ([0, 6], [4], [0, 1, 5], [7, 2, 1, 8, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8]):
        exchange = started(instance, support)
        assert set(exchange.support.tolist()) <= set(support)
        assert np.linalg.matrix_rank(instance.A[:, support]) == exchange.size
        assert exchange.objective == pytest.approx(value(instance, support), rel=1e-9)
        is_right(exchange, instance)


def test_a_ridge_makes_equal_columns_independent():
    instance = dependent(0.2)
    exchange = started(instance, [0, 1, 2, 6, 7, 8])
    assert exchange.size == 6
    is_right(exchange, instance)


def test_points():
    instance = INSTANCES["w0"]
    exchange = started(instance, [9, 2, 13, 5])
    exchange.add(0)
    exchange.remove(1)
    for point in (exchange.point(), exchange.snapshot()):
        assert point.support.tolist() == [0, 5, 9, 13]
        w = np.zeros(instance.p)
        w[point.support] = point.w
        np.testing.assert_allclose(w, instance.refit(point.support), rtol=1e-9, atol=1e-12)
        assert point.objective == pytest.approx(instance.objective(w), rel=1e-12)
    assert exchange.point().refit
    kept = exchange.snapshot()
    exchange.add(3)
    np.testing.assert_allclose(kept.w, instance.refit(kept.support)[kept.support], rtol=1e-9)


@pytest.mark.parametrize("kept", [0, 1, 3, 100])
@pytest.mark.parametrize("name", ["ridge", "no_ridge", "float32", "fortran", "csc"])
def test_rows(monkeypatch, name, kept):
    instance = INSTANCES[name]
    monkeypatch.setattr(l0quad.exchange, "_ROWS_BYTES", 8 * instance.p * kept)
    H = instance.dense.T @ instance.dense + 2 * instance.ridge * np.eye(instance.p)
    rows = Rows(instance.problem())
    for columns in ([3], [], [0, 3], [7, 1, 3], [1], list(range(12)), [11, 0]):
        found = rows.several(np.array(columns, dtype=np.int64))
        if columns:
            np.testing.assert_allclose(found, H[columns], rtol=1e-12, atol=1e-13)
            found[:] = np.nan
        assert len(rows._kept) <= kept
    for j in (5, 3, 5, 8):
        np.testing.assert_allclose(rows(j), H[j], rtol=1e-12, atol=1e-13)
    assert len(rows._kept) == min(kept, instance.p)


def test_known_rows_cost_no_product(monkeypatch):
    problem = INSTANCES["ridge"].problem()
    asked = []
    cross = problem.matrix.cross
    monkeypatch.setattr(problem.matrix, "cross", lambda columns: asked.append(columns.tolist()) or cross(columns))
    monkeypatch.setattr(problem.matrix, "matvec", lambda *_: pytest.fail("a known row was computed again"))
    rows = Rows(problem)
    rows.several(np.array([2, 5, 7]))
    rows.several(np.array([7, 2]))
    rows(5)
    rows.several(np.array([5, 1, 9]))
    assert asked == [[2, 5, 7], [1, 9]]
