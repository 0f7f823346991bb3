"""solve_blocks against a plain loop of ridge solves."""

from itertools import pairwise

import numpy as np
import pytest
import reference

from l0quad.kernels.blocks import solve_blocks

pytestmark = pytest.mark.no_jit


def solve(columns, offsets, targets, mu):
    v, solved = np.full(columns.shape[0], np.nan), np.zeros(len(offsets) - 1, dtype=np.bool_)
    solve_blocks(columns, np.asarray(offsets), targets, mu, v, solved)
    return v, solved


# Blocks that are empty, of one column, narrower than the rows (primal), as wide, and wider (dual).
OFFSETS = [0, 0, 1, 4, 9, 9, 20, 20]


@pytest.mark.parametrize("n", [1, 4, 5, 9])
@pytest.mark.parametrize("mu", [1e-6, 0.5])
def test_every_block(n, mu):
    rng = np.random.default_rng(n)
    columns, targets = rng.standard_normal((20, n)), rng.standard_normal((len(OFFSETS) - 1, n))
    v, solved = solve(columns, OFFSETS, targets, mu)
    assert solved.all()
    for q, (first, last) in enumerate(pairwise(OFFSETS)):
        A = columns[first:last].T
        gradient = A.T @ (A @ v[first:last] - targets[q]) + mu * v[first:last]
        np.testing.assert_allclose(gradient, 0, atol=1e-9)
        np.testing.assert_allclose(v[first:last], reference.minimum_norm(A, targets[q], mu), rtol=1e-6, atol=1e-8)


def test_without_ridge():
    rng = np.random.default_rng(0)
    columns, targets = rng.standard_normal((6, 7)), rng.standard_normal((2, 7))
    v, solved = solve(columns, [0, 3, 6], targets, 0.0)
    assert solved.all()
    expected = [
        np.linalg.lstsq(columns[s].T, r, rcond=None)[0] for s, r in zip((slice(3), slice(3, 6)), targets, strict=True)
    ]
    np.testing.assert_allclose(v, np.concatenate(expected), rtol=1e-10)


@pytest.mark.parametrize("kind", ["zero column", "repeated column", "zero wide"])
def test_singular_block_is_left_alone(kind):
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((9, 5))
    offsets = [0, 2, 6, 9]
    if kind == "zero column":
        columns[4] = 0
    elif kind == "repeated column":
        columns[4] = columns[3]
    else:
        # More columns than rows, and the first two rows are equal.
        offsets = [0, 2, 9]
        columns[2:, 1] = columns[2:, 0]
    targets = rng.standard_normal((len(offsets) - 1, 5))
    v, solved = solve(columns, offsets, targets, 0.0)
    assert np.flatnonzero(~solved).tolist() == [1]
    assert np.isnan(v[2 : offsets[2]]).all()
    assert np.isfinite(v[:2]).all()
    assert np.isfinite(v[offsets[2] :]).all()


def test_wide_block_without_ridge_gives_the_shortest():
    rng = np.random.default_rng(3)
    columns, targets = rng.standard_normal((9, 5)), rng.standard_normal((1, 5))
    v, solved = solve(columns, [0, 9], targets, 0.0)
    assert solved.all()
    np.testing.assert_allclose(v, np.linalg.pinv(columns.T) @ targets[0], rtol=1e-10)


def test_inputs_are_left_alone():
    rng = np.random.default_rng(2)
    columns, targets = rng.standard_normal((4, 3)), rng.standard_normal((1, 3))
    before = columns.tobytes(), targets.tobytes()
    solve(columns, [0, 4], targets, 0.1)
    assert (columns.tobytes(), targets.tobytes()) == before


@pytest.mark.parametrize("size", [4, 11])
def test_refined_once(size):
    """Digits are lost by the condition number of the block, not by its square: primal for 4 columns, dual for 11."""
    rng = np.random.default_rng(4)
    U, V = np.linalg.qr(rng.standard_normal((5, 4)))[0], np.linalg.qr(rng.standard_normal((size, 4)))[0]
    A = U * np.geomspace(1, 1e-4, 4) @ V.T
    truth = V @ rng.standard_normal(4)
    v, solved = solve(np.ascontiguousarray(A.T), [0, size], (A @ truth)[None], 1e-11)
    s = np.linalg.svd(A, compute_uv=False)[:4]
    expected = V @ ((s**2 / (s**2 + 1e-11)) * (V.T @ truth))
    assert solved.all()
    assert np.linalg.norm(v - expected) <= 1e-10 * np.linalg.norm(expected)
