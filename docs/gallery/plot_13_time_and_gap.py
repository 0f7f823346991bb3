"""
Time against gap
================

Branch and bound from the first answer to the proof: the best objective and the lower bound meet. A limit anywhere on
the way returns the point and the gap that there are.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(2)
n, p, k = 300, 120, 9
X = rng.standard_normal((n, p))
X[:, 1:] += 0.7 * X[:, :-1]
y = X[:, rng.choice(p, k, replace=False)] @ rng.choice([-1.0, 1.0], k) + 4.0 * rng.standard_normal(n)
problem = l0quad.Problem(X, y, k, ridge=1.0)
l0quad.solve(problem, "exact", time_limit=0.01)  # compiles

result = l0quad.solve(problem, "exact", time_limit=20)
print(result)
seconds, best, bound, nodes = np.array(
    [(state.seconds, state.best_objective, state.lower_bound, state.nodes) for state in result.history]
).T
print(f"{int(nodes[-1])} nodes")

# %%
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
begun = bound > 0.5 * best[-1]  # the first bounds are far below the picture
axes.step(seconds[begun], best[begun], where="post", label="best point")
axes.step(seconds[begun], bound[begun], where="post", color="C1", label="lower bound")
axes.fill_between(seconds[begun], bound[begun], best[begun], step="post", color="C0", alpha=0.12, label="gap")
axes.set(xlabel="seconds", ylabel="objective")
axes.legend(frameon=False, loc="lower right")
