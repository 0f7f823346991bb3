"""
The number of variables by cross-validation
===========================================

Forty correlated variables, three of which count. Ten folds; the supports are found anew in each.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(0)
n = 200
X = rng.standard_normal((n, 40))
X[:, 1:] += 0.8 * X[:, :-1]
y = 3 + 2 * X[:, 5] - X[:, 17] + 0.5 * X[:, 30] + rng.standard_normal(n)

path = l0quad.path(X, y, range(1, 16), fit_intercept=True, standardize=True, cv=10, seed=0)
least, simplest = path.best("cv"), path.best("1se")
print("least error:", least.k, "variables", least.result.support)
print("within one standard error:", simplest.k, "variables", simplest.result.support)

# %%
# The noise has variance 1, so that no error much below 1 can be had. The error on the rows that were fitted goes on
# falling.

ks = [fit.k for fit in path]
errors, spread = np.array([(fit.scores["cv"], fit.scores["cv_error"]) for fit in path]).T

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.errorbar(ks, errors, spread, fmt="o-", capsize=3, label="rows left out, ± one standard error")
axes.plot(ks, [fit.rss / n for fit in path], "s--", color="C1", label="rows that were fitted")
axes.axvline(simplest.k, color="0.5", linestyle=":", linewidth=1.5)
axes.annotate("one-standard-error rule", (simplest.k, errors.max()), (6, 0), textcoords="offset points", va="center")
axes.set(xlabel="number of variables k", ylabel="mean squared error", ylim=(0, None), xticks=ks)
axes.legend(frameon=False, loc="lower right")
