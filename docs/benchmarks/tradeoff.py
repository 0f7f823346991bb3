"""Objective against time for every method on P1 and P4 (seed 0) and the MLPNet instance (90 %, l2 = 1e-2)."""

import math
import sys
import time

import matplotlib as mpl
import numpy as np
from instances import BEST_KNOWN, Instance, make, mlpnet
from matplotlib.axes import Axes
from measure import RESULTS, machine, report, table

import l0quad

LIMIT = 60.0
METHODS = {
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
LABEL_GAP = 0.032
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
    return {name: (100 * (objective / best - 1), *rest) for name, (objective, *rest) in ran.items()}, best


def label(axes: Axes, found: Found) -> None:
    """Write the names beside the markers, in a column at the right where they would lie on one another."""
    to_axes = axes.transData + axes.transAxes.inverted()
    points = {name: to_axes.transform((seconds, max(gap, FLOOR)))[::-1] for name, (gap, seconds, _) in found.items()}
    names = sorted(found, key=lambda name: tuple(points[name]))
    heights = np.array([points[name][0] for name in names])
    # Pushed apart upwards and downwards; the mean of the two keeps the distance, and a cluster at its centre.
    steps = LABEL_GAP * np.arange(heights.size)
    up = np.maximum.accumulate(heights - steps) + steps
    down = np.minimum.accumulate((heights - steps)[::-1])[::-1] + steps
    placed = np.minimum((up + down) / 2, 1 - steps[::-1])
    for name, height in zip(names, placed, strict=True):
        gap, seconds, cut = found[name]
        axes.annotate(
            name + (" (cut)" if cut else ""),
            (seconds, max(gap, FLOOR)),
            (1.02, height),
            textcoords="axes fraction",
            fontsize=7,
            va="center",
            fontweight="bold" if name.startswith("auto") else "normal",
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
            annotation_clip=False,
        )


def draw(panels: dict[str, Found]) -> None:
    """Save the panels as results/tradeoff.png."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, all_axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 5), layout="constrained", squeeze=False)
    markers = "*PosvDXph^<>d8H"
    for axes, (title, found) in zip(all_axes[0], panels.items(), strict=True):
        for i, (name, (gap, seconds, _)) in enumerate(found.items()):
            size = 130 if name.startswith("auto") else 40
            color = f"C{i % 10}"
            axes.scatter(seconds, max(gap, FLOOR), marker=markers[i % len(markers)], s=size, color=color, zorder=3)
        axes.set(xscale="log", yscale="log", title=title, xlabel="seconds, one thread")
        axes.set_ylim(FLOOR / 1.6, 2 * max(gap for gap, _, _ in found.values()))
        ticks = [10.0**e for e in range(int(math.log10(FLOOR)), 4) if 10.0**e < axes.get_ylim()[1]]
        axes.set_yticks(ticks, [f"≤ {FLOOR:g}" if tick == FLOOR else f"{tick:g}" for tick in ticks])
        axes.grid(alpha=0.3)
        label(axes, found)
    all_axes[0][0].set_ylabel("objective, % above the best")
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
