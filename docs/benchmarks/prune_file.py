"""Memory of `prune` with the gradients in a file: MLPNet, and networks of 1.2 and 4.1 million weights."""

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

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
# Method and sparsity.
RUNS = [("backsolve", 0.9), ("backsolve", 0.3), ("block_backsolve", 0.9), ("rounding", 0.9), ("auto", 0.9)]
# The rows for each network; the last has 4.1 million weights.
NETWORKS = {"MLPNet": 1000, "784-1000-400-10": 100, "784-4000-240-10": 100}
MB = 1e6


def load(title: str) -> networks.Network:
    """Return MLPNet, or a network of these widths with data that mean nothing."""
    if title == "MLPNet":
        return networks.load(title)
    torch.manual_seed(0)
    inputs, first, second, classes = map(int, title.split("-"))
    layers = [nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, classes)]
    data = torch.randn(1000, inputs), torch.randint(0, classes, (1000,))
    return networks.Network(nn.Sequential(*layers).eval(), nn.functional.cross_entropy, data, data)


def peak_of(network: networks.Network, method: str, sparsity: float, rows: int) -> tuple[int, float]:
    """Return the bytes that pruning holds over what was there before, its copy of the network too; and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
        begin, model, out = time.process_time(), copy.deepcopy(network.model), Path(folder) / "A"
        settings: dict[str, Any] = {"stages": 2, "refit_stages": 1, "n_rows": rows, "batch_size": 1, "l2": 1e-2}
        prune(model, network.loss_fn, network.train, sparsity, method=method, out=out, bound="none", **settings)
        seconds = time.process_time() - begin
    return peak.extra, seconds


def child(title: str, method: str, sparsity: float) -> None:
    """Print one row of the table."""
    torch.set_num_threads(1)
    network, n = load(title), NETWORKS[title]
    size = choose(network.model).size
    # What a process takes once: kernels.
    peak_of(network, method, sparsity, 20)
    ctypes.CDLL(None).malloc_trim(0)
    peak, seconds = peak_of(network, method, sparsity, n)
    asked = (80 * size + 200e6 + 4 * size) / MB
    print(title, n, f"{method}, {sparsity:g}", f"{peak / MB:.0f}", f"{asked:.0f}", f"{seconds:.0f}", sep="|")


def main() -> None:
    rows = []
    for title in NETWORKS:
        for method, sparsity in RUNS:
            command = [sys.executable, __file__, title, method, str(sparsity)]
            environment = {**os.environ, **ONE_THREAD}
            out = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
            rows.append(out.strip().split("|"))
            print(*rows[-1], flush=True)
    report(
        "prune-file",
        "Memory of prune with the gradients in a file",
        "Two stages and a refit, each row in a process of its own; private memory over what was there before. Asked "
        f"for: 10 vectors as long as the weights, 200 MB and the network. {machine(1)}.",
        table(["network", "rows", "method, sparsity", "MB", "asked for", "CPU s"], rows),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    else:
        main()
