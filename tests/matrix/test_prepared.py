"""What depends on A alone is computed once, for all problems on it and from all threads."""

import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import l0quad
import l0quad.matrix.base
from l0quad import as_matrix

FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": np.asarray,
    "float32": lambda A: A.astype(np.float32),
    "fortran": np.asfortranarray,
    "csc": sp.csc_array,
}
P = 12


def matrix(form="float64"):
    return as_matrix(FORMS[form](np.random.default_rng(0).standard_normal((9, P))))


@pytest.mark.parametrize("kept", [0, 1, 3, 100])
@pytest.mark.parametrize("form", FORMS)
def test_gram_rows(monkeypatch, form, kept):
    monkeypatch.setattr(l0quad.matrix.base, "ROWS_BYTES", 8 * P * kept)
    M = matrix(form)
    A = M.take(np.arange(P)).astype(np.float64)
    for columns in ([3], [], [0, 3], [7, 1, 3], [1], list(range(12)), [11, 0]):
        found = M.prepared.gram_rows(np.array(columns, dtype=np.int64))
        if columns:
            np.testing.assert_allclose(found, A[:, columns].T @ A, rtol=1e-12, atol=1e-13)
            # What comes back is a copy.
            found[:] = np.nan
        assert len(M.prepared._rows) <= kept
    assert len(M.prepared._rows) == min(kept, P)


def test_known_rows_cost_no_product(monkeypatch):
    M, asked = matrix(), []
    cross = M.cross
    monkeypatch.setattr(M, "cross", lambda columns, pause: asked.append(columns.tolist()) or cross(columns, pause))
    monkeypatch.setattr(M, "matvec", lambda *_: pytest.fail("a known row was computed again"))
    for columns in ([2, 5, 7], [7, 2], [5], [5, 1, 9]):
        M.prepared.gram_rows(np.array(columns))
    assert asked == [[2, 5, 7], [1, 9]]


def test_once_from_many_threads():
    M, calls, barrier = matrix(), [], threading.Barrier(8)
    prepared = M.prepared

    def ask():
        barrier.wait()
        prepared.once("answer", 8, lambda matrix: calls.append(matrix) or 42)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(calls) == 1


def test_what_does_not_fit_is_computed_again(monkeypatch):
    monkeypatch.setattr(l0quad.matrix.base, "KEPT_BYTES", 100)
    M, calls = matrix(), []
    prepared = M.prepared
    for name, nbytes in (
        ("large", 101),
        ("large", 101),
        ("small", 60),
        ("small", 60),
        ("too much", 60),
        ("too much", 60),
    ):
        prepared.once(name, nbytes, lambda _, name=name: calls.append(name))
    assert calls == ["large", "large", "small", "too much", "too much"]


def test_of_scaled_matrices_the_last_one_is_kept():
    M = matrix("csc")
    prepared = M.prepared
    first = prepared.scaled(3)
    assert prepared.scaled(3) is first
    np.testing.assert_array_equal(prepared.scaled(-2).take(np.arange(P)), first.take(np.arange(P)) / 32)
    assert prepared.scaled(3) is not first
    assert prepared.scaled(0) is M


@pytest.mark.parametrize("form", FORMS)
def test_pickles_hold_the_data_once(form):
    M = as_matrix(FORMS[form](np.random.default_rng(0).standard_normal((300, 60))))
    M.prepared.gram_rows(np.arange(60))
    assert len(pickle.dumps(M)) <= 1.05 * M.nbytes + 1000
    again = pickle.loads(pickle.dumps(M))
    np.testing.assert_array_equal(again.take(np.arange(60)), M.take(np.arange(60)))
    np.testing.assert_allclose(again.matvec(None, np.ones(60)), M.matvec(None, np.ones(60)), rtol=1e-12)


def test_a_large_support_is_kept_where_several_problems_share_the_matrix(monkeypatch):
    monkeypatch.setattr(l0quad.matrix.base, "SINGLE_SUPPORT_BYTES", 0)
    A = np.random.default_rng(0).standard_normal((9, P))
    problem = l0quad.Problem(A, A[:, 0], 3, ridge=0.1)
    M, viewed = problem.matrix, []
    view = M.view
    monkeypatch.setattr(M, "view", lambda columns: viewed.append(columns.tolist()) or view(columns))

    def ask(*support):
        found = M.prepared.gathered(np.array(support))
        A_S = A[:, support]
        np.testing.assert_allclose(found.gram, A_S.T @ A_S, rtol=1e-12)
        np.testing.assert_allclose(found.matrix.matvec(found.columns, np.ones(len(support))), A_S.sum(axis=1))
        # The Gram matrix is the caller's own.
        found.gram[:] = np.nan

    ask(1, 4, 7), ask(1, 4, 7)
    problem.with_(ridge=0.2)
    ask(1, 4, 7), ask(1, 4, 7), ask(1, 4)
    assert viewed == [[1, 4, 7], [1, 4, 7], [1, 4, 7], [1, 4]]


@pytest.mark.parametrize("form", FORMS)
def test_nothing_outlives_its_problem(form):
    """Without the collector, because a circle would keep A in memory until it runs."""
    A = FORMS[form](np.random.default_rng(0).standard_normal((9, P)))
    gc.collect()
    gc.disable()
    try:
        problem = l0quad.Problem(A, np.ones(9), 3, ridge=0.1).with_(k=2)
        for method in ("auto", "active_set", "backsolve", "admm"):
            l0quad.solve(problem, method)
        gone = weakref.ref(problem.matrix)
        del problem
        assert gone() is None
    finally:
        gc.enable()
