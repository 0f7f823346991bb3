"""Certified gaps on selection problems, and what the bound costs beside the solve and beside other packages' solves.

CPU seconds on one thread, medians of runs taken in turn.
"""

import os
from functools import partial

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
from collections.abc import Callable

import numpy as np
from competitors import installed
from instances import Instance, diabetes, make, tall, uncentred
from measure import machine, report, table

import l0quad

MODES = ("fast", "tight")


def cpu_medians(candidates: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Return the median CPU seconds of each candidate, run in turn after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(repeats + 1):
        for name, candidate in candidates.items():
            begin = time.process_time()
            candidate()
            if round_:
                seconds[name].append(time.process_time() - begin)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def solve(instance: Instance, bound: str) -> l0quad.Result:
    A, b, k, ridge, w0 = instance
    return l0quad.minimize(A, b, k, ridge=ridge, w0=w0, bound=bound, n_threads=1)


def gaps(instance: Instance) -> list[float]:
    """Return the relative gaps of the default call and of "tight"."""
    results = [solve(instance, mode) for mode in MODES]
    for result in results:
        check = result.check(l0quad.Problem(*instance))
        assert check.ok, check.message
    return [result.relative_gap for result in results]


def percent(value: float) -> str:
    return f"{value:.2%}" if value >= 1e-4 else f"{value:.4%}"


def selection() -> str:
    """Figure 1: the gaps."""
    families = {
        "P0, seed 0": ([make("P0", 0)], "5.4 / 4"),
        "P0, seeds 0-9, mean": ([make("P0", seed) for seed in range(10)], "5.9 / 4.8"),
        "P0 without a ridge, seed 0": ([make("P0", 0)._replace(ridge=0.0)], "10 / 8.6"),
        "n 400, p 200, k 10, SNR 3, seeds 0-3, mean": ([make("P5", seed) for seed in range(4)], "13.5 / 10.5"),
        "P3": ([make("P3", 0)], ".01 / -"),
        "P3h": ([make("P3h", 0)], "2 / 1"),
    }
    rows = []
    for name, (instances, asked) in families.items():
        found = np.mean([gaps(each) for each in instances], axis=0)
        rows.append([name, percent(found[0]), percent(found[1]), asked])
        print(*rows[-1], flush=True)
    return table(["instance", "gap, default", "gap, tight", "asked, %"], rows)


def costs() -> str:
    """Figure 1 and 3: the time of the whole default call."""
    others = installed(("scikit-learn OMP", "abess"))
    rows = []
    for name in ("P0", "P1", "P3", "P3h"):
        instance = make(name, 0)
        candidates: dict[str, Callable[[], object]] = {
            "solve": partial(solve, instance, "none"),
            "whole": partial(solve, instance, "fast"),
            "A'A": partial(np.matmul, instance.A.T, instance.A),
        }
        candidates |= {other: partial(call, instance) for other, call in others.items()}
        seconds = cpu_medians(candidates, 3 if instance.A.size > 10**7 else 9)
        rows.append([name, *(f"{seconds[each]:.4f}" if each in seconds else "-" for each in HEADER)])
        print(*rows[-1], flush=True)
    return table(["instance", *HEADER], rows)


HEADER = ("solve", "whole", "A'A", "scikit-learn OMP", "abess")


def small_ridges() -> str:
    """Figure 2: diabetes with squares and products of its columns, over k and ridges; uncentred columns."""
    rows = []
    for standardised in (False, True):
        for ridge in (0.0, 1e-3, 1e-1):
            found = [gaps(Instance(*diabetes(standardised), k, ridge, np.zeros(64))) for k in range(1, 11)]
            name = f"diabetes 442 x 64, {'standardised' if standardised else 'raw'}"
            for mode, each in zip(MODES, np.transpose(found), strict=True):
                rows.append([name, f"{ridge:g}", mode, *(f"{gap:.1%}" for gap in each)])
                print(*rows[-1], flush=True)
    wide = table(["instance", "ridge", "bound", *(f"k={k}" for k in range(1, 11))], rows)
    rows = []
    for ridge in (0.0, 1e-3, 1.0):
        both = gaps(Instance(*uncentred(), 5, ridge, np.zeros(50)))
        rows.append(["2000 x 50, uncentred, k = 5", f"{ridge:g}", *map(percent, both)])
    return wide + "\n\n" + table(["instance", "ridge", "gap, default", "gap, tight"], rows)


def long_columns() -> str:
    """A million rows in float32: the time of the bound beside that of the solve."""
    instance = tall()
    seconds = cpu_medians({mode: partial(solve, instance, mode) for mode in ("none", "fast")}, 2)
    gap = solve(instance, "fast").relative_gap
    row = [
        "10^6 x 50 float32, ridge 1",
        f"{seconds['none']:.2f}",
        f"{seconds['fast'] - seconds['none']:.2f}",
        percent(gap),
    ]
    return table(["instance", "solve s", "bound s", "gap, default"], [row])


def main() -> None:
    parts = [
        f"Relative gaps (objective - bound) / objective, every certificate checked anew; CPU seconds. {machine(1)}.",
        "## Gaps",
        selection(),
        "## Time of the whole default call, CPU seconds",
        costs(),
        "## Small ridges and correlated columns",
        small_ridges(),
        "## Many rows",
        long_columns(),
    ]
    report("certificates", "Certified gaps on selection problems", *parts)


if __name__ == "__main__":
    main()
