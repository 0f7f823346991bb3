"""
Best subsets against lasso and OMP
==================================

Correlated columns (.8 between neighbours), ten of which count. The lasso takes columns one by one along its path,
orthogonal matching pursuit takes the one that is most like the residual; l0quad looks for the best ten.
"""

import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.linear_model import OrthogonalMatchingPursuit, lasso_path

import l0quad

p, k, trials = 200, 10, 10
rows = (60, 80, 100, 120, 150, 200)
decay = 0.8 ** np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
root = np.linalg.cholesky(decay)


def supports(A: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Return the k columns that each method chooses."""
    _, coefficients, _ = lasso_path(A, b, n_alphas=200)
    sizes = (coefficients != 0).sum(axis=0)
    last = np.flatnonzero(sizes <= k)[-1]  # the least penalty with at most k columns
    pursuit = OrthogonalMatchingPursuit(n_nonzero_coefs=k, fit_intercept=False).fit(A, b)
    return {
        "l0quad": l0quad.minimize(A, b, k, bound="none").support,
        "OMP": np.flatnonzero(pursuit.coef_),
        "lasso": np.flatnonzero(coefficients[:, last]),
    }


hits: dict[str, np.ndarray] = {name: np.zeros((len(rows), trials)) for name in ("l0quad", "OMP", "lasso")}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scikit-learn on convergence
    for i, n in enumerate(rows):
        for trial in range(trials):
            rng = np.random.default_rng([n, trial])
            A = rng.standard_normal((n, p)) @ root.T
            true = rng.choice(p, k, replace=False)
            b = A[:, true] @ rng.choice([-1.0, 1.0], k) + 0.3 * rng.standard_normal(n)
            for name, found in supports(A, b).items():
                hits[name][i, trial] = np.isin(true, found).mean()

# %%
# The lasso shrinks what it keeps, and so takes further columns to make up for that; pursuit cannot take back an early
# mistake.

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, values), style in zip(hits.items(), ("o-", "s--", "^:"), strict=True):
    axes.plot(rows, 100 * values.mean(axis=1), style, label=name)
axes.set(xlabel=f"rows (of {p} columns)", ylabel=f"true columns among {k} chosen (%)", ylim=(0, 105))
axes.set_title(f"mean of {trials} trials", fontsize=11)
axes.legend(frameon=False, loc="lower right")
