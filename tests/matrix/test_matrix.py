"""Every product of every kind of matrix against NumPy's."""

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from matrices import KINDS, SHAPES, SPARSE, mapped, set_chunk, snapshot, supports, values

import l0quad.matrix.dense
from l0quad.matrix import DenseMatrix, as_matrix
from l0quad.matrix.sparse import SparseMatrix


@pytest.fixture(params=[np.float32, np.float64], ids=["f4", "f8"])
def dtype(request):
    return request.param


over_kinds = pytest.mark.parametrize("kind", KINDS)
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def cases(kind, shape, folder, exponents):
    """(matrix, the float64 array that it stands for) of both precisions; the caller's array stays what it was."""
    for dtype, exponent in itertools.product((np.float32, np.float64), exponents):
        array = KINDS[kind](values(shape, dtype), folder)
        before = snapshot(array)
        # Products come from the whole of A, so a scaled float32 matrix loses nothing.
        yield as_matrix(array).scaled(exponent), np.ldexp(values(shape, dtype).astype(np.float64), exponent)
        assert snapshot(array) == before


def chosen(A, columns):
    return A if columns is None else A[:, columns]


def close(found, expected, size):
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    # float32 accumulation would be off by 1e-7 of the size.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * size)


@over_shapes
@over_kinds
def test_every_product(kind, shape, tmp_path):
    for M, A in cases(kind, shape, tmp_path, (0, -40)):
        rng = np.random.default_rng(0)
        scale = max(np.abs(A).max(), np.finfo(float).tiny)
        assert M.shape == A.shape
        assert M.nbytes > 0
        r, count = rng.standard_normal(A.shape[0]), A.size
        for columns in supports(A.shape[1]):
            A_S = chosen(A, columns)
            w = rng.standard_normal(A_S.shape[1])
            given = r.tobytes(), w.tobytes()
            close(M.rmatvec(r, columns), A_S.T @ r, scale * count)
            close(M.matvec(columns, w), A_S @ w, scale * count)
            close(M.outer(columns), A_S @ A_S.T, scale**2 * count)
            close(M.inner(columns), A_S.T @ A_S, scale**2 * count)
            assert given == (r.tobytes(), w.tobytes())
        close(M.column_sq_norms(), (A**2).sum(axis=0), scale**2 * count)
        first, last = A.shape[1] // 3, A.shape[1]
        w = rng.standard_normal(last - first)
        close(M.block_matvec(first, last, w), A[:, first:last] @ w, scale * count)


@over_shapes
@over_kinds
def test_columns_subsets_and_views(kind, shape, tmp_path):
    for M, A in cases(kind, shape, tmp_path, (0, -40)):
        columns_are_as_they_are(M, A)
        subsets_and_views_are_theirs(M, A)


def columns_are_as_they_are(M, A):
    for columns in supports(A.shape[1])[1:]:
        dense = M.take(columns)
        assert dense.dtype in (M.dtype, np.float64)  # scaled columns may not fit A's own dtype
        assert dense.flags.f_contiguous
        np.testing.assert_array_equal(dense, A[:, columns])


def subsets_and_views_are_theirs(M, A):
    r = np.random.default_rng(1).standard_normal(A.shape[0])
    rounding = 1e-13 * A.shape[0] * np.abs(A).max()
    for columns in supports(A.shape[1])[2:]:
        A_S = A[:, columns]
        within, every = M.subset(columns), np.arange(columns.size)
        assert within.shape == A_S.shape
        np.testing.assert_array_equal(within.take(every), A_S)
        np.testing.assert_allclose(within.rmatvec(r), A_S.T @ r, rtol=0, atol=rounding)
    for columns in supports(A.shape[1])[2:-1]:
        seen, local = M.view(columns)
        np.testing.assert_allclose(seen.rmatvec(r, local), A[:, columns].T @ r, rtol=0, atol=rounding)
    assert M.view(np.arange(A.shape[1])) == (M, None)


def test_pieces_cover_the_columns_within_the_budget(monkeypatch):
    M = as_matrix(np.ones((10, 23)))
    set_chunk(monkeypatch, 8 * 10 * 4)
    columns = np.arange(3, 22)
    pieces = list(M.pieces(columns))
    np.testing.assert_array_equal(np.concatenate([columns[piece] for piece in pieces]), columns)
    assert max(columns[piece].size for piece in pieces) == 4
    set_chunk(monkeypatch, 1)
    assert all(columns[piece].size == 1 for piece in M.pieces(columns))
    assert list(M.pieces(np.arange(0))) == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_products_in_pieces(order, dtype, monkeypatch):
    A = np.asarray(values((11, 30), dtype), order=order)
    M, full = as_matrix(A), A.astype(np.float64)
    set_chunk(monkeypatch, 8 * 11 * 4)
    for columns in supports(30):
        A_S = chosen(full, columns)
        close(M.outer(columns), A_S @ A_S.T, 100)
        close(M.inner(columns), A_S.T @ A_S, 100)
    close(M.column_sq_norms(), (full**2).sum(axis=0), 100)


@pytest.mark.parametrize("order", ["C", "F"])
def test_only_a_small_part_of_a_file_is_kept(order, tmp_path, monkeypatch):
    file = mapped(values((10, 20), np.float64), order, tmp_path)
    M = as_matrix(file)
    monkeypatch.setattr(l0quad.matrix.dense, "SUBSET_BYTES", 8 * 10 * 5)
    assert M.fits(5)
    assert not M.fits(6)
    columns = np.arange(6)
    assert M.view(columns) == (M, columns)
    assert M.view(columns[:5])[0] is not M
    # In memory, rows are gathered once; columns need not be, they are read as they are.
    assert as_matrix(np.asarray(file).copy(order)).fits(20) == (order == "C")


@pytest.mark.parametrize("kind", ["C", "F", "C sliced", "F sliced", "every second row", "C mapped", "F mapped"])
def test_usable_arrays_are_shared(kind, dtype, tmp_path):
    array = KINDS[kind](values((17, 9), dtype), tmp_path)
    M = as_matrix(array)
    assert isinstance(M, DenseMatrix)
    assert np.shares_memory(M._X, array)
    assert not M._X.flags.writeable


@SPARSE
def test_canonical_csc_is_shared(kind, dtype, tmp_path):
    array = KINDS[kind](values((17, 9), dtype), tmp_path)
    M = as_matrix(array)
    assert isinstance(M, SparseMatrix)
    assert np.shares_memory(M._A.data, array.data)


@pytest.mark.parametrize("form", ["csc", "csr", "coo", "bsr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32], ids=["f4", "f8", "i4"])
def test_duplicate_entries_are_added_up(form, dtype):
    """Entries stored twice count once, as their sum, in the squared norms too."""
    rows, columns = np.array([0, 0, 2, 2, 1, 2]), np.array([1, 1, 0, 0, 2, 2])
    data = np.array([1, 2, 3, -3, 5, 7], dtype=dtype)
    array: Any
    if form == "coo":
        array = sp.coo_array((data, (rows, columns)), shape=(3, 4))
    elif form == "csc":
        array = sp.csc_array((data[[2, 3, 0, 1, 5, 4]], np.array([2, 2, 0, 0, 2, 1]), [0, 2, 4, 6, 6]), shape=(3, 4))
    else:
        array = sp.csr_array((data[[0, 1, 4, 5, 2, 3]], np.array([1, 1, 2, 2, 0, 0]), [0, 2, 3, 6]), shape=(3, 4))
        if form == "bsr":
            array = sp.bsr_array((array.data[:, None, None], array.indices, array.indptr), shape=(3, 4))
    dense = np.zeros((3, 4))
    np.add.at(dense, (rows, columns), data)
    before = array.data.tobytes()
    M = as_matrix(array)
    np.testing.assert_array_equal(M.take(np.arange(4)), dense)
    np.testing.assert_array_equal(M.column_sq_norms(), (dense**2).sum(axis=0))
    assert array.data.tobytes() == before


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_unsorted_indices(form):
    A = values((6, 8), np.float64)
    array = sp.csc_array(A) if form == "csc" else sp.csr_array(A)
    for j in range(array.indptr.size - 1):
        part = slice(array.indptr[j], array.indptr[j + 1])
        array.indices[part], array.data[part] = array.indices[part][::-1].copy(), array.data[part][::-1].copy()
    M = as_matrix(array)
    np.testing.assert_array_equal(M.take(np.arange(8)), A)
    np.testing.assert_allclose(M.column_sq_norms(), (A**2).sum(axis=0), rtol=1e-14)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_], ids=["f4", "f8", "i1", "bool"])
def test_every_sparse_format(form, dtype):
    A = (np.arange(24).reshape(4, 6) % 5).astype(dtype)
    M = as_matrix(sp.coo_array(A).asformat(form))
    assert M.dtype == (np.float32 if dtype is np.float32 else np.float64)
    np.testing.assert_array_equal(M.take(np.arange(6)), A.astype(np.float64))


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "f2"])
def test_values_that_scipy_does_not_compute_with(form, dtype):
    A = (np.arange(24).reshape(4, 6) % 5).astype(np.float64)
    array = sp.coo_array(A).asformat(form)
    array.data = array.data.astype(dtype)
    M = as_matrix(array)
    assert M.dtype == (np.float32 if dtype == ">f4" else np.float64)
    np.testing.assert_array_equal(M.take(np.arange(6)), A)


def test_scaled_float32_loses_nothing():
    """The exponent moves to float64 vectors: 2^-200 is no float32."""
    A = values((7, 9), np.float32)
    w, r = np.random.default_rng(0).standard_normal(9), np.random.default_rng(1).standard_normal(7)
    for array in (A, A.copy(order="F"), sp.csc_array(A)):
        M = as_matrix(array).scaled(-200)
        expected = np.ldexp(A.astype(np.float64) @ w, -200), np.ldexp(A.T.astype(np.float64) @ r, -200)
        np.testing.assert_allclose(M.matvec(None, w), expected[0], rtol=1e-12)
        np.testing.assert_allclose(M.rmatvec(r), expected[1], rtol=1e-12)


def test_nan_is_not_hidden():
    A = np.ones((5, 40))
    for array in (A, np.asfortranarray(A)):
        M = as_matrix(array)
        w = np.zeros(40)
        w[3] = np.nan
        assert np.isnan(M.matvec(None, w)).all()
        assert np.isnan(M.matvec(np.array([3]), w[[3]])).all()
