"""Blocks of a Schur complement and the gains of groups against their plain twins."""

import numpy as np
import pytest
import reference

from l0quad.kernels.groups import group_gains, group_pivots, subtract_outer_blocks
from l0quad.types import IntArray

pytestmark = pytest.mark.no_jit

UNITS = [[np.array([3, 0, 5])], [np.array([2]), np.array([6, 1]), np.array([4, 0, 3, 5])], []]


def layout(units) -> tuple[IntArray, IntArray, IntArray]:
    sizes = np.array([each.size for each in units], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    offsets = (np.cumsum(sizes**2) - sizes**2).astype(np.int64)
    return offsets, starts, np.concatenate([np.empty(0, dtype=np.int64), *units])


def blocks_of(S, units):
    return np.concatenate([np.empty(0), *(S[np.ix_(each, each)].ravel() for each in units)])


def gains(S, units, r, floor):
    found = np.full(len(units), np.nan)
    blocks = blocks_of(S, units)
    before = blocks.copy(), r.copy()
    group_gains(blocks, *layout(units), r, floor, found)
    np.testing.assert_array_equal(blocks, before[0])
    np.testing.assert_array_equal(r, before[1])
    return found


@pytest.mark.parametrize("units", UNITS, ids=len)
def test_subtract_outer_blocks(units):
    rng = np.random.default_rng(0)
    S, x, y = rng.standard_normal((7, 7)), rng.standard_normal(7), rng.standard_normal(7)
    blocks = blocks_of(S, units)
    subtract_outer_blocks(blocks, *layout(units), x, y)
    np.testing.assert_allclose(blocks, blocks_of(S - np.outer(x, y), units), rtol=0, atol=1e-15)


@pytest.mark.parametrize("units", UNITS, ids=len)
def test_gains(units):
    rng = np.random.default_rng(1)
    X, r = rng.standard_normal((9, 7)), rng.standard_normal(7)
    S = X.T @ X
    expected = [reference.group_gain(S, each, r, np.zeros(7)) for each in units]
    np.testing.assert_allclose(gains(S, units, r, np.zeros(7)), expected, rtol=1e-10)


def test_columns_at_their_floor_are_left_out():
    rng = np.random.default_rng(2)
    X, r = rng.standard_normal((9, 7)), rng.standard_normal(7)
    X[:, 6], X[:, 5] = 0.0, X[:, 3]
    S, floor = X.T @ X, np.full(7, 1e-9)
    floor[4] = np.inf
    units = UNITS[1]
    found = gains(S, units, r, floor)
    expected = [reference.group_gain(S, each, r, floor) for each in units]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # What is left of the groups: 2; 1; 0 and 3.
    for gain, kept in zip(found, ([2], [1], [0, 3]), strict=True):
        assert gain == pytest.approx(0.5 * r[kept] @ np.linalg.solve(S[np.ix_(kept, kept)], r[kept]), rel=1e-9)
    assert gains(S, units, r, np.full(7, np.inf)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("units", UNITS, ids=len)
def test_least_pivots(units):
    rng = np.random.default_rng(3)
    X, sizes = rng.standard_normal((9, 7)), rng.uniform(0.5, 2, 7)
    S, found = X.T @ X, np.full(len(units), np.nan)
    group_pivots(blocks_of(S, units), *layout(units), sizes, found)
    for each, least in zip(units, found, strict=True):
        pivots = np.linalg.cholesky(S[np.ix_(each, each)]).diagonal() ** 2
        assert least == pytest.approx(min(1.0, (pivots / sizes[each]).min()), rel=1e-10)
    X[:, 6] = X[:, 3] = 0.0
    group_pivots(blocks_of(X.T @ X, units), *layout(units), sizes, found)
    assert [least == 0.0 for least in found] == [bool(np.isin([3, 6], each).any()) for each in units]
