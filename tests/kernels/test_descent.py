"""Coordinate descent kernels against a plain loop, and against what makes a sweep right."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp

from l0quad.kernels.descent import descend_dense, descend_sparse

pytestmark = pytest.mark.no_jit

SHAPES = [(1, 1), (3, 0), (5, 3), (8, 8), (13, 7), (4, 9)]


def instance(shape, dtype, seed=0):
    """Columns (one a row), residual, w, w0; the third column is zero, the fourth repeats the first."""
    rng = np.random.default_rng(seed)
    n, size = shape
    columns = (rng.standard_normal((size, n)) * (rng.random((size, n)) < 0.6)).astype(dtype)
    if size > 3:
        columns[2], columns[3] = 0, columns[0]
    w, w0 = rng.standard_normal(size), rng.standard_normal(size)
    return columns, columns.T.astype(np.float64) @ w - rng.standard_normal(n), w, w0


def run(kind, columns, residual, w, w0, mu):
    residual, w = residual.copy(), w.copy()
    if kind == "dense":
        decrease = descend_dense(columns, residual, w, w0, mu)
    else:
        A = sp.csc_array(columns.T)
        indices, indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
        decrease = descend_sparse(A.data, indices, indptr, residual, w, w0, mu)
    return w, residual, decrease


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mu", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_one_sweep(kind, shape, dtype, mu):
    columns, residual, w, w0 = instance(shape, dtype)
    found = run(kind, columns, residual, w, w0, mu)
    for one, other in zip(found, reference.descend(columns, residual, w, w0, mu), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_each_step_minimises_its_coordinate(kind):
    columns, residual, w, w0 = instance((13, 7), np.float64)
    w, residual, _ = run(kind, columns, residual, w, w0, 0.3)
    # The last coordinate was minimised last, so its partial derivative vanishes.
    assert abs(columns[-1] @ residual + 0.3 * (w[-1] - w0[-1])) < 1e-13


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_sweeps_converge_to_the_minimum(kind):
    columns, residual, w, w0 = instance((13, 7), np.float64)
    target = columns.T @ w - residual
    for _ in range(500):
        w, residual, decrease = run(kind, columns, residual, w, w0, 0.3)
        assert decrease >= 0
    np.testing.assert_allclose(columns @ residual + 0.3 * (w - w0), 0, atol=1e-12)
    np.testing.assert_allclose(residual, columns.T @ w - target, atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_zero_column(kind):
    columns, residual, w, w0 = instance((8, 8), np.float64)
    assert run(kind, columns, residual, w, w0, 0.0)[0][2] == w[2]
    assert run(kind, columns, residual, w, w0, 0.3)[0][2] == pytest.approx(w0[2], abs=1e-14)


def test_strided_columns_and_read_only_data():
    columns, residual, w, w0 = instance((8, 8), np.float32)
    wide = np.zeros((8, 11), dtype=np.float32)
    wide[:, 2:10] = columns
    wide.flags.writeable = False
    found, expected = (run("dense", each, residual, w, w0, 0.3) for each in (wide[:, 2:10], columns))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
