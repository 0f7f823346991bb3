"""
Variables that must be in, and groups
=====================================

A factor of several levels becomes several columns, which make sense together only. ``Groups`` takes or leaves them as
one; ``must`` keeps a group, ``never`` bars one.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(1)
n, levels = 400, 4
factors = ["region", "season", "trade", "channel", "tariff", "colour", "day", "shift"]
labels = np.repeat(np.arange(len(factors)), levels - 1)  # the first level is the base

codes = rng.integers(levels, size=(n, len(factors)))
X = np.column_stack([codes[:, f] == level for f in range(len(factors)) for level in range(1, levels)]).astype(float)
effects = np.zeros(X.shape[1])
effects[labels == 1] = [2.0, -1.0, 0.5]  # season
effects[labels == 4] = [0.3, 1.5, -1.5]  # tariff
y = X @ effects + rng.standard_normal(n)

design = l0quad.Design(X, fit_intercept=True)
target = design.target(y)
first_of_region = int(np.flatnonzero(labels == 0)[0])
asked = {
    "best 2 factors": l0quad.Groups(labels, 2),
    "best 3 with region": l0quad.Groups(labels, 3, must=[first_of_region]),
    "best 2 without tariff": l0quad.Groups(labels, 2, never=np.flatnonzero(labels == 4)),
}

found = {}
for name, budget in asked.items():
    result = l0quad.minimize(design.matrix, target, budget)
    found[name], _ = design.coefficients(result.w, y)
    chosen = [factors[f] for f in np.unique(labels[result.support])]
    print(f"{name:22} {', '.join(chosen):24} objective {result.objective:7.2f}  {result.status.name}")

# %%
# Every row is proven to be the best of its kind. The effects of the levels, against the true ones:

figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
for axes, (name, w) in zip(panels, found.items(), strict=True):
    axes.bar(np.arange(w.size), effects, color="0.8", width=0.9, label="true")
    used = np.flatnonzero(w)
    axes.plot(used, w[used], "o", color="C0", label="found")
    axes.set_title(name, fontsize=11)
    axes.set_xticks(np.arange(len(factors)) * (levels - 1) + 1, factors, rotation=60)
    axes.axhline(0, color="0.5", linewidth=0.8)
panels[0].set_ylabel("effect of a level")
panels[0].legend(frameon=False, loc="lower right")
