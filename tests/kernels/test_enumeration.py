"""The walk over all supports against refits of every one."""

import itertools

import numpy as np
import pytest

from l0quad.kernels.enumeration import best_support

pytestmark = pytest.mark.no_jit


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_best_support(k, parts):
    rng = np.random.default_rng(k)
    A, b = rng.standard_normal((8, 6)), rng.standard_normal(8)
    A[:, 3] = 2 * A[:, 1]
    columns, residuals = np.empty((k, 6, 8)), np.empty((k, 8))
    columns[0], residuals[0] = A.T, b
    part, room = (np.arange(6) % 2, np.array([2, 1])) if parts else (np.empty(0, dtype=np.int64), np.array([k]))
    floor, chosen = np.full(6, 1e-20), np.empty(k, dtype=np.int64)
    for first in range(6):
        gains = {}
        for size in range(1, k + 1):
            for rest in itertools.combinations(range(first + 1, 6), size - 1):
                S = [first, *rest]
                if not parts or np.all(np.bincount(part[S], minlength=2) <= room):
                    residual = b - A[:, S] @ np.linalg.lstsq(A[:, S], b, rcond=None)[0]
                    gains[tuple(S)] = 0.5 * (b @ b - residual @ residual)
        left = room.copy()
        gain, size = best_support(columns, residuals, floor, first, part, left, chosen)
        assert gain == pytest.approx(max(gains.values()), rel=1e-9)
        assert gains[tuple(chosen[:size].tolist())] == pytest.approx(gain, rel=1e-9)
        np.testing.assert_array_equal(left, room)
