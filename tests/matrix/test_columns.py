"""Columns multiplied by powers of two: every product is that of the multiplied array, bit for bit in the exponents."""

import numpy as np
import pytest
import scipy.sparse as sp

from l0quad.matrix import as_matrix
from l0quad.matrix.columns import ScaledColumns


@pytest.mark.parametrize("stored", [np.asarray, np.asfortranarray, sp.csc_array, np.float32], ids=str)
def test_products(stored):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((9, 6)).astype(np.float32).astype(np.float64)
    exponents = np.array([-30, 3, 0, 17, -5, 40])
    expected, columns = A * 2.0**exponents, np.array([4, 0, 3])
    matrix = ScaledColumns(as_matrix(stored(A)), exponents)
    part, r, w, few = expected[:, columns], rng.standard_normal(9), rng.standard_normal(6), rng.standard_normal(3)

    def same(found, right):
        np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-12 * np.abs(right).max())

    same(matrix.take(columns), part)
    same(matrix.subset(columns).take(np.arange(3)), part)
    same(matrix.scaled(2).take(columns), 4 * part)
    same(matrix.rmatvec(r), expected.T @ r)
    same(matrix.rmatvec(r, columns), part.T @ r)
    same(matrix.matvec(None, w), expected @ w)
    same(matrix.matvec(columns, few), part @ few)
    same(matrix.inner(), expected.T @ expected)
    same(matrix.inner(columns), part.T @ part)
    same(matrix.outer(columns), part @ part.T)
    same(matrix.cross(columns), part.T @ expected)
    same(matrix.column_sq_norms(), np.sum(expected**2, axis=0))
    same(np.vstack(list(matrix.row_blocks(4))), expected)


def test_coordinate_descent_changes_what_it_would_change():
    rng = np.random.default_rng(1)
    A, exponents, b = rng.standard_normal((9, 4)), np.array([-20, 3, 0, 11]), rng.standard_normal(9)
    found, right = np.zeros(4), np.zeros(4)
    residuals = [-b.copy(), -b.copy()]
    fallen = ScaledColumns(as_matrix(A), exponents).descend(residuals[0], found, np.zeros(4), 0.0)
    assert fallen == pytest.approx(as_matrix(A).descend(residuals[1], right, np.zeros(4), 0.0), rel=1e-12)
    np.testing.assert_allclose(found, right * 2.0**-exponents, rtol=1e-12)
    np.testing.assert_allclose(residuals[0], residuals[1], rtol=1e-9)
