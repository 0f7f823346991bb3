"""
Two of every four
=================

Some processors multiply matrices faster that have at most two nonzeros in every four inputs. One output of a layer
has 64 weights; which 32 of them to keep, and how to move these, is a small problem for the data that the layer sees.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(0)
n, p = 400, 64
mixing = rng.standard_normal((p, p)) / np.sqrt(p) + 0.5 * np.eye(p)
X = rng.standard_normal((n, p)) @ mixing  # correlated inputs
w0 = rng.standard_normal(p)
y = X @ w0  # what the dense layer says

budgets = {"2 of every 4": l0quad.NofM(2, 4), "any 32 of 64": l0quad.Cardinality(p // 2)}
errors: dict[str, list[float]] = {"largest kept": [], "largest kept, refitted": [], "l0quad": []}
for budget in budgets.values():
    problem = l0quad.Problem(X, y, budget, ridge=25.0, w0=w0)
    refitted = l0quad.solve(problem, "magnitude", bound="none")
    largest = np.zeros(p)
    largest[refitted.support] = w0[refitted.support]
    best = l0quad.solve(problem)
    for name, w in zip(errors, (largest, refitted.w, best.w), strict=True):
        errors[name].append(100 * np.sum((X @ w - y) ** 2) / np.sum(y**2))
    print(best)

# %%
# The ridge, five per cent of a column's squared norm, is for the proof: without it nearly nothing would be proven
# here. What is lost of the output's energy:

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (name, values) in enumerate(errors.items()):
    bars = axes.bar(np.arange(2) + 0.27 * (i - 1), values, width=0.25, label=name)
    axes.bar_label(bars, fmt="%.1f", padding=2)
axes.set_xticks(range(2), budgets)
axes.set_ylabel("squared error of the output (%)")
axes.legend(frameon=False)
