"""Long work in slices: the same answer whatever a slice's size, and a limit is asked for between any two."""

import tracemalloc

import numpy as np
import pytest

import l0quad.linalg.cholesky
import l0quad.linalg.orthogonal
import l0quad.linalg.symmetric
import l0quad.matrix.base
import l0quad.matrix.dense
from l0quad.errors import Stopped
from l0quad.linalg.cholesky import cholesky_factor, factored_in_place
from l0quad.linalg.orthogonal import independent_columns, pivoted_qr
from l0quad.linalg.symmetric import add_outer, mirror
from l0quad.matrix import as_matrix
from l0quad.problem.restricted import orthogonal_solve, restricted_solve
from l0quad.types import go_on


def minimum_norm(A, r, mu, pause=go_on):
    return orthogonal_solve(as_matrix(A), None, r, mu, pause)


class Pauses:
    """Counts the calls, and stops the work at one of them."""

    def __init__(self, last=None):
        self.count, self.last = 0, last

    def __call__(self):
        self.count += 1
        if self.count == self.last:
            raise Stopped


def stops_wherever_it_is_asked(work, least):
    """Return what the work does, which asks at least so often, when it is stopped at none of its questions."""
    asked = Pauses()
    found = work(asked)
    assert asked.count >= least
    for last in (1, (asked.count + 1) // 2, asked.count):
        with pytest.raises(Stopped):
            work(Pauses(last))
    return found


@pytest.fixture
def thin(monkeypatch):
    """Slices of next to nothing."""
    monkeypatch.setattr(l0quad.linalg.orthogonal, "_PANEL", 2)
    monkeypatch.setattr(l0quad.linalg.orthogonal, "_SLICE_FLOPS", 1)
    monkeypatch.setattr(l0quad.linalg.cholesky, "_AT_ONCE", 0)
    monkeypatch.setattr(l0quad.linalg.symmetric, "_LEAST_ROWS", 3)
    monkeypatch.setattr(l0quad.linalg.symmetric, "_BYTES", 0)
    monkeypatch.setattr(l0quad.matrix.dense, "_AT_ONCE_FLOPS", 0)
    for module in (l0quad.matrix.base, l0quad.matrix.dense):
        monkeypatch.setattr(module, "CHUNK_BYTES", 256)


def of_rank(n, m, rank, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
    return A / np.linalg.norm(A, axis=0), rng.standard_normal(n)


@pytest.mark.parametrize(
    ("n", "m", "rank"), [(20, 11, 11), (11, 20, 11), (20, 11, 6), (11, 20, 6), (9, 9, 8), (1, 5, 1)]
)
def test_pivoted_qr(thin, n, m, rank):
    A, r = of_rank(n, m, rank)
    R, order, c = stops_wherever_it_is_asked(lambda pause: pivoted_qr(A.copy(order="F"), r, pause), (rank + 1) // 2)
    assert R.shape == (rank, m)
    assert np.array_equal(np.sort(order), np.arange(m))
    assert not np.tril(R, -1).any()
    np.testing.assert_allclose(R.T @ R, A[:, order].T @ A[:, order], atol=1e-13)
    np.testing.assert_allclose(R.T @ c, A[:, order].T @ r, atol=1e-13)
    assert independent_columns(A).size == rank


@pytest.mark.parametrize(("n", "m"), [(30, 200), (200, 30), (90, 90)])
def test_the_pivots_reveal_the_rank(n, m):
    """Also where panels are full: the singular values fall by 13 orders, the last ones below what counts."""
    rng = np.random.default_rng(3)
    size = min(n, m)
    U, V = (np.linalg.qr(rng.standard_normal((each, size)))[0] for each in (n, m))
    s = np.where(np.arange(size) < size - 5, 10.0 ** np.linspace(0, -8, size), 1e-17)
    found = pivoted_qr(np.asfortranarray((U * s) @ V.T), rng.standard_normal(n))
    assert found.c.size == size - 5
    pivots = np.abs(found.R.diagonal())
    assert np.all((pivots > 0.02 * s[: size - 5]) & (pivots < 50 * s[: size - 5]))


@pytest.mark.parametrize(("n", "m", "rank"), [(20, 11, 11), (11, 20, 11), (20, 11, 6), (11, 20, 6)])
@pytest.mark.parametrize("mu", [0.0, 1e-13, 0.5])
def test_minimum_norm(thin, n, m, rank, mu):
    """Columns of any size; of several minimisers the shortest."""
    A, r = of_rank(n, m, rank, 1)
    A *= 10.0 ** np.random.default_rng(2).uniform(-3, 3, m)
    v = stops_wherever_it_is_asked(lambda pause: minimum_norm(A, r, mu, pause), 3)
    gradient = A.T @ (A @ v - r) + mu * v
    assert np.linalg.norm(gradient) <= 1e-10 * np.linalg.norm(A) * np.linalg.norm(r)
    if mu == 0:
        rows = np.linalg.svd(A, full_matrices=False)[2][:rank]
        assert np.linalg.norm(v - rows.T @ (rows @ v)) <= 1e-8 * np.linalg.norm(v)


def test_wide_columns_of_very_different_sizes_with_a_ridge():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        A, r = rng.standard_normal((4, 6)) * 10.0 ** rng.uniform(-8, 8, 6), rng.standard_normal(4)
        system, target = np.vstack([A, 1e-3 * np.eye(6)]), np.append(r, np.zeros(6))
        sizes = np.linalg.norm(system, axis=0)
        best = np.linalg.lstsq(system / sizes, target, rcond=None)[0] / sizes
        v = orthogonal_solve(as_matrix(A), None, r, 1e-6)
        least = np.linalg.norm(system @ best - target)
        assert np.linalg.norm(system @ v - target) <= least * (1 + 1e-9)


@pytest.mark.parametrize(("decades", "left"), [(4, 1e-13), (8, 1e-13), (12, 1e-8)])
def test_the_shortest_solution_keeps_its_digits(decades, left):
    """Of a regular wide system, whose solution is what it was made from."""
    rng = np.random.default_rng(decades)
    U, V = (np.linalg.qr(rng.standard_normal((each, 40)))[0] for each in (40, 120))
    A = (U * 10.0 ** np.linspace(0, -decades, 40)) @ V.T
    meant = V @ rng.standard_normal(40)
    v = minimum_norm(A, A @ meant, 0.0)
    assert np.linalg.norm(v - meant) <= 1e-14 * 10.0**decades * np.linalg.norm(meant)
    assert np.linalg.norm(A @ (v - meant)) <= left * np.linalg.norm(meant)


@pytest.mark.parametrize("order", [1, 3, 7, 12])
def test_cholesky_by_blocks(thin, order):
    B = np.random.default_rng(order).standard_normal((order + 2, order))
    gram = B.T @ B
    L = stops_wherever_it_is_asked(lambda pause: cholesky_factor(gram, 0.5, pause), (order + 2) // 3)
    np.testing.assert_allclose(L, np.linalg.cholesky(gram + 0.5 * np.eye(order)), rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(gram, B.T @ B)
    assert cholesky_factor(-gram, 0.0) is None


@pytest.mark.parametrize("order", [1, 3, 7, 12])
def test_a_factor_in_place_of_its_matrix(thin, order):
    rng = np.random.default_rng(order)
    B, x = rng.standard_normal((order + 2, order)), rng.standard_normal(order)
    gram = B.T @ B
    given = gram.copy()

    def work(pause):
        with factored_in_place(gram, 0.5, pause) as factored:
            assert order == 1 or not np.array_equal(gram, given)
            assert factored is not None
            return factored.solve(x), factored.product(x), factored.solve(x)

    try:
        first, product, again = stops_wherever_it_is_asked(work, (order + 2) // 3)
    finally:
        np.testing.assert_array_equal(gram, given)
    np.testing.assert_allclose(first, np.linalg.solve(given + 0.5 * np.eye(order), x), rtol=1e-9)
    np.testing.assert_allclose(product, given @ x, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(again, first)
    with factored_in_place(-gram, 0.0) as factored:
        assert factored is None


def test_a_dual_solve_takes_one_square_matrix(monkeypatch):
    """Of rows x rows, beside slices: neither the sum of outer products nor the factorization has a second one."""
    # Of the last support nothing is kept, and columns are converted a few at a time.
    for name, size in (("SINGLE_SUPPORT_BYTES", 0), ("CHUNK_BYTES", 1 << 16)):
        monkeypatch.setattr(l0quad.matrix.base, name, size)
    monkeypatch.setattr(l0quad.linalg.symmetric, "_LEAST_ROWS", 32)
    monkeypatch.setattr(l0quad.linalg.symmetric, "_BYTES", 0)
    rng = np.random.default_rng(0)
    A = as_matrix(np.asfortranarray(rng.standard_normal((400, 900)), dtype=np.float32))
    b, w0 = rng.standard_normal(400), rng.standard_normal(900)
    w, _ = restricted_solve(A, b, w0, 0.5, np.arange(900))
    tracemalloc.start()
    again, _ = restricted_solve(A, b, w0, 0.5, np.arange(900))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(again, w)
    assert peak < 1.6 * 8 * 400**2


def test_one_triangle_of_a_sum_of_outer_products(thin):
    blocks = np.random.default_rng(0).standard_normal((2, 10, 4))
    total = np.zeros((10, 10))
    for block in blocks:
        add_outer(total, block)
    assert not total[3:, :3].any()
    mirror(total)
    np.testing.assert_array_equal(total, total.T)
    np.testing.assert_allclose(total, sum(block @ block.T for block in blocks), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", [np.ascontiguousarray, np.asfortranarray, np.float32], ids=["C", "F", "float32"])
def test_products_of_columns(thin, form):
    A = form(np.random.default_rng(5).standard_normal((12, 17)))
    M, exact, some = as_matrix(A), A.astype(np.float64), np.array([1, 4, 5, 16])
    for work, expected in (
        (lambda pause: M.outer(pause=pause), exact @ exact.T),
        (lambda pause: M.inner(pause=pause), exact.T @ exact),
        (lambda pause: M.cross(some, pause), exact[:, some].T @ exact),
        (lambda pause: M.prepared.gram_rows(some, pause), exact[:, some].T @ exact),
        (lambda pause: M.column_quad(np.eye(12), some, pause), (exact[:, some] ** 2).sum(axis=0)),
    ):
        np.testing.assert_allclose(stops_anew(M, work), expected, rtol=1e-12, atol=1e-12)


def stops_anew(M, work):
    """Do the work with nothing kept of it before."""

    def fresh(pause):
        M.prepared._rows.clear()
        return work(pause)

    return stops_wherever_it_is_asked(fresh, 2)
