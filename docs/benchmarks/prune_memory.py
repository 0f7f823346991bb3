"""Peak memory of `prune` beside the network and its data, with A in memory and in a file."""

import copy
import tempfile
import time
from pathlib import Path

import networks
import torch
from l0quad_adapters.torch import choose, prune
from measure import PeakMemory, machine, report, table

ROWS = 2000
RUNS = {
    "backsolve, .9": (0.9, {"method": "backsolve", "stages": 2, "refit_stages": 2}),
    "backsolve, .3": (0.3, {"method": "backsolve", "stages": 2, "refit_stages": 2}),
    "block_backsolve, .9": (0.9, {"method": "block_backsolve", "stages": 2, "refit_stages": 2}),
}


def main() -> None:
    torch.set_num_threads(1)
    network = networks.load("MLPNet")
    rows = []
    a = 4 * ROWS * choose(network.model).size
    # What a process takes once: kernels, gradients of a chunk.
    prune(copy.deepcopy(network.model), network.loss_fn, network.train, 0.9, stages=1, n_rows=50, batch_size=1)
    for name, (sparsity, options) in RUNS.items():
        for in_file in (False, True):
            with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
                begin = time.process_time()
                out = Path(folder) / "A" if in_file else None
                settings = options | {"n_rows": ROWS, "batch_size": 1, "l2": 1e-2, "bound": "none", "out": out}
                prune(copy.deepcopy(network.model), network.loss_fn, network.train, sparsity, **settings)
                seconds = time.process_time() - begin
            where = "file" if in_file else "memory"
            rows.append([name, where, f"{peak.extra / a:.2f}", f"{peak.extra / 2**20:.0f}", f"{seconds:.0f}"])
            print(*rows[-1], flush=True)
    report(
        "prune-memory",
        "Peak memory of prune",
        f"MLPNet, {ROWS} rows of single samples: A has {a / 2**20:.0f} MiB; two stages and two refits; private "
        f"memory over what was there before. Asked: at most 1.3 A in memory. {machine(1)}.",
        table(["method, sparsity", "A in", "peak / A", "MiB", "CPU s"], rows),
    )


if __name__ == "__main__":
    main()
