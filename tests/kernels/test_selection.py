"""select_parts against sorting."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from l0quad.kernels.selection import select_parts
from l0quad.problem.constraints import ranking

pytestmark = pytest.mark.no_jit


@st.composite
def partitions(draw):
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    # Few different values, so that ties at the threshold are the rule.
    values = st.sampled_from([0.0, 1.0, 2.0, 2.0000000000000004, np.inf, -np.inf])
    scores = draw(st.lists(values, min_size=sum(sizes), max_size=sum(sizes)))
    budgets = [draw(st.integers(0, size)) for size in sizes]
    return np.array(scores), np.concatenate([[0], np.cumsum(sizes)]), np.array(budgets)


@given(partitions())
def test_matches_sorting(partition):
    scores, starts, budgets = partition
    chosen = np.zeros(scores.size, dtype=np.bool_)
    before = scores.copy()
    select_parts(scores, starts, budgets, chosen)
    np.testing.assert_array_equal(chosen, reference.select_parts(scores, starts, budgets))
    np.testing.assert_array_equal(scores, before)


ORDERS = {
    "ties": lambda: np.random.default_rng(0).integers(0, 7, 100).astype(float),
    "different": lambda: np.random.default_rng(0).random(100),
    "rising": lambda: np.linspace(0, 1, 100),
    "falling": lambda: np.linspace(1, 0, 100),
    "there and back": lambda: np.abs(np.arange(100.0) - 50),
    "equal": lambda: np.ones(100),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("budget", [0, 1, 4, 50, 99, 100])
def test_one_long_part(budget, order):
    scores = ORDERS[order]()
    chosen = np.zeros(100, dtype=np.bool_)
    select_parts(scores, np.array([0, 100]), np.array([budget]), chosen)
    assert chosen.sum() == budget
    np.testing.assert_array_equal(chosen, reference.select_parts(scores, [0, 100], [budget]))


@pytest.mark.parametrize("ulps", [200, 1000, 4000])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_scores_that_differ_in_their_last_digits_alone(ulps, share):
    scores = 1 + np.random.default_rng(0).integers(-ulps, ulps, 4000).astype(np.float64) * 2.0**-53
    k = int(share * scores.size)
    chosen = np.zeros(scores.size, dtype=np.bool_)
    select_parts(scores, np.array([0, scores.size]), np.array([k]), chosen)
    np.testing.assert_array_equal(chosen, reference.select_parts(scores, [0, scores.size], [k]))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", [1, 50, 99])
def test_many_scores_are_ranked_as_few_are(order, k, monkeypatch):
    scores = ORDERS[order]() - 0.5
    few = ranking.top_k(scores, k)
    monkeypatch.setattr(ranking, "_PARTITIONED", 0)
    np.testing.assert_array_equal(ranking.top_k(scores, k), few)


@given(st.lists(st.floats(allow_nan=False), min_size=70, max_size=90), st.integers(1, 70))
def test_all_kinds_of_numbers_are_ordered_by_their_bits(scores, k):
    chosen = np.zeros(len(scores), dtype=np.bool_)
    select_parts(np.array(scores), np.array([0, len(scores)]), np.array([k]), chosen)
    np.testing.assert_array_equal(chosen, reference.select_parts(scores, [0, len(scores)], [k]))
