"""
Equations from a trajectory
===========================

The Lorenz system has seven terms. They are found among the 20 monomials of degree at most three in x, y and z from a
trajectory that is seen with noise (sparse identification of nonlinear dynamics: Brunton, Proctor and Kutz, PNAS
2016).
"""

from itertools import combinations_with_replacement

import numpy as np
from matplotlib import pyplot as plt
from scipy.integrate import solve_ivp
from scipy.signal import savgol_filter

import l0quad


def lorenz(_: float, u: np.ndarray) -> list[float]:
    x, y, z = u
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


rng = np.random.default_rng(0)
step, noise = 0.005, 0.05
times = np.arange(0, 20, step)
exact = solve_ivp(lorenz, (0, 20), [-8, 7, 27], t_eval=times, rtol=1e-9, atol=1e-9).y.T
seen = exact + noise * rng.standard_normal(exact.shape)

# Smoothed values and derivatives come from the same local polynomials.
u = savgol_filter(seen, 25, 4, axis=0)[50:-50]
slopes = savgol_filter(seen, 25, 4, deriv=1, delta=step, axis=0)[50:-50]

terms = [c for degree in range(4) for c in combinations_with_replacement("xyz", degree)]
columns = dict(zip("xyz", u.T, strict=True))
library = np.column_stack([np.prod([columns[v] for v in term], axis=0) if term else np.ones(len(u)) for term in terms])
names = ["".join(term) or "1" for term in terms]

# %%
# For each equation a path over the number of terms. The least error that more terms do not lower by a fifth decides.

ks = range(1, 7)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (variable, style) in enumerate(zip("xyz", ("o-", "s--", "^:"), strict=True)):
    path = l0quad.path(library, slopes[:, i], ks, standardize=True)
    rms = [float(np.sqrt(fit.rss / len(u))) for fit in path]
    axes.semilogy(ks, rms, style, label=f"d{variable}/dt")
    chosen = next((fit for fit, now, more in zip(path, rms, rms[1:], strict=False) if more > 0.8 * now), path[-1])
    right = " ".join(f"{chosen.coef[j]:+.2f} {names[j]}" for j in chosen.result.support)
    print(f"d{variable}/dt = {right}   (rms error {rms[chosen.k - 1]:.2f}, {chosen.result.status.name})")
axes.set(xlabel="number of terms", ylabel="rms error of the derivative (units per second)", xticks=ks)
axes.legend(frameon=False)

# %%
# The trajectory.

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(u[:, 0], u[:, 2], linewidth=0.8)
axes.set(xlabel="x", ylabel="z")
