"""L0Regressor: best-subset least squares as a scikit-learn estimator."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import l0quad
from l0quad_adapters.sklearn.targets import Repeated

# Frames are array_like too.
Features = ArrayLike | sp.sparray | sp.spmatrix

EFFORTS = ("fast", "thorough", "exact")


class Data(NamedTuple):
    """What `fit` was given, checked.

    Attributes
    ----------
    X : ndarray or sparse matrix
    weights : ndarray of shape (n,), or None
    targets : ndarray of shape (n_targets, n)
    single : bool
        Whether y had one dimension.
    names : tuple of str, or None
    """

    X: Any
    weights: np.ndarray | None
    targets: np.ndarray
    single: bool
    names: tuple[str, ...] | None


class Linear(BaseEstimator):
    """What linear models on few variables share."""

    def predict(self, X: Features) -> np.ndarray:
        """Return the predictions for X, of shape (n_samples,) or (n_samples, n_targets)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=("csr", "csc"), reset=False)
        return np.asarray(safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class L0Regressor(MultiOutputMixin, RegressorMixin, Linear):
    """Linear regression on at most k variables, chosen together, with a lower bound on what any other k could reach.

    Minimises ``1/2 sum_i s_i (x_i'coef + intercept - y_i)^2 + ridge ||v||^2`` over models with at most k variables;
    s are the sample weights, and v the coefficients of the standardised columns (`l0quad.Design`): centred, of
    weighted norm 1.

    Parameters
    ----------
    k : int, default 10
        The largest number of variables (of groups, with ``groups``).
    ridge : float, default 1e-6
        In the units of the standardised problem: a lone coefficient shrinks by the factor 1 / (1 + 2 ridge), however
        many rows there are. The default shrinks nothing that counts; of models that fit equally well, as where k
        reaches the number of rows, it takes the shortest. On columns of variance 1, the ridge is ``alpha / (2 n)`` for
        the alpha of scikit-learn's ``Ridge``, ``alpha / 2`` for that of ``ElasticNet(l1_ratio=0)``, and
        ``lambda / (2 sd(y))`` for the lambda of glmnet with ``alpha=0``, which standardises y.
    fit_intercept, standardize : bool, default True
        Without ``standardize``, v are the coefficients themselves.
    must, never : array of int or of str, optional
        Variables that have a place among the k whatever their value, and variables that are not used; by number or,
        where X is a frame, by name.
    groups : array of int, shape (n_features,), optional
        The group of each variable; then at most k whole groups are used.
    joint_support : bool, default False
        Whether several targets share one support of k variables; else each has its own.
    effort : {"fast", "thorough", "exact"}
        How long to search; "exact" until the answer is proven, or the time is up.
    bound : {"fast", "none", "tight"}
        How much to spend on the lower bound, as in `l0quad.solve`.
    time_limit : float, optional
        Seconds for each target, after which the best model so far is taken.
    n_threads : int, optional

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
    intercept_ : float or ndarray of shape (n_targets,)
    support_ : ndarray of int
        The variables with a nonzero coefficient for any target, sorted.
    selected_names_ : ndarray of str
        Their names, where X had names.
    lower_bound_, gap_ : float or ndarray of shape (n_targets,)
        No model of at most k variables has an objective below the bound; the gap is relative to the objective.
    status_ : str or list of str
        How the solve ended: "optimal" is proven.
    result_ : l0quad.Result or list of l0quad.Result
        Of the standardised problem.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    An interrupt is raised. There are no non-negative coefficients: solves on a support, swaps and bounds would all be
    others. A target of two classes is fitted by least squares, which is good enough for choosing variables where the
    classes are of like size, and no model of probabilities.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from l0quad_adapters.sklearn import L0Regressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = L0Regressor(k=4, must=["age"]).fit(X, y)
    >>> model.selected_names_.tolist(), model.status_
    (['age', 'bmi', 'bp', 's5'], 'optimal')
    """

    def __init__(
        self,
        k: int = 10,
        *,
        ridge: float = 1e-6,
        fit_intercept: bool = True,
        standardize: bool = True,
        must: Sequence[int] | Sequence[str] | None = None,
        never: Sequence[int] | Sequence[str] | None = None,
        groups: ArrayLike | None = None,
        joint_support: bool = False,
        effort: str = "fast",
        bound: str = "fast",
        time_limit: float | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.k = k
        self.ridge = ridge
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.must = must
        self.never = never
        self.groups = groups
        self.joint_support = joint_support
        self.effort = effort
        self.bound = bound
        self.time_limit = time_limit
        self.n_threads = n_threads

    def fit(self, X: Features, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "L0Regressor":
        """Choose the variables and fit their coefficients.

        Parameters
        ----------
        X : array-like, frame or sparse matrix of shape (n_samples, n_features)
            A sparse one stays sparse.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), optional
            A weight of 2 counts as two equal rows.
        """
        data = checked_data(self, X, y, sample_weight)
        design, targets = self._design(data), data.targets
        if self.joint_support and len(targets) > 1:
            results = [self._solve(self._joint(design, targets))]
            vs = results[0].w.reshape(len(targets), -1)
        else:
            k = constraint(self, self.k, 1, design.matrix.shape[1])
            problem = l0quad.Problem(design.matrix, design.target(targets[0]), k, self.ridge)
            results = [self._solve(problem)]
            results += [self._solve(problem.with_(b=design.target(y))) for y in targets[1:]]
            vs = np.array([each.w for each in results])
        fitted = [design.coefficients(v, y) for v, y in zip(vs, targets, strict=True)]
        keep(self, data, fitted, results)
        return self

    def _design(self, data: Data) -> l0quad.Design:
        return l0quad.Design(
            l0quad.as_matrix(data.X, names=data.names),
            fit_intercept=self.fit_intercept,
            standardize=self.standardize,
            weights=data.weights,
        )

    def _joint(self, design: l0quad.Design, targets: np.ndarray) -> l0quad.Problem:
        """Return the problem of all targets that share a support."""
        matrix = Repeated(design.matrix, len(targets))
        matrix.names = None if design.matrix.names is None else design.matrix.names * len(targets)
        b = np.concatenate([design.target(y) for y in targets])
        return l0quad.Problem(matrix, b, constraint(self, self.k, len(targets), design.matrix.shape[1]), self.ridge)

    def _solve(self, problem: l0quad.Problem) -> l0quad.Result:
        result = l0quad.solve(
            problem, method_of(self), bound=self.bound, time_limit=self.time_limit, n_threads=self.n_threads
        )
        if result.status is l0quad.Status.INTERRUPTED:
            raise KeyboardInterrupt
        return result


def checked_data(estimator: Any, X: Any, y: ArrayLike, sample_weight: Any) -> Data:
    """Check what was given to `fit`."""
    X, y = validate_data(
        estimator, X, y, accept_sparse="csc", dtype=(np.float64, np.float32), multi_output=True, y_numeric=True
    )
    weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    return Data(X, weights, y.T if y.ndim == 2 else y[None], y.ndim == 1, names_of(estimator))


def names_of(estimator: Any) -> tuple[str, ...] | None:
    """Return the names of the features."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(names.tolist())


def constraint(estimator: Any, k: Any, n_targets: int, n_features: int) -> Any:
    """Return the constraint on the variables, of several targets that share a support."""
    must, never = (
        () if each is None else _repeated(each, names_of(estimator), n_targets, n_features, name)
        for name, each in (("must", estimator.must), ("never", estimator.never))
    )
    labels = estimator.groups
    if labels is None and n_targets == 1:
        return l0quad.Cardinality(k, must=must, never=never)
    labels = np.tile(np.arange(n_features) if labels is None else np.asarray(labels), n_targets)
    return l0quad.Groups(labels, k, must=must, never=never)


def _repeated(
    columns: Any, names: tuple[str, ...] | None, n_targets: int, n_features: int, argument: str
) -> np.ndarray:
    """Return columns, given by number or name, as numbers, once for each target."""
    known = l0quad.Groups(np.zeros(n_features, dtype=np.int64), 1, **{argument: columns}).numbered(names)
    own = np.asarray(getattr(known, argument), dtype=np.int64)
    return np.concatenate([own + t * n_features for t in range(n_targets)])


def method_of(estimator: Any) -> Any:
    """Return the method of an effort."""
    if estimator.effort not in EFFORTS:
        raise ValueError(f"effort: must be one of {', '.join(map(repr, EFFORTS))}, got {estimator.effort!r}")
    return "exact" if estimator.effort == "exact" else l0quad.Auto(estimator.effort)


def keep(estimator: Any, data: Data, fitted: list[l0quad.Coefficients], results: list[l0quad.Result]) -> None:
    """Set the attributes of a fitted estimator."""
    coef = np.array([each.coef for each in fitted])
    intercepts = np.array([each.intercept for each in fitted])
    estimator.coef_ = coef[0] if data.single else coef
    estimator.intercept_ = float(intercepts[0]) if data.single else intercepts
    estimator.support_ = np.flatnonzero(np.any(coef != 0, axis=0))
    if hasattr(estimator, "feature_names_in_"):
        estimator.selected_names_ = estimator.feature_names_in_[estimator.support_]
    elif hasattr(estimator, "selected_names_"):
        del estimator.selected_names_
    one = len(results) == 1
    estimator.result_ = results[0] if one else results
    estimator.lower_bound_ = results[0].lower_bound if one else np.array([each.lower_bound for each in results])
    estimator.gap_ = results[0].relative_gap if one else np.array([each.relative_gap for each in results])
    names = [each.status.name.lower() for each in results]
    estimator.status_ = names[0] if one else names
