"""L0Regressor: scikit-learn's own checks, closed forms and brute force, names, weights, several targets."""

import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("sklearn")
from l0quad_adapters.sklearn import L0Regressor
from l0quad_adapters.sklearn.regressor import checked_data
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import l0quad

RNG = np.random.default_rng(0)
N, P = 60, 8
NAMES = ["age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "glu"]
X = RNG.standard_normal((N, P)) @ (np.eye(P) + 0.4) + 30
Y = 7 + X[:, 0] - 2 * X[:, 2] + X[:, 5] + RNG.standard_normal(N)
WEIGHTS = RNG.integers(0, 4, N).astype(float)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([L0Regressor(), L0Regressor(2, effort="exact", groups=None, bound="none")])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def loss(coef, intercept, weights=None, X=X, y=Y):
    return 0.5 * np.sum((1.0 if weights is None else weights) * (X @ coef + intercept - y) ** 2)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_the_best_of_all_subsets(weights):
    model = L0Regressor(3, ridge=0.0, effort="exact").fit(X, Y, weights)
    best = min(
        loss(fit.coef_, fit.intercept_, weights, X[:, list(S)])
        for S in itertools.combinations(range(P), 3)
        for fit in [LinearRegression().fit(X[:, list(S)], Y, weights)]
    )
    assert loss(model.coef_, model.intercept_, weights) == pytest.approx(best, rel=1e-9)
    assert model.result_.objective == pytest.approx(best, rel=1e-9)
    assert model.status_ == "optimal"
    assert best * (1 - 1e-5) <= model.lower_bound_ <= best * (1 + 1e-12)
    assert model.support_.tolist() == np.flatnonzero(model.coef_).tolist() == [0, 2, 5]


@pytest.mark.filterwarnings("ignore:With l1_r:UserWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_ridge_beside_others():
    """With all variables, in columns of variance 1: scikit-learn's Ridge and ElasticNet."""
    Z = StandardScaler().fit_transform(X)
    model = L0Regressor(P, ridge=0.3).fit(X, Y)
    ridge = Ridge(alpha=2 * N * 0.3).fit(Z, Y)
    np.testing.assert_allclose(model.predict(X), ridge.predict(Z), rtol=1e-7)
    net = ElasticNet(alpha=2 * 0.3, l1_ratio=0.0, max_iter=100_000, tol=1e-12)
    np.testing.assert_allclose(model.predict(X), net.fit(Z, Y).predict(Z), rtol=1e-5)
    lone = X[:, :1]
    factor = L0Regressor(1, ridge=0.3).fit(lone, Y).coef_ / L0Regressor(1, ridge=0.0).fit(lone, Y).coef_
    assert factor == pytest.approx(1 / 1.6, rel=1e-9)


def test_without_intercept_and_standardising():
    model = L0Regressor(2, ridge=0.5, fit_intercept=False, standardize=False).fit(X, Y)
    np.testing.assert_allclose(model.coef_, l0quad.minimize(X, Y, 2, ridge=0.5).w, rtol=1e-9)
    assert model.intercept_ == 0


def test_weights_are_counts():
    repeated = np.repeat(np.arange(N), WEIGHTS.astype(int))
    weighted = L0Regressor(3).fit(X, Y, WEIGHTS)
    np.testing.assert_allclose(weighted.coef_, L0Regressor(3).fit(X[repeated], Y[repeated]).coef_, rtol=1e-8)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix])
def test_a_sparse_matrix_stays_sparse(kind):
    sparse = sp.csc_array(sp.random(N, P, 0.3, random_state=1))
    dense = L0Regressor(3).fit(sparse.toarray(), Y, WEIGHTS)
    model = L0Regressor(3).fit(kind(sparse), Y, WEIGHTS)
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-7)
    assert model.intercept_ == pytest.approx(dense.intercept_, rel=1e-9)
    np.testing.assert_allclose(model.predict(kind(sparse)), dense.predict(sparse.toarray()), rtol=1e-7)
    large = sp.random(1000, 500, 0.01, random_state=1, format="csc")
    model = L0Regressor()
    design = model._design(checked_data(model, kind(large), np.arange(1000.0), None))
    assert design.matrix.nbytes < 0.1 * 8 * 1000 * 500


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_variables_by_name(library):
    frame = pytest.importorskip(library).DataFrame(dict(zip(NAMES, X.T, strict=True)))
    model = L0Regressor(3, must=["glu"], never=["age"]).fit(frame, Y)
    np.testing.assert_allclose(model.coef_, L0Regressor(3, must=[7], never=[0]).fit(X, Y).coef_, rtol=1e-9)
    assert "glu" in model.selected_names_
    assert model.selected_names_.tolist() == model.feature_names_in_[model.support_].tolist()
    assert model.result_.names == tuple(model.selected_names_)
    with pytest.raises(ValueError, match="must: no column of A is named 'glucose'"):
        L0Regressor(3, must=["glucose"]).fit(frame, Y)
    assert not hasattr(model.fit(X, Y) if model.set_params(must=[7], never=None) else model, "selected_names_")


def test_columns_of_all_kinds():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": X[:, 0], "flag": X[:, 1] > 30, "n": pd.array(np.arange(N), dtype="Int64")})
    town = pd.Series(["Ulm", "Bonn", "Köln"] * (N // 3), name="town")
    dummies = pd.concat([frame, pd.get_dummies(town)], axis=1)
    assert L0Regressor(2).fit(dummies, Y).support_.size == 2


def test_several_targets():
    Y2 = np.column_stack([Y, X[:, 1] - X[:, 3] + 0.1 * RNG.standard_normal(N)])
    model = L0Regressor(2).fit(X, Y2)
    for t in range(2):
        np.testing.assert_allclose(model.coef_[t], L0Regressor(2).fit(X, Y2[:, t]).coef_, rtol=1e-8)
    assert model.predict(X).shape == (N, 2)
    assert len(model.status_) == len(model.result_) == 2
    joint = L0Regressor(2, joint_support=True, effort="exact", ridge=0.01).fit(X, Y2, WEIGHTS)
    assert joint.support_.size == 2
    best = min(
        sum(fit.result_.objective for fit in fits)
        for S in itertools.combinations(range(P), 2)
        for fits in [[L0Regressor(2, ridge=0.01).fit(X[:, list(S)], Y2[:, t], WEIGHTS) for t in range(2)]]
    )
    assert joint.result_.objective == pytest.approx(best, rel=1e-6)
    held = L0Regressor(3, joint_support=True, must=[7]).fit(X, Y2)
    assert 7 in held.support_
    assert held.support_.size == 3


def test_groups():
    labels = np.repeat(np.arange(4), 2)
    model = L0Regressor(2, groups=labels).fit(X, Y)
    assert np.unique(labels[model.support_]).size == 2


def test_copies_searches_and_pipelines():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=NAMES)
    model = L0Regressor(3, must=["age"]).fit(frame, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(frame), model.predict(frame))
    assert clone(model).get_params() == model.get_params()
    search = GridSearchCV(L0Regressor(), {"k": [1, 3, 8], "ridge": [0.0, 0.1]}, cv=4).fit(frame, Y)
    assert search.best_params_["k"] >= 3
    pipeline = make_pipeline(PolynomialFeatures(2, include_bias=False), L0Regressor(3)).fit(X, Y)
    assert pipeline[-1].support_.size == 3
    selected = SelectFromModel(L0Regressor(3), threshold=1e-12).set_output(transform="pandas").fit(frame, Y)
    assert selected.transform(frame).columns.tolist() == ["age", "bmi", "ldl"]
    kept = make_pipeline(SelectFromModel(L0Regressor(3), threshold=1e-12), LinearRegression()).fit(X, Y)
    np.testing.assert_allclose(kept.predict(X), L0Regressor(3, ridge=0.0).fit(X, Y).predict(X), rtol=1e-7)


def test_an_interrupt_is_raised(monkeypatch):
    real = l0quad.solve

    def interrupted(problem, *arguments, **options):
        return real(problem, *arguments, **options | {"callback": lambda _: True})

    monkeypatch.setattr(l0quad, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        L0Regressor(3).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": -1}, "k: must be at least 0, got -1"),
        ({"effort": "lazy"}, "effort: must be one of 'fast', 'thorough', 'exact', got 'lazy'"),
        ({"ridge": -1.0}, "ridge: must be finite and at least 0"),
        ({"bound": "loose"}, "bound: must be one of"),
        ({"groups": [0, 1]}, "k: Groups labels 2 columns, but A has 8"),
        ({"must": [0, 1], "k": 1}, "must: has 2 column"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        L0Regressor(**options).fit(X, Y)
