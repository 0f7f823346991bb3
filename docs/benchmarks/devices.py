"""Pruning layer by layer on a GPU: seconds and errors beside torch and NumPy on the CPU of the same machine.

``python devices.py GPU``, ``torch`` or ``NumPy`` measures and keeps each run in results/devices.jsonl, with layers
after it (``0``, ``2``, ``4``) those alone; ``page`` writes what is there. Under ``taskset`` they can run side by side.
"""

import itertools
import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from l0quad_adapters.torch import prune_layers
from measure import RESULTS, machine, machines, report, table
from torch import nn

import l0quad

KEPT = RESULTS / "devices.jsonl"
# What was measured before X'X was summed on the device too.
BEFORE = "GPU, X'X on the CPU"
WAYS = ("GPU", BEFORE, "torch", "NumPy")
LAYERS = {"0": "1024 to 1024", "2": "1024 to 4096", "4": "4096 to 1024"}
SPARSITIES: dict[str, float | l0quad.NofM] = {"0.7": 0.7, "2:4": l0quad.NofM(2, 4)}
WIDTH, ROWS, A_BATCH = 1024, 8192, 1024
# Layer, method and bound.
WORK = (
    ("0", "admm", "none"), ("2", "admm", "none"), ("0", "admm", "fast"), ("0", "auto", "none"), ("4", "admm", "none"),
    ("2", "admm", "fast"), ("2", "auto", "none"),
)  # fmt: skip
REPEATS = 3
# Read off before: launching kernels takes longer than the work.
SMALL = (
    "Small networks (a perceptron, convolutions, two blocks of a transformer; layers of 27 to 768 inputs, with bounds) "
    "took 0.7 to 7.0 s in all with `xp=torch` on the GPU, 0.1 to 2.0 s with NumPy, and the sums of their errors were "
    "the same within 0.06 %."
)


def block(device: str) -> nn.Module:
    torch.manual_seed(0)
    wide = 4 * WIDTH
    layers = nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, wide), nn.GELU(), nn.Linear(wide, WIDTH)
    )
    return layers.eval().to(device)


def inputs() -> torch.Tensor:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    falling = rng.standard_normal((ROWS, WIDTH)) * np.arange(1, WIDTH + 1) ** -0.5
    return torch.from_numpy(8 * falling @ rotation).float()


def once(way: str, x: torch.Tensor, layer: str, sparsity: str, method: str, bound: str) -> dict[str, Any]:
    """Prune one layer of the block and return what that took and gave."""
    device = "cuda" if way == "GPU" else "cpu"
    model = block(device)
    begin = time.perf_counter()
    found = prune_layers(
        model, x, {layer: SPARSITIES[sparsity]}, method=method, bound=bound, batch_size=A_BATCH,
        xp=np if way == "NumPy" else torch,
    )  # fmt: skip
    if device == "cuda":
        torch.cuda.synchronize()
    seconds, stage = time.perf_counter() - begin, found.stages[0]
    return {
        "way": way, "layer": layer, "sparsity": sparsity, "method": method, "bound": bound, "seconds": seconds,
        "gather": stage.gradient_seconds, "solve": stage.solve_seconds, "error": stage.relative_error,
        "gap": stage.relative_gap, "kept": stage.kept,
    }  # fmt: skip


def measure(way: str, layers: str) -> None:
    """Measure everything a first time, then again what is quick; nothing is kept of a warm-up."""
    x, told = inputs(), machine()
    if way == "GPU":
        told = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, {told}"
    for layer, sparsity in itertools.product("024" if way == "GPU" else "0", SPARSITIES):
        once(way, x[:A_BATCH], layer, sparsity, "admm", "none")
    once(way, x[:A_BATCH], "0", "0.7", "auto", "fast")
    for turn, (layer, method, bound), sparsity in itertools.product(range(REPEATS), WORK, SPARSITIES):
        again, exchanges = bool(turn) and (layer, method, bound) != WORK[0], method == "auto" and layer != "0"
        if layer not in layers or (way != "GPU" and (again or exchanges)):
            continue
        line = json.dumps(once(way, x, layer, sparsity, method, bound) | {"machine": told})
        print(line, flush=True)
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def page() -> None:
    runs = [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
    found: dict[tuple[str, ...], dict[str, list[dict[str, Any]]]] = {}
    for run in runs:
        key = (run["layer"], run["sparsity"], run["method"], run["bound"])
        found.setdefault(key, {}).setdefault(run["way"], []).append(run)
    rows, errors = [], []
    for (layer, *asked), by_way in sorted(found.items()):
        told = [LAYERS[layer], *asked]
        rows.append(told + [_cell(by_way.get(way, []), ("gather", "solve"), "{:.2f} + {:.2f}") for way in WAYS])
        errors.append(told + [_cell(by_way.get(way, []), ("error", "gap"), "{:.6f}, {:.2%}") for way in WAYS])
    header = ["layer", "sparsity", "method", "bound", *WAYS]
    report(
        "devices",
        "Pruning layer by layer on a GPU",
        "`prune_layers` of one layer of a transformer's block of 1024 features, random weights, 8192 rows of inputs "
        "whose spectrum falls like a power, float32. `xp=torch` on the GPU and on the CPU of the same machine, beside "
        "NumPy, the default. The ways ran side by side on cores of their own; BLAS is on one thread while a layer is "
        f"solved. After a warm-up; {_counted(found)}. A dash was not run, or not to its end. "
        f"{SMALL} {machines(_machines(runs))}.",
        "## Seconds",
        "Of gathering X'X and of solving.",
        table(header, rows),
        "## Errors",
        "The layer's error beside the outputs' size, and the proven gap where a bound was asked for. The number of "
        "zeros is the same in each line.",
        table(header, errors),
    )


def _counted(found: dict[Any, dict[str, list[dict[str, Any]]]]) -> str:
    most = max(len(runs) for by_way in found.values() for runs in by_way.values())
    return "one run each" if most == 1 else f"medians of 1 to {most} runs"


def _machines(runs: list[dict[str, Any]]) -> list[str]:
    return sorted({run["machine"] for run in runs}, reverse=True)


def _cell(runs: list[dict[str, Any]], names: tuple[str, str], form: str) -> str:
    """Return medians of two numbers; a gap of 100 % is that of no bound."""
    if not runs:
        return "-"
    first, second = (statistics.median(run[name] for run in runs) for name in names)
    told = form.format(first, second)
    return told.split(",")[0] if names[1] == "gap" and second == 1.0 else told


if __name__ == "__main__":
    if sys.argv[1] == "page":
        page()
    else:
        measure(sys.argv[1], "".join(sys.argv[2:]) or "".join(LAYERS))
