"""L0RegressorCV: the number of variables, and the ridge, chosen by cross-validation or by a criterion."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.model_selection import check_cv

import l0quad
from l0quad_adapters.sklearn.regressor import Data, Features, Linear, checked_data, constraint, keep

RULES = ("best", "1se")


class L0RegressorCV(MultiOutputMixin, RegressorMixin, Linear):
    """Linear regression on few variables, whose number and ridge are chosen among several.

    All are fitted by `l0quad.path`; the model is the one that the criterion prefers, fitted to all rows.

    Parameters
    ----------
    ks : iterable of int, optional
        Numbers of variables (of groups, with ``groups``); by default 1 to 10. Those above the number of features are
        left out.
    ridges : float or iterable of float, default 1e-6
        In the units of the standardised problem, as in `L0Regressor`.
    cv : int, splitter or iterable of (train, test), optional
        As scikit-learn has it: by default 5 folds, an int of rows in their order. Not used by other criteria than "cv".
    criterion : {"cv", "aic", "bic", "ebic", "gic"}
        As in `l0quad.PathResult.best`.
    rule : {"best", "1se"}
        With "1se", the fewest variables whose error is within one standard error of the least; for "cv" alone.
    fit_intercept, standardize, must, never, groups, n_threads
        As in `L0Regressor`; ``n_threads`` folds run side by side.
    effort : {"fast", "thorough"}
    bound : {"fast", "none", "tight"}
    time_limit : float, optional
        Seconds for each target's path; one that is cut short without a choice raises a RuntimeError.

    Attributes
    ----------
    k_, ridge_ : int and float, or lists of them, one for each target
        What was chosen.
    path_ : l0quad.PathResult or list of l0quad.PathResult
        All fits with their scores.
    coef_, intercept_, support_, selected_names_, lower_bound_, gap_, status_, result_
        Of the chosen model, as in `L0Regressor`.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from l0quad_adapters.sklearn import L0RegressorCV
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = L0RegressorCV(rule="1se").fit(X, y)
    >>> model.k_, model.selected_names_.tolist()
    (5, ['sex', 'bmi', 'bp', 's3', 's5'])
    """

    def __init__(
        self,
        ks: Iterable[int] | None = None,
        *,
        ridges: float | Iterable[float] = 1e-6,
        cv: object = None,
        criterion: str = "cv",
        rule: str = "best",
        fit_intercept: bool = True,
        standardize: bool = True,
        must: Sequence[int] | Sequence[str] | None = None,
        never: Sequence[int] | Sequence[str] | None = None,
        groups: ArrayLike | None = None,
        effort: str = "fast",
        bound: str = "fast",
        time_limit: float | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.ks = ks
        self.ridges = ridges
        self.cv = cv
        self.criterion = criterion
        self.rule = rule
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.must = must
        self.never = never
        self.groups = groups
        self.effort = effort
        self.bound = bound
        self.time_limit = time_limit
        self.n_threads = n_threads

    def fit(self, X: Features, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "L0RegressorCV":
        """Fit all models and choose one, for each target.

        Parameters
        ----------
        X : array-like, frame or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), optional
            Of the errors on rows that are left out, too.
        """
        data = checked_data(self, X, y, sample_weight)
        chosen_by = self._criterion()
        folds = None
        if self.criterion == "cv":
            folds = list(check_cv(5 if self.cv is None else self.cv).split(data.X, data.targets[0]))
        paths = [self._path(data, target, folds) for target in data.targets]
        fits = [each.best(chosen_by) for each in paths]
        keep(self, data, [l0quad.Coefficients(fit.coef, fit.intercept) for fit in fits], [fit.result for fit in fits])
        one = len(fits) == 1
        self.path_ = paths[0] if one else paths
        self.k_ = fits[0].k if one else [fit.k for fit in fits]
        self.ridge_ = fits[0].ridge if one else [fit.ridge for fit in fits]
        return self

    def _criterion(self) -> str:
        if self.rule not in RULES:
            raise ValueError(f"rule: must be one of {', '.join(map(repr, RULES))}, got {self.rule!r}")
        if self.rule == "1se" and self.criterion != "cv":
            raise ValueError(f"rule: '1se' goes with criterion='cv' alone, got {self.criterion!r}")
        return "1se" if self.rule == "1se" else self.criterion

    def _path(self, data: Data, y: np.ndarray, folds: Any) -> l0quad.PathResult:
        p = data.X.shape[1]
        # Folds are rows of a sparse matrix as it is, not of a `Matrix`.
        plain = data.names is None or sp.issparse(data.X)
        asked = list(range(1, 11) if self.ks is None else self.ks)
        ks = [k for k in asked if k <= p] or [p]
        found = l0quad.path(
            data.X if plain else l0quad.as_matrix(data.X, names=data.names),
            y,
            ks if asked else asked,
            self.ridges,
            fit_intercept=self.fit_intercept,
            standardize=self.standardize,
            weights=data.weights,
            constraint=lambda k: constraint(self, k, 1, p),
            effort=self.effort,
            bound=self.bound,
            cv=folds,
            time_limit=self.time_limit,
            n_threads=self.n_threads,
        )
        if found.status is l0quad.Status.INTERRUPTED:
            raise KeyboardInterrupt
        if not found.fits or (folds is not None and "cv" not in found[0].scores):
            raise RuntimeError(f"time_limit: {self.time_limit} s were too few for the path and its cross-validation")
        return found
