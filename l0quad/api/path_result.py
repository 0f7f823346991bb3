"""What a path returns: a fit for each (k, ridge), to look at, to choose from, to draw and to keep."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from l0quad import validation
from l0quad.api.criteria import CRITERIA
from l0quad.api.path_file import read_path, write_path
from l0quad.api.path_plot import figure
from l0quad.api.result import Result
from l0quad.matrix import Matrix
from l0quad.run.outcome import Status
from l0quad.types import FloatArray, MatrixLike, PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# So many columns of a support are shown in the table.
_SHOWN = 8
_COLUMNS = ("k", "ridge", "objective", "lower_bound", "relative_gap", "status", "nonzeros", *CRITERIA)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One (k, ridge) of a path.

    Attributes
    ----------
    k, ridge : int, float
        What it was solved for.
    result : Result
        Of the problem that was solved: with an intercept, scales or weights, that of `Design`. Its ``solve_time`` is
        counted from the start of the path.
    coef, intercept : ndarray of shape (p,), float
        For the columns as they were given.
    rss : float
        The (weighted) sum of the squared residuals.
    scores : mapping
        Each information criterion (`PathResult.best`); with ``cv``, ``"cv"`` is the mean squared error on rows that
        were left out, and ``"cv_error"`` its standard error.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> fit = l0quad.path(A, A[:, 2] - 2 * A[:, 5] + 1, ks=[1, 2], fit_intercept=True).at(2)
    >>> fit.coef.round(6)[[2, 5]].tolist(), round(fit.intercept, 6)
    ([1.0, -2.0], 1.0)
    >>> fit.predict(A).shape
    (40,)
    """

    k: int
    ridge: float
    result: Result
    coef: np.ndarray = field(repr=False)
    intercept: float
    rss: float
    scores: Mapping[str, float]

    def predict(self, X: MatrixLike | Matrix) -> FloatArray:
        """Return ``X @ coef + intercept``."""
        return np.asarray(X @ self.coef + self.intercept, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class PathResult:
    """The fits of a path, in the order of ``ridges`` and, for each, of ``ks``; see `path`.

    Attributes
    ----------
    fits : tuple of Fit
        All that were reached: after a limit or an interrupt there may be fewer than were asked for.
    status : Status
        CONVERGED, or the limit that ended the path.
    n_columns : int
        p.
    seconds : float
        All together.
    names : tuple of str, or None
        The names of all columns, where they have any.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> path = l0quad.path(A, A[:, 2] - 2 * A[:, 5], ks=range(1, 4))
    >>> path.at(2).result.support, path
    (array([2, 5]), PathResult(converged, k=1..3, ridges=1, fits=3, proven=3))
    >>> path[0].k
    1
    """

    fits: tuple[Fit, ...]
    status: Status
    n_columns: int
    seconds: float
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.fits)

    def __iter__(self) -> Iterator[Fit]:
        return iter(self.fits)

    def __getitem__(self, index: int) -> Fit:
        return self.fits[index]

    def at(self, k: int, ridge: float | None = None) -> Fit:
        """Return the fit for k, and a ridge where there are several.

        Raises
        ------
        KeyError
            There is none.
        """
        for fit in self.fits:
            if fit.k == k and ridge in (None, fit.ridge):
                return fit
        raise KeyError(f"k={k}, ridge={ridge}: not on the path")

    def best(self, criterion: str = "bic") -> Fit:
        """Return the fit that a criterion prefers; of equal ones that with the fewest columns.

        With s nonzeros among p columns, n rows (of positive weight) and the residual sum of squares rss:

        * ``"aic"``: ``n log(rss/n) + 2 s``. Akaike, IEEE Trans. Automat. Control 1974. For prediction.
        * ``"bic"``: ``n log(rss/n) + s log n``. Schwarz, Ann. Stat. 1978. For the true columns, p fixed.
        * ``"ebic"``: ``n log(rss/n) + s log n + 2 log C(p, s)``. Chen and Chen, Biometrika 2008, gamma = 1. Large p.
        * ``"gic"``: ``n log(rss/n) + s log p log log n``. Fan and Tang, JRSSB 2013; Zhu et al., PNAS 2020.
        * ``"cv"``: the least mean squared error on rows left out (`path` with ``cv``).
        * ``"1se"``: the fewest columns whose error is within one standard error of that least one. Breiman et al.,
          Classification and Regression Trees, 1984, section 3.4.3.

        Raises
        ------
        ValueError
            The criterion is none of these, or asks for what the path has not got: folds, or any fit.
        """
        validation.choice(criterion, "criterion", (*CRITERIA, "cv", "1se"))
        name = "cv" if criterion == "1se" else criterion
        if not self.fits or name not in self.fits[0].scores:
            raise ValueError(f"criterion: {criterion!r} is not known of this path; " + _missing(bool(self.fits)))
        least = min(self.fits, key=lambda fit: (fit.scores[name], fit.result.support.size))
        if criterion != "1se":
            return least
        most = least.scores["cv"] + least.scores["cv_error"]
        near = [fit for fit in self.fits if fit.scores["cv"] <= most]
        return min(near, key=lambda fit: (fit.result.support.size, fit.scores["cv"]))

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns of the table: numbers, and the status by name."""
        rows = [self._row(fit) for fit in self.fits]
        names = list(rows[0]) if rows else list(_COLUMNS)
        return {name: [row[name] for row in rows] for name in names}

    def to_frame(self) -> "pd.DataFrame":
        """Return the table as a pandas DataFrame.

        Raises
        ------
        ImportError
            Without pandas.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame: needs pandas; to_dict and table do not") from error
        return pd.DataFrame(self.to_dict())

    def table(self) -> str:
        """Return the path as text, a line for each fit."""
        lines = [f"{'k':>4} {'ridge':>9} {'objective':>12} {'lower bound':>12} {'gap %':>8}  support"]
        for fit in self.fits:
            result = fit.result
            gap = "proven" if result.status is Status.OPTIMAL else f"{100 * min(result.relative_gap, 99.99):.2f}"
            columns = " ".join(map(str, (result.names or result.support)[:_SHOWN]))
            rest = f" +{result.support.size - _SHOWN}" if result.support.size > _SHOWN else ""
            numbers = f"{fit.k:4d} {fit.ridge:9.3g} {result.objective:12.6g} {result.lower_bound:12.6g} {gap:>8}"
            lines.append(f"{numbers}  {columns}{rest}")
        return "\n".join(lines)

    def plot(self, ridge: float | None = None, names: Sequence[str] | None = None) -> "Figure":
        """Return a matplotlib figure: objective with its certified band, supports as they grow, coefficients.

        For one ridge, the first by default; ``names`` of the p columns, by default their own. Needs the extra
        ``l0quad[plot]``.

        Raises
        ------
        ValueError
            The ridge is not on the path, or the path is empty.
        """
        chosen = self.fits[0].ridge if ridge is None and self.fits else ridge
        fits = [fit for fit in self.fits if fit.ridge == chosen]
        if not fits:
            raise ValueError(f"ridge: {ridge} is not on the path")
        return figure(
            [fit.k for fit in fits],
            [fit.result.objective for fit in fits],
            [fit.result.lower_bound for fit in fits],
            np.array([fit.coef for fit in fits]),
            [(fit.scores["cv"], fit.scores["cv_error"]) for fit in fits] if "cv" in fits[0].scores else None,
            names or self.names,
        )

    def save(self, path: PathLike) -> None:
        """Write the path to an .npz file, whole or not at all; `PathResult.load` reads it back."""
        about = {
            "status": self.status.name,
            "n_columns": self.n_columns,
            "seconds": self.seconds,
            "names": self.names,
            "fits": [
                {
                    **{name: getattr(fit, name) for name in ("k", "ridge", "intercept", "rss")},
                    "scores": dict(fit.scores),
                    "coef": fit.coef[fit.result.support].astype(np.float64).tolist(),
                }
                for fit in self.fits
            ],
        }
        write_path(Path(path), about, [fit.result for fit in self.fits])

    @classmethod
    def load(cls, path: PathLike) -> "PathResult":
        """Read a path that `save` has written. Nothing of the file is executed."""
        about, results = read_path(Path(path))
        fits = []
        for known, result in zip(about["fits"], results, strict=True):
            coef = np.zeros_like(result.w)
            coef[result.support] = known.pop("coef")
            fits.append(Fit(result=result, coef=coef, **known))
        names = None if about["names"] is None else tuple(about["names"])
        return cls(tuple(fits), Status[about["status"]], about["n_columns"], about["seconds"], names)

    def _row(self, fit: Fit) -> dict[str, Any]:
        result = fit.result
        known = {
            "k": fit.k,
            "ridge": fit.ridge,
            "objective": result.objective,
            "lower_bound": result.lower_bound,
            "relative_gap": result.relative_gap,
            "status": result.status.name,
            "nonzeros": int(result.support.size),
        }
        return {**known, **fit.scores}

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.table())}</pre>"

    def __repr__(self) -> str:
        ks = sorted({fit.k for fit in self.fits})
        ridges = len({fit.ridge for fit in self.fits})
        proven = sum(fit.result.status is Status.OPTIMAL for fit in self.fits)
        span = f"k={ks[0]}..{ks[-1]}" if ks else "no k"
        return f"PathResult({self.status.name.lower()}, {span}, ridges={ridges}, fits={len(self)}, proven={proven})"


def _missing(has_fits: bool) -> str:
    return "path(..., cv=10) computes it" if has_fits else "it has no fits"
