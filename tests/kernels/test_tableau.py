"""The table of swap costs and the rank-one update against their plain twins."""

import numpy as np
import pytest
import reference

from l0quad.kernels.tableau import best_pair, best_swap, subtract_outer

pytestmark = pytest.mark.no_jit

NO_PARTS = np.empty(0, dtype=np.int64)
SHAPES = [(0, 4), (1, 1), (1, 7), (3, 8), (6, 5)]


def table(shape, seed=0, share=1.0):
    """Random B, w, e, r, s, floor; the smaller ``share``, the fewer swaps lower the objective."""
    rng = np.random.default_rng(seed)
    m, p = shape
    r, s = share * rng.standard_normal(p), rng.random(p) + 0.1
    return rng.standard_normal((m, p)) * share, rng.standard_normal(m), rng.random(m) + 0.2, r, s, np.full(p, 1e-12)


def agree(found, expected):
    assert (found[0], found[1]) == (expected[0], expected[1])
    assert found[2] == pytest.approx(expected[2], rel=1e-12)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_best_swap_in_one_part(shape, share):
    room = np.array([0])
    for seed in range(10):
        arguments = *table(shape, seed, share), np.arange(shape[0]), NO_PARTS, NO_PARTS, room
        found = best_swap(*arguments)
        agree(found, reference.best_swap(*arguments))
        assert found[2] < 0 or found == (-1, -1, 0.0)
        if share == 0:
            assert found[0] == -1


@pytest.mark.parametrize("seed", range(10))
def test_best_swap_with_parts(seed):
    rng = np.random.default_rng(seed)
    part = rng.integers(0, 3, 9)
    for room in ([0, 0, 0], [0, 1, 0], [2, 0, 3]):
        arguments = *table((4, 9), seed), np.arange(4), rng.integers(0, 3, 4), part, np.array(room)
        found = best_swap(*arguments)
        agree(found, reference.best_swap(*arguments))
        if found[0] >= 0:
            home = arguments[7]
            assert part[found[1]] == home[found[0]] or room[part[found[1]]] > 0


def test_no_part_fits():
    part, home = np.array([0, 0, 1]), np.array([2, 2])
    arguments = *table((2, 3)), np.arange(2), home, part
    assert best_swap(*(*arguments, np.array([0, 0, 5]))) == (-1, -1, 0.0)
    assert best_swap(*(*arguments, np.array([0, 1, 0])))[1] == 2


@pytest.mark.parametrize("leaving", [[], [2], [0, 3]], ids=str)
def test_only_some_slots_may_go(leaving):
    arguments = *table((4, 9), 1), np.array(leaving, dtype=np.int64), NO_PARTS, NO_PARTS, np.array([0])
    found = best_swap(*arguments)
    agree(found, reference.best_swap(*arguments))
    assert found[0] in [*leaving, -1]


def test_dependent_columns_are_passed_over():
    B, w, e, r, s, floor = table((3, 5))
    best = best_swap(B, w, e, r, s, floor, np.arange(3), NO_PARTS, NO_PARTS, np.array([0]))
    floor[best[1]] = np.inf
    arguments = B, w, e, r, s, floor, np.arange(3), NO_PARTS, NO_PARTS, np.array([0])
    other = best_swap(*arguments)
    assert other[1] != best[1]
    assert other[2] > best[2]
    agree(other, reference.best_swap(*arguments))
    # A Schur complement that rounding made negative, and one that is exactly at the floor.
    B[:, :2], s[0], s[1], floor[1], r[:2] = 0.0, -1e-17, 0.5, 0.5, 1e6
    assert best_swap(*arguments)[1] >= 2
    floor[:] = np.inf
    assert best_swap(*arguments) == (-1, -1, 0.0)


def test_the_first_of_equal_columns_is_taken():
    B, w, e, r, s, floor = (np.repeat(each, 2, axis=-1) if each.shape[-1] == 5 else each for each in table((3, 5)))
    found = best_swap(np.ascontiguousarray(B), w, e, r, s, floor, np.arange(3), NO_PARTS, NO_PARTS, np.array([0]))
    assert found[0] >= 0
    assert found[1] % 2 == 0


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (2, 7), (5, 16), (6, 33)], ids=str)
def test_subtract_outer(shape):
    rng = np.random.default_rng(3)
    B, x, y = rng.standard_normal((8, shape[1])), rng.standard_normal(shape[0]), rng.standard_normal(shape[1])
    before = B.copy()
    subtract_outer(B, x, y)
    np.testing.assert_allclose(B[: x.size], before[: x.size] - np.outer(x, y), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(B[x.size :], before[x.size :])


def test_subtract_outer_leaves_rows_of_zero_alone():
    B, x, y = np.ones((3, 4)), np.array([0.0, 2.0, 0.0]), np.full(4, np.inf)
    subtract_outer(B, x, y)
    np.testing.assert_array_equal(B, [[1.0] * 4, [-np.inf] * 4, [1.0] * 4])


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_best_pair(seed, parts):
    rng = np.random.default_rng(seed)
    p, rows = 7, np.array([1, 4, 5])
    factor = rng.standard_normal((p + 1, p))
    full, r, right, left = factor.T @ factor, rng.standard_normal(p), rng.standard_normal((2, p)), np.empty((2, p))
    left[:] = 0.3 * right
    S = (full - left.T @ right)[rows]
    S[np.arange(rows.size), rows] = np.nan
    s, floor = full.diagonal().copy(), np.full(p, 1e-12)
    floor[2] = np.inf
    part, room = (np.arange(p) % 2, np.array([2, 1])) if parts else (NO_PARTS, np.array([2]))
    pairs = {}
    for j in rows:
        for m in range(p):
            both = [j, m]
            if m not in (j, 2) and not (parts and part[j] == part[m] == 1):
                pairs[j, m] = 0.5 * r[both] @ np.linalg.solve(full[np.ix_(both, both)], r[both])
    j, m, gain = best_pair(S, rows, left, right, r, s, floor, part, room, 0.0)
    assert gain == pytest.approx(max(pairs.values()), rel=1e-9)
    assert pairs[j, m] == pytest.approx(gain, rel=1e-9)
    assert best_pair(S, rows, left, right, r, s, floor, part, room, 1.001 * gain)[:2] == (-1, -1)
