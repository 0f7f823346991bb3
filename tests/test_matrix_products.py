"""The products that exact swap costs are made of, for every kind of matrix."""

import numpy as np
import pytest
from test_matrix import KINDS, cases, over_kinds, over_shapes, supports, values

import l0quad.matrix
from l0quad.matrix import as_matrix

EXPONENTS = (0, 3, -40)


@pytest.fixture(params=["ample", "none"])
def memory(request, monkeypatch):
    """With no memory to speak of, columns are handled one at a time."""
    if request.param == "none":
        monkeypatch.setattr(l0quad.matrix, "CHUNK_BYTES", 1)


@over_shapes
@over_kinds
def test_cross(kind, shape, tmp_path, memory):
    for M, A in cases(kind, shape, tmp_path, EXPONENTS):
        rounding = 1e-14 * shape[0] * np.abs(A).max() ** 2
        for columns in supports(shape[1])[1:]:
            if columns.size == 0:
                continue
            found = M.cross(columns)
            assert found.dtype == np.float64
            assert found.shape == (columns.size, shape[1])
            np.testing.assert_allclose(found, A[:, columns].T @ A, rtol=0, atol=rounding)


@over_shapes
@over_kinds
def test_column_quad(kind, shape, tmp_path, memory):
    for M, A in cases(kind, shape, tmp_path, EXPONENTS):
        rng = np.random.default_rng(2)
        # What lies above the diagonal of L is nobody's business.
        factor = rng.standard_normal((shape[0], shape[0])) * 0.3 + 2 * np.eye(shape[0])
        kept = factor.copy()
        expected = np.sum(np.linalg.solve(np.tril(factor), A) ** 2, axis=0)
        for columns in supports(shape[1]):
            found = M.column_quad(factor, columns)
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected if columns is None else expected[columns], rtol=1e-11, atol=0)
        np.testing.assert_array_equal(factor, kept)


@over_kinds
def test_column_quad_of_a_cholesky_factor(kind, tmp_path):
    """q_j = a_j' M^-1 a_j, which is below 1 for the columns that M is made of."""
    dense = values((9, 30), np.float64)
    M = as_matrix(KINDS[kind](dense, tmp_path))
    S = np.arange(0, 30, 2)
    system = 0.3 * np.eye(9) + dense[:, S] @ dense[:, S].T
    q = M.column_quad(np.linalg.cholesky(system))
    np.testing.assert_allclose(q, np.einsum("ij,ij->j", dense, np.linalg.solve(system, dense)), rtol=1e-10, atol=1e-14)
    assert np.all(q[S] < 1)
    assert np.any(np.delete(q, S) > 1)
