"""Each term of the rounding that bounds subtract is there for a reason: instances on which it decides."""

from fractions import Fraction

import numpy as np
import pytest
import reference
from rational import Exact, rational

import l0quad
from l0quad import Problem
from l0quad.bounds.columns import all_columns_bound
from l0quad.bounds.dual import dual_bound
from l0quad.linalg.rounding import least_singular_value


def exact_dual(A, b, k, ridge, w0, nu):
    """D(nu), not rounded."""
    A, b, w0, nu, mu = rational(A), rational(b), rational(w0), rational(nu), 2 * Fraction(ridge)
    v = [w0[j] - sum(A[i][j] * nu[i] for i in range(len(nu))) / mu for j in range(len(w0))]
    largest = max(sum(v[j] ** 2 for j in support.tolist()) for support in reference.largest_supports(k, len(v)))
    square = sum(each**2 for each in nu)
    return -square / 2 - sum(x * y for x, y in zip(b, nu, strict=True)) + mu / 2 * (sum(w * w for w in w0) - largest)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1e8, 1, 1e-3), (1, 1e8, 1e-3), (1, 1, 1e8), (1e8, 1e8, 1)], ids=str)
def test_the_dual_is_rounded_down(sizes):
    """Of b, of w0 and of nu: whichever term of D is the largest."""
    above = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        b, w0, nu = (size * rng.standard_normal(length) for size, length in zip(sizes, (8, 5, 8), strict=True))
        A, ridge = rng.standard_normal((8, 5)), float(rng.choice([1e-3, 0.7, 1e3]))
        bound, exact = dual_bound(Problem(A, b, 2, ridge, w0).core, nu), exact_dual(A, b, 2, ridge, w0, nu)
        assert Fraction(bound.value) <= exact
        assert Fraction(bound.value) >= exact - 2 * Fraction(bound.allowance)
        above.append(Fraction(bound.value) + Fraction(bound.allowance) > exact)
    # Without it, about half would be too high.
    assert any(above)


def test_the_fold_of_a_linear_term_is_rounded_down():
    """ridge ||w - w0||^2 + c'w at its least, over all w: c'w0 - ||c||^2 / (4 ridge)."""
    above = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        w0, linear = rng.standard_normal((2, 5))
        ridge = float(rng.uniform(0.1, 10))
        units = Problem(np.zeros((1, 5)), [0.0], 5, ridge, w0, linear).units
        c, v = rational(linear), rational(w0)
        exact = sum(x * (y - x / (4 * Fraction(ridge))) for x, y in zip(c, v, strict=True))
        assert exact - Fraction(1, 2**40) <= Fraction(units.lower(0.0)) <= exact
        above.append(Fraction(units.fold) > exact)
    assert any(above)


@pytest.mark.parametrize("apart", [1e-3, 1e-8, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15])
def test_the_span_of_nearly_dependent_columns_is_known_as_far_as_rounding_lets(apart):
    proven = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((8, 3))
        direction = rng.standard_normal(8)
        A[:, 2] = A[:, 0] + apart * direction
        b = direction + 0.1 * rng.standard_normal(8)
        bound, optimum = all_columns_bound(Problem(A, b, 3).core), Exact.of(A, b, 3).optimum()
        assert Fraction(bound.value) <= optimum
        proven += bound.value >= 0.99 * float(optimum)
    assert proven == 40 or apart < 1e-10
    assert proven >= 30 or apart < 1e-11


def test_the_least_singular_value_is_not_below_what_is_found():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        R = np.triu(rng.standard_normal((6, 6))) * 10.0 ** rng.uniform(-6, 2, 6)
        found, least = least_singular_value(R), float(np.linalg.svd(R, compute_uv=False)[-1])
        assert found <= least * (1 + 1e-12 * np.linalg.cond(R))
        assert found >= least / 20 or np.linalg.cond(R) > 1e8
    # Of columns that are nearly orthogonal little is given away.
    A = np.random.default_rng(0).standard_normal((20_000, 100))
    R = np.asarray(np.linalg.qr(A, mode="r"))
    assert least_singular_value(R) >= 0.6 * float(np.linalg.svd(R, compute_uv=False)[-1])
    assert least_singular_value(np.diag([1.0, 0.0])) == 0.0
    assert least_singular_value(np.array([[1.0, 1.0], [0.0, 1e-300]])) <= 1e-300


@pytest.mark.parametrize("mu", [1e-8, 1e-10, 1e-12, 1e-13])
def test_a_dual_solution_that_cancels_is_not_used(mu):
    """Rows that depend on each other and a small ridge: y is large where A'y is not."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((4, 9))
        A[3] = A[0] + A[1]
        b = rng.standard_normal(4)
        point = Problem(A, b, 9, mu / 2).core.restricted(np.arange(9))
        gradient = A.T @ (A @ point.w - b) + mu * point.w
        assert np.linalg.norm(gradient) <= 1e-13 * np.linalg.norm(A) * np.linalg.norm(b)


def test_a_tensor_that_requires_a_gradient_is_refused_by_name():
    class Tensor:
        def __array__(self, *args, **kwargs):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")

    for name, A, b in (("A", Tensor(), [1.0]), ("b", np.eye(2), Tensor())):
        with pytest.raises(TypeError, match=rf"{name}: must be .*detach"):
            Problem(A, b, 1)
    with pytest.raises(TypeError, match=r"start: must be .*detach"):
        l0quad.minimize(np.eye(2), np.ones(2), 1, start=Tensor())
