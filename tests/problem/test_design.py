"""A design against its definition: least squares in the user's own columns, and every product of its matrix."""

import numpy as np
import pytest
import scipy.sparse as sp
from matrices import set_chunk, supports
from narrowed import a

import l0quad
from l0quad.bounds.diagonal import curvature
from l0quad.bounds.separable import expansion
from l0quad.linalg.rounding import gamma
from l0quad.matrix.dense import DenseMatrix
from l0quad.matrix.standardized import Centred, StandardizedRows
from l0quad.problem import design as module

OPTIONS = [
    {"fit_intercept": intercept, "standardize": standardize, "weights": weights}
    for intercept in (False, True)
    for standardize in (False, True)
    for weights in (None, np.r_[0.0, 3.0, np.linspace(0.5, 2.0, 28)])
]
over_options = pytest.mark.parametrize(
    "options",
    OPTIONS,
    ids=lambda o: "-".join(k[:3] for k, v in o.items() if v is not None and v is not False) or "none",
)
over_kinds = pytest.mark.parametrize("kind", ["dense", "large", "sparse", "f4"])


def columns(seed=0):
    """Columns of many kinds: sparse ones, full ones far from zero, one that is constant, one that is zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 8)) * (rng.random((30, 8)) < 0.4)
    X[:, 1] = rng.standard_normal(30) + 50
    X[:, 2] = 7.0
    X[:, 3] = 0.0
    X = X.astype(np.float32).astype(np.float64)
    return X, X[:, 0] - 2 * X[:, 1] + 3 + 0.1 * rng.standard_normal(30)


def made(kind, X, monkeypatch, **options):
    if kind == "large":
        monkeypatch.setattr(module, "_COPIED_BYTES", 0)
        set_chunk(monkeypatch, 8 * 8 * 7)
    stored = {"sparse": sp.csc_array, "f4": np.float32}.get(kind, np.asarray)(X)
    return l0quad.Design(stored, **options)


def expected(X, fit_intercept, standardize, weights):
    u = np.ones(X.shape[0]) if weights is None else np.sqrt(weights)
    mean = (u**2 @ X) / (u @ u) if fit_intercept else np.zeros(X.shape[1])
    A = u[:, None] * (X - mean)
    norms = np.linalg.norm(A, axis=0)
    norms[norms < 1e-12 * np.linalg.norm(X, axis=0)] = 0
    A = A * (norms > 0)
    return A / np.where(norms > 0, norms, 1) if standardize else A


@over_kinds
@over_options
def test_every_product_is_that_of_the_matrix_that_is_meant(kind, options, monkeypatch):
    X, _ = columns()
    compare(made(kind, X, monkeypatch, **options).matrix, expected(X, **options))


@pytest.mark.parametrize("options", OPTIONS[1:])
def test_a_large_design_of_small_means_is_centred_by_a_correction(options, monkeypatch):
    X, _ = columns()
    X[:, 1] -= 48
    X[:, 2] = 0
    matrix = made("large", X, monkeypatch, **options).matrix
    assert isinstance(matrix, Centred)
    assert np.shares_memory(a(DenseMatrix, getattr(matrix.base, "base", matrix.base))._array, X)
    compare(matrix, expected(X, **options))


def compare(matrix, dense):
    rng = np.random.default_rng(1)
    few = np.array([5, 1])
    for M, A in ((matrix, dense), (matrix.scaled(3), 8 * dense), (matrix.subset(few), dense[:, few])):
        r, n = rng.standard_normal(A.shape[0]), A.shape[0]
        size = np.abs(A).max() * n
        for S in supports(A.shape[1]):
            A_S = A if S is None else A[:, S]
            w = rng.standard_normal(A_S.shape[1])
            tolerance = {"rtol": 0, "atol": 1e-13 * size * max(1, np.abs(A).max())}
            np.testing.assert_allclose(M.rmatvec(r, S), A_S.T @ r, **tolerance)
            np.testing.assert_allclose(M.matvec(S, w), A_S @ w, **tolerance)
            np.testing.assert_allclose(M.inner(S), A_S.T @ A_S, **tolerance)
            np.testing.assert_allclose(M.outer(S), A_S @ A_S.T, **tolerance)
            t, product = M.rmatvec_and_matvec(S, r, w)
            np.testing.assert_allclose(product, A_S @ (w + t), rtol=0, atol=1e-13 * size**3)
            if S is not None:
                np.testing.assert_allclose(M.take(S), A_S, **tolerance)
                np.testing.assert_allclose(M.cross(S), A_S.T @ A, **tolerance)
        np.testing.assert_allclose(M.column_sq_norms(), (A**2).sum(axis=0), **tolerance)
        np.testing.assert_allclose(np.vstack(list(M.row_blocks(7))), A, **tolerance)
        largest = M.largest_exponent()
        assert 2.0**largest >= np.abs(A).max()


@over_kinds
@over_options
def test_coefficients_minimise_the_weighted_squares_in_the_users_columns(kind, options, monkeypatch):
    X, y = columns()
    design = made(kind, X, monkeypatch, **options)
    result = l0quad.minimize(design.matrix, design.target(y), k=2, bound="none")
    coef, intercept = design.coefficients(result.w, y)
    weights = np.ones(30) if options["weights"] is None else options["weights"]
    left = X @ coef + intercept - y
    # A float32 answer has seven digits; what cancels in a residual is of the size of X coef.
    digits = 1e-6 if result.w.dtype == np.float32 else 1e-12
    size = float(np.linalg.norm(weights[:, None] * X) * np.linalg.norm(X * coef))
    assert 0.5 * weights @ left**2 == pytest.approx(result.objective, rel=1e-9, abs=digits * size)
    np.testing.assert_allclose((weights * left) @ X[:, np.flatnonzero(coef)], 0, atol=digits * size)
    if options["fit_intercept"]:
        assert abs(weights @ left) <= digits * size
    else:
        assert intercept == 0
    np.testing.assert_allclose(design.own(coef), result.w, rtol=1e-6, atol=1e-9)


def test_a_weight_of_two_is_a_row_twice():
    X, y = columns()
    weights = np.repeat([1.0, 2.0], 15)
    one = l0quad.Design(X, fit_intercept=True, standardize=True, weights=weights)
    other = l0quad.Design(np.vstack([X, X[15:]]), fit_intercept=True, standardize=True)
    twice = np.concatenate([y, y[15:]])
    ridge = 0.05
    a, b = (
        l0quad.minimize(each.matrix, each.target(target), k=2, ridge=ridge)
        for each, target in ((one, y), (other, twice))
    )
    assert a.objective == pytest.approx(b.objective, rel=1e-9)
    np.testing.assert_allclose(one.coefficients(a.w, y).coef, other.coefficients(b.w, twice).coef, rtol=1e-7)


def test_the_ridge_shrinks_a_lone_column_by_what_the_docstring_says():
    X = np.random.default_rng(2).standard_normal((40, 3)) * 5 + 100
    y = 3 * X[:, 1] - 7
    design = l0quad.Design(X, fit_intercept=True, standardize=True)
    shrunk = l0quad.minimize(design.matrix, design.target(y), l0quad.Cardinality(1, must=[1]), ridge=0.1)
    assert design.coefficients(shrunk.w, y).coef[1] == pytest.approx(3 / 1.2, rel=1e-9)


@pytest.mark.parametrize("kind", ["dense", "large", "sparse"])
def test_a_time_stamp_keeps_its_digits(kind, monkeypatch):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, 4))
    X[:, 2] = 1.7e9 + 3600.0 * np.arange(200)
    y = 1e-4 * (X[:, 2] - 1.7e9) + X[:, 0]
    design = made(kind, X, monkeypatch, fit_intercept=True, standardize=True)
    result = l0quad.minimize(design.matrix, design.target(y), k=2)
    coef, intercept = design.coefficients(result.w, y)
    assert list(result.support) == [0, 2]
    np.testing.assert_allclose(X @ coef + intercept, y, atol=1e-8)


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("kind", ["dense", "large", "sparse"])
def test_extreme_sizes(kind, size, monkeypatch):
    X, y = columns()
    design = made(kind, X * size, monkeypatch, fit_intercept=True, standardize=True)
    result = l0quad.minimize(design.matrix, design.target(y), k=2)
    coef, intercept = design.coefficients(result.w, y)
    assert list(result.support) == [0, 1]
    np.testing.assert_allclose((X * size) @ coef + intercept, y, atol=1)


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_bounds_count_the_rounding_of_implicit_centring(ridge):
    """The allowance of a sparse design is larger than that of the same columns stored."""
    X, y = columns()
    X = X[:, [0, 4, 5, 6, 7]]
    design = l0quad.Design(sp.csc_array(X), fit_intercept=True)
    stored = design.matrix.take(np.arange(5))
    one, other = (l0quad.Problem(A, design.target(y), 2, ridge).core for A in (design.matrix, stored))
    np.testing.assert_allclose(one.rounding_norms, design.matrix.spread * other.rounding_norms)
    assert np.all(curvature(one).error > 2 * curvature(other).error)
    assert np.all(expansion(one, np.ones(5)).q_error > 2 * expansion(other, np.ones(5)).q_error)
    square = (sp.csc_array(X).power(2)).sum(axis=0)
    assert np.all(square <= 2.001 * one.column_sq_norms)


@pytest.mark.parametrize("deviations", [0.0, 1.0, 3.5, 5.0])
def test_the_correction_loses_no_more_than_its_spread(deviations, monkeypatch):
    """Products with a large design, beside those in extended precision; larger means are subtracted first."""
    rng = np.random.default_rng(4)
    X, weights, r = rng.standard_normal((500, 6)) + deviations, rng.uniform(0.5, 2, 500), rng.standard_normal(500)
    design = made("large", X, monkeypatch, fit_intercept=True, weights=weights)
    assert isinstance(design.matrix, Centred if deviations < 4 else StandardizedRows)
    exact = np.sqrt(weights).astype(np.longdouble)[:, None] * (X.astype(np.longdouble) - design.mean)
    norms = np.linalg.norm(exact.astype(float), axis=0)
    allowed = gamma(508) * design.matrix.spread * norms
    assert np.all(np.abs(design.matrix.rmatvec(r) - r @ exact) <= allowed * np.linalg.norm(r))
    error = np.abs(design.matrix.inner() - exact.T @ exact)
    assert np.all(error <= gamma(508) * design.matrix.spread**2 * np.multiply.outer(norms, norms))
    if deviations < 4:
        assert design.matrix.spread >= np.linalg.norm(np.sqrt(weights)[:, None] * X, axis=0).max() / norms.max()


def test_what_is_copied_and_what_is_not(monkeypatch):
    X, _ = columns()
    assert l0quad.Design(X).matrix.take(np.arange(8)).tolist() == X.tolist()
    given = l0quad.as_matrix(X)
    assert l0quad.Design(given).matrix is given
    sparse = made("sparse", X, monkeypatch, fit_intercept=True).matrix
    assert isinstance(sparse, Centred)
    assert sparse.nbytes < 2 * sp.csc_array(X).data.nbytes + sp.csc_array(X).indices.nbytes * 2 + 100
    large = made("large", X, monkeypatch, fit_intercept=True).matrix
    assert isinstance(large, StandardizedRows)
    assert np.shares_memory(a(DenseMatrix, large.base)._array, X)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"weights": -np.ones(30)}, ValueError, "weights: must be at least 0"),
        ({"weights": np.zeros(30)}, ValueError, "weights: must be at least 0 and not all 0"),
        ({"weights": np.ones(4)}, ValueError, "weights: must have shape"),
        ({"fit_intercept": 1}, TypeError, "fit_intercept: must be True or False"),
        ({"standardize": "yes"}, TypeError, "standardize: must be True or False"),
    ],
)
def test_refusals(arguments, error, words):
    with pytest.raises(error, match=words):
        l0quad.Design(columns()[0], **arguments)


def test_rows_that_are_not_there():
    with pytest.raises(TypeError, match="GramMatrix has no rows"):
        l0quad.Design(l0quad.GramMatrix(np.eye(3)), fit_intercept=True)
    X = columns()[0]
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"^X: all values must be finite"):
        l0quad.Design(X, fit_intercept=True)
