"""What a first call gives: a small network with batch normalisation on scikit-learn's digits, pruned to 90 %."""

import copy
import statistics
from typing import Any

import torch
from l0quad_adapters.torch import prune
from measure import machine, report, table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SPARSITY, SEEDS = 0.9, 5
README = {"method": "backsolve", "stages": 10, "refit_stages": 5, "n_rows": 25, "batch_size": 16, "l2": 3e-3}
CALLS: dict[str, dict[str, Any]] = {
    "`prune(model, loss_fn, data, 0.9)`": {},
    "the README's call, new statistics": README | {"recalibrate": True},
    "the README's call, old statistics": README | {"recalibrate": False},
    "`stages=20`": {"stages": 20},
    "`batch_size=4`": {"batch_size": 4},
    "one-line global magnitude": {"method": "magnitude", "stages": 1, "refit_stages": 0, "recalibrate": False},
}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def accuracy(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    with torch.no_grad():
        return 100 * float((model(inputs).argmax(1) == targets).float().mean())


def main() -> None:
    torch.set_num_threads(1)
    pixels, digits = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(digits)
    found: dict[str, list[float]] = {name: [] for name in ("dense", *CALLS)}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        x, x_test, y, y_test = train_test_split(images, labels, test_size=600, random_state=seed, stratify=labels)
        dense = network()
        optimizer = torch.optim.AdamW(dense.parameters(), lr=3e-3)
        for _ in range(20):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(dense(x[batch]), y[batch]).backward()
                optimizer.step()
        found["dense"].append(accuracy(dense.eval(), x_test, y_test))
        for name, options in CALLS.items():
            model = copy.deepcopy(dense)
            prune(model, nn.functional.cross_entropy, (x, y), SPARSITY, seed=seed, **options)
            found[name].append(accuracy(model, x_test, y_test))
    rows = [
        [name, f"{statistics.mean(values):.2f}", " ".join(f"{value:.1f}" for value in values)]
        for name, values in found.items()
    ]
    report(
        "defaults",
        "The defaults of prune",
        f"Two 3 x 3 convolutions of 16 and 32, 512-64-10, {SPARSITY:.0%} sparsity, {SEEDS} seeds. {machine(1)}.",
        table(["call", "test accuracy, %", "by seed"], rows),
    )


if __name__ == "__main__":
    main()
