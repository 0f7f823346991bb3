"""Restricted solves and factorizations: optimality conditions first, pseudo-inverses second."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from narrowed import some

import l0quad.problem.restricted
from l0quad.linalg.cholesky import cholesky
from l0quad.linalg.gram import gram_factor
from l0quad.linalg.orthogonal import independent_columns
from l0quad.matrix import as_matrix

EPS = np.finfo(float).eps


def instance(n, p, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p)).astype(dtype)
    return A, rng.standard_normal(n), rng.standard_normal(p)


def restricted_solve(M, b, w0, mu, support):
    """The w of `l0quad.problem.restricted.restricted_solve`, whose residual must be A_S w - b."""
    w, residual = l0quad.problem.restricted.restricted_solve(M, b, w0, mu, support)
    assert w.dtype == residual.dtype == np.float64
    A_S = M.take(support).astype(np.float64)
    np.testing.assert_allclose(residual, A_S @ w - b, rtol=0, atol=1e-12 * (np.abs(A_S) @ np.abs(w) + np.abs(b)).max())
    return w


def gradient_share(A, b, w0, mu, support, w):
    """The gradient on the support over the size of its terms: eps times a modest number for a backward stable solve."""
    A_S = A[:, support].astype(np.float64)
    gradient = A_S.T @ (A_S @ w - b) + mu * (w - w0[support])
    size = np.linalg.norm(A_S, 2)
    terms = size * (size * np.linalg.norm(w) + np.linalg.norm(b)) + mu * (
        np.linalg.norm(w) + np.linalg.norm(w0[support])
    )
    return np.linalg.norm(gradient) / max(terms, np.finfo(float).tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("form", ["C", "F", "sparse"])
@pytest.mark.parametrize("size", [0, 1, 7, 12, 13, 30], ids="|S|={}".format)
@pytest.mark.parametrize("mu", [1e-8, 0.5, 1e6])
def test_primal_and_dual(size, form, dtype, mu):
    """|S| <= n = 12 goes through |S| x |S|, more through n x n; both are the same minimiser."""
    A, b, w0 = instance(12, 40, dtype=dtype)
    M = as_matrix(sp.csc_array(A) if form == "sparse" else np.asarray(A, order=form))
    support = np.sort(np.random.default_rng(1).permutation(40)[:size])
    w = restricted_solve(M, b, w0, mu, support)
    assert w.shape == (size,)
    if size:
        assert gradient_share(A, b, w0, mu, support, w) < 1e3 * EPS
        expected = reference.best_on(A, b, support, mu / 2, w0)[support]
        np.testing.assert_allclose(w, expected, rtol=1e-6 if mu < 1e-4 else 1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [1, 7, 12])
def test_least_squares_without_ridge(size):
    A, b, w0 = instance(12, 40)
    support = np.arange(3, 3 + size)
    w = restricted_solve(as_matrix(A), b, w0, 0.0, support)
    np.testing.assert_allclose(w, np.linalg.lstsq(A[:, support], b, rcond=None)[0], rtol=1e-8)


def dependent(kind, n, p):
    A, b, w0 = instance(n, p, seed=3)
    if kind == "duplicated":
        A[:, 4] = A[:, 1]
        A[:, 5] = 2 * A[:, 2]
    elif kind == "zero columns":
        A[:, [0, 3]] = 0
    elif kind == "all zero":
        A[:] = 0
    elif kind == "sum of others":
        A[:, 2] = A[:, 0] - A[:, 1]
    elif kind == "equal rows":
        A[1:3] = A[0]
    return A, b, w0


@pytest.mark.parametrize("kind", ["duplicated", "zero columns", "all zero", "sum of others", "equal rows"])
@pytest.mark.parametrize(("n", "p"), [(12, 7), (7, 7), (5, 9)])
@pytest.mark.parametrize("with_w0", [False, True], ids=["w0=0", "w0"])
def test_singular_gives_the_minimiser_nearest_to_w0(kind, n, p, with_w0):
    A, b, w0 = dependent(kind, n, p)
    w0 = w0 if with_w0 else np.zeros(p)
    every = np.arange(p)
    w = restricted_solve(as_matrix(A), b, w0, 0.0, every)
    np.testing.assert_allclose(A.T @ (A @ w - b), 0, atol=1e-11)
    # Nearest: no part of w - w0 lies in the kernel of A.
    kernel = np.eye(p) - np.linalg.pinv(A, rcond=1e-12) @ A
    np.testing.assert_allclose(kernel @ (w - w0), 0, atol=1e-11)
    # The limit mu -> 0.
    np.testing.assert_allclose(restricted_solve(as_matrix(A), b, w0, 1e-9, every), w, atol=1e-5)


@pytest.mark.parametrize("kind", ["duplicated", "zero columns", "all zero", "equal rows"])
@pytest.mark.parametrize(("n", "p"), [(12, 7), (5, 9)])
@pytest.mark.parametrize("mu", [1e-14, 1e-12, 1e-10, 1e-6, 1.0])
def test_dependent_columns_with_ridge(kind, n, p, mu):
    """Dependent columns (primal) or rows (dual) and a ridge down to the edge of what rounding leaves of it."""
    A, b, w0 = dependent(kind, n, p)
    every = np.arange(p)
    w = restricted_solve(as_matrix(A), b, w0, mu, every)
    best = reference.best_on(A, b, every, mu / 2, w0)
    least = reference.objective(A, b, best, mu / 2, w0)
    assert reference.objective(A, b, w, mu / 2, w0) <= least + 1e-10 * (least + b @ b)
    if kind == "zero columns":
        np.testing.assert_allclose(w[[0, 3]], w0[[0, 3]], rtol=1e-12)
    if kind == "all zero":
        np.testing.assert_allclose(w, w0, rtol=1e-12)


@pytest.mark.parametrize("mu", [1e-12, 1e-11, 1e-10, 1e-9])
def test_equal_rows_that_disagree(mu):
    """(A A' + mu I) y = r has a y of size 1 / mu that A' cancels; one row with the mean of their b says the same."""
    A, b, w0 = dependent("equal rows", 5, 9)
    merged, target = np.vstack([3**0.5 * A[0], A[3:]]), np.append(3**0.5 * b[:3].mean(), b[3:])
    y = np.linalg.solve(merged @ merged.T + mu * np.eye(3), target - merged @ w0)
    w = restricted_solve(as_matrix(A), b, w0, mu, np.arange(9))
    np.testing.assert_allclose(w, w0 + merged.T @ y, rtol=0, atol=1e-10)


@pytest.mark.parametrize("smallest", [1e-5, 1e-7, 1e-8, 3e-9, 1e-12])
@pytest.mark.parametrize(("n", "p"), [(20, 8), (8, 20)])
@pytest.mark.parametrize("mu", [0.0, 1e-16])
def test_ill_conditioned(smallest, n, p, mu):
    """With a condition number of up to 1e12 the residual still is the least, and nothing blows up."""
    rng = np.random.default_rng(5)
    U, V = np.linalg.qr(rng.standard_normal((n, 8)))[0], np.linalg.qr(rng.standard_normal((p, 8)))[0]
    A = U * np.geomspace(1, smallest, 8) @ V.T
    truth = V @ rng.standard_normal(8)
    b = A @ truth + 0.1 * rng.standard_normal(n) * (n > p)
    w = restricted_solve(as_matrix(A), b, np.zeros(p), mu, np.arange(p))
    assert np.all(np.isfinite(w))
    best = reference.best_on(A, b, np.arange(p), mu / 2)
    least = reference.objective(A, b, best, mu / 2)
    # What rounding in w alone may cost, for a solve that works on A itself and not on its Gram matrix.
    rounding = 10 * EPS * (np.linalg.norm(best) + np.linalg.norm(b)) * np.linalg.norm(b)
    assert reference.objective(A, b, w, mu / 2) <= least + rounding
    assert np.linalg.norm(w) <= 1e3 * max(np.linalg.norm(truth), 0.1 / smallest)


@pytest.mark.parametrize("smallest", [1e-3, 1e-5])
def test_ill_conditioned_accuracy(smallest):
    """Refined once, so that digits are lost by the condition number, not by its square."""
    rng = np.random.default_rng(6)
    U, V = np.linalg.qr(rng.standard_normal((30, 6)))[0], np.linalg.qr(rng.standard_normal((6, 6)))[0]
    A, truth = U * np.geomspace(1, smallest, 6) @ V.T, rng.standard_normal(6)
    w = restricted_solve(as_matrix(A), A @ truth, np.zeros(6), 0.0, np.arange(6))
    assert np.linalg.norm(w - truth) <= 100 * EPS / smallest * np.linalg.norm(truth)


def test_float32_is_accumulated_in_float64():
    A, b, w0 = instance(300, 40, dtype=np.float32)
    w = restricted_solve(as_matrix(A), b, w0, 0.1, np.arange(40))
    w64 = restricted_solve(as_matrix(A.astype(np.float64)), b, w0, 0.1, np.arange(40))
    np.testing.assert_allclose(w, w64, rtol=1e-11)


@pytest.mark.parametrize(("n", "p"), [(30, 12), (12, 30)])
@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_beyond_the_direct_limit(n, p, mu, monkeypatch):
    A, b, w0 = instance(n, p)
    monkeypatch.setattr(l0quad.problem.restricted, "DIRECT_LIMIT", 4)
    support = np.arange(2, p)
    w = restricted_solve(as_matrix(A), b, w0, mu, support)
    np.testing.assert_allclose(w, reference.best_on(A, b, support, mu / 2, w0)[support], rtol=1e-7, atol=1e-8)


def test_inputs_are_left_alone():
    A, b, w0 = instance(6, 9)
    before = A.tobytes(), b.tobytes(), w0.tobytes()
    for support in (np.arange(3), np.arange(9)):
        restricted_solve(as_matrix(A), b, w0, 0.3, support)
    assert (A.tobytes(), b.tobytes(), w0.tobytes()) == before


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
@pytest.mark.parametrize("mu", [0.0, 1e-3, 1.0])
def test_minimum_norm(shape, mu):
    A, r, _ = instance(*(*shape, 8))
    A[:, 1] = A[:, 0]
    np.testing.assert_allclose(
        l0quad.problem.restricted.orthogonal_solve(as_matrix(A), None, r, mu),
        reference.minimum_norm(A, r, mu),
        rtol=1e-9,
        atol=1e-12,
    )
    assert not l0quad.problem.restricted.orthogonal_solve(as_matrix(np.zeros(shape)), None, r, mu).any()


@pytest.mark.parametrize("order", [1, 2, 7])
@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_cholesky_solves(order, shift):
    rng = np.random.default_rng(order)
    X = rng.standard_normal((order + 3, order))
    gram, rhs = X.T @ X, rng.standard_normal(order)
    before = gram.copy()
    solve = some(cholesky(gram, shift))
    np.testing.assert_array_equal(gram, before)
    np.testing.assert_allclose((gram + shift * np.eye(order)) @ solve(rhs), rhs, rtol=1e-9)


@pytest.mark.parametrize(
    "gram",
    [
        np.zeros((3, 3)),
        np.ones((3, 3)),
        np.diag([1.0, 0.0, 1.0]),
        np.diag([1.0, -1.0]),
        np.array([[1.0, 1.0], [1.0, 1.0 + EPS]]),
        np.outer([1.0, 1e-3, 1e3], [1.0, 1e-3, 1e3]),
        np.zeros((1, 1)),
    ],
    ids=["zero", "ones", "zero pivot", "negative", "lost in rounding", "rank one", "scalar"],
)
def test_cholesky_refuses_what_is_singular(gram):
    before = gram.copy()
    assert cholesky(gram, 0.0) is None
    np.testing.assert_array_equal(gram, before)


def test_cholesky_accepts_bad_scaling():
    """A diagonal of any size is no reason to refuse: what counts is what a pivot has lost."""
    assert cholesky(np.diag([1e-200, 1.0, 1e200]), 0.0) is not None


def gram(kind, p=6):
    rng = np.random.default_rng(9)
    X = {
        "positive definite": rng.standard_normal((p + 2, p)),
        "rank three": rng.standard_normal((3, p)),
        "rank one": rng.standard_normal((1, p)),
        "zero": np.zeros((2, p)),
        "zero columns": rng.standard_normal((p, p)) * (np.arange(p) % 2),
        "tiny": 1e-120 * rng.standard_normal((p, p)),
        "huge": 1e120 * rng.standard_normal((p, p)),
    }[kind]
    return X


GRAMS = ["positive definite", "rank three", "rank one", "zero", "zero columns", "tiny", "huge"]


@pytest.mark.parametrize("kind", GRAMS)
@pytest.mark.parametrize("inside", [True, False], ids=["g in the range", "any g"])
def test_gram_factor(kind, inside):
    X = gram(kind)
    H, rng = X.T @ X, np.random.default_rng(10)
    g = X.T @ rng.standard_normal(X.shape[0]) if inside else np.abs(X).max() * rng.standard_normal(6) + (kind == "zero")
    before = H.tobytes(), g.tobytes()
    factor = gram_factor(H)
    R, (b, rest) = factor.R, factor.target(g)
    assert (H.tobytes(), g.tobytes()) == before
    np.testing.assert_allclose(R.T @ R, H, rtol=0, atol=1e-13 * np.abs(H).max())
    assert R.shape[0] == b.size >= 1
    assert R.shape[0] <= 6
    remainder = g - R.T @ b
    full_rank = np.linalg.matrix_rank(X) == 6
    if inside or full_rank:
        assert rest is None
        np.testing.assert_allclose(remainder, 0, atol=1e-9 * np.abs(g).max())
    else:
        np.testing.assert_array_equal(rest, remainder)
        # What is left over is orthogonal to the range of H.
        np.testing.assert_allclose(R @ some(rest), 0, atol=1e-12 * np.abs(R).max() * np.abs(g).max())


def test_gram_factor_takes_what_rounding_has_left_for_nothing():
    """A pivot of eps passes a Cholesky factorization, but g in its direction would make a w of size 1 / eps."""
    H, g = np.array([[1.0, 1.0], [1.0, 1.0 + EPS]]), np.array([1.0, -1.0])
    factor = gram_factor(H)
    b, rest = factor.target(g)
    assert factor.R.shape == (1, 2)
    np.testing.assert_allclose(b, 0, atol=1e-14)
    np.testing.assert_allclose(some(rest), g, atol=1e-14)


def test_gram_factor_keeps_small_columns():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3, 5)) * [1e10, 1e-9, 1.0, 1e-3, 1e5], rng.standard_normal(3)
    factor, norms = gram_factor(X.T @ X), np.linalg.norm(X, axis=0)
    for each, shift in ((factor, 0), (factor.scaled(-7), -7)):
        R = np.ldexp(each.R, -shift) / norms
        np.testing.assert_allclose(R.T @ R, X.T @ X / np.outer(norms, norms), rtol=0, atol=1e-14)
        b, rest = each.target(np.ldexp(X.T @ y, shift))
        assert rest is None
        np.testing.assert_allclose(R.T @ b, X.T @ y / norms, rtol=0, atol=1e-14)
    # Outside of the range, what is left over is the least.
    rest = some(factor.target(X.T @ y + [0.0, 0.0, 1.0, 0.0, 0.0])[1])
    assert np.linalg.norm(rest) <= 1.0


def test_gram_factor_says_by_how_much_it_misses():
    H = np.array([[1.0, 1.0, 1e-9], [1.0, 1.0, 1e-9], [1e-9, 1e-9, 1e-20]])
    assert gram_factor(H).share > 1
    assert gram_factor(H[:2, :2]).share < 1e-14
    skew = np.array([[2.0, 1.0], [1.0 + 1e-9, 2.0]])
    assert 1e-10 < gram_factor(skew).share < 1e-9


def test_gram_factor_refuses_what_is_indefinite():
    with pytest.raises(ValueError, match=r"H: must be positive semidefinite, got the eigenvalue -1"):
        gram_factor(np.diag([1.0, -1.0]))


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (9, 9)], ids=str)
@pytest.mark.parametrize("rank", [1, 4, 8])
def test_independent_columns_span_all_of_them(shape, rank):
    rng = np.random.default_rng(rank)
    A = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    A *= 10.0 ** rng.integers(-9, 9, shape[1])
    A[:, 3] = 0.0
    columns = independent_columns(A)
    assert np.array_equal(columns, np.unique(columns))
    scaled = A / np.maximum(np.linalg.norm(A, axis=0), 1e-300)
    assert columns.size == np.linalg.matrix_rank(scaled) == np.linalg.matrix_rank(scaled[:, columns])


def test_independent_columns_of_zero():
    assert independent_columns(np.zeros((4, 3))).size == 0
