"""
Complex coefficients
====================

Five complex tones in 48 complex samples, taken at random times. ``stack_complex`` makes the real problem that this
is, in which real and imaginary part of a coefficient are chosen together, and leads back.
"""

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(0)
n, seen, k, noise = 128, 48, 5, 0.1

true = np.zeros(n, dtype=complex)
places = np.sort(rng.choice(n, k, replace=False))
true[places] = np.exp(2j * np.pi * rng.random(k)) * rng.uniform(0.5, 1.5, k)
times = np.sort(rng.choice(n, seen, replace=False))
A = np.exp(2j * np.pi * np.outer(times, np.arange(n)) / n) / np.sqrt(seen)
b = A @ true + noise * (rng.standard_normal(seen) + 1j * rng.standard_normal(seen)) / np.sqrt(2)

problem, back = l0quad.stack_complex(A, b, k, ridge=1e-3)
result = l0quad.solve(problem)
found = back(result)
print("the five tones:", np.array_equal(np.flatnonzero(found), places))
print(f"largest error of a coefficient: {np.abs(found - true).max():.3f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2), layout="constrained")
left.vlines(places, 0, np.abs(true[places]), color="0.7", linewidth=4, label="true")
left.plot(np.flatnonzero(found), np.abs(found[found != 0]), "o", color="C0", label="found")
left.set(
    xlabel=f"frequency (cycles per {n} samples)", ylabel="modulus of the coefficient", xlim=(-1, n), ylim=(0, None)
)
left.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.12))
right.plot(true[places].real, true[places].imag, "o", color="0.7", markersize=12)
right.plot(found[places].real, found[places].imag, "o", color="C0")
right.axhline(0, color="0.5", linewidth=0.8)
right.axvline(0, color="0.5", linewidth=0.8)
right.set(xlabel="real part", ylabel="imaginary part", aspect="equal", xlim=(-1.7, 1.7), ylim=(-1.7, 1.7))
