"""part_thresholds: the equation it solves, and bisection."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from l0quad.kernels.perspective import part_thresholds

pytestmark = pytest.mark.no_jit

VALUES = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0, 2.0, 1e-12, 1e12]), st.floats(0, 10), st.floats(1e-100, 1e100, allow_nan=False)
)
BETAS = st.sampled_from([0.0, 1e-9, 0.25, 1.0, 4.0, 1e6])


def thresholds(magnitudes, starts, budgets, beta):
    found = np.full(len(budgets), np.nan)
    part_thresholds(np.asarray(magnitudes, dtype=float), np.asarray(starts), np.asarray(budgets), beta, found)
    return found


@given(st.lists(VALUES, min_size=0, max_size=9), st.integers(0, 9), BETAS)
def test_solves_its_equation(magnitudes, budget, beta):
    magnitudes = np.array(magnitudes, dtype=float)
    budget = min(budget, magnitudes.size)
    c = thresholds(magnitudes, [0, magnitudes.size], [budget], beta)[0]
    if budget == 0:
        assert c == np.inf
    elif np.count_nonzero(magnitudes) <= budget:
        assert c == 0
    else:
        assert np.isfinite(c)
        assert c > 0
        with np.errstate(over="ignore"):
            count = np.clip(magnitudes / c - beta, 0, 1).sum()
        # magnitudes / c - beta cancels: its rounding grows with beta.
        assert count == pytest.approx(budget, rel=1e-9, abs=1e-14 * (1 + beta) * magnitudes.size)


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=9), st.integers(1, 8), st.sampled_from([0.0, 0.25, 4.0]))
def test_matches_bisection(magnitudes, budget, beta):
    c = thresholds(magnitudes, [0, len(magnitudes)], [min(budget, len(magnitudes))], beta)[0]
    assert c == pytest.approx(reference.threshold(magnitudes, budget, beta), rel=1e-10)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_parts_are_independent(beta):
    rng = np.random.default_rng(0)
    starts, budgets = np.array([0, 3, 3, 10, 11, 17]), np.array([1, 0, 3, 1, 0])
    magnitudes = rng.random(17)
    before = magnitudes.copy()
    found = thresholds(magnitudes, starts, budgets, beta)
    alone = [
        thresholds(magnitudes[first:last], [0, last - first], [budget], beta)[0]
        for first, last, budget in zip(starts[:-1], starts[1:], budgets, strict=True)
    ]
    np.testing.assert_array_equal(found, alone)
    np.testing.assert_array_equal(magnitudes, before)
    assert found[1] == found[4] == np.inf
    assert found[3] == 0


def test_the_least_of_an_interval_of_solutions():
    # From 1 / 4 to 2 / 5, the one counts as 0 and the other as 1.
    assert thresholds([1.0, 2.0], [0, 2], [1], 4.0)[0] == 0.25


@pytest.mark.parametrize("beta", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("spread", [1, 50])
def test_long_parts(beta, spread):
    magnitudes = np.exp(spread * np.random.default_rng(1).standard_normal(3000))
    for budget in (1, 30, 1500, 2999):
        c = thresholds(magnitudes, [0, 3000], [budget], beta)[0]
        with np.errstate(over="ignore"):
            assert np.clip(magnitudes / c - beta, 0, 1).sum() == pytest.approx(budget, rel=1e-9)


def test_ties():
    assert thresholds(np.ones(4), [0, 4], [2], 0.0)[0] == pytest.approx(2.0, rel=1e-15)
    assert thresholds(np.ones(4), [0, 4], [2], 1.0)[0] == pytest.approx(1 / 1.5, rel=1e-15)


@pytest.mark.parametrize("beta", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("magnitudes", [[5e-324, 5e-324], [1e-323, 5e-324, 0.0], [5e-324, 5e-324, 1.0]])
def test_denormal_numbers_break_nothing(magnitudes, beta):
    """They arise where a column of A is as good as zero; c may be anything from 0 to the largest of them."""
    c = thresholds(magnitudes, [0, len(magnitudes)], [1], beta)[0]
    assert 0 <= c <= 1
