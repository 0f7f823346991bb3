"""What SWAP_OPTIMAL promises where H = A'A is given, beside exact rational arithmetic: H has half of A's digits."""

import numpy as np
import pytest
import reference
from rational import Exact

from l0quad import PerBlock, Problem, Status, solve

BLOCKS = PerBlock([0, 0, 1, 0, 0], [1, 2])


def gain(exact, result):
    """By how much the best exchange lowers the objective, as a share of it."""
    here = exact.objective(result.w)
    least = min(exact.least(other) for *_, other in reference.swaps(result.support, exact.k, exact.p))
    return float((here - least) / abs(here))


@pytest.mark.parametrize("k", [1, 2, BLOCKS], ids=str)
@pytest.mark.parametrize("method", ["auto", "swap"])
def test_small_columns_of_a_singular_h_are_not_lost(method, k):
    """Three rows, five columns of norms from 1e-9 to 1e10; g lies in the range."""
    settled = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        B, b = rng.standard_normal((3, 5)) * 10.0 ** rng.uniform(-9, 10, 5), rng.standard_normal(3)
        H, g = B.T @ B, B.T @ b
        result = solve(Problem.from_gram(H, g, k), method, bound="none")
        assert result.objective < 0
        assert gain(Exact.of_gram(H, g, k), result) <= 1e-9
        settled += result.status is Status.SWAP_OPTIMAL
    assert settled >= 29


def test_columns_next_to_each_other_are_not_called_settled_by_their_inner_products():
    """H has lost half of the digits that tell two columns apart."""
    settled = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        B, b, apart = rng.standard_normal((3, 5)), rng.standard_normal(3), 10.0 ** rng.uniform(-7, -3)
        B[:, 0] = B[:, 4] + apart * rng.standard_normal(3)
        H, g = B.T @ B, B.T @ b
        result = solve(Problem.from_gram(H, g, 3), "swap", bound="none")
        if result.status is Status.SWAP_OPTIMAL:
            settled += 1
            assert gain(Exact.of_gram(H, g, 3), result) <= 1e-9
    assert settled >= 30


def test_a_column_that_only_the_large_ones_hide_is_not_called_settled():
    """By its diagonal the last column explains 50 times as much as the others; by the rest of H it is like them."""
    H = np.array([[1.0, 1.0, 1e-9], [1.0, 1.0, 1e-9], [1e-9, 1e-9, 1e-20]])
    problem = Problem.from_gram(H, [1.0, 1.0, 1e-9], 1)
    assert solve(problem, "swap", bound="none").status is Status.CONVERGED


def test_a_constant_does_not_change_what_is_settled():
    rng = np.random.default_rng(1)
    B, b = rng.standard_normal((3, 5)), rng.standard_normal(3)
    found = [solve(Problem.from_gram(B.T @ B, B.T @ b, 2, const), "swap") for const in (0.0, 0.5 * float(b @ b), 1e6)]
    assert {each.status for each in found} == {Status.SWAP_OPTIMAL}
    assert len({tuple(each.support) for each in found}) == 1
