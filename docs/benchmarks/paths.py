"""Whole paths: what all k cost beside the largest, how good each is, how near shared bounds are to one ascent a k."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from unittest import mock

import numpy as np
from instances import Instance, diabetes, make
from measure import machine, report, table

import l0quad
from l0quad.api import path_run

KS = range(1, 51)
RIDGES = np.geomspace(1e-3, 10.0, 20)
_T = TypeVar("_T")


def timed(function: Callable[[], _T], repeats: int = 3) -> tuple[_T, float]:
    """Return the value and the least CPU seconds."""
    best = np.inf
    for _ in range(repeats):
        begin = time.process_time()
        value = function()
        best = min(best, time.process_time() - begin)
    return value, best


def alone(case: Instance, k: int, ridge: float | None = None) -> l0quad.Result:
    problem = l0quad.Problem(case.A, case.b, k, case.ridge if ridge is None else ridge)
    return l0quad.solve(problem, bound="none", n_threads=1)


def walks() -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name, seeds in (("P1", 3), ("P2", 1)):
        for seed in range(seeds):
            case = make(name, seed)
            alone(case, KS[-1]), l0quad.path(case.A, case.b, KS, case.ridge, bound="none", n_threads=1)
            _, largest = timed(partial(alone, case, KS[-1]))
            found, seconds = timed(partial(l0quad.path, case.A, case.b, KS, case.ridge, bound="none", n_threads=1))
            begin = time.process_time()
            singles = [alone(case, k).objective for k in KS]
            loop = time.process_time() - begin
            excess = np.array([fit.result.objective for fit in found]) / singles - 1
            rows.append((
                f"{name}, seed {seed}", f"{largest:.3f}", f"{seconds:.3f}", f"{seconds / largest:.2f}",
                f"{loop / largest:.0f}",
                f"{100 * excess.max():+.2f} %", f"{100 * excess.mean():+.3f} %",
            ))  # fmt: skip
    return rows


def ridges() -> tuple[object, ...]:
    case, ks = make("P1", 0), range(1, 21)
    _, largest = timed(lambda: alone(case, 20))
    _, seconds = timed(lambda: l0quad.path(case.A, case.b, ks, RIDGES[0], bound="none", n_threads=1))
    found, every = timed(lambda: l0quad.path(case.A, case.b, ks, RIDGES, bound="none", n_threads=1))
    excess = [found.at(k, r).result.objective / alone(case, k, r).objective - 1 for k in (2, 8, 14, 20) for r in RIDGES]
    return (
        f"{largest:.3f}", f"{seconds:.3f}", f"{every:.3f}", f"{every / largest:.1f}", f"{every / seconds:.1f}",
        f"{100 * max(excess):+.2f} %", f"{100 * np.mean(excess):+.3f} %",
    )  # fmt: skip


def bands() -> list[tuple[object, ...]]:
    """Bounds of a path from a few ascents, and of one ascent for each k, from the same points, without trees."""
    rows: list[tuple[object, ...]] = []
    few_ascents = path_run._ASCENTS
    for name, ks, mode in (("P0", range(1, 21), "tight"), ("P5", range(1, 41), "tight"), ("P5", range(1, 41), "fast")):
        case = make(name, 0)

        def run(least: int, bound: str, case: Instance = case, ks: range = ks) -> l0quad.PathResult:
            with mock.patch.multiple(path_run, _ASCENTS=least, prove=lambda *_: None):
                return l0quad.path(case.A, case.b, ks, case.ridge, bound=bound, n_threads=1)

        run(few_ascents, mode)
        _, points = timed(lambda: run(few_ascents, "none"), 1)
        shared, few = timed(partial(run, few_ascents, mode), 1)
        own, many = timed(partial(run, len(ks), mode), 1)
        loss = [100 * (a.result.relative_gap - b.result.relative_gap) for a, b in zip(shared, own, strict=True)]
        rows.append((
            f"{name}, k = 1 ... {ks[-1]}, {mode}",
            f"{100 * np.mean([fit.result.relative_gap for fit in shared]):.2f} %",
            f"{np.mean(loss):.2f}", f"{max(loss):.2f}", f"{(few - points) / (many - points):.2f}",
        ))  # fmt: skip
    return rows


def validation() -> list[tuple[object, ...]]:
    A, b = diabetes(False)

    def run(bound: str) -> l0quad.PathResult:
        return l0quad.path(
            A, b, range(1, 11), fit_intercept=True, standardize=True, cv=10, bound=bound, n_threads=1
        )  # fmt: skip

    run("fast")
    rows: list[tuple[object, ...]] = []
    for bound in ("none", "fast"):
        found, seconds = timed(partial(run, bound))
        rows.append((f"l0quad, bound={bound!r}", f"{seconds:.3f}", found.best("cv").k, found.best("1se").k))
    try:
        from abess import LinearRegression
    except ImportError:
        return rows

    def other() -> Any:
        return LinearRegression(support_size=range(1, 11), cv=10, thread=1).fit(A, b)

    other()
    model, seconds = timed(other)
    rows.append(("abess", f"{seconds:.3f}", int(np.count_nonzero(model.coef_)), ""))
    return rows


def designs() -> list[tuple[object, ...]]:
    """A tall design with weights and an intercept beside the same columns as they are."""
    rng = np.random.default_rng(0)
    rows: list[tuple[object, ...]] = []
    for dtype in (np.float32, np.float64):
        for deviations in (1.0, 10.0):
            X: np.ndarray = rng.standard_normal((10**6, 50)).astype(dtype)
            X += dtype(deviations)
            y, weights = X[:, :5].sum(axis=1, dtype=float) + rng.standard_normal(10**6), rng.uniform(0.5, 2, 10**6)

            def designed(X: np.ndarray = X, y: np.ndarray = y, weights: np.ndarray = weights) -> l0quad.Result:
                design = l0quad.Design(X, fit_intercept=True, weights=weights)
                return l0quad.minimize(design.matrix, design.target(y), 5, n_threads=1)

            l0quad.minimize(X[:1000], y[:1000], 5), designed()
            bare, plain = timed(partial(l0quad.minimize, X, y, 5, n_threads=1))
            found, seconds = timed(designed)
            rows.append((
                np.dtype(dtype).name, f"{deviations:g}", f"{plain:.2f}", f"{seconds:.2f}", f"{seconds / plain:.2f}",
                bare.status.value, found.status.value,
            ))  # fmt: skip
    return rows


def main() -> None:
    report(
        "paths",
        "Whole paths",
        machine(1) + ". CPU seconds, the least of three runs.",
        "k = 1 ... 50, without bounds, beside the largest k alone and a loop over all; objectives beside the loop's.",
        table(("instance", "k = 50 alone", "path", "ratio", "loop", "worst k", "mean"), walks()),
        "P1, seed 0: 20 ridges (1e-3 to 10) times k = 1 ... 20, without bounds, beside k = 20 at the first one alone, "
        "and the path at it; objectives beside single calls for 4 of the k at all ridges.",
        table(
            ("k = 20 alone", "one path", "20 paths", "ratio", "to one path", "worst", "mean"), [ridges()]
        ),
        "Bounds from one ascent for four k, at least eight, beside one for each k (no trees): the mean gap, its loss "
        "in points, and the time of the bounds beside that of all ascents.",
        table(("instance", "mean gap", "mean loss", "largest loss", "time"), bands()),
        "10-fold cross-validation of k = 1 ... 10 on diabetes, 442 x 64, with the path on all rows.",
        table(("", "CPU s", "k by cv", "k by 1se"), validation()),
        "k = 5 of 50 columns, 10^6 rows, with weights and an intercept (`Design`, not copied), beside the columns as "
        "they are. Means of up to four standard deviations are a correction of products, larger ones subtracted first.",
        table(("dtype", "mean / deviation", "as they are", "Design", "ratio", "status", "of Design"), designs()),
    )  # fmt: skip


if __name__ == "__main__":
    main()
