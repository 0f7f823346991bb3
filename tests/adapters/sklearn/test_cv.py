"""L0RegressorCV: scikit-learn's own checks, its errors beside a loop over folds, and its choices."""

import numpy as np
import pytest
from narrowed import a

pytest.importorskip("sklearn")
from l0quad_adapters.sklearn import L0Regressor, L0RegressorCV
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import l0quad

RNG = np.random.default_rng(0)
N, P = 80, 7
NAMES = list("abcdefg")
X = RNG.standard_normal((N, P)) @ (np.eye(P) + 0.3) + 5
Y = 3 + X[:, 0] - 2 * X[:, 2] + 0.7 * X[:, 5] + RNG.standard_normal(N)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([L0RegressorCV()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_errors_are_those_of_a_loop_over_folds():
    folds = KFold(4, shuffle=True, random_state=0)
    model = L0RegressorCV(range(1, 6), cv=folds, ridges=[0.0, 0.05]).fit(X, Y)
    path = a(l0quad.PathResult, model.path_)
    for fit in path:
        single = L0Regressor(fit.k, ridge=fit.ridge, effort="exact")
        errors = -cross_val_score(single, X, Y, cv=folds, scoring="neg_mean_squared_error")
        assert fit.scores["cv"] == pytest.approx(errors.mean(), rel=0.02)
    chosen = L0Regressor(a(int, model.k_), ridge=a(float, model.ridge_)).fit(X, Y)
    np.testing.assert_allclose(model.coef_, chosen.coef_, rtol=1e-7)
    assert model.intercept_ == pytest.approx(chosen.intercept_, rel=1e-9)
    assert model.lower_bound_ <= model.result_.objective
    assert model.k_ == min(path, key=lambda fit: fit.scores["cv"]).k


def test_the_rule_and_the_criteria():
    best, sparse = (L0RegressorCV(rule=rule).fit(X, Y) for rule in ("best", "1se"))
    assert sparse.support_.size <= best.support_.size
    assert {0, 2, 5} <= set(best.support_)
    for criterion in ("aic", "bic", "ebic", "gic"):
        model = L0RegressorCV(criterion=criterion).fit(X, Y)
        path = a(l0quad.PathResult, model.path_)
        assert model.k_ == path.best(criterion).k
        assert "cv" not in path[0].scores
    assert [fit.k for fit in a(l0quad.PathResult, best.path_)] == list(range(1, P + 1)), (
        "no more variables than there are"
    )


def test_names_weights_and_groups():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=NAMES)
    model = L0RegressorCV(must=["g"], never=["a"], rule="1se").fit(frame, Y, RNG.integers(1, 3, N))
    assert "g" in model.selected_names_
    assert "a" not in model.selected_names_
    assert a(l0quad.PathResult, model.path_).names == tuple(NAMES)
    labels = np.array([0, 0, 1, 1, 2, 2, 3])
    grouped = L0RegressorCV([1, 2, 3], groups=labels).fit(X, Y)
    assert np.unique(labels[grouped.support_]).size == grouped.k_


def test_several_targets():
    both = np.column_stack([Y, X[:, 1] + 0.1 * RNG.standard_normal(N)])
    model = L0RegressorCV(cv=4).fit(X, both)
    for t in range(2):
        single = L0RegressorCV(cv=4).fit(X, both[:, t])
        np.testing.assert_allclose(model.coef_[t], single.coef_, rtol=1e-7, atol=1e-9)
        assert a(list, model.k_)[t] == single.k_
    assert model.predict(X).shape == both.shape
    assert clone(model).fit(X, Y).predict(X).shape == (N,)


def test_an_interrupt_is_raised(monkeypatch):
    real = l0quad.path
    monkeypatch.setattr(l0quad, "path", lambda *a, **o: real(*a, **o | {"callback": lambda _: True}))
    with pytest.raises(KeyboardInterrupt):
        L0RegressorCV().fit(X, Y)


def test_too_little_time_says_so():
    with pytest.raises(RuntimeError, match=r"time_limit: 0\.0 s were too few"):
        L0RegressorCV(time_limit=0.0).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "2se"}, "rule: must be one of 'best', '1se', got '2se'"),
        ({"rule": "1se", "criterion": "bic"}, "rule: '1se' goes with criterion='cv' alone, got 'bic'"),
        ({"criterion": "mallows"}, "criterion: must be one of"),
        ({"ks": []}, "ks: must have at least one k"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        L0RegressorCV(**options).fit(X, Y)
