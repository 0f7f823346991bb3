"""The instances that the benchmarks are run on, and the best objectives known for them.

P0 to P3h and P5 are regressions with AR(1) columns of unit norm, P4 is shaped like a pruning problem. The MLPNet
instance is made from real data (a small trained network and MNIST) in the folder that the variable L0QUAD_DATA names: A
holds the gradients of the first 1000 training images, w0 the network's weights, b = A w0, ridge = n l2 / 2.
"""

import os
import sys
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter


class Instance(NamedTuple):
    """A problem's data."""

    A: np.ndarray
    b: np.ndarray
    k: int
    ridge: float
    w0: np.ndarray


#        n      p      k   rho  SNR   ridge
REGRESSION = {
    "P0": (200, 60, 8, 0.9, 1.0, 1e-2),
    "P1": (500, 2000, 20, 0.9, 5.0, 1e-3),
    "P2": (1000, 20000, 50, 0.7, 5.0, 1e-3),
    "P3": (20000, 1000, 30, 0.9, 5.0, 1e-3),
    "P3h": (20000, 1000, 30, 0.9, 0.02, 1e-3),
    "P5": (400, 200, 10, 0.9, 3.0, 1e-2),
}
#        n      p      k     rank noise ridge
PRUNING = {"P4": (500, 20000, 2000, 50, 0.1, 1e-2)}

# Lowest objective known for seeds 0, 1, 2, ...; those of P0 were certified by a mixed-integer solver.
BEST_KNOWN = {
    "P0": [40.0699, 51.3267, 49.3866],
    "P1": [45.4180, 39.8328, 43.5965, 43.7388, 39.5972],
    "P2": [79.2298, 83.6258, 82.7236],
    "P3": [1704.1498],
    "P3h": [9761.139, 9768.055],
    "P4": [117.378, 118.378, 120.004],
}


def make(name: str, seed: int) -> Instance:
    """Return one of the synthetic instances."""
    if name in REGRESSION:
        return regression(*REGRESSION[name], seed)
    rng = np.random.default_rng(seed)
    n, p, k, rank, noise_level, ridge = PRUNING[name]
    left = rng.standard_normal((n, rank)) / np.sqrt(rank)
    right = rng.standard_normal((rank, p))
    A = left @ right + noise_level * rng.standard_normal((n, p))
    A /= np.linalg.norm(A, axis=0)
    w0 = rng.standard_normal(p)
    return Instance(A, A @ w0, k, ridge, w0)


def regression(n: int, p: int, k: int, rho: float, snr: float, ridge: float, seed: int) -> Instance:
    """Return AR(1) columns of unit norm, and a target from k of them."""
    rng = np.random.default_rng(seed)
    innovation = np.sqrt(1 - rho**2)
    z = rng.standard_normal((n, p))
    z[:, 0] /= innovation
    A = lfilter([innovation], [1, -rho], z, axis=1)
    support = np.sort(rng.choice(p, k, replace=False))
    signal = A[:, support] @ rng.choice([-1.0, 1.0], k)
    noise = rng.standard_normal(n)
    b = signal + np.sqrt(np.mean(signal**2) / snr) * noise
    return Instance(A / np.linalg.norm(A, axis=0), b / np.sqrt(np.mean(b**2)), k, ridge, np.zeros(p))


def diabetes(standardised: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the diabetes data with the products and squares of its columns (442 x 64), and its target.

    The squares of all columns but the sex. Standardised, the target is centred too.
    """
    with resources.files("l0quad").joinpath("data/diabetes.csv").open(encoding="ascii") as file:
        data = np.loadtxt(file, delimiter=",", skiprows=1)
    X, y = data[:, :10], data[:, 10]
    A = np.column_stack([X, *(X[:, i] * X[:, j] for i in range(10) for j in range(i, 10) if not i == j == 1)])
    return ((A - A.mean(0)) / A.std(0), y - y.mean()) if standardised else (A, y)


def uncentred(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return 2000 x 50 columns with a mean of 3 or more, each like its neighbour, and a target."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2000, 50))
    X[:, 1:] = 0.6 * X[:, 1:] + 0.8 * X[:, :-1] + 3
    return X, X[:, 3] + rng.standard_normal(2000)


def tall(seed: int = 0) -> Instance:
    """Return a million rows in float32."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((10**6, 50), dtype=np.float32)
    b = A[:, :5] @ np.ones(5) + rng.standard_normal(10**6)
    return Instance(A, b, 5, 1.0, np.zeros(50))


def data_folder() -> Path:
    """Return the folder of the real data, or end the script with a line that says how to name it."""
    folder = os.environ.get("L0QUAD_DATA")
    if not folder or not Path(folder, "mlpnet.npz").exists():
        sys.exit("skipped: set L0QUAD_DATA to the folder with mlpnet.npz and mnist.npz")
    return Path(folder)


def mlpnet_gradients(n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return the per-sample gradients (n x 32360, float64) of MLPNet on MNIST, and its weights.

    The network is 784-40-20-10 with ReLU, no biases, log-softmax and negative log-likelihood; the columns are the
    weights of its three layers, each raveled in C order.
    """
    folder = data_folder()
    net, mnist = np.load(folder / "mlpnet.npz"), np.load(folder / "mnist.npz")
    inputs = (mnist["x_train"][:n].reshape(n, -1) / 255.0 - 0.1307) / 0.3081
    weights = [net[f"fc{i}.weight"].astype(np.float64) for i in (1, 2, 3)]
    activations, signs, last = [inputs], [], inputs
    for layer, w in enumerate(weights):
        z = last @ w.T
        signs.append(z > 0)
        last = z if layer == 2 else np.maximum(z, 0)
        activations.append(last)
    delta = np.exp(last - last.max(axis=1, keepdims=True))
    delta /= delta.sum(axis=1, keepdims=True)
    delta[np.arange(n), mnist["y_train"][:n]] -= 1
    parts = []
    for layer in (2, 1, 0):
        parts.append((delta[:, :, None] * activations[layer][:, None, :]).reshape(n, -1))
        if layer:
            delta = (delta @ weights[layer]) * signs[layer - 1]
    return np.concatenate(parts[::-1], axis=1), np.concatenate([w.ravel() for w in weights])


def mlpnet(sparsity: float, l2: float, gradients: tuple[np.ndarray, np.ndarray] | None = None) -> Instance:
    """Return the MLPNet instance at a sparsity and l2, first-order term off."""
    A, w0 = mlpnet_gradients() if gradients is None else gradients
    n, p = A.shape
    return Instance(A, A @ w0, p - int(np.floor(sparsity * p + 0.5)), n * l2 / 2, w0)
