"""Paths: every fit by itself against brute force and `check`, the order among them, limits, files, pictures."""

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from problem_files import dense
from reference import brute_force

import l0quad
from l0quad import Status


def data(n=40, p=9, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p))
    A[:, 1:] += 0.6 * A[:, :-1]
    return A, A[:, 2] - 2 * A[:, 5] + 0.5 * A[:, 7] + rng.standard_normal(n)


def least(A, b, k, ridge):
    """The optimum by trying every support."""
    best = 0.5 * b @ b
    for S in itertools.combinations(range(A.shape[1]), k):
        A_S = A[:, list(S)]
        w = np.linalg.lstsq(A_S.T @ A_S + 2 * ridge * np.eye(k), A_S.T @ b, rcond=None)[0]
        best = min(best, 0.5 * np.sum((A_S @ w - b) ** 2) + ridge * w @ w)
    return best


KINDS = {
    "tall": data(),
    "very tall": data(200, 9),
    "wide": data(8, 20),
    "few rows": data(5, 12),
    "columns twice": (np.repeat(data()[0], 2, axis=1)[:, :14], data()[1]),
    "sizes": (data()[0] * 10.0 ** np.arange(-4, 5), data()[1]),
}


@pytest.mark.parametrize("store", [np.asarray, sp.csc_array, np.float32], ids=["f8", "sparse", "f4"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_fit_is_what_it_says_and_none_is_worse_than_a_smaller_one(kind, ridge, store):
    A, b = KINDS[kind]
    A = store(A)
    ks = range(6)
    found = l0quad.path(A, b, ks, ridge)
    assert [fit.k for fit in found] == list(ks)
    exact = dense(A).astype(np.float64)
    for fit in found:
        result = fit.result
        assert result.check(l0quad.Problem(A, b, fit.k, ridge)).ok, result.check(l0quad.Problem(A, b, fit.k, ridge))
        assert result.support.size <= fit.k
        assert fit.coef is result.w or np.array_equal(fit.coef, result.w)
        residual = exact @ result.w - b
        assert fit.rss == pytest.approx(residual @ residual, rel=1e-6, abs=1e-9)
        if fit.k <= 3 and kind != "few rows":
            optimum = least(exact, b, fit.k, ridge)
            assert result.lower_bound <= optimum * (1 + 1e-9) + 1e-12
            assert result.objective == pytest.approx(optimum, rel=1e-4, abs=1e-9)
    objectives = [fit.result.objective for fit in found]
    slack = 1e-6 if store is np.float32 else 1e-12
    assert all(b <= a * (1 + slack) + 1e-12 for a, b in itertools.pairwise(objectives))


def test_a_small_path_is_proven_and_trees_may_find_better_points():
    A, b = data(60, 20, seed=3)
    found = l0quad.path(A, b, range(1, 8), 0.1)
    assert {fit.result.status for fit in found} == {Status.OPTIMAL}
    assert "proven" in found.table()


@pytest.mark.parametrize("bound", ["fast", "tight"])
def test_ascents_at_a_few_k_bound_all_of_them(bound, monkeypatch):
    """Without trees: each bound is about as good as an ascent of its own, and its certificate proves it."""
    monkeypatch.setattr("l0quad.api.path_run.prove", lambda *_: None)
    A, b = data(120, 30, seed=4)
    found = l0quad.path(A, b, range(1, 21), 0.1, bound=bound)
    for fit in found:
        problem = l0quad.Problem(A, b, fit.k, 0.1)
        assert fit.result.check(problem).ok
        own = l0quad.bound(problem, start=fit.result.support, mode=bound).value
        assert fit.result.lower_bound >= own - 0.02 * fit.result.objective


def test_ridges_begin_from_one_another():
    A, b = data(30, 60, seed=1)
    ridges = [10.0, 1.0, 0.01]
    found = l0quad.path(A, b, [2, 4, 7], ridges)
    assert [(fit.ridge, fit.k) for fit in found] == list(itertools.product(ridges, [2, 4, 7]))
    for fit in found:
        problem = l0quad.Problem(A, b, fit.k, fit.ridge)
        assert fit.result.check(problem).ok
        assert fit.result.objective <= 1.02 * l0quad.solve(problem, bound="none").objective
    assert found.at(4, 1.0) is found[4]


@pytest.mark.parametrize(
    "constraint",
    [
        lambda k: l0quad.Cardinality(k, must=[0, 3], never=[5]),
        lambda k: l0quad.PerBlock(np.arange(9) // 3, [k // 2, k // 2, k // 2]),
        lambda k: l0quad.Groups(np.arange(9) // 3, k // 2),
    ],
    ids=["must", "per block", "groups"],
)
def test_constraints(constraint):
    A, b = data()
    found = l0quad.path(A, b, [2, 4, 6], 0.1, constraint=constraint)
    assert len(found) == 3
    for fit in found:
        problem = l0quad.Problem(A, b, constraint(fit.k), 0.1)
        assert fit.result.check(problem).ok
        assert fit.result.objective <= l0quad.solve(problem).objective * (1 + 1e-9)


def test_a_centre_an_intercept_scales_and_weights():
    A, b = data()
    A, b, weights, w0 = A * np.arange(1, 10) + 100, b + 7, np.linspace(0.1, 2, 40), np.full(9, 0.05)
    options: dict[str, Any] = {"fit_intercept": True, "standardize": True, "weights": weights}
    found = l0quad.path(A, b, [1, 3], 0.01, w0=w0, **options)
    design = l0quad.Design(A, **options)
    for fit in found:
        problem = l0quad.Problem(design.matrix, design.target(b), fit.k, 0.01, design.own(w0))
        assert fit.result.check(problem).ok
        assert fit.result.objective == pytest.approx(l0quad.solve(problem).objective)
        left = fit.predict(A) - b
        assert fit.rss == pytest.approx(weights @ left**2)
        assert abs(weights @ left) < 1e-9 * np.abs(weights * b).sum()


@pytest.mark.parametrize("options", [{}, {"fit_intercept": True}], ids=["plain", "intercept"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"A": np.full((40, 9), np.nan)}, "A: all values must be finite"),
        ({"A": np.zeros(9)}, "A: must be a 2-D array"),
        ({"b": np.zeros(3)}, r"b: must have shape \(40,\), one value for each row of A"),
        ({"b": np.full(40, np.inf)}, "b: all values must be finite"),
        ({"weights": np.ones(3)}, r"weights: must have shape \(40,\), one value for each row of A"),
        ({"w0": np.ones(3)}, r"w0: must have shape \(9,\), one value for each column of A"),
    ],
)
def test_errors_name_the_arguments_of_path(wrong, message, options):
    A, b = data()
    with pytest.raises(ValueError, match=f"^{message}"):
        l0quad.path(**{"A": A, "b": b, **options, **wrong})


def test_criteria_are_their_formulas():
    A, b = data(seed=2)
    n, p = A.shape
    for fit in l0quad.path(A, b, [1, 3, 5]):
        s, base = fit.result.support.size, n * np.log(np.sum((A @ fit.coef - b) ** 2) / n)
        choices = {1: p, 3: 84, 5: 126}[s]
        expected = {
            "aic": base + 2 * s,
            "bic": base + s * np.log(n),
            "ebic": base + s * np.log(n) + 2 * np.log(choices),
            "gic": base + s * np.log(p) * np.log(np.log(n)),
        }
        assert dict(fit.scores) == pytest.approx(expected)


def test_the_best_by_each_criterion():
    A, b = data(400, 9)
    found = l0quad.path(A, b, range(7), cv=5)
    for name in ("bic", "ebic", "gic"):
        assert list(found.best(name).result.support) == [2, 5, 7]
    assert found.best("aic").k >= 3
    best, simple = found.best("cv"), found.best("1se")
    assert best.scores["cv"] == min(fit.scores["cv"] for fit in found)
    assert simple.scores["cv"] <= best.scores["cv"] + best.scores["cv_error"]
    assert simple.result.support.size <= best.result.support.size
    without = l0quad.path(A, b, [1, 2])
    with pytest.raises(ValueError, match=r"criterion: 'cv' is not known of this path; path\(..., cv=10\) computes it"):
        without.best("cv")
    with pytest.raises(ValueError, match="criterion: must be one of 'aic', 'bic', 'ebic', 'gic', 'cv', '1se'"):
        without.best("r2")


@pytest.mark.parametrize("store", [np.asarray, sp.csr_matrix])
def test_cross_validation_sees_nothing_of_the_rows_left_out(store):
    A, b = data(30, 9)
    A = A * np.arange(1, 10) + 5
    weights = np.linspace(1, 2, 30)
    folds = [(np.setdiff1d(np.arange(30), test), test) for test in np.arange(30).reshape(5, 6)]
    found = l0quad.path(store(A), b, [1, 2], 0.1, fit_intercept=True, standardize=True, weights=weights, cv=folds)
    for fit in found:
        errors = []
        for train, test in folds:
            u = np.sqrt(weights[train])
            mean, level = np.average(A[train], axis=0, weights=u**2), np.average(b[train], weights=u**2)
            X = u[:, None] * (A[train] - mean)
            norms = np.linalg.norm(X, axis=0)
            w = l0quad.minimize(X / norms, u * (b[train] - level), fit.k, ridge=0.1).w / norms
            errors.append(np.average(((A[test] - mean) @ w + level - b[test]) ** 2, weights=weights[test]))
        assert fit.scores["cv"] == pytest.approx(np.mean(errors))
        assert fit.scores["cv_error"] == pytest.approx(np.std(errors, ddof=1) / 5**0.5)


def test_threads_change_nothing_of_a_cross_validation():
    A, b = data()
    one, several = (l0quad.path(A, b, [1, 3], [0.1, 1.0], cv=4, n_threads=n) for n in (1, 3))
    assert [dict(fit.scores) for fit in one] == [dict(fit.scores) for fit in several]
    other = l0quad.path(A, b, [1, 3], [0.1, 1.0], cv=4, seed=1)
    assert other[0].scores["cv"] != one[0].scores["cv"]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("stop_at", [1, 4, 20])
@pytest.mark.parametrize("how", ["callback", "interrupt"])
def test_what_is_there_when_it_is_stopped(how, stop_at, wide):
    A, b = data(20, 60) if wide else data()

    def stop(state):
        if state.n_iter == stop_at:
            if how == "interrupt":
                raise KeyboardInterrupt
            return True
        return False

    found = l0quad.path(A, b, range(1, 9), 0.1, callback=stop)
    assert found.status in (Status.INTERRUPTED, Status.CONVERGED)
    for fit in found:
        assert fit.result.check(l0quad.Problem(A, b, fit.k, 0.1)).ok
    assert all(y.result.objective <= x.result.objective * (1 + 1e-12) for x, y in itertools.pairwise(found))


def test_a_time_limit_of_nothing():
    A, b = data(30, 300)
    found = l0quad.path(A, b, range(1, 20), [0.1, 0.2], time_limit=0, cv=3)
    assert found.status is Status.TIME_LIMIT
    assert len(found) < 38
    for fit in found:
        assert fit.result.status is Status.TIME_LIMIT
        assert fit.result.check(l0quad.Problem(A, b, fit.k, fit.ridge)).ok


@pytest.fixture(scope="module")
def found():
    A, b = data()
    return l0quad.path(A + 3, b, range(1, 5), [0.1, 1.0], fit_intercept=True, cv=3)


def same(one, other):
    assert one.to_dict() == other.to_dict()
    assert one.table() == other.table()
    assert (one.status, one.seconds, repr(one)) == (other.status, other.seconds, repr(other))
    for a, b in zip(one, other, strict=True):
        assert a.coef.tobytes() == b.coef.tobytes()
        assert a.result.w.tobytes() == b.result.w.tobytes()
        assert (a.intercept, a.rss, a.result.message) == (b.intercept, b.rss, b.result.message)


def test_a_path_is_kept_in_a_file_and_pickled(found, tmp_path):
    found.save(tmp_path / "path.npz")
    back = l0quad.PathResult.load(tmp_path / "path.npz")
    same(found, back)
    same(found, pickle.loads(pickle.dumps(found)))
    A, b = data()
    design = l0quad.Design(A + 3, fit_intercept=True)
    for fit in back:
        assert fit.result.check(l0quad.Problem(design.matrix, design.target(b), fit.k, fit.ridge)).ok


def test_dual_certificates_are_kept_too(tmp_path):
    A, b = data(20, 60)
    path = l0quad.path(A, b, [1, 3, 30], 5.0)
    path.save(tmp_path / "path.npz")
    for fit in l0quad.PathResult.load(tmp_path / "path.npz"):
        assert fit.result.check(l0quad.Problem(A, b, fit.k, 5.0)).ok


def test_files_that_are_something_else(tmp_path, found):
    file = tmp_path / "other.npz"
    np.savez(file, A=np.eye(2))
    with pytest.raises(ValueError, match="is not a path that was saved"):
        l0quad.PathResult.load(file)
    file.write_bytes(b"no zip")
    with pytest.raises(ValueError, match="is not a path that was saved"):
        l0quad.PathResult.load(file)
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        found.save(tmp_path / "path.csv")


def test_table_and_columns(found):
    columns = found.to_dict()
    assert columns["k"] == [1, 2, 3, 4, 1, 2, 3, 4]
    assert columns["ridge"] == [0.1] * 4 + [1.0] * 4
    assert {"objective", "lower_bound", "relative_gap", "status", "nonzeros", "bic", "cv"} <= set(columns)
    assert len(found.table().splitlines()) == 9
    assert repr(found) == "PathResult(converged, k=1..4, ridges=2, fits=8, proven=8)"


def test_a_frame_where_pandas_is_there(found):
    pandas = pytest.importorskip("pandas")
    assert found.to_frame().equals(pandas.DataFrame(found.to_dict()))


def test_a_picture(found, tmp_path):
    pytest.importorskip("matplotlib")
    drawn = found.plot(1.0, names=[f"x{j}" for j in range(9)])
    assert len(drawn.axes) == 4
    band = drawn.axes[0].lines[0].get_ydata()
    assert list(band) == [fit.result.objective for fit in found if fit.ridge == 1.0]
    A, b = data()
    assert len(l0quad.path(A, b, [1, 4]).plot().axes) == 3
    with pytest.raises(ValueError, match="ridge: 7 is not on the path"):
        found.plot(7)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"ks": []}, ValueError, "ks: must have at least one"),
        ({"ks": [1.5]}, TypeError, "ks: must be an integer"),
        ({"ks": [-1]}, ValueError, "ks: must be at least 0"),
        ({"ridges": []}, ValueError, "ridges: must have at least one"),
        ({"ridges": [-1.0]}, ValueError, "ridges: must be finite and at least 0"),
        ({"bound": "loose"}, ValueError, "bound: must be one of"),
        ({"effort": "most"}, ValueError, "effort: must be one of"),
        ({"constraint": 3}, TypeError, "constraint: must be callable"),
        ({"cv": 1}, ValueError, "cv: must be at least 2"),
        ({"cv": 41}, ValueError, "cv: must be at most the number of rows, 40, got 41"),
        ({"cv": [([0], [1])]}, ValueError, "cv: must have at least two folds"),
        ({"cv": 2.5}, TypeError, "cv: must be an integer"),
        ({"callback": 3}, TypeError, "callback: must be callable"),
    ],
)
def test_refusals(arguments, error, words):
    with pytest.raises(error, match=words):
        l0quad.path(*data(), **arguments)


def test_dependent_columns_of_a_small_table():
    """Rank 5 of 6: nothing is proven at k = 4, and no exchange of what the walk finds there is better."""
    A = np.array(
        [
            [0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1], [1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 0],
            [0, 0, 1, 0, 1, 1], [1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 1], [1, 0, 1, 1, 0, 1],
        ]
    )  # fmt: skip
    for seed in range(3):
        b = 50 + A[:, 0] - A[:, 1] + np.random.default_rng(seed).standard_normal(8).round(1)
        for fit in l0quad.path(A, b, range(7)):
            assert fit.result.objective == pytest.approx(brute_force(A, b, fit.k)[0], rel=1e-9)
