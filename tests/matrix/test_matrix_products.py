"""The products that exact swap costs are made of, for every kind of matrix."""

import itertools

import numpy as np
import pytest
from matrices import KINDS, SHAPES, set_chunk, snapshot, supports, values

import l0quad.matrix.dense
from l0quad.matrix import as_matrix
from l0quad.matrix.base import CHUNK_BYTES

over_kinds = pytest.mark.parametrize("kind", KINDS)
over_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])


def cases(kind, dtype, folder, monkeypatch):
    """Matrices with their dense twins, times powers of two; with memory for one column at a time as well."""
    for shape, exponent, chunk in itertools.product(SHAPES, (0, 3, -40), (CHUNK_BYTES, 1)):
        set_chunk(monkeypatch, chunk)
        dense = values(shape, dtype)
        A = KINDS[kind](dense, folder)
        before = snapshot(A)
        yield as_matrix(A).scaled(exponent), np.ldexp(dense.astype(np.float64), exponent)
        assert snapshot(A) == before


@over_dtypes
@over_kinds
def test_cross(kind, dtype, tmp_path, monkeypatch):
    for M, full in cases(kind, dtype, tmp_path, monkeypatch):
        for columns in supports(full.shape[1])[1:]:
            found = M.cross(columns)
            assert found.dtype == np.float64
            assert found.shape == (columns.size, full.shape[1])
            atol = 1e-13 * np.abs(full).max(initial=0) ** 2
            np.testing.assert_allclose(found, full[:, columns].T @ full, rtol=1e-12, atol=atol)


@over_dtypes
@over_kinds
def test_column_quad(kind, dtype, tmp_path, monkeypatch):
    for M, full in cases(kind, dtype, tmp_path, monkeypatch):
        rng, n = np.random.default_rng(2), full.shape[0]
        # What lies above the diagonal of L is nobody's business.
        factor = rng.standard_normal((n, n)) * 0.3 + 2 * np.eye(n)
        kept = factor.copy()
        expected = np.sum(np.linalg.solve(np.tril(factor), full) ** 2, axis=0)
        for columns in supports(full.shape[1]):
            found = M.column_quad(factor, columns)
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected if columns is None else expected[columns], rtol=1e-11, atol=0)
        np.testing.assert_array_equal(factor, kept)


@over_dtypes
@over_kinds
def test_what_one_sweep_makes(kind, dtype, tmp_path, monkeypatch):
    for M, full in cases(kind, dtype, tmp_path, monkeypatch):
        n, p = full.shape
        rng, unit = np.random.default_rng(3), np.abs(full).max(initial=0)
        for columns in supports(p):
            A_S = full if columns is None else full[:, columns]
            w, y = rng.standard_normal(A_S.shape[1]), rng.standard_normal(n)
            t, product = M.rmatvec_and_matvec(columns, y, w)
            np.testing.assert_allclose(t, A_S.T @ y, rtol=1e-12, atol=1e-12 * unit * n)
            np.testing.assert_allclose(product, A_S @ (w + t), rtol=1e-11, atol=1e-11 * unit * p * (1 + unit * n))
            slices = list(M.sweep(columns))
            assert [each for piece, _ in slices for each in range(piece.start, piece.stop)] == list(range(A_S.shape[1]))
            for piece, block in slices:
                assert block.dtype == np.float64
                np.testing.assert_array_equal(block, A_S[:, piece])


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


@pytest.mark.parametrize("form", [np.ascontiguousarray, np.asfortranarray, np.float32], ids=["C", "F", "float32"])
def test_the_inner_product_of_all_columns_in_slices(form, monkeypatch):
    monkeypatch.setattr(l0quad.matrix.dense, "_AT_ONCE_FLOPS", 0)
    monkeypatch.setattr(l0quad.matrix.dense, "CHUNK_BYTES", 400)
    A = form(np.random.default_rng(2).standard_normal((31, 7)))
    exact = A.astype(np.float64)
    for exponent in (0, 3):
        M = as_matrix(A).scaled(exponent)
        np.testing.assert_allclose(M.inner(), 4.0**exponent * exact.T @ exact, rtol=1e-12, atol=1e-10)
