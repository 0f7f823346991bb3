"""The separable diagonal: that H - diag(d) is semidefinite is looked at in rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from narrowed import some
from rational import Exact, is_semidefinite

from l0quad import Problem
from l0quad.bounds.diagonal import curvature, largest_diagonal, proven, scaled_diagonal
from l0quad.linalg import semidefinite

SMALLEST = 2.0**-52


def matrix(seed, n=9, p=5):
    """Columns of different sizes, some nearly dependent."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p)) + rng.choice([0.0, 1.0, 30.0]) * rng.standard_normal((n, 1))
    if seed % 3 == 0:
        A[:, 0] = A[:, -1] + 10.0 ** -rng.uniform(1, 7) * rng.standard_normal(n)
    if seed % 4 == 0:
        A *= 10.0 ** rng.integers(-9, 10, p)
    return A.astype(np.float32) if seed % 5 == 0 else A


def is_proven_exactly(A, ridge, d):
    exact = Exact.of(A, np.zeros(A.shape[0]), 1, ridge)
    for j, each in enumerate(d):
        exact.H[j][j] -= Fraction(float(each))
    return is_semidefinite(exact.H)


def test_the_oracle_itself():
    assert is_semidefinite([[Fraction(1), Fraction(2)], [Fraction(2), Fraction(4)]])
    assert not is_semidefinite([[Fraction(1), Fraction(2)], [Fraction(2), Fraction(4) - Fraction(1, 10**30)]])
    assert not is_semidefinite([[Fraction(0), Fraction(1)], [Fraction(1), Fraction(5)]])
    assert is_semidefinite([[Fraction(0), Fraction(0)], [Fraction(0), Fraction(5)]])


@pytest.mark.parametrize("ridge", [0.0, 1e-9, 0.1])
def test_what_is_proven_is_true(ridge):
    found = 0
    for seed in range(25):
        A = matrix(seed)
        shape = curvature(Problem(A, np.zeros(9), 1, ridge).core)
        start = scaled_diagonal(shape.H)
        if start is None:
            continue
        *_, largest = largest_diagonal(shape.H, 1 / start, start / 2)
        for d in (proven(shape, start), proven(shape, largest)):
            if d is not None:
                found += 1
                assert is_proven_exactly(A, ridge, d)
    assert found >= 40


def test_the_edge_is_not_crossed():
    """Of d that are larger and larger, the last that is proven is right, and near the first that is wrong."""
    for seed in range(1, 12, 2):
        A = matrix(seed)
        shape = curvature(Problem(A, np.zeros(9), 1).core)
        d = scaled_diagonal(shape.H)
        scales = 1 + np.concatenate([[-0.5], np.linspace(-0.002, 0.002, 21), [0.5]])
        holds = [semidefinite.is_semidefinite(shape.H, scale * d + shape.error) for scale in scales]
        assert holds[0]
        assert not holds[-1]
        assert all(is_proven_exactly(A, 0.0, scale * d) for scale, held in zip(scales, holds, strict=True) if held)


def test_a_singular_matrix_is_not_proven():
    A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0], [7.0, 8.0, 15.0], [1.0, 0.0, 1.0]])
    shape = curvature(Problem(A, np.zeros(4), 1).core)
    assert proven(shape, np.full(3, 1e-17)) is None
    assert not semidefinite.is_semidefinite(shape.H, np.zeros(3))
    assert not semidefinite.is_semidefinite(np.eye(3), np.ones(3))


def test_the_curvature_is_as_near_as_it_says():
    rng = np.random.default_rng(1)
    for seed in range(10):
        A = matrix(seed)
        shape = curvature(Problem(A, np.zeros(9), 1, 0.25).core)
        exact = Exact.of(A, np.zeros(9), 1, 0.25).H
        difference = [
            [exact[i][j] - Fraction(float(shape.H[max(i, j), min(i, j)])) for j in range(5)] for i in range(5)
        ]
        for point in rng.standard_normal((5, 5)) / np.sqrt(np.diag(shape.H)):
            x = [Fraction(float(each)) for each in point]
            form = sum(x[i] * difference[i][j] * x[j] for i in range(5) for j in range(5))
            assert abs(form) <= sum(Fraction(float(e)) * each**2 for e, each in zip(shape.error, x, strict=True))


def test_a_gram_matrix_is_given():
    """Its symmetric part is meant, and nothing was summed."""
    rng = np.random.default_rng(2)
    A = rng.standard_normal((8, 5))
    H = A.T @ A
    H[0, 3] *= 1 + 4 * SMALLEST
    shape = curvature(Problem.from_gram(H, np.zeros(5), 1).core)
    d = some(proven(shape, some(scaled_diagonal(shape.H))))
    exact = [[(Fraction(float(H[i, j])) + Fraction(float(H[j, i]))) / 2 for j in range(5)] for i in range(5)]
    for j in range(5):
        exact[j][j] -= Fraction(float(d[j]))
    assert is_semidefinite(exact)
    assert np.all(shape.error <= 16 * SMALLEST * np.diag(H).max())


def test_the_scaled_diagonal_follows_the_scale():
    A = matrix(1)
    H, scale = A.T @ A, 2.0 ** np.array([-20, 5, 0, 13, 7])
    d = some(scaled_diagonal(H))
    assert np.allclose(some(scaled_diagonal(H * np.outer(scale, scale))), d * scale**2, rtol=1e-10)
    # At the edge: a little inside.
    root = np.sqrt(d)
    assert np.linalg.eigvalsh(H / np.outer(root, root))[0] == pytest.approx(1.001, rel=2e-3)
    assert scaled_diagonal(np.ones((3, 3))) is None
    assert scaled_diagonal(np.array([[4.0]])) == pytest.approx([4.0], rel=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_diagonal_is_optimal(seed):
    """The dual of max c'd is min <H, X> over X >= 0 with X_jj >= c_j, and the barrier gives a nearly feasible X."""
    A = matrix(2 * seed + 1)
    H = np.asarray(A, dtype=float).T @ A
    rng = np.random.default_rng(seed)
    start = some(scaled_diagonal(H))
    weights = (1 / start) * rng.random(5)
    path = list(largest_diagonal(H, weights, start / 2, 1e-4))
    sums = [float(weights @ d) for d in path]
    assert sums[-1] > 0.999 * float(weights @ start)
    assert all(np.all(d > 0) and np.linalg.eigvalsh(H - np.diag(d))[0] > 0 for d in path)
    X = np.linalg.inv(H - np.diag(path[-1]))
    X *= np.max(weights / np.diag(X))
    # Not tight where an entry of d is at 0; the shadow prices of the others are.
    inside = path[-1] > 1e-2 * np.diag(H)
    if inside.all():
        assert sums[-1] == pytest.approx(float(np.sum(H * X)), rel=0.05)
    for _ in range(50):
        # No feasible diagonal has a larger sum.
        other = rng.random(5) / np.diag(np.linalg.inv(H))
        other *= np.linalg.eigvalsh(H / np.sqrt(np.outer(other, other)))[0]
        assert weights @ other <= sums[-1] * (1 + 1e-3)
