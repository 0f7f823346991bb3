"""
A phase transition
==================

How few measurements suffice? Signals of length 100 with k nonzeros are measured n times by Gaussian rows, without
noise. A square is the share of trials in which exactly the true support comes back.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

p, trials = 100, 10
measurements, nonzeros = np.arange(15, 91, 15), np.arange(5, 41, 5)


def recovers(method: str | l0quad.IHT, n: int, k: int, trial: int) -> bool:
    """Whether the method finds the support of trial's signal."""
    rng = np.random.default_rng([n, k, trial])
    A = rng.standard_normal((n, p)) / np.sqrt(n)
    true = np.sort(rng.choice(p, k, replace=False))
    b = A[:, true] @ rng.standard_normal(k)
    found = l0quad.minimize(A, b, k, ridge=1e-10, method=method, bound="none")
    return np.array_equal(found.support, true)


ways: dict[str, str | l0quad.IHT] = {"hard-thresholding pursuit": l0quad.IHT(refit=True), "auto": "auto"}
rates = {
    name: np.array(
        [
            [
                np.mean([recovers(way, int(n), int(k), t) for t in range(trials)]) if k < n else np.nan
                for n in measurements
            ]
            for k in nonzeros
        ]
    )
    for name, way in ways.items()
}

# %%
# White: not tried, because there are no fewer nonzeros than measurements.

figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for axes, (name, rate) in zip(panels, rates.items(), strict=True):
    image = axes.pcolormesh(measurements, nonzeros, 100 * rate, cmap="cividis", vmin=0, vmax=100)
    axes.set(xlabel=f"measurements n (of {p} unknowns)", title=name, xticks=measurements, yticks=nonzeros)
panels[0].set_ylabel("nonzeros k")
figure.colorbar(image, ax=panels, label=f"exact recoveries (% of {trials} trials)")
