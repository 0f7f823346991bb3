"""Per-sample gradient matrices: rows a second and memory of each way, and how far they are from the loop."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import networks
import numpy as np
import torch
from l0quad_adapters.torch import gradient_matrix
from measure import PeakMemory, machine, medians, report, table

ROWS = {"MLPNet": 1000, "ResNet20": 200}
FEW = 50
WAYS = ("layers", "vmap", "loop")
THREADS = 1


def measured(name: str) -> list[list[object]]:
    network, n = networks.load(name), ROWS[name]
    batch = [tuple(part[:n] for part in network.train)]
    size = sum(p.numel() for key, p in network.model.named_parameters() if key.endswith("weight") and p.ndim > 1)
    out = np.zeros((n, size), dtype=np.float32)

    def computed(way: str) -> np.ndarray:
        return gradient_matrix(network.model, network.loss_fn, batch, way=way, out=out)

    reference = computed("loop").copy()
    seconds = medians({way: partial(computed, way) for way in WAYS}, repeats=5)
    rows: list[list[object]] = []
    exact = _float64_errors(name)
    for way in WAYS:
        error = np.abs(computed(way) - reference).max(axis=1) / np.abs(reference).max()
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            extra = f"{fresh.submit(memory_of_the_first, name, way).result():.0f}"
        speed = f"{n / seconds[way]:.0f}"
        rows.append([name, way, speed, extra, f"{error.max():.1e}", f"{np.sum(error > 1e-5)} of {n}", exact[way]])
    for size_of_batch in (4, 16):
        rows.append([name, f"batches of {size_of_batch}", *_batches(network, out, size_of_batch)])
    return rows


def memory_of_the_first(name: str, way: str) -> float:
    """Return the MiB that the first gradients of a process take beside the matrix; later ones find them at hand."""
    torch.set_num_threads(THREADS)
    network, n = networks.load(name), ROWS[name]
    batch = [tuple(part[:n] for part in network.train)]
    with PeakMemory() as memory:
        out = gradient_matrix(network.model, network.loss_fn, batch, way=way, n_rows=n)
    return max(0.0, memory.extra - out.nbytes) / 2**20


def _float64_errors(name: str) -> dict[str, str]:
    """Return how far each way is from the loop in float64, on some of the rows."""
    network = networks.load(name)
    model = network.model.double()
    batch = [(network.train[0][:FEW].double(), network.train[1][:FEW])]
    rows = {way: gradient_matrix(model, network.loss_fn, batch, way=way, n_rows=FEW, dtype=np.float64) for way in WAYS}
    largest = np.abs(rows["loop"]).max()
    return {way: f"{np.abs(found - rows['loop']).max() / largest:.1e}" for way, found in rows.items()}


def _batches(network: networks.Network, out: np.ndarray, size: int) -> list[str]:
    """Measure rows that are mean gradients."""
    few = out[:50]
    inputs, targets = (part[: 50 * size].split(size) for part in network.train)

    def run() -> None:
        pairs = zip(inputs, targets, strict=True)
        gradient_matrix(network.model, network.loss_fn, pairs, rows="batch", out=few)

    seconds = medians({"batch": run}, repeats=5)["batch"]
    return [f"{50 / seconds:.0f} ({50 * size / seconds:.0f} samples)", "", "", "", ""]


def main() -> None:
    torch.set_num_threads(THREADS)
    rows = [row for name in ROWS for row in measured(name)]
    report(
        "gradients",
        "Gradient matrices",
        f"Into a float32 array that is there already; medians of 5; not run on a GPU. {machine(THREADS)}.",
        table(
            [
                "network",
                "way",
                "rows a second",
                "MiB beside the matrix",
                "largest difference from the loop",
                "rows beyond 1e-5",
                f"difference in float64, {FEW} rows",
            ],
            rows,
        ),
        "Differences are relative to the largest entry. In float32 a ReLU whose input is zero up to rounding may be on "
        "for one way and off for another, which changes such a sample's whole row; float64 shows that the ways are the "
        "same function.",
    )


if __name__ == "__main__":
    main()
