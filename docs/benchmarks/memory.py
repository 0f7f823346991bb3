"""Extra peak memory: in-memory A of either order, and a memory-mapped A of 2 GB. Each run is its own process."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from measure import PeakMemory, anonymous_bytes, machine, report, table

import l0quad

MB = 1e6
# 0.5 GB in memory, 2 GB on disk, float32.
IN_MEMORY = (1000, 125_000)
ON_DISK = (1000, 500_000)
SHARE = 0.1
IN_MEMORY_METHODS = ("magnitude", "iht", "coordinate_descent", "active_set", "backsolve", "block_backsolve")
ON_DISK_METHODS = ("backsolve", "block_backsolve")


def pruning_problem(A: np.ndarray) -> l0quad.Problem:
    """Return a pruning-shaped problem: w0 dense, b = A w0."""
    n, p = A.shape
    w0 = np.random.default_rng(1).standard_normal((p,))
    b = np.zeros(n)
    for i in range(0, p, 10_000):
        b += A[:, i : i + 10_000].astype(np.float64) @ w0[i : i + 10_000]
    return l0quad.Problem(A, b, int(SHARE * p), ridge=1.0, w0=w0)


def warm_up() -> None:
    """Compile the kernels and start BLAS, whose own memory is not the solver's."""
    A = np.random.default_rng(0).standard_normal((64, 200)).astype(np.float32)
    for array in (A, np.asfortranarray(A)):
        for method in IN_MEMORY_METHODS:
            l0quad.solve(pruning_problem(array), method)
    B = np.random.default_rng(0).standard_normal((1500, 1500))
    np.linalg.cholesky(B @ B.T + 1500 * np.eye(1500))


def child(kind: str, order: Literal["C", "F"], method: str, bound: str) -> None:
    """Measure one run and print the extra and the total private bytes at the peak."""
    warm_up()
    n, p = IN_MEMORY if kind == "memory" else ON_DISK
    rng = np.random.default_rng(0)
    if kind == "memory":
        A = np.empty((n, p), dtype=np.float32, order=order)
        for i in range(n):
            A[i] = rng.standard_normal(p, dtype=np.float32)
        problem = pruning_problem(A)
        with PeakMemory() as peak:
            l0quad.solve(problem, method, bound=bound)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "A.npy")
            A = np.lib.format.open_memmap(path, "w+", np.float32, (n, p), fortran_order=order == "F")
            for i in range(0, p, 50_000):
                A[:, i : i + 50_000] = rng.standard_normal((n, 50_000), dtype=np.float32)
            del A
            with PeakMemory() as peak:
                l0quad.solve(pruning_problem(np.load(path, mmap_mode="r")), method, bound=bound)
    print(peak.extra, peak.peak, anonymous_bytes())


def run(kind: str, order: str, method: str, bound: str) -> tuple[float, float]:
    out = subprocess.run(
        [sys.executable, __file__, kind, order, method, bound], capture_output=True, text=True, check=True
    ).stdout.split()
    return float(out[0]), float(out[1])


def main() -> None:
    n, p = IN_MEMORY
    A_bytes = n * p * 4
    allowed = SHARE * A_bytes + 0.1 * A_bytes
    rows = []
    for order in "CF":
        for method in IN_MEMORY_METHODS:
            extra, _ = run("memory", order, method, "fast")
            verdict = "met" if extra <= allowed else "missed"
            rows.append([order, method, f"{extra / MB:.0f}", f"{allowed / MB:.0f}", verdict])
            print(*rows[-1], flush=True)
    disk_rows = []
    for order in "CF":
        for method in ON_DISK_METHODS:
            extra, total = run("disk", order, method, "fast")
            verdict = "met" if total <= 600 * MB else "missed"
            disk_rows.append([order, method, f"{extra / MB:.0f}", f"{total / MB:.0f}", "600", verdict])
            print(*disk_rows[-1], flush=True)
    report(
        "memory",
        "Memory",
        f"float32, 10 % of the columns kept, bound='fast', every run in its own process. {machine()}.",
        f"A of {A_bytes / MB:.0f} MB in memory: extra private memory at the peak; allowed is A_S + 0.1 A.",
        table(["order", "method", "extra MB", "allowed MB", ""], rows),
        "A of 2000 MB in a memory-mapped file: private memory of the solve (Problem included) and of the process.",
        table(["order", "method", "extra MB", "process MB", "allowed MB", ""], disk_rows),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kind, order, method, bound = sys.argv[1:]
        child(kind, "C" if order == "C" else "F", method, bound)
    else:
        main()
