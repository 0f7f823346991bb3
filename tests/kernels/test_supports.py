"""The walk over all supports by eliminations against solves of every one."""

import itertools

import numpy as np
import pytest

from l0quad.kernels.supports import largest_gain

pytestmark = pytest.mark.no_jit


def walk(H, h, starts, lowest, highest, rounding, most):
    """Walk to the end, so many flops at a time; return the depth there, the two bounds and the units."""
    p, m = h.size, h.size
    best, depth = np.zeros(2), 0
    rows, left, slopes, path = np.zeros((m, p)), np.zeros((m + 1, p)), np.zeros((m + 1, p)), np.zeros((4, m + 1))
    left[0], slopes[0], path[1, 0] = H.diagonal(), h, 1.0
    levels, columns = np.zeros((2, p), dtype=np.int64)
    following, chosen = lowest.copy(), lowest.copy()
    while depth >= 0:
        depth = largest_gain(
            H, H.diagonal().copy(), starts, lowest, highest, np.array(rounding), rows, left, slopes, path, levels,
            columns, following, depth, most, best, chosen,
        )  # fmt: skip
    return depth, best, chosen


@pytest.mark.parametrize("most", [1.0, 1e4])
@pytest.mark.parametrize(
    ("starts", "lowest", "highest"),
    [
        (range(7), [0], [6]),
        (range(7), [0, 1, 2], [4, 5, 6]),
        (range(7), [0, 1, 3], [1, 3, 6]),
        ([0, 2, 3, 6], [0, 1], [2, 3]),
    ],
    ids=["one", "three", "held_and_parts", "groups"],
)
def test_every_support_is_tried(starts, lowest, highest, most):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((8, 6))
    H, h, starts = A.T @ A, rng.standard_normal(6), np.array(starts)
    gains = {}
    for units in itertools.product(*(range(a, b) for a, b in zip(lowest, highest, strict=True))):
        if all(a < b for a, b in itertools.pairwise(units)):
            S = np.concatenate([np.arange(starts[u], starts[u + 1]) for u in units])
            gains[units] = 0.5 * h[S] @ np.linalg.solve(H[np.ix_(S, S)], h[S])
    best, *others = sorted(gains, key=gains.__getitem__, reverse=True)
    for rounding in ([0.0, 0.0, 0.0], [1e-6, 1e-6, 1e-6]):
        depth, bounds, chosen = walk(H, h, starts, np.array(lowest), np.array(highest), rounding, most)
        assert depth == -1
        assert tuple(chosen.tolist()) == best
        for bound, gain in zip(bounds, (gains[best], gains[others[0]]), strict=True):
            assert gain * (1 + rounding[0] - 1e-14) <= bound <= gain * (1 + 1e3 * rounding[0] + 1e-14)


def test_nothing_is_proven_of_columns_that_depend_on_each_other():
    H = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert walk(H, np.ones(3), np.arange(4), np.array([0, 1]), np.array([2, 3]), [1e-15, 0.0, 0.0], 1e3)[0] == -2
