"""Without a ridge, the sizes of the columns decide nothing."""

import numpy as np
import pytest

from l0quad import METHODS, Problem, Unsuited, solve


@pytest.mark.parametrize("from_gram", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_methods_find_the_same_at_any_scale_of_the_columns(method, from_gram):
    rng = np.random.default_rng(3)
    A = rng.standard_normal((60, 30)) + 1.5 * rng.standard_normal((60, 1))
    A /= np.linalg.norm(A, axis=0)
    b = A[:, :6].sum(axis=1) + 0.1 * rng.standard_normal(60)
    scale = 2.0 ** rng.integers(-25, 25, 30)

    def solved(scale):
        B = A * scale
        problem = Problem.from_gram(B.T @ B, B.T @ b, 6, 0.5 * b @ b) if from_gram else Problem(B, b, 6)
        start = np.where(np.arange(30) % 5 == 0, 1.0, 0.0) / scale if method == "coordinate_descent" else None
        return solve(problem, method, start=start, bound="none")

    try:
        first, second = solved(1.0), solved(scale)
    except Unsuited:
        assert method in ("obs", "rounding")
        return
    assert second.objective == pytest.approx(first.objective, rel=1e-6)
    np.testing.assert_array_equal(second.support, first.support)
    np.testing.assert_allclose(second.w * scale, first.w, rtol=1e-5, atol=1e-7)
