"""Peak memory of `prune` beside the network and its data, with A in memory and in a file, each in a fresh process."""

import copy
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import networks
import torch
from l0quad_adapters.torch import choose, prune
from measure import PeakMemory, machine, report, table
from torch import nn

ROWS = 2000
STAGES: dict[str, Any] = {"stages": 2, "refit_stages": 2, "batch_size": 1, "l2": 1e-2, "bound": "none"}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
# Width of the first layer (MLPNet's is 40), method, sparsity, where A is.
RUNS = [
    (width, method, sparsity, where)
    for width in (40, 160)
    for method, sparsity in (("backsolve", 0.9), ("backsolve", 0.3), ("block_backsolve", 0.9))
    for where in ("memory", "file")
    if width == 40 or (sparsity == 0.9 and where == "memory")
]


def child(width: int, method: str, sparsity: float, where: str) -> None:
    """Print one row of the table."""
    torch.set_num_threads(1)
    model, loss_fn, train, _ = networks.load("MLPNet")
    # What a process takes once: compiled kernels.
    prune(copy.deepcopy(model), loss_fn, train, 0.9, method=method, n_rows=50, **STAGES)
    ctypes.CDLL(None).malloc_trim(0)
    if width != 40:
        model.fc1, model.fc2 = nn.Linear(784, width, bias=False), nn.Linear(width, 20, bias=False)
        model.eval()
    a = 4 * ROWS * choose(model).size
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
        begin = time.process_time()
        out = Path(folder) / "A" if where == "file" else None
        prune(model, loss_fn, train, sparsity, method=method, n_rows=ROWS, out=out, **STAGES)
        seconds = time.process_time() - begin
    beside = peak.extra - (0 if where == "file" else a)
    sizes = [f"{size / 2**20:.0f}" for size in (a, peak.extra, beside)]
    print(
        f"784-{width}-20-10",
        f"{method}, {sparsity:g}",
        where,
        *sizes,
        f"{peak.extra / a:.2f}",
        f"{seconds:.0f}",
        sep="|",
    )


def main() -> None:
    rows = []
    for run in RUNS:
        command = [sys.executable, __file__, *map(str, run)]
        environment = {**os.environ, **ONE_THREAD}
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        rows.append(out.strip().split("|"))
        print(*rows[-1], flush=True)
    report(
        "prune-memory",
        "Peak memory of prune",
        f"{ROWS} rows of single samples, two stages and two refits; private memory over what was there before (the "
        "network, its data, compiled kernels). Asked: at most 1.3 A in memory. Beside A there are one n x n matrix of "
        f"float64 ({8 * ROWS**2 / 2**20:.0f} MiB here), a chunk of gradients and one of columns, which do not grow "
        f"with A. {machine(1)}.",
        table(
            ["network", "method, sparsity", "A in", "A, MiB", "peak, MiB", "beside A, MiB", "peak / A", "CPU s"], rows
        ),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4])
    else:
        main()
