"""``l0quad demo``: a best-subset path on the diabetes data, with a proof of how good each step is."""

import csv
import itertools
import shutil
from importlib import resources
from typing import Any

import numpy as np

from l0quad.api.path import path
from l0quad.api.path_result import PathResult
from l0quad.api.result import Result
from l0quad.run.outcome import Status
from l0quad.types import FloatArray

KS = range(1, 11)
# The columns have norm 1, so that this shrinks the coefficient of a lone column by 1/6. R^2 loses less than .01 by it.
RIDGE = 0.1

_HEADING = " k  objective  lower bound   gap %  chosen"


def load() -> tuple[FloatArray, FloatArray, list[str]]:
    """Return the diabetes data as 442 x 64 columns of norm 1 and mean 0, the response likewise, and the names.

    The columns are the 10 variables, the squares of all but sex (which is binary) and the 45 products of two; squares
    and products are taken of the standardized variables, as in the paper that published the data.
    """
    with resources.files("l0quad").joinpath("data/diabetes.csv").open(encoding="ascii") as file:
        header, *rows = csv.reader(file)
    table = np.array(rows, dtype=np.float64)
    names, X = header[:-1], _standardized(table[:, :-1])
    squares = [i for i, name in enumerate(names) if name != "sex"]
    pairs = list(itertools.combinations(range(len(names)), 2))
    columns = [X, X[:, squares] ** 2, X[:, [i for i, _ in pairs]] * X[:, [j for _, j in pairs]]]
    named = [*names, *(f"{names[i]}^2" for i in squares), *(f"{names[i]}:{names[j]}" for i, j in pairs)]
    return _standardized(np.hstack(columns)), _standardized(table[:, -1]), named


def _standardized(X: FloatArray) -> FloatArray:
    X = X - X.mean(axis=0)
    return X / np.linalg.norm(X, axis=0)


def print_path() -> PathResult:
    """Solve and print the path as a table."""
    A, b, names = load()
    print(
        f"Best-subset selection on the diabetes data: {A.shape[0]} patients, {A.shape[1]} columns "
        f"(10 variables, 9 squares, 45 products).\n"
        f"minimise 1/2 ||A w - b||^2 + {RIDGE:g} ||w||^2  with at most k nonzeros; columns centred, of norm 1.\n"
        f"No choice of k columns goes below the lower bound: the gap is how far ours can be from the best,\n"
        f"and where it is closed, ours is proven to be the best.\n"
    )
    # One thread: for a problem so small, starting others costs more than they do.
    found = path(A, b, KS, RIDGE, bound="tight", n_threads=1)
    print(_HEADING, flush=True)
    width = shutil.get_terminal_size().columns - _HEADING.index("chosen")
    for fit in found:
        result = fit.result
        print(
            f"{fit.k:2d} {result.objective:10.6f} {result.lower_bound:12.6f} {_gap(result):>7}  "
            f"{_fitting([names[j] for j in result.support], width)}"
        )
    print(f"\nAll of it in {found.seconds:.2f} s.")
    return found


def _gap(result: Result) -> str:
    return "proven" if result.status is Status.OPTIMAL else f"{100 * result.relative_gap:.2f}"


def _fitting(names: list[str], width: int) -> str:
    """Join as many names as fit, and say how many more there are."""
    for shown in range(len(names), 0, -1):
        rest = len(names) - shown
        text = " ".join(names[:shown]) + (f" +{rest}" if rest else "")
        if len(text) <= width:
            return text
    return f"{len(names)} columns"


def figure(found: PathResult) -> Any:
    """Return the picture of a path as a matplotlib figure; None without matplotlib."""
    try:
        # Not pyplot, which would choose a backend for the whole process.
        from matplotlib.figure import Figure
    except ImportError:
        return None
    ks = [fit.k for fit in found]
    objective = [fit.result.objective for fit in found]
    bound = [fit.result.lower_bound for fit in found]
    # b is of norm 1.
    explained = [1 - fit.rss for fit in found]
    drawn = Figure(figsize=(7, 5.5), layout="constrained")
    upper, lower = drawn.subplots(2, sharex=True, height_ratios=[2, 1])
    upper.fill_between(ks, bound, objective, color="tab:blue", alpha=0.15, linewidth=0, label="where the optimum lies")
    upper.plot(ks, objective, "o-", color="tab:blue", label="objective found")
    upper.plot(ks, bound, "--", color="0.35", label="lower bound")
    upper.set(ylabel="objective", title="Diabetes data, k of 64 columns: objective and proof")
    upper.legend(frameon=False)
    lower.plot(ks, explained, "o-", color="tab:orange")
    lower.set(ylabel="$R^2$", xlabel="k, number of columns", xticks=ks)
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn
