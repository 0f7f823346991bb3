"""`auto` on the MLPNet instance: objective, certified gap and time of each bound, and the grid of sparsities and l2."""

import statistics
import sys
import time

import numpy as np
from instances import mlpnet, mlpnet_gradients
from measure import machine, report, table

import l0quad

THREADS = 2
REPEATS = 5
EFFORTS = ("fast", "thorough")
BOUNDS = ("none", "fast", "tight")
# Sparsity, l2: largest objective, largest gap of each bound, largest seconds with each bound.
ASKED = {
    (0.9, 1e-2): (74.09, {"fast": 0.0025, "tight": 0.0012}, {"fast": 0.8}),
    (0.98, 1e-4): (1.494, {"tight": 0.012}, {}),
}
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
Gradients = tuple[np.ndarray, np.ndarray]


def timed(problem: l0quad.Problem, effort: str, bound: str, repeats: int) -> tuple[l0quad.Result, float]:
    """Return the result and the median seconds after a warm-up."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        result = l0quad.solve(problem, l0quad.Auto(effort=effort), bound=bound, n_threads=THREADS, seed=0)
        seconds.append(time.perf_counter() - begin)
    return result, statistics.median(seconds[1:])


def judged(value: str, measured: float, asked: float | None, percent: bool = False) -> list[str]:
    """Return two cells: the value, and what is asked of it."""
    if asked is None:
        return [value, ""]
    return [value, f"<= {f'{asked:.2%}' if percent else f'{asked:g}'}: " + ("met" if measured <= asked else "missed")]


def two_instances(gradients: Gradients) -> list[list[object]]:
    rows: list[list[object]] = []
    for (sparsity, l2), (most, gaps, times) in ASKED.items():
        problem = l0quad.Problem(*mlpnet(sparsity, l2, gradients))
        for effort in EFFORTS:
            for bound in BOUNDS:
                result, seconds = timed(problem, effort, bound, REPEATS)
                row: list[object] = [f"{sparsity:.0%}", f"{l2:g}", effort, bound]
                row += judged(f"{result.objective:.5g}", float(f"{result.objective:.5g}"), most)
                gap = "-" if bound == "none" else f"{result.relative_gap:.3%}"
                row += judged(gap, result.relative_gap, gaps.get(bound), percent=True)
                row += judged(f"{seconds:.2f}", seconds, times.get(bound) if effort == "fast" else None)
                rows.append(row)
                print(*row, flush=True)
    return rows


def grid(gradients: Gradients) -> list[list[object]]:
    rows: list[list[object]] = []
    for sparsity in SPARSITIES:
        for l2 in RIDGES:
            problem = l0quad.Problem(*mlpnet(sparsity, l2, gradients))
            result, seconds = timed(problem, "fast", "none", 1)
            certified, all_seconds = timed(problem, "fast", "tight", 1)
            assert np.isclose(certified.objective, result.objective)
            row = [f"{sparsity:.0%}", f"{l2:g}", f"{result.objective:.5g}", f"{certified.relative_gap:.3%}"]
            rows.append([*row, f"{seconds:.2f}", f"{all_seconds - seconds:.2f}"])
            print(*rows[-1], flush=True)
    return rows


def main(with_grid: bool) -> None:
    gradients = mlpnet_gradients()
    parts = ["What is asked:"]
    header = ["sparsity", "l2", "effort", "bound", "objective", "asked", "gap", "asked", "seconds", "asked"]
    parts.append(table(header, two_instances(gradients)))
    if with_grid:
        header = ["sparsity", "l2", "objective", "gap, tight", "solve s", "tight bound s"]
        parts += ["The grid, `auto` with effort fast:", table(header, grid(gradients))]
    report(
        "mlpnet",
        "The default on the MLPNet instance",
        "n = 1000, p = 32360, first-order term off; relative gap (objective - bound) / objective; median seconds "
        f"of {REPEATS} warm solves with their bound (the grid: of one), Problem already built. {machine(THREADS)}.",
        *parts,
    )


if __name__ == "__main__":
    main("--no-grid" not in sys.argv[1:])
