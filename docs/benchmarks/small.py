"""How often each method finds the optimum of small random instances, against every support of size k.

p from 6 to 14, k from 2 to p / 2, n from p + 2 to 59, AR(1) columns with rho 0, .5, .9 or .95, a signal of k entries
+-(.5 to 1.5), signal-to-noise .2, 1 or 5. Even seeds: no ridge and no w0; odd seeds: ridge .3 and a Gaussian w0.
"""

import sys
import warnings
from collections import Counter
from itertools import combinations

import numpy as np
from competitors import Competitor, installed, versions
from instances import Instance
from measure import machine, report, table
from scipy.signal import lfilter

import l0quad

SETS = {"seeds 0 to 399": range(400), "seeds 1000 to 1399": range(1000, 1400)}
METHODS: dict[str, l0quad.Options] = {
    "auto": l0quad.Auto(),
    "auto, thorough": l0quad.Auto(effort="thorough"),
    "forward": l0quad.Forward(),
    "swap": l0quad.Swap(),
    "iht": l0quad.IHT(),
    "magnitude": l0quad.Magnitude(),
}
FOUND = 1e-9
PEERS = ("scikit-learn OMP", "abess")


def small(seed: int) -> Instance:
    """Return a small random instance."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(6, 15))
    k, n = int(rng.integers(2, p // 2 + 1)), int(rng.integers(p + 2, 60))
    rho, snr = rng.choice([0.0, 0.5, 0.9, 0.95]), rng.choice([0.2, 1.0, 5.0])
    innovation = np.sqrt(1 - rho**2)
    z = rng.standard_normal((n, p))
    z[:, 0] /= innovation
    A = lfilter([innovation], [1, -rho], z, axis=1)
    support = rng.choice(p, k, replace=False)
    signal = A[:, support] @ (rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 1.5, k))
    b = signal + np.sqrt(np.mean(signal**2) / snr) * rng.standard_normal(n)
    ridge, w0 = (0.3, rng.standard_normal(p)) if seed % 2 else (0.0, np.zeros(p))
    return Instance(A, b, k, ridge, w0)


class BruteForce:
    """The refitted objective of every support of size k."""

    def __init__(self, instance: Instance) -> None:
        A, b, k, ridge, w0 = instance
        self._H = A.T @ A + 2 * ridge * np.eye(A.shape[1])
        self._g = A.T @ b + 2 * ridge * w0
        self._constant = 0.5 * b @ b + ridge * w0 @ w0
        self.optimum = float(self.objectives(np.array(list(combinations(range(A.shape[1]), k)))).min())

    def objectives(self, supports: np.ndarray) -> np.ndarray:
        """Return the objective on each row of column numbers, through one batch of solves."""
        H, g = self._H[supports[:, :, None], supports[:, None, :]], self._g[supports]
        w = np.linalg.solve(H, g[:, :, None])[:, :, 0]
        return self._constant - 0.5 * np.einsum("ij,ij->i", g, w)


def run(seeds: range, peers: dict[str, Competitor]) -> tuple[list[list[object]], list[int]]:
    """Return a row for each method with the shares found, and the seeds that auto missed."""
    found: Counter[tuple[str, int]] = Counter()
    missed = []
    for seed in seeds:
        instance = small(seed)
        brute = BruteForce(instance)
        problem, reached = l0quad.Problem(*instance), brute.optimum + FOUND * abs(brute.optimum)
        for name, method in METHODS.items():
            objective = l0quad.solve(problem, method, bound="none", seed=0).objective
            assert objective >= brute.optimum - FOUND * abs(brute.optimum)
            found[name, seed % 2] += objective <= reached
            if name == "auto" and objective > reached:
                missed.append(seed)
        if seed % 2 == 0:
            for name, peer in peers.items():
                support = peer(instance)
                found[name, 0] += float(brute.objectives(support[None, :])[0]) <= reached
    half = len(seeds) // 2
    rows: list[list[object]] = []
    for name in [*METHODS, *peers]:
        first, second = found[name, 0], found[name, 1]
        asked = ""
        if name == "auto":
            asked = "99.5 %: " + ("met" if first + second >= 0.995 * 2 * half else "missed")
        other = ["-", "-"] if name in peers else [f"{second / half:.1%}", f"{(first + second) / (2 * half):.2%}"]
        rows.append([name, f"{first / half:.1%}", *other, asked])
    return rows, missed


def main(count: int) -> None:
    peers = installed(PEERS)
    parts = []
    warnings.simplefilter("ignore", RuntimeWarning)
    for name, seeds in SETS.items():
        rows, missed = run(seeds[:count], peers)
        header = ["method", "ridge 0, w0 = 0", "ridge .3, Gaussian w0", "all", "asked of all"]
        parts += [f"{name} ({min(count, len(seeds))} instances); auto missed: {missed or 'none'}", table(header, rows)]
    report(
        "small",
        "Small random instances",
        f"Share of instances whose optimum (brute force over all supports of size k) is found to {FOUND:g}. Methods "
        f"with their default options, seed=0; peers only without a ridge. {versions()}. {machine(1)}.",
        *parts,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
