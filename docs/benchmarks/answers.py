"""Instances on which a local search over single exchanges is blind: what `auto` finds, beside the right value.

Families of instances: pairs and triples of monomials; sparse dynamics (a susceptible-infected-recovered model, whose
states add up to a constant, and Lorenz's system); columns that nearly depend on each other (a time stamp beside an
intercept, all dummies beside an intercept); columns of sizes 1e-8 to 1e8; deconvolution.
"""

import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from measure import machine, report, table
from scipy.integrate import solve_ivp

import l0quad

EFFORTS = ("fast", "thorough")


class Case(NamedTuple):
    """An instance and the objective of the support that it was made from."""

    A: np.ndarray
    b: np.ndarray
    k: int
    right: float


def made(A: np.ndarray, b: np.ndarray, support: np.ndarray, k: int | None = None) -> Case:
    """Return the case whose right value is the least-squares fit on a support."""
    fitted = np.linalg.lstsq(A[:, support], b, rcond=None)[0]
    return Case(A, b, len(support) if k is None else k, 0.5 * float(np.sum((A[:, support] @ fitted - b) ** 2)))


def monomials(size: int, seed: int) -> Case:
    """Return a sum of ``size`` monomials of degree 0 to 13, coefficients +-1, no noise."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.random(80))
    A = t[:, None] ** np.arange(14)
    A /= np.linalg.norm(A, axis=0)
    support = np.sort(rng.choice(14, size, replace=False))
    return made(A, A[:, support] @ rng.choice([-1.0, 1.0], size), support)


def library(states: np.ndarray, degree: int) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Return all monomials of the states up to a degree, and their exponents."""
    exponents = [e for e in itertools.product(range(degree + 1), repeat=states.shape[1]) if sum(e) <= degree]
    exponents.sort(key=lambda e: (sum(e), e[::-1]))
    return np.column_stack([np.prod(states**e, axis=1) for e in exponents]), exponents


def epidemic(state: int, population: float, degree: int = 5) -> Case:
    """Return the equation of one state of dS = -.4 S I / N, dI = .4 S I / N - .1 I, dR = .1 I, S + I + R = N."""

    def right_hand_side(_: float, y: np.ndarray) -> np.ndarray:
        infected, recovered = 0.4 * y[0] * y[1] / population, 0.1 * y[1]
        return np.array([-infected, infected - recovered, recovered])

    start = population * np.array([0.99, 0.01, 0.0])
    path = solve_ivp(right_hand_side, (0, 100), start, t_eval=np.linspace(0, 100, 200), rtol=1e-10, atol=1e-10)
    states = path.y.T
    A, exponents = library(states, degree)
    slopes = np.array([right_hand_side(0.0, y) for y in states])
    support = [[exponents.index((1, 1, 0))], [exponents.index((0, 1, 0)), exponents.index((1, 1, 0))]][state]
    return made(A, slopes[:, state], np.array(support), k=2)


def lorenz(state: int, degree: int, noise: float, seed: int = 0) -> Case:
    """Return the equation of one state of Lorenz's system (10, 28, 8/3), noise on the slopes."""

    def right_hand_side(_: float, y: np.ndarray) -> np.ndarray:
        return np.array([10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]])

    path = solve_ivp(right_hand_side, (0, 20), [-8.0, 8.0, 27.0], t_eval=np.linspace(0, 20, 1000), rtol=1e-9)
    states = path.y.T
    A, exponents = library(states, degree)
    slopes = np.array([right_hand_side(0.0, y) for y in states])[:, state]
    slopes = slopes + noise * slopes.std() * np.random.default_rng(seed).standard_normal(slopes.size)
    terms = [[(1, 0, 0), (0, 1, 0)], [(1, 0, 0), (0, 1, 0), (1, 0, 1)], [(1, 1, 0), (0, 0, 1)]][state]
    return made(A, slopes, np.array(sorted(exponents.index(each) for each in terms)))


def time_stamp(seed: int, step: float, noise: float) -> Case:
    """Return a line in time: an intercept, seconds since 1970, and eight columns of noise; k = 2."""
    rng = np.random.default_rng(seed)
    A = np.column_stack([np.ones(60), 1.7e9 + step * np.arange(60), rng.standard_normal((60, 8))])
    return made(A, np.arange(60) / 10 + noise * rng.standard_normal(60), np.array([0, 1]))


def dummies(seed: int, noise: float) -> Case:
    """Return an intercept, all dummies of two factors of six levels, and numbers; an effect of three columns."""
    rng = np.random.default_rng(seed)
    factors = [np.eye(6)[rng.integers(0, 6, 200)] for _ in range(2)]
    A = np.column_stack([np.ones(200), *factors, rng.standard_normal((200, 4))])
    support = np.array([0, 1 + int(rng.integers(0, 6)), 7 + int(rng.integers(0, 6)), 13])
    return made(A, A[:, support] @ [3.0, 1.0, -2.0, 0.5] + noise * rng.standard_normal(200), support)


def scaled(seed: int) -> Case:
    """Return a regression whose columns are multiplied by 10^U(-8, 8)."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((100, 30))
    support = np.sort(rng.choice(30, 5, replace=False))
    b = A[:, support] @ rng.choice([-1.0, 1.0], 5) + 0.1 * rng.standard_normal(100)
    return made(A * 10.0 ** rng.uniform(-8, 8, 30), b, support)


def deconvolution(seed: int) -> Case:
    """Return 300 shifts of a Gaussian bump of standard deviation 5, 20 spikes of height exp(N(9, 1)), noise 1."""
    rng = np.random.default_rng(seed)
    t = np.arange(300)
    A = np.exp(-0.5 * ((t[:, None] - t) / 5.0) ** 2)
    support = np.sort(rng.choice(300, 20, replace=False))
    return made(A, A[:, support] @ np.exp(rng.normal(9, 1, 20)) + rng.standard_normal(300), support)


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "pairs of monomials": lambda: (monomials(2, seed) for seed in range(40)),
    "triples of monomials": lambda: (monomials(3, seed) for seed in range(40)),
    "four monomials": lambda: (monomials(4, seed) for seed in range(40)),
    "epidemic, share of population": lambda: (epidemic(state, 1.0) for state in (0, 1)),
    "epidemic, 1000 people": lambda: (epidemic(state, 1000.0) for state in (0, 1)),
    "Lorenz, degrees 2 to 5": lambda: (lorenz(s, d, 0.0) for d in (2, 3, 4, 5) for s in (0, 1, 2)),
    "Lorenz, noise 1 %": lambda: (lorenz(s, d, 0.01) for d in (2, 3, 4, 5) for s in (0, 1, 2)),
    "time stamp": lambda: (
        time_stamp(seed, step, noise) for seed in range(4) for step in (1, 60) for noise in (0, 0.1)
    ),
    "dummies": lambda: (dummies(seed, noise) for seed in range(10) for noise in (0.0, 0.5)),
    "columns of sizes 1e-8 to 1e8": lambda: (scaled(seed) for seed in range(10)),
    "deconvolution": lambda: (deconvolution(seed) for seed in range(5)),
}


def missed(objective: float, case: Case) -> bool:
    """Whether an objective is above the right value, beyond what rounding makes of it."""
    return objective > case.right * (1 + 1e-6) + 1e-14 * float(case.b @ case.b)


def rows_of(name: str) -> list[list[object]]:
    """Return a row for each effort."""
    rows: list[list[object]] = []
    for effort in EFFORTS:
        ratios, seconds, lost, count = [], 0.0, [], 0
        for place, case in enumerate(FAMILIES[name]()):
            problem = l0quad.Problem(case.A, case.b, case.k)
            begin = time.process_time()
            result = l0quad.solve(problem, l0quad.Auto(effort=effort), bound="none", n_threads=1, seed=0)
            seconds += time.process_time() - begin
            count += 1
            ratios.append(result.objective / case.right if case.right > 0 else 1.0)
            if missed(result.objective, case):
                lost.append(f"{place}: {result.objective:.3g}/{case.right:.3g}")
        shown = "; ".join(lost[:4]) + (" ..." if len(lost) > 4 else "")
        rows.append([name, effort, f"{len(lost)} of {count}", shown or "-", f"{1000 * seconds / count:.0f}"])
        print(*rows[-1], flush=True)
    return rows


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    l0quad.solve(l0quad.Problem(np.eye(5), np.ones(5), 2))
    rows = [row for name in names for row in rows_of(name)]
    header = ["family", "effort", "missed", "found / right", "mean CPU ms"]
    report(
        "answers",
        "Where single exchanges are blind",
        "Missed: the objective is above that of the support that the instance was made from (noise may make it worse "
        f"than the optimum). Ridge 0, bound='none', seed=0. {machine(1)}.",
        table(header, rows),
    )


if __name__ == "__main__":
    main([name for name in FAMILIES if not sys.argv[1:] or any(each in name for each in sys.argv[1:])])
