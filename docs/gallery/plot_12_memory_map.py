"""
A matrix in a file
==================

A is written row block by row block to a file and mapped into memory; l0quad passes over it and never copies it. Here
it has 80 MB, so that the example is quick; it could be larger than memory.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import l0quad

rng = np.random.default_rng(0)
n, p, k = 2000, 10_000, 12
true = np.sort(rng.choice(p, k, replace=False))
values = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 1.5, k)

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "A.npy"
    A = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n, p))
    b = np.empty(n)
    for rows in range(0, n, 200):
        A[rows : rows + 200] = rng.standard_normal((200, p), dtype=np.float32)
        b[rows : rows + 200] = A[rows : rows + 200, true] @ values + 0.5 * rng.standard_normal(200)
    A.flush()
    del A

    mapped = np.load(file, mmap_mode="r")
    result = l0quad.minimize(mapped, b, k, ridge=1.0)
    print(f"{file.stat().st_size / 1e6:.0f} MB")
    del mapped  # so that the folder can be removed on every system
print(result)
print("true columns:", np.array_equal(result.support, true))

# %%
# With fewer rows than columns and a small ridge nothing is proven. The columns come back all the same.

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.vlines(np.arange(k), 0, values, color="0.7", linewidth=6, label="true")
axes.plot(np.arange(k), result.w[true], "o", color="C0", label="found")
axes.axhline(0, color="0.5", linewidth=0.8)
axes.set_xticks(np.arange(k), true, rotation=60)
axes.set(xlabel=f"column (of {p:,})", ylabel="coefficient")
axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.15))
