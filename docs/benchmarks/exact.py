"""How fast an optimum is proven: `method="exact"` on its own instances, one thread, CPU seconds.

Run with the names of tables to renew some of them: small, grown, large, diabetes, wide, picture.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from instances import regression
from measure import RESULTS, machine, machines, report, table

import l0quad
from l0quad.app.demo import load

TRIED = """\
Other solvers on P0: [exact-peers](exact-peers.md).

The picture is from before the diagonal was extracted anew. All was measured on a machine with other work on it. Of
100,000 columns screening leaves more than the 8,192 that can be branched on where nothing is proven.

## Tried

The kernels compile in 8.3 CPU s where none are cached (`ascend` 7.0, `lifted` 1.4), and in the same minute in 9.6 (7.4,
1.7, and .5 for a third kernel that took the bound of a leaf) as they were when `bound` had three places, arrays were
made in more ways, and helpers had the wrappers by which Python would call them. P0 takes as long as before: sums of 20
solves 2.84, 2.86, 2.94 s, in turn with 3.05, 2.91, 2.90, and the same nodes.

It is not inlining that takes the time: on a busier machine, at `NUMBA_OPT=1` `ascend`
compiles in 7.2 s instead of 7.4. About half is numba's own work, in proportion to the source, and half LLVM's, in 38
functions, each optimized and assembled by itself and again in its callers. Inlined by numba (`inline="always"`), 4 of
them took 8.4 and 12 took 11.3 instead of 7.7.

The diagonal extracted anew in Python, with 80 % of the free columns left: 200 x 60, seed 21: 2446 nodes become
1064, but .29 s becomes .74; 400 x 200, seed 21: 5926 become 2680, 2.0 s becomes 3.7, because one extraction takes 1
to 2 ms. As a kernel that takes one number for all free columns it takes some .02 to .2 ms. With the scale 1 /
diag(S^-1) anew: 1064 nodes instead of 1170, 2680 instead of 2734. At every node instead of where 20 % of the free
columns are gone: the nodes fall by another 4 to 14 %, and the time rises at 400 x 200."""
KEPT = Path(__file__).parent / "results" / "exact.json"


def proven(problem: l0quad.Problem, limit: float = np.inf) -> tuple[l0quad.Result, float]:
    """Return the result of the exact method and its CPU seconds, which are limited."""
    begin = time.process_time()

    def late(_: l0quad.State) -> bool:
        return time.process_time() - begin > limit

    result = l0quad.solve(problem, "exact", n_threads=1, callback=late)
    return result, time.process_time() - begin


def nodes(result: l0quad.Result) -> int:
    return max((state.nodes for state in result.history), default=0)


def summary(name: str, problems: Iterator[l0quad.Problem], limit: float = np.inf) -> list[str]:
    """Return a row: how many are proven, CPU seconds and nodes, and the largest gap that is left."""
    runs = [proven(problem, limit) for problem in problems]
    done = sum(result.status is l0quad.Status.OPTIMAL for result, _ in runs)
    seconds = [second for _, second in runs]
    gap = max(result.relative_gap for result, _ in runs)
    counted = np.median([nodes(result) for result, _ in runs])
    left = "" if done == len(runs) else f"{gap:.2%}"
    row = [name, f"{done}/{len(runs)}", f"{np.median(seconds):.3f}", f"{max(seconds):.2f}", f"{counted:.0f}", left]
    print(*row, flush=True)
    return row


def drawn(spec: tuple[int, int, int, float, float, float], seeds: range) -> Iterator[l0quad.Problem]:
    for seed in seeds:
        A, b, k, ridge, _ = regression(*spec, seed)
        yield l0quad.Problem(A, b, k, ridge)


P0 = (200, 60, 8, 0.9, 1.0, 1e-2)
P5 = (400, 200, 10, 0.9, 3.0, 1e-2)


def small() -> list[list[str]]:
    """P0, and the same without a ridge."""
    return [
        summary("200 x 60, k = 8, ridge 1e-2", drawn(P0, range(20, 30))),
        summary("the same, ridge 0", drawn((*P0[:5], 0.0), range(20, 25))),
    ]


def grown() -> list[list[str]]:
    """400 x 200."""
    return [
        summary("400 x 200, k = 10, ridge 1e-2, seeds 20-29", drawn(P5, range(20, 30)), 60.0),
        summary("the same, seeds 0-9", drawn(P5, range(10)), 60.0),
        summary("the same, ridge 0, 10 s", drawn((*P5[:5], 0.0), range(20, 25)), 10.0),
    ]


def large() -> list[list[str]]:
    """OKRidge's own sizes."""
    rows = []
    for n, rho in ((6000, 0.1), (6000, 0.5), (6000, 0.9), (3000, 0.1), (3000, 0.5), (3000, 0.9)):
        rows.append(summary(f"{n} x 3000, k = 10, rho {rho}", drawn((n, 3000, 10, rho, 5.0, 1e-3), range(1)), 60.0))
    return rows


def of_diabetes() -> list[list[str]]:
    """The diabetes data with squares and products, and the ten columns alone."""
    A, b, _ = load()
    rows = [
        summary(
            f"diabetes 442 x 64, k = 1 ... 10, ridge {ridge:g}", (l0quad.Problem(A, b, k, ridge) for k in range(1, 11))
        )
        for ridge in (1e-1, 1e-3)
    ]
    ten = A[:, :10]
    return [*rows, summary("442 x 10, every k, ridge 0", (l0quad.Problem(ten, b, k) for k in range(1, 11)))]


def wide() -> list[list[str]]:
    """Many more columns than rows: the ridge at which a proof takes less than a minute."""
    rows = []
    for ridge in (1.0, 0.5, 0.3, 0.2, 0.15, 0.1, 0.03, 0.01):
        rows.append(
            summary(
                f"500 x 100000, k = 10, ridge {ridge:g}", drawn((500, 100_000, 10, 0.1, 5.0, ridge), range(1)), 60.0
            )
        )
    return rows


def picture() -> None:
    """Draw the gap against time over n/p, correlation and ridge."""
    from matplotlib.figure import Figure

    p, k, limit = 100, 8, 10.0
    cases = {
        "n/p": [(f"n = {ratio:g} p", (int(ratio * p), p, k, 0.7, 2.0, 1e-2)) for ratio in (1, 1.5, 2, 4)],
        "correlation": [(f"rho {rho:g}", (2 * p, p, k, rho, 2.0, 1e-2)) for rho in (0.0, 0.5, 0.8, 0.9)],
        "ridge": [(f"ridge {ridge:g}", (2 * p, p, k, 0.8, 2.0, ridge)) for ridge in (1.0, 0.1, 0.01, 0.0)],
    }
    drawn_figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (title, lines) in zip(drawn_figure.subplots(1, 3, sharey=True), cases.items(), strict=True):
        for label, spec in lines:
            result, _ = proven(next(drawn(spec, range(1))), limit)
            states = [state for state in result.history if state.nodes]
            gaps = [100 * max(1 - state.lower_bound / state.best_objective, 1e-4) for state in states]
            axes.plot([state.seconds for state in states], gaps, drawstyle="steps-post", label=label)
        axes.set(xscale="log", yscale="log", xlabel="seconds", title=title)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    drawn_figure.axes[0].set_ylabel("gap, %")
    drawn_figure.savefig(RESULTS / "exact.png", dpi=110)


TABLES = {"small": small, "grown": grown, "diabetes": of_diabetes, "large": large, "wide": wide}


def main() -> None:
    names = sys.argv[1:] or [*TABLES, "picture"]
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    proven(next(drawn(P0, range(1))))
    for name in names:
        if name == "picture":
            picture()
        else:
            kept[name] = TABLES[name]()
            kept.setdefault("machines", {})[name] = machine(1)
            KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    header = ["instances", "proven", "median CPU s", "largest", "median nodes", "largest gap left"]
    rows = [row for name in TABLES for row in kept.get(name, [])]
    report(
        "exact",
        "Proven optima",
        f'`method="exact"`, compilation apart, AR(1) columns of unit norm. '
        f"{machines(kept.get('machines', {}).get(name) for name in TABLES if name in kept)}.",
        table(header, rows),
        "![gap against time](exact.png)",
        "The gap against time on p = 100, k = 8, SNR 2.",
        TRIED,
    )


if __name__ == "__main__":
    main()
