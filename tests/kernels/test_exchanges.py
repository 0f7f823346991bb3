"""Exact exchanges on a quadratic, beside their slow, obvious twin."""

from typing import Any

import numpy as np
import pytest

from l0quad.kernels.exchanges import descend
from l0quad.layers.columns import Places, _fitted, _restricted
from l0quad.layers.quadratic import inverse


def value(Q, g, S):
    return -0.5 * g[S] @ np.linalg.solve(Q[np.ix_(S, S)], g[S])


def best_exchange(Q, g, S, movable, enterable, group):
    """Every exchange solved anew."""
    now, best = value(Q, g, S), (0.0, ())
    for i in S[movable[S]]:
        for n in range(g.size):
            if n not in S and enterable[n] and n // group == i // group:
                other = np.append(np.setdiff1d(S, i), n)
                best = min(best, (value(Q, g, other) - now, tuple(np.sort(other))))
    return best


def state_of(Q, g, S, places) -> Any:
    return _restricted(Q, _fitted(Q, g, S, inverse(Q, S)), places, np.arange(g.size))[1]


@pytest.mark.no_jit
@pytest.mark.parametrize(("group", "seed"), [(12, 0), (12, 1), (4, 0), (5, 1)])
def test_each_exchange_is_the_best_and_leaves_a_true_state(group, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((20, 12))
    Q, g = X.T @ X, rng.standard_normal(12)
    movable, enterable = np.ones((2, 12), dtype=bool)
    movable[0], enterable[11] = False, False
    places = Places(movable, enterable, group)
    S = np.array([0, 1, 5, 8])
    state = state_of(Q, g, S, places)
    first = np.arange(12) // group * group
    last = np.minimum(first + group, 12)
    for _ in range(20):
        change, expected = best_exchange(Q, g, S, movable, enterable, group)
        made = descend(*(Q, *state, movable, first, last, 1, 1e-9))
        assert made == (expected != () and change < -1e-9)
        if not made:
            break
        S = np.sort(state.S)
        assert tuple(S) == expected
        fresh = state_of(Q, g, S, places)
        order = np.argsort(state.S)
        np.testing.assert_allclose(state.T[order], fresh.T, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(state.w[order], fresh.w, rtol=1e-8, atol=1e-10)
        outside = np.isfinite(fresh.s)
        np.testing.assert_array_equal(np.isfinite(state.s), outside)
        np.testing.assert_allclose(state.s[outside], fresh.s[outside], rtol=1e-8)
        np.testing.assert_allclose(state.r[outside], fresh.r[outside], rtol=1e-8, atol=1e-10)
    else:
        pytest.fail("no local optimum")
