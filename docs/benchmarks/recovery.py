"""How often the exact support of a noiseless Gaussian signal is recovered, over its size (p = 250, n = 125)."""

import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import matplotlib as mpl
import numpy as np
from competitors import installed
from instances import Instance
from measure import RESULTS, machine, report, table

import l0quad

ROWS, COLUMNS, RIDGE = 125, 250, 1e-10
SIZES = (40, 44, 48, 50, 52, 54, 56, 58, 60)
L1_TRANSITION = 48
ASKED = {50: 0.85, 56: 0.70}
METHODS: dict[str, l0quad.Options] = {
    "auto, fast": l0quad.Auto(effort="fast"),
    "auto, thorough": l0quad.Auto(effort="thorough"),
    "hard-thresholding pursuit": l0quad.IHT(refit=True),
}
PEER = "scikit-learn OMP"


def trial(k: int, seed: int) -> tuple[dict[str, bool], dict[str, float]]:
    """Return which methods recover the support of one signal, and their seconds."""
    rng = np.random.default_rng([k, seed])
    A = rng.standard_normal((ROWS, COLUMNS))
    support = np.sort(rng.choice(COLUMNS, k, replace=False))
    b = A[:, support] @ rng.standard_normal(k)
    problem = l0quad.Problem(A, b, k, ridge=RIDGE)
    recovered, seconds = {}, {}
    for name, method in METHODS.items():
        start = np.zeros(COLUMNS) if isinstance(method, l0quad.IHT) else None
        begin = time.perf_counter()
        result = l0quad.solve(problem, method, start=start, bound="none", n_threads=1, seed=0)
        seconds[name] = time.perf_counter() - begin
        recovered[name] = np.array_equal(result.support, support)
    for name, peer in installed([PEER]).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            begin = time.perf_counter()
            found = peer(Instance(A, b, k, RIDGE, np.zeros(COLUMNS)))
        seconds[name], recovered[name] = time.perf_counter() - begin, np.array_equal(found, support)
    return recovered, seconds


def measured(trials: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the rate and the median seconds of each method at each size, from two processes."""
    # Inherited by the workers, which load NumPy anew: one thread each.
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
    rates: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for k in SIZES:
            outcomes = list(pool.map(trial, [k] * trials, range(trials), chunksize=5))
            for name in outcomes[0][0]:
                rates.setdefault(name, []).append(float(np.mean([found[name] for found, _ in outcomes])))
                seconds.setdefault(name, []).append(float(np.median([spent[name] for _, spent in outcomes])))
            print(k, {name: values[-1] for name, values in rates.items()}, flush=True)
    return rates, seconds


def draw(rates: dict[str, list[float]]) -> None:
    """Save the curves as results/recovery.png."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for (name, values), marker in zip(rates.items(), "os^D", strict=False):
        axes.plot(SIZES, values, marker=marker, markersize=5, label=name)
    axes.axvline(L1_TRANSITION, color="0.5", linestyle="--", linewidth=1)
    axes.annotate(
        "l1 phase transition", (L1_TRANSITION, 0.5), (3, 0), textcoords="offset points", rotation=90, va="center"
    )
    axes.set(xlabel=f"nonzeros k (p = {COLUMNS}, n = {ROWS})", ylabel="exact recoveries", ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
    axes.set_xticks(SIZES)
    figure.legend(loc="outside upper center", ncols=len(rates), fontsize=8)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "recovery.png", dpi=150)


def verdicts(rates: dict[str, list[float]]) -> list[list[object]]:
    rows: list[list[object]] = []
    for k, asked in ASKED.items():
        for name in ("auto, fast", "auto, thorough"):
            rate = rates[name][SIZES.index(k)]
            rows.append([k, name, f"{rate:.0%}", f">= {asked:.0%}", "met" if rate >= asked else "missed"])
    return rows


def main(trials: int) -> None:
    rates, seconds = measured(trials)
    draw(rates)
    report(
        "recovery",
        "Noiseless recovery",
        f"p = {COLUMNS}, n = {ROWS}, Gaussian A and Gaussian coefficients on a random support, ridge = {RIDGE:g}, "
        f"{trials} trials for each k (trial s: generator seed [k, s]); share of trials with exactly the true support, "
        f"and median seconds of a solve, two side by side. {machine(1)}.",
        *([] if PEER in rates else [f"Not installed, skipped: {PEER}."]),
        "Share of exact recoveries:",
        table(["k", *rates], [[k, *(f"{rates[name][i]:.0%}" for name in rates)] for i, k in enumerate(SIZES)]),
        "Seconds:",
        table(["k", *rates], [[k, *(f"{seconds[name][i]:.3f}" for name in rates)] for i, k in enumerate(SIZES)]),
        table(["k", "method", "rate", "asked", ""], verdicts(rates)),
        "![exact recoveries over k](recovery.png)",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
