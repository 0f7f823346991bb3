"""What is claimed of tiny instances, beside their exact optimum: to the last bit, and no claim false."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import reference
from judged import case, judge
from rational import Exact

import l0quad
from l0quad import BlockBacksolve, Cardinality, Groups, NofM, PerBlock, Problem, Status, solve

SUITE = 400
EVERYTHING = 10_000
PIECE = 500


def faults(seeds):
    return {seed: verdict.faults for seed in seeds if (verdict := judge(case(seed))) is not None and verdict.faults}


@pytest.mark.parametrize("first", range(0, SUITE, 100))
def test_claims(first):
    assert not faults(range(first, first + 100))


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(SUITE, EVERYTHING, PIECE))
def test_all_claims(first):
    assert not faults(range(first, min(first + PIECE, EVERYTHING)))


def test_a_given_h_and_not_its_factor_has_the_last_word() -> None:
    """H of condition 1e30: its factor falls far below all w in a direction that H does not have."""
    assert not faults([6804])


def test_elimination_is_brute_force():
    """The oracle itself, on numbers that a fraction holds in one line."""
    exact = Exact.of(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0]), 1)
    assert exact.least([0]) == Fraction(1) - Fraction(16, 20)
    assert exact.least([1]) == Fraction(1) - Fraction(36, 40)
    assert exact.optimum() == Fraction(1, 10)
    assert exact.unconstrained() == 0
    assert exact.objective([0.0, 0.5]) == Fraction(1, 2)
    assert Exact.of(np.ones((2, 2)), np.ones(2), 2).optimum() == 0


def test_a_tiny_singular_value_is_not_dropped():
    A, b = np.array([[1.0, 1.0], [0.0, 2.0**-50]]), np.array([0.0, 1.0])
    assert l0quad.minimize(A, b, 2).lower_bound <= 0


def test_columns_a_little_apart_are_not_dropped():
    x, y = np.random.default_rng(0).standard_normal((2, 100_000))
    A = np.column_stack([x, x + 1e-10 * y])
    assert l0quad.minimize(A, A[:, 1] - A[:, 0], 2).lower_bound <= 0


def test_the_bound_of_a_poor_point_is_no_difference():
    rng = np.random.default_rng(3)
    A, b, c = rng.standard_normal((3, 4)) * 1e9, rng.standard_normal(3), rng.standard_normal(4)
    result = l0quad.minimize(A, b, 2, ridge=1e-3, linear=c, method=BlockBacksolve(1))
    assert Fraction(result.lower_bound) <= Exact.of(A, b, 2, 1e-3, None, c).optimum()


@pytest.mark.parametrize("ridge", [0.0, 1e-10, 1e-3, 1.0])
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10, 1e14])
def test_the_factor_of_a_gram_matrix_is_rounded(condition, ridge):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
        H, g = (Q * np.geomspace(1, 1 / condition, 5)) @ Q.T, rng.standard_normal(5)
        H = (H + H.T) / 2
        optimum = Exact.of_gram(H, g, 2, 0.0, ridge).optimum()
        for bound in ("none", "fast", "tight"):
            result = solve(Problem.from_gram(H, g, 2, ridge=ridge), bound=bound)
            assert Fraction(result.lower_bound) <= optimum
            if ridge >= 1e-3 or condition <= 1e6:
                assert result.lower_bound > -1e30


@pytest.fixture(scope="module")
def offset():
    """Twelve standardised columns, the answer far from zero: an offset that no column can follow."""
    rng = np.random.default_rng(12)
    A = rng.standard_normal((300, 12)) + rng.standard_normal((300, 1))
    A = (A - A.mean(0)) / A.std(0)
    b = A @ np.array([3.0, -2.0, 0, 0, 1.0, 0, 0, 0, 0, 0.5, 0, 0]) + rng.standard_normal(300)
    return A, b


@pytest.mark.parametrize("shift", [0.0, 1e5, 1e7])
def test_an_offset_proves_nothing(offset, shift):
    A, b = offset
    poor = l0quad.minimize(A, b + shift, 2, start=[10, 11], method="magnitude")
    best = l0quad.minimize(A, b + shift, 2)
    assert poor.objective > best.objective + 1
    assert poor.status is not Status.OPTIMAL
    full = l0quad.minimize(A, b + shift, 12)
    assert full.relative_gap <= 1e-12
    # What rounding leaves of the gap must be small beside what the columns explain.
    assert (full.status is Status.OPTIMAL) == (shift == 0)


@pytest.mark.parametrize("const", [0.0, 1e9, 1e15])
def test_a_constant_proves_nothing(offset, const):
    A, b = offset
    H, g = A.T @ A, A.T @ b
    problem = Problem.from_gram(H, g, 2, const)
    poor = solve(problem, "magnitude", start=[10, 11])
    assert poor.status is not Status.OPTIMAL
    assert poor.lower_bound < poor.objective - 1
    assert solve(Problem.from_gram(H, g, 12, const)).status is Status.OPTIMAL


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_no_budget_and_an_objective_of_zero_are_optimal(offset, ridge):
    A, b = offset
    nothing = l0quad.minimize(A, b, 0, ridge=ridge, w0=np.ones(12))
    assert nothing.status is Status.OPTIMAL
    assert nothing.relative_gap <= 1e-6
    assert nothing.gap <= 1e-10 * nothing.objective
    w0 = np.where(np.arange(12) < 3, 1.5, 0.0)
    zero = l0quad.minimize(A, A @ w0, 3, ridge=ridge, w0=w0)
    assert zero.status is Status.OPTIMAL
    assert zero.relative_gap <= 1e-6


def time_stamp(n, step):
    """An intercept beside a time stamp: all that tells them apart is eight digits down."""
    return np.column_stack([np.ones(n), 1.7e9 + step * np.arange(n), np.random.default_rng(0).standard_normal(n)])


@pytest.mark.parametrize("start", [None, [0, 1], [0, 2], [1, 2]], ids=str)
@pytest.mark.parametrize("method", ["auto", "swap"])
def test_an_exchange_that_the_table_has_no_digits_for_is_found(method, start):
    A, b = time_stamp(11, 9), np.arange(11.0)
    result = l0quad.minimize(A, b, 2, method=method, start=start)
    assert result.objective <= 1e-12
    again = l0quad.minimize(A, b, 2, method=method, start=result)
    assert again.status is result.status
    assert again.objective <= result.objective


@pytest.mark.parametrize("method", [name for name in l0quad.METHODS if name != "block_backsolve"])
def test_a_time_stamp_is_not_lost_where_a_tall_problem_is_reduced(method):
    A, b = time_stamp(60, 1), np.arange(60) / 10 + 0.01 * np.random.default_rng(1).standard_normal(60)
    problem = Problem(A, b, 3)
    if l0quad.METHODS[method].needs.lacking(problem.core) is None:
        best = solve(problem, "magnitude", start=[0, 1, 2], bound="none").objective
        result = solve(problem, method, start=[0, 1, 2])
        assert result.objective <= best * (1 + 1e-6) <= 0.01


KINDS: dict[str, Any] = {
    "cardinality": 4,
    "must": Cardinality(4, must=[3], never=[0, 5]),
    "per_block": PerBlock(np.arange(14) % 3, [2, 1, 2]),
    "n_of_m": NofM(2, 5),
    "groups": Groups(np.arange(14) % 7, 2),
    "groups_must": Groups(np.arange(14) // 2, 3, must=[2], never=[13]),
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["auto", "swap"])
def test_swap_optimal_is_settled_by_refits_and_survives_a_restart(method, kind, seed):
    """Columns 1e-7 apart, of which the table has no digits."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((30, 14)) + rng.standard_normal((30, 1))
    A[:, 3] = A[:, 4] + 1e-7 * rng.standard_normal(30)
    b = A[:, ::3].sum(1) + rng.standard_normal(30)
    if seed % 2:
        b = b + 1e7 * (A[:, 3] - A[:, 4])
    result = l0quad.minimize(A, b, KINDS[kind], method=method)
    assert result.status is Status.SWAP_OPTIMAL
    best = reference.best_neighbour(A, b, KINDS[kind], result.support)
    assert best >= result.objective * (1 - 1e-7)
    again = l0quad.minimize(A, b, KINDS[kind], method=method, start=result)
    assert again.status is Status.SWAP_OPTIMAL
    assert again.objective <= result.objective * (1 + 1e-7)


def test_a_column_next_to_another_is_not_called_settled():
    """What rounding leaves of the difference of two columns may explain b: no float64 refit says whether it does."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((8, 4))
        A[:, 0] = A[:, 3] + 1e-15 * rng.standard_normal(8)
        b = A[:, 3] - A[:, 0]
        b = b / np.linalg.norm(b) + A[:, 1]
        result = l0quad.minimize(A, b, 3)
        exact = Exact.of(A, b, 3)
        gain = float(exact.objective(result.w) - exact.optimum())
        assert result.status is not Status.SWAP_OPTIMAL or gain <= 1e-9 * result.objective


def test_messages_name_the_bound_that_was_computed():
    A, b = np.random.default_rng(0).standard_normal((20_000, 200)), np.random.default_rng(1).standard_normal(20_000)
    result = l0quad.minimize(A, b, 5, method="magnitude")
    assert "the separable relaxation" in result.message
    assert 9000 < result.lower_bound < result.objective
    costly = l0quad.minimize(np.ones((400, 3000)), np.ones(400), 3, bound="none")
    assert "all-columns" not in costly.message


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_a_bound_cut_short_is_no_convergence(ridge):
    A, b = np.random.default_rng(0).standard_normal((3000, 400)), np.random.default_rng(1).standard_normal(3000)
    for limit in (1e-9, 1e-3):
        result = l0quad.minimize(A, b, 5, ridge=ridge, method="magnitude", bound="tight", time_limit=limit)
        assert result.status is not Status.CONVERGED
        assert not result.message.startswith("converged")


def test_a_tree_beside_a_large_constant_is_checked_to_its_digits():
    rng = np.random.default_rng(1)
    A, b = rng.standard_normal((8, 5)), rng.standard_normal(8)
    problem = Problem.from_gram(A.T @ A, A.T @ b, 2, const=1e10)
    result = solve(problem, "exact")
    assert result.status is Status.OPTIMAL
    check = result.check(problem)
    assert check.ok, check.message


def test_a_constant_that_cannot_stand_beside_g_is_named():
    with pytest.raises(ValueError, match=r"^const: must not overflow"):
        Problem.from_gram(np.eye(2), [1e-170, 0.0], 1, const=1e9)
