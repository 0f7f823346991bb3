"""Memory of `prune` with the gradients in a file: beside the network, for MLPNet and one of 1.2 million weights."""

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import networks
import torch
from l0quad_adapters.torch import choose, prune
from measure import PeakMemory, machine, report, table
from torch import nn

# Method and sparsity.
RUNS = [("backsolve", 0.9), ("backsolve", 0.3), ("block_backsolve", 0.9), ("rounding", 0.9), ("auto", 0.9)]
MB = 1e6


def wide() -> networks.Network:
    """Return a network of 1.2 million weights, with data that mean nothing."""
    torch.manual_seed(0)
    layers = [nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 400), nn.ReLU(), nn.Linear(400, 10)]
    data = torch.randn(1000, 784), torch.randint(0, 10, (1000,))
    return networks.Network(nn.Sequential(*layers).eval(), nn.functional.cross_entropy, data, data)


def peak_of(network: networks.Network, method: str, sparsity: float, rows: int) -> tuple[int, float]:
    """Return the bytes that pruning holds over what was there before, its copy of the network too; and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
        begin, model, out = time.process_time(), copy.deepcopy(network.model), Path(folder) / "A"
        settings: dict[str, Any] = {"stages": 2, "refit_stages": 1, "n_rows": rows, "batch_size": 1, "l2": 1e-2}
        prune(model, network.loss_fn, network.train, sparsity, method=method, out=out, bound="none", **settings)
        seconds = time.process_time() - begin
    return peak.extra, seconds


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for title, network, n in (("MLPNet", networks.load("MLPNet"), 1000), ("784-1000-400-10", wide(), 100)):
        size = choose(network.model).size
        for method, sparsity in RUNS:
            # What a process takes once: kernels.
            peak_of(network, method, sparsity, 20)
            peak, seconds = peak_of(network, method, sparsity, n)
            asked = (80 * size + 200e6 + 4 * size) / MB
            rows.append([title, n, f"{method}, {sparsity:g}", f"{peak / MB:.0f}", f"{asked:.0f}", f"{seconds:.0f}"])
            print(*rows[-1], flush=True)
    report(
        "prune-file",
        "Memory of prune with the gradients in a file",
        "Two stages and a refit; private memory over what was there before. Asked for: 10 vectors as long as the "
        f"weights, 200 MB and the network. {machine(1)}.",
        table(["network", "rows", "method, sparsity", "MB", "asked for", "CPU s"], rows),
    )


if __name__ == "__main__":
    main()
