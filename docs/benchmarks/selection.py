"""scikit-learn's estimators: test errors and CPU seconds beside abess and LassoCV.

Run with OMP_NUM_THREADS=1 and ``python -W ignore`` (LassoCV warns); needs scikit-learn, and abess for its row.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from l0quad_adapters.sklearn import L0RegressorCV
from measure import machine, report, table
from sklearn.linear_model import LassoCV
from sklearn.model_selection import train_test_split

from l0quad.app.demo import load

SPLITS = 20


def cpu(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def diabetes() -> list[tuple[object, ...]]:
    """Cross-validated models of k = 1 ... 10 of 64 columns, fitted to three quarters of the rows."""
    X, y, _ = load()
    makers: dict[str, Callable[[], object]] = {
        "L0RegressorCV": lambda: L0RegressorCV(cv=10, bound="none", n_threads=1),
        "the same, 1se": lambda: L0RegressorCV(cv=10, rule="1se", bound="none", n_threads=1),
        "LassoCV": lambda: LassoCV(cv=10),
    }
    try:
        import abess

        makers["abess"] = lambda: abess.LinearRegression(support_size=range(1, 11), cv=10, thread=1)
    except ImportError:
        pass
    errors: dict[str, list[float]] = {name: [] for name in makers}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    sizes: dict[str, list[int]] = {name: [] for name in makers}
    for split in range(SPLITS):
        train, test, y_train, y_test = train_test_split(X, y, random_state=split)
        for name, make in makers.items():
            model: Any = make()
            seconds[name].append(cpu(functools.partial(model.fit, train, y_train)))
            errors[name].append(
                float(np.mean((model.predict(test) - y_test) ** 2) / np.mean((y_test - y_train.mean()) ** 2))
            )
            sizes[name].append(int(np.count_nonzero(model.coef_)))
    return [
        (
            name,
            f"{statistics.mean(errors[name]):.4f}",
            f"{statistics.mean(sizes[name]):.1f}",
            f"{statistics.median(seconds[name]):.3f}",
        )
        for name in makers
    ]


def with_bounds() -> str:
    """Return the seconds of a fit with lower bounds."""
    X, y, _ = load()
    L0RegressorCV(cv=10, n_threads=1).fit(X[:, :20], y)
    return f"{cpu(lambda: L0RegressorCV(cv=10, n_threads=1).fit(X, y)):.1f}"


def main() -> None:
    report(
        "selection",
        "Selecting variables",
        machine(1) + ". CPU seconds.",
        f"Diabetes, 442 x 64, k = 1 ... 10 by 10 folds, {SPLITS} splits of three to one: mean test error (the variance "
        "is 1), mean number of variables, median seconds of a fit.",
        table(("", "test error", "variables", "CPU s"), diabetes()),
        f"With a lower bound for each k, on all rows: {with_bounds()} CPU s.",
    )


if __name__ == "__main__":
    main()
