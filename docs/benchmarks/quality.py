"""Objective and time of `auto` on the synthetic instances, beside the best objectives known and what is asked."""

import statistics
import sys
import time

import numpy as np
from instances import BEST_KNOWN, make
from measure import machine, report, table

import l0quad

EFFORTS = ("fast", "thorough")
FURTHER = 1
REPEATS = 3
# The best objectives known are rounded: so many per cent above them is level with them.
ROUNDING = 1e-3
# Instance: effort, largest mean gap to the best known in per cent, largest seconds (None: not asked).
ASKED = [
    ("P0", "fast", 0.0, None),
    ("P1", "fast", 0.36, 0.015),
    ("P2", "fast", 0.0, 0.4),
    ("P3", "fast", 0.0, 0.25),
    ("P3h", "fast", 0.03, None),
    ("P4", "fast", 0.15, 0.5),
    ("P4", "thorough", 0.0, 3.0),
]
Measured = dict[tuple[str, int, str], tuple[float, float]]


def measured(names: list[str]) -> Measured:
    """Return the objective and the median seconds for each instance, seed and effort."""
    found: Measured = {}
    for name in names:
        for seed in range(len(BEST_KNOWN[name]) + FURTHER):
            problem = l0quad.Problem(*make(name, seed))
            for effort in EFFORTS:
                method, seconds = l0quad.Auto(effort=effort), []
                for _ in range(REPEATS + 1):
                    begin = time.perf_counter()
                    result = l0quad.solve(problem, method, bound="none", n_threads=1, seed=0)
                    seconds.append(time.perf_counter() - begin)
                found[name, seed, effort] = result.objective, statistics.median(seconds[1:])
                print(name, seed, effort, *found[name, seed, effort], flush=True)
    return found


def reference(found: Measured, name: str, seed: int) -> float:
    """Return the best objective known, or what ``thorough`` finds where none is."""
    if seed < len(BEST_KNOWN[name]):
        return BEST_KNOWN[name][seed]
    return found[name, seed, "thorough"][0]


def detail(found: Measured) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, seed, effort in found:
        if effort != EFFORTS[0]:
            continue
        best = reference(found, name, seed)
        row: list[object] = [name, seed, f"{best:.7g}" if seed < len(BEST_KNOWN[name]) else f"{best:.7g} *"]
        for each in EFFORTS:
            objective, seconds = found[name, seed, each]
            row += [f"{objective:.7g}", f"{100 * (objective / best - 1):+.3f}", f"{seconds:.4f}"]
        rows.append(row)
    return rows


def summary(found: Measured, names: list[str]) -> list[list[object]]:
    """Return a row for each instance and effort: the means over the seeds, and what is asked of them."""
    rows: list[list[object]] = []
    asked = {(name, effort): rest for name, effort, *rest in ASKED}
    for name in names:
        for effort in EFFORTS:
            gaps, times, further = [], [], []
            for (each, seed, how), (objective, seconds) in found.items():
                if (each, how) != (name, effort):
                    continue
                gap = 100 * (objective / reference(found, name, seed) - 1)
                (gaps if seed < len(BEST_KNOWN[name]) else further).append(gap)
                times.append(seconds)
            gap, seconds = float(np.mean(gaps)), statistics.median(times)
            row: list[object] = [name, effort, f"{gap:+.3f}", f"{max(gaps):+.3f}", f"{np.mean(further):+.3f}"]
            row += [f"{seconds:.4f}", f"{max(times):.4f}"]
            rows.append([*row, *verdict(gap, seconds, *asked.get((name, effort), (None, None)))])
    return rows


def verdict(gap: float, seconds: float, most_gap: float | None, most_seconds: float | None) -> list[str]:
    """Return two cells: the gap and the time asked, and whether they are met."""
    cells = [""] * 2
    if most_gap is not None:
        cells[0] = f"<= {most_gap:g} %: " + ("met" if gap <= most_gap + ROUNDING else "missed")
    if most_seconds is not None:
        cells[1] = f"<= {most_seconds:g} s: " + ("met" if seconds <= most_seconds else "missed")
    return cells


def main(names: list[str]) -> None:
    found = measured(names)
    per_effort = [f"{effort}: {what}" for effort in EFFORTS for what in ("objective", "% above", "s")]
    columns = ["mean %", "worst %", "mean %, further seeds", "median s", "most s", "gap asked", "time asked"]
    report(
        "quality",
        "Objective and time of auto",
        "Per cent above the best objective known (negative: below it), and median seconds of "
        f"{REPEATS} warm solves, Problem already built, bound='none', seed=0. {machine(1)}.",
        "Means over the seeds with a best known objective; over further seeds against `thorough`:",
        table(["instance", "effort", *columns], summary(found, names)),
        "Every seed; * none known: what `thorough` finds stands in for it.",
        table(["instance", "seed", "best known", *per_effort], detail(found)),
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(BEST_KNOWN))
