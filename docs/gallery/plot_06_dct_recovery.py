"""
A signal from few of its samples
================================

A sum of ten cosines is seen at 64 of its 256 times, with noise. Which cosines they are is found from the columns of
the discrete cosine transform at these times.
"""

import numpy as np
from matplotlib import pyplot as plt
from scipy.fft import idct

import l0quad

rng = np.random.default_rng(3)
n, seen, k, noise = 256, 64, 10, 0.02

truth = np.zeros(n)
truth[np.sort(rng.choice(n // 2, k, replace=False))] = rng.choice([-1, 1], k) * rng.uniform(0.5, 1.5, k)
basis = idct(np.eye(n), norm="ortho", axis=0)  # a column for each cosine
signal = basis @ truth

times = np.sort(rng.choice(n, seen, replace=False))
A, b = basis[times], signal[times] + noise * rng.standard_normal(seen)

# %%
# The equation has 256 unknowns and 64 equations; that only ten are not zero is what makes it solvable. A ridge of the
# size of the noise steadies the values.

result = l0quad.minimize(A, b, k=k, ridge=noise**2)
recovered = basis @ result.w
print(result)
print("the ten cosines:", np.array_equal(result.support, np.flatnonzero(truth)))
print(f"error of the signal: {np.linalg.norm(recovered - signal) / np.linalg.norm(signal):.1%}")

# %%
# Left the signal, right its coefficients.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(3, 2), layout="constrained")
left.plot(signal, color="0.6", linewidth=3, label="signal")
left.plot(recovered, color="C0", linewidth=1.2, label="recovered")
left.plot(times, b, "o", color="C1", markersize=4, label=f"{seen} samples")
left.set(xlabel="time (samples)", ylabel="amplitude", xlim=(0, n))
left.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.15))
right.vlines(np.flatnonzero(truth), 0, truth[truth != 0], color="0.6", linewidth=4, label="true")
right.plot(result.support, result.w[result.support], "o", color="C0", markersize=5, label="recovered")
right.axhline(0, color="0.5", linewidth=0.8)
right.set(xlabel="frequency (half cycles per 256 samples)", ylabel="coefficient")
right.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.15))
