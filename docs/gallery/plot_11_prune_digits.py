"""
Prune, save, fine-tune, reload
==============================

A network for handwritten digits is pruned to a tenth of its weights, trained on under its mask, kept in a file of a
few kilobytes, and read back to the bit.
"""

import copy
import tempfile
from pathlib import Path

import torch
from l0quad_adapters.torch import keep_masks, load_sparse, prune, save_sparse
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
pixels, digits = load_digits(return_X_y=True)
split = train_test_split(
    torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits), test_size=600, random_state=0
)
X, X_test, y, y_test = split
loss_fn = nn.functional.cross_entropy


def accuracy(model: nn.Module) -> float:
    """Return the test accuracy in per cent."""
    with torch.no_grad():
        return 100 * float((model(X_test).argmax(1) == y_test).float().mean())


def train(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            loss_fn(model(X[batch]), y[batch]).backward()
            optimizer.step()
    model.eval()


dense = nn.Sequential(nn.Linear(64, 160), nn.ReLU(), nn.Linear(160, 80), nn.ReLU(), nn.Linear(80, 10))
train(dense, torch.optim.AdamW(dense.parameters(), lr=3e-3), 30)

# %%
# Pruning keeps the biases; the report has a line a layer.

reached = {"dense": accuracy(dense)}
magnitude = copy.deepcopy(dense)
prune(magnitude, loss_fn, (X, y), 0.9, method="magnitude", stages=1, refit_stages=0)
reached["largest\nkept"] = accuracy(magnitude)

model = copy.deepcopy(dense)
print(prune(model, loss_fn, (X, y), 0.9))
reached["pruned"] = accuracy(model)

# %%
# Zeros stay zeros while it trains on.

optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
handle = keep_masks(optimizer, model)
train(model, optimizer, 10)
handle.remove()
reached["pruned,\nfine-tuned"] = accuracy(model)

# %%
# The file has one bit a weight and the nonzeros.

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "digits.safetensors"
    save_sparse(model, file)
    again = copy.deepcopy(dense)
    load_sparse(again, file)
    sizes = file.stat().st_size, sum(4 * value.numel() for value in dense.state_dict().values())
same = torch.equal(again(X_test), model(X_test))
print(f"{sizes[0] / 1000:.0f} kB, dense {sizes[1] / 1000:.0f} kB; same outputs: {same}")

# %%
figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
bars = axes.bar(list(reached), list(reached.values()), color=["0.6", "C1", "C0", "C2"], width=0.6)
axes.bar_label(bars, fmt="%.1f", padding=2)
axes.set(ylabel="test accuracy (%, 600 digits)", ylim=(0, 108))
axes.set_title("a tenth of the weights", fontsize=11)
