"""Whole layers: error and certified gap of every method, on synthetic layers and on ResNet20's convolutions.

The other methods (the rules of magnitude, Wanda and SparseGPT) are l0quad's own implementations of the published
algorithms. CPU seconds on one thread. ResNet20 needs L0QUAD_DATA and torch. `layers.py large` also runs d = m = 2048.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import itertools
import sys
import time
from collections.abc import Iterator

import numpy as np
from measure import PeakMemory, machine, report, table

import l0quad
from l0quad import NofM, PerColumn

METHODS = ("magnitude", "wanda", "sparsegpt", "admm", "auto")
DAMPING = 0.01


def synthetic(d: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return H (d x d) and W0 (d x m) as layers have them: a spectrum that falls like a power, a few outlier inputs."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (rng.standard_normal((4 * d, d)) * np.arange(1, d + 1) ** -0.5) @ rotation.T
    X[:, rng.choice(d, d // 64, replace=False)] *= 10.0
    return X.T @ X / (4 * d), rng.standard_normal((d, m)) / np.sqrt(d)


def budgets(d: int, m: int, sparsities: tuple[float, ...]) -> dict[str, l0quad.PerColumn | NofM | int]:
    """Return the budgets by name."""
    found: dict[str, l0quad.PerColumn | NofM | int] = {}
    for sparsity in sparsities:
        k = round((1 - sparsity) * d)
        found[f"{sparsity:g}, columns"] = PerColumn(k)
        found[f"{sparsity:g}, layer"] = k * m
    return found | {"2:4": NofM(2, 4)}


def timed(layer: l0quad.Layer, method: str) -> tuple[l0quad.LayerResult, float]:
    begin = time.process_time()
    result = layer.solve(method, n_threads=1)
    seconds = time.process_time() - begin
    check = result.check(layer)
    assert check.ok, check.message
    return result, seconds


def cells(layer: l0quad.Layer, asked: str) -> list[str]:
    """Return error and gap of every method, then the CPU seconds of auto and of its bound, and what was asked."""
    found = {method: timed(layer, method) for method in METHODS}
    seconds = found["auto"][1]
    row = [f"{result.relative_error:.5f}, {result.relative_gap:.1%}" for result, _ in found.values()]
    return [*row, f"{seconds:.2f}", asked]


ASKED = {
    "0.5, columns": ".00945, 25.2 %",
    "0.7, columns": ".03090, 26.7 %",
    "0.9, columns": ".1048, 30.1 %",
    "0.5, layer": ".00929, 25.2 %",
    "0.7, layer": ".03063, 26.7 %",
    "0.9, layer": ".1038, 30.1 %",
    "2:4": ".01796, 31.5 %",
}
HEADER = ["sparsity", *METHODS, "auto, CPU s", "asked of auto"]


def small() -> str:
    """256 x 256: every method."""
    H, W0 = synthetic(256, 256)
    rows = []
    for name, k in budgets(256, 256, (0.5, 0.7, 0.9)).items():
        # A layer of its own, so that the diagonal of the bound counts each time; the first method computes it.
        layer = l0quad.Layer(W0, H=H, k=k, damping=DAMPING)
        rows.append([name, *cells(layer, ASKED[name])])
        fresh = timed(l0quad.Layer(W0, H=H, k=k, damping=DAMPING), "auto")[1]
        rows[-1][-2] = f"{fresh:.2f}"
        print(*rows[-1], flush=True)
    return table(HEADER, rows)


def exchanges() -> str:
    """What the best single exchange with refit would still gain on 100 random columns, beside their objectives."""
    H, W0 = synthetic(256, 256)
    result = l0quad.Layer(W0, H=H, k=256 * 77, damping=DAMPING).solve(bound="none")
    Q = H + DAMPING * H.diagonal().mean() * np.eye(256)
    largest = 0.0
    for j in np.random.default_rng(0).choice(256, 100, replace=False):
        S, N = np.flatnonzero(result.mask[:, j]), np.flatnonzero(~result.mask[:, j])
        inverse, g = np.linalg.inv(Q[np.ix_(S, S)]), Q @ W0[:, j]
        w, B = inverse @ g[S], inverse @ Q[np.ix_(S, N)]
        r, s = g[N] - Q[np.ix_(N, S)] @ w, Q[N, N] - np.einsum("ij,ij->j", Q[np.ix_(S, N)], B)
        e = inverse.diagonal()[:, None]
        change = 0.5 * (w * w)[:, None] / e - 0.5 * (r + B * w[:, None] / e) ** 2 / (s + B * B / e)
        largest = max(largest, -float(change.min()) / float(result.column_objectives[j]))
    return f"The best exchange left on any of 100 random columns gains {largest:.1e} of the column's objective."


def enumerated() -> str:
    """d = 20: every support of 10, ten columns."""
    H, W0 = synthetic(20, 10)
    Q = H + DAMPING * H.diagonal().mean() * np.eye(20)
    result = l0quad.Layer(W0, H=H, k=PerColumn(10), damping=DAMPING).solve()
    best = np.full(10, -np.inf)
    G = Q @ W0
    for S in map(list, itertools.combinations(range(20), 10)):
        best = np.maximum(best, 0.5 * np.sum(G[S] * np.linalg.solve(Q[np.ix_(S, S)], G[S]), axis=0))
    optima = 0.5 * np.sum(W0 * G, axis=0) - best
    ratio, bound = result.objective / optima.sum(), result.lower_bound / optima.sum()
    worst = (result.column_bounds / optima).min()
    return table(
        ["d = 20, k = 10, 10 columns", "error / optimum", "bound / optimum", "least of a column", "asked"],
        [["all 184,756 supports", f"{ratio:.5f}", f"{bound:.3f}", f"{worst:.3f}", "<= 1.005; .55 to 1"]],
    )


def wide() -> str:
    """512 x 2048 at .7."""
    H, W0 = synthetic(512, 2048)
    layer = l0quad.Layer(W0, H=H, k=PerColumn(round(0.3 * 512)), damping=DAMPING)
    return table(["512 x 2048", *HEADER[1:]], [["0.7, columns", *cells(layer, ".02716, 27 %")]])


def large() -> str:
    """2048 x 2048 at .5, with its memory."""
    H, W0 = synthetic(2048, 2048)
    with PeakMemory() as memory:
        layer = l0quad.Layer(W0, H=H, k=PerColumn(1024), damping=DAMPING)
        result, seconds = timed(layer, "auto")
    row = ["0.5, columns", f"{result.relative_error:.5f}", f"{result.relative_gap:.1%}"]
    row += [f"{seconds:.0f}", f"{memory.extra / 2**20:.0f}", "600 s, 2 GB"]
    return table(["2048 x 2048", "error", "gap", "CPU s", "extra MB", "asked"], [row])


def convolutions() -> Iterator[tuple[str, np.ndarray, l0quad.GramAccumulator]]:
    """Yield name, W0 and the Gram matrix of 20,000 unfolded patches of each 3 x 3 convolution of ResNet20."""
    import torch
    from networks import load

    network = load("ResNet20")
    images = network.train[0][:500]
    chosen = {name: each for name, each in network.model.named_modules() if isinstance(each, torch.nn.Conv2d)}
    for name, conv in chosen.items():
        if conv.kernel_size != (3, 3):
            continue
        gram, rng = l0quad.GramAccumulator(), np.random.default_rng(0)

        def keep(module, inputs, output, gram=gram, rng=rng, conv=conv):
            patches = torch.nn.functional.unfold(inputs[0], 3, padding=conv.padding, stride=conv.stride)
            rows = patches.transpose(1, 2).reshape(-1, patches.shape[1]).numpy()
            gram.update(rows[rng.choice(len(rows), 2000, replace=False)])

        hook = conv.register_forward_hook(keep)
        with torch.no_grad():
            for batch in images.split(50):
                network.model(batch)
        hook.remove()
        yield name, conv.weight.detach().numpy().reshape(conv.out_channels, -1).T, gram


def resnet() -> str:
    """Mean over the layers of the error, and of the gap, of every method."""
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for name, W0, gram in convolutions():
        for sparsity, k in budgets(len(W0), W0.shape[1], (0.5, 0.6, 0.7, 0.8, 0.9)).items():
            if sparsity.endswith("columns"):
                continue
            layer = l0quad.Layer(W0, gram=gram, k=k, damping=DAMPING)
            results = [layer.solve(method, n_threads=1) for method in METHODS]
            found.setdefault(sparsity, []).append([(each.relative_error, each.relative_gap) for each in results])
        print(name, flush=True)
    rows = []
    for sparsity, each in found.items():
        means = np.mean(each, axis=0)
        rows.append([sparsity, *(f"{error:.4f}, {gap:.0%}" for error, gap in means)])
    return table(["sparsity", *METHODS], rows)


def main() -> None:
    parts = [
        "Relative error (objective over that at W = 0) and certified gap of each method; every certificate checked "
        "anew. The rules of magnitude, Wanda and SparseGPT are l0quad's own implementations and, as published, do not "
        f"refit; `admm` refits. damping {DAMPING}. CPU seconds include the bound and its diagonal. "
        f"No GPU was at hand: d = 4096 was not run. {machine(1)}.",
        "## synthetic(256, 256)",
        small(),
        exchanges(),
        "## Every support enumerated",
        enumerated(),
        "## synthetic(512, 2048)",
        wide(),
    ]
    if "large" in sys.argv:
        parts += ["## synthetic(2048, 2048)", large()]
    if os.environ.get("L0QUAD_DATA"):
        parts += ["## ResNet20's 3 x 3 convolutions, 20,000 patches each, means over the layers", resnet()]
    report("layers", "Whole layers", *parts)


if __name__ == "__main__":
    main()
