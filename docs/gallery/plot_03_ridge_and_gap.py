"""
Ridge against gap
=================

How much of an answer can be proven depends on the ridge and on the shape of A. Both problems have 100 columns, ten of
which count; one has more rows than columns, the other fewer.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(0)
p, k = 100, 10
ridges = np.logspace(-3, 2, 11)


def gaps(n: int) -> list[float]:
    """Return the relative gap, in per cent, at each ridge."""
    A = rng.standard_normal((n, p))
    b = A[:, :k] @ rng.choice([-1.0, 1.0], k) + 5 * rng.standard_normal(n)
    problem = l0quad.Problem(A, b, k)
    # The relaxations alone: `auto` would also search a tree.
    found = [l0quad.solve(problem.with_(ridge=ridge), l0quad.Swap(), bound="tight") for ridge in ridges]
    return [100 * result.relative_gap for result in found]


figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for n, style in ((300, "o-"), (60, "s--")):
    axes.semilogx(ridges, gaps(n), style, label=f"{n} rows, {p} columns")
axes.set(
    xlabel="ridge (the squared norm of a column is about its number of rows)", ylabel="proven gap (% of the objective)"
)
axes.set_ylim(0, 105)
axes.legend(frameon=False)

# %%
# With more rows than columns the curvature of A itself bounds the answer, and the ridge hardly matters. With fewer,
# the ridge is all that is convex in some directions: the gap only closes once the ridge is felt. The answer may be
# the best one all the same.
