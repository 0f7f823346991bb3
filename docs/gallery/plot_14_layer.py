"""
A whole layer, and how much better it could be
==============================================

A layer of 64 inputs and 48 outputs keeps a share of its weights, so that its outputs on 1,000 correlated inputs change
least. Four rules, and the bound that comes with the best of them: no choice of as many weights has a smaller error.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(0)
d, m = 64, 48
inputs = rng.standard_normal((1000, 20)) @ rng.standard_normal((20, d)) + rng.standard_normal((1000, d))
W0 = rng.standard_normal((d, m)) / np.sqrt(d)

sparsities = [0.5, 0.6, 0.7, 0.8, 0.9]
methods = ("magnitude", "wanda", "sparsegpt", "auto")
results = {
    (sparsity, method): l0quad.Layer(W0, X=inputs, k=round((1 - sparsity) * W0.size)).solve(method)
    for sparsity in sparsities
    for method in methods
}
for sparsity in sparsities:
    found = results[sparsity, "auto"]
    error, gap = found.relative_error, found.relative_gap
    print(f"{sparsity:.0%} zeros: error {error:.4f}, of which {gap:.0%} at most can be saved")

# %%
# The error is that of the outputs, over that of a layer without weights. Magnitude looks at weights alone, Wanda at
# weights times the size of their inputs, SparseGPT also moves what is left; ``auto`` chooses weights together.

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
for method in methods:
    axes.plot(sparsities, [results[s, method].relative_error for s in sparsities], "o-", label=method)
bounds = [results[s, "auto"].relative_error * (1 - results[s, "auto"].relative_gap) for s in sparsities]
axes.plot(sparsities, bounds, "--", color="0.5", label="lower bound")
axes.set(xlabel="share of zeros", ylabel="relative error of the outputs", yscale="log", xticks=sparsities)
axes.legend(frameon=False)
