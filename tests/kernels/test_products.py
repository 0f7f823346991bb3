"""Every product kernel against its NumPy twin."""

import numpy as np
import pytest

from l0quad.kernels.products import column_products, combine_rows, dot, gather_columns, row_products

pytestmark = pytest.mark.no_jit

# Below, at and beyond the widths of 4 and 8 by which the kernels are unrolled.
SHAPES = [(1, 1), (3, 5), (4, 8), (7, 1), (8, 4), (9, 17), (16, 13)]
DTYPES = [np.float32, np.float64]


def matrix(shape, dtype, layout, seed=0):
    rng = np.random.default_rng(seed)
    n, p = shape
    if layout == "sliced":
        X = rng.standard_normal((n + 3, p + 5)).astype(dtype)[2 : n + 2, 3 : p + 3]
    elif layout == "strided":
        X = rng.standard_normal((2 * n, p + 1)).astype(dtype)[::2, :p]
    else:
        X = rng.standard_normal((n, p)).astype(dtype)
    X.flags.writeable = layout != "readonly"
    return X


def choices(size, seed=1):
    """Index arrays of every remainder: none, one, some out of order, all, with repeats."""
    rng = np.random.default_rng(seed)
    picks = [np.arange(0), np.arange(size)[-1:], rng.permutation(size), rng.integers(0, size, size + 3)]
    return [each.astype(np.int64) for each in picks] + [
        rng.permutation(size)[:q].astype(np.int64) for q in (2, 3, 4, 5)
    ]


@pytest.fixture(params=DTYPES, ids=["f4", "f8"])
def dtype(request):
    return request.param


@pytest.fixture(params=["C", "sliced", "strided", "readonly"])
def layout(request):
    return request.param


@pytest.fixture(params=SHAPES, ids=str)
def X(request, dtype, layout):
    return matrix(request.param, dtype, layout)


def close(found, expected, terms):
    """Equal up to float64 rounding of a sum of this many terms: float32 accumulation would be 1e8 times worse."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15 * (terms + 1) * 10)


def test_row_products(X):
    v = np.random.default_rng(2).standard_normal(X.shape[1])
    for rows in choices(X.shape[0]):
        out = np.full(rows.size, np.nan)
        row_products(X, rows, v, out)
        close(out, X.astype(np.float64)[rows] @ v, v.size)


def test_combine_rows(X):
    for rows in choices(X.shape[0]):
        u = np.random.default_rng(3).standard_normal(rows.size)
        out = np.full(X.shape[1], np.nan)
        combine_rows(X, rows, u, out)
        close(out, u @ X.astype(np.float64)[rows], rows.size)


def test_column_products(X):
    for columns in choices(X.shape[1]):
        w = np.random.default_rng(4).standard_normal(columns.size)
        out = np.full(X.shape[0], np.nan)
        column_products(X, columns, w, out)
        close(out, X.astype(np.float64)[:, columns] @ w, columns.size)


def test_gather_columns(X):
    for columns in choices(X.shape[1]):
        out = np.full((columns.size, X.shape[0]), np.nan, dtype=X.dtype)
        gather_columns(X, columns, out)
        np.testing.assert_array_equal(out, X[:, columns].T)


@pytest.mark.parametrize("width", [2047, 2048, 2049, 4100])
def test_combine_rows_beyond_one_strip(width, dtype):
    X = matrix((5, width), dtype, "C")
    u = np.arange(1.0, 6.0)
    out = np.full(width, np.nan)
    combine_rows(X, np.arange(5), u, out)
    close(out, u @ X.astype(np.float64), 5 * 10)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 23])
def test_dot(size, dtype):
    rng = np.random.default_rng(size)
    x, y = rng.standard_normal(size).astype(dtype), rng.standard_normal(size)
    close(dot(x, y), float(x.astype(np.float64) @ y), size)


def test_products_do_not_hide_nan(dtype):
    X = np.ones((9, 9), dtype=dtype)
    X[8, 8] = np.nan
    every, ones = np.arange(9), np.ones(9)
    for kernel in (row_products, combine_rows, column_products):
        out = np.zeros(9)
        kernel(X, every, ones, out)
        assert np.flatnonzero(np.isnan(out)).tolist() == [8], kernel.__name__
