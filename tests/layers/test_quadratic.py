"""Inverses that follow a support from exchange to exchange."""

import numpy as np
import pytest

from l0quad.layers.quadratic import exchange, inverse


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_an_inverse_follows_its_support(count):
    rng = np.random.default_rng(count)
    X = rng.standard_normal((40, 15))
    Q, S = X.T @ X, rng.permutation(15)[:6]
    P = inverse(Q, S)
    leaving, joining = rng.permutation(6)[:count], np.setdiff1d(np.arange(15), S)[:count]
    expected = S.copy()
    expected[leaving] = joining
    exchange(Q, S, P, leaving, joining)
    np.testing.assert_array_equal(S, expected)
    np.testing.assert_allclose(P, np.linalg.inv(Q[np.ix_(S, S)]), rtol=1e-9, atol=1e-12)
