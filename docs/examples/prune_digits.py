"""Prune a small network on scikit-learn's digits three ways, and draw accuracy against sparsity.

    python docs/examples/prune_digits.py [picture.png]

Needs scikit-learn, PyTorch and matplotlib: pip install "l0quad[torch,examples]".
"""

import copy
import sys
from typing import Any

import torch
from l0quad_adapters.torch import prune
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

Samples = tuple[torch.Tensor, torch.Tensor]

SPARSITIES = (0.7, 0.8, 0.9, 0.95)

# What `prune` is asked for.
WAYS: dict[str, dict[str, Any]] = {
    "magnitude": {"method": "magnitude", "stages": 1, "refit_stages": 0},
    # One stage moves the weights far; without the gradient's own term in the model of the loss, less far.
    "one stage": {
        "method": "auto", "stages": 1, "refit_stages": 0, "n_rows": 500, "batch_size": 1, "l2": 1e-2,
        "scale_rows": True,
    },
    # Many stages of few rows, each the mean gradient of 16 images, then some that renew the weights only.
    "20 + 10 stages": {
        "method": "backsolve", "stages": 20, "refit_stages": 10, "n_rows": 70, "batch_size": 16, "l2": 3e-3,
    },
}  # fmt: skip


def load() -> tuple[Samples, Samples]:
    """Return 1197 images (64 pixels between 0 and 1) with their digits for training, and 600 for testing."""
    pixels, digits = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits)
    X, X_test, y, y_test = train_test_split(inputs, targets, test_size=600, random_state=0, stratify=targets)
    return (X, y), (X_test, y_test)


def trained(data: Samples) -> nn.Module:
    """Return a 64-160-80-10 network trained on the data, in eval mode."""
    X, y = data
    model = nn.Sequential(nn.Linear(64, 160), nn.ReLU(), nn.Linear(160, 80), nn.ReLU(), nn.Linear(80, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(30):
        for batch in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


def accuracy(model: nn.Module, data: Samples) -> float:
    """Return the share of the images, in per cent, whose digit the model names."""
    X, y = data
    with torch.no_grad():
        return 100 * float((model(X).argmax(dim=1) == y).float().mean())


def draw(dense: float, found: dict[str, list[float]], path: str) -> None:
    """Draw the accuracy of each way against the sparsity."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(dense, linestyle="--", color="0.35", label="dense")
    for (way, values), style in zip(found.items(), ("s-", "^-", "o-"), strict=True):
        axes.plot(SPARSITIES, values, style, label=way)
    axes.set(xlabel="sparsity", ylabel="test accuracy (%)", ylim=(0, 105), xticks=SPARSITIES)
    axes.set_title("Digits, no fine-tuning: accuracy against sparsity")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=110)


def main(path: str) -> None:
    """Train once, prune a copy for every way and sparsity, print the accuracies and draw them."""
    # One thread: starting others costs more than so small a network gives them to do.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training, test = load()
    model = trained(training)
    dense = accuracy(model, test)
    print(f"test accuracy of the dense network: {dense:.2f} %\n")
    print(f"{'sparsity':>14}", *(f"{sparsity:>8}" for sparsity in SPARSITIES))
    found: dict[str, list[float]] = {}
    for way, options in WAYS.items():
        found[way] = []
        for sparsity in SPARSITIES:
            pruned = copy.deepcopy(model)
            prune(pruned, nn.functional.cross_entropy, training, sparsity, **options)
            found[way].append(accuracy(pruned, test))
        print(f"{way:>14}", *(f"{value:8.2f}" for value in found[way]), flush=True)
    draw(dense, found, path)
    print(f"\nPicture: {path}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "prune_digits.png")
