"""Objective against time for every method on P1 and P4 (seed 0) and the MLPNet instance (90 %, l2 = 1e-2)."""

import math
import sys
import time

import matplotlib as mpl
import numpy as np
from instances import BEST_KNOWN, Instance, make, mlpnet
from measure import RESULTS, machine, report, table

import l0quad

LIMIT = 60.0
METHODS: dict[str, l0quad.Options] = {
    "auto, fast": l0quad.Auto(effort="fast"),
    "auto, thorough": l0quad.Auto(effort="thorough"),
    "magnitude": l0quad.Magnitude(),
    "iht": l0quad.IHT(),
    "iht, refit=True": l0quad.IHT(refit=True),
    "coordinate_descent": l0quad.CoordinateDescent(),
    "active_set": l0quad.ActiveSet(),
    "forward": l0quad.Forward(),
    "forward, width=8": l0quad.Forward(width=8),
    "obs": l0quad.OBS(),
    "rounding": l0quad.Rounding(),
    "admm": l0quad.ADMM(),
    "swap": l0quad.Swap(),
    "swap, kicks=20": l0quad.Swap(kicks=20),
    "backsolve": l0quad.Backsolve(),
    "block_backsolve": l0quad.BlockBacksolve(),
}
# On a logarithmic axis everything at most this many per cent above the best stands at its foot.
FLOOR = 1e-3
Found = dict[str, tuple[float, float, bool]]


def measured(instance: Instance, known: float | None) -> tuple[Found, float]:
    """Return per cent above the best, seconds and whether it was cut short for each method, and the best."""
    problem = l0quad.Problem(*instance)
    ran: Found = {}
    for name, method in METHODS.items():
        for _ in range(2):
            begin = time.perf_counter()
            result = l0quad.solve(problem, method, bound="none", n_threads=1, time_limit=LIMIT, seed=0)
            seconds = time.perf_counter() - begin
            if seconds > 5:
                break
        ran[name] = result.objective, seconds, result.status is l0quad.Status.TIME_LIMIT
        print(name, *ran[name], flush=True)
    best = min(objective for objective, _, _ in ran.values())
    best = best if known is None else min(best, known)
    return {name: (100 * (objective / best - 1), seconds, cut) for name, (objective, seconds, cut) in ran.items()}, best


def draw(panels: dict[str, Found]) -> None:
    """Save results/tradeoff.png: a line for each method, its objective on the left and its time on the right."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 6), sharey=True, layout="constrained")
    heights = np.arange(len(METHODS))[::-1]
    looks = zip(("o", "s", "^"), ("#0072B2", "#D55E00", "#009E73"), (0.22, 0.0, -0.22), strict=True)
    for (title, found), (marker, color, shift) in zip(panels.items(), looks, strict=False):
        gaps, seconds, cut = (np.array(each) for each in zip(*(found[name] for name in METHODS), strict=True))
        for axes, values in ((left, np.maximum(gaps, FLOOR)), (right, seconds)):
            axes.plot(values, heights + shift, marker, color=color, markersize=7, label=title)
        right.plot(seconds[cut], heights[cut] + shift, "x", color="black", markersize=5)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        for height in heights[:-1]:
            axes.axhline(height - 0.5, color="0.9", linewidth=0.8)
    left.set_yticks(heights, METHODS)
    left.set_ylim(-0.6, len(METHODS) - 0.4)
    ticks = [10.0**e for e in range(int(math.log10(FLOOR)), 4)]
    left.set_xticks(ticks, [f"≤ {FLOOR:g}" if tick == FLOOR else f"{tick:g}" for tick in ticks])
    left.set_xlabel("objective, % above the best")
    right.set_xlabel(f"seconds, one thread (cross: cut at {LIMIT:g} s)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(panels), frameon=False)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "tradeoff.png", dpi=130)


def main(chosen: list[str]) -> None:
    panels: dict[str, Found] = {}
    bests = []
    for name in chosen:
        if name == "MLPNet":
            title, instance, known = "MLPNet, 90 %, l2 = 1e-2", mlpnet(0.9, 1e-2), None
        else:
            title, instance, known = f"{name}, seed 0", make(name, 0), BEST_KNOWN[name][0]
        panels[title], best = measured(instance, known)
        bests.append(f"{title}: {best:.7g}")
    draw(panels)
    rows = []
    for name in METHODS:
        row = [name]
        for found in panels.values():
            gap, seconds, cut = found[name]
            row += [f"{gap:.3f}", f"{'> ' if cut else ''}{seconds:.3f}"]
        rows.append(row)
    report(
        "tradeoff",
        "Objective against time",
        f"Per cent above the best objective ({'; '.join(bests)}) and seconds of the second solve (of the first where "
        f"it takes more than 5 s; stopped after {LIMIT:g} s), default options, Problem already built. {machine(1)}.",
        table(["method", *(f"{title}: {what}" for title in panels for what in ("%", "s"))], rows),
        "![objective against time](tradeoff.png)",
    )


if __name__ == "__main__":
    main(sys.argv[1:] or ["P1", "P4", "MLPNet"])
