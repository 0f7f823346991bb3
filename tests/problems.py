"""Small named instances that every method must handle, each with a naive objective of its own."""

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import reference
import scipy.sparse as sp
from problem_files import dense

from l0quad import METHODS, Cardinality, Groups, NofM, PerBlock, Problem
from l0quad.bounds.trivial import trivial_bound
from l0quad.problem.core import CoreProblem
from l0quad.problem.units import Units
from l0quad.run.monitor import SolveMonitor


@dataclass(frozen=True, eq=False)
class Instance:
    """The arguments of a Problem; ``gram`` hands over A'A, A'b and b'b/2 instead of A and b."""

    A: Any
    b: Any
    k: Any
    ridge: float = 0.0
    w0: Any = None
    linear: Any = None
    gram: bool = False

    def problem(self) -> Problem:
        if self.gram:
            return Problem.from_gram(
                self.A.T @ self.A, self.A.T @ self.b, self.k, 0.5 * self.b @ self.b, ridge=self.ridge, w0=self.w0
            )
        return Problem(self.A, self.b, self.k, self.ridge, self.w0, self.linear)

    def core(self) -> CoreProblem:
        return self.problem().core

    def but(self, **changes: Any) -> "Instance":
        return replace(self, **changes)

    @property
    def dense(self) -> np.ndarray:
        return dense(self.A).astype(np.float64)

    @property
    def p(self) -> int:
        return self.A.shape[1]

    @property
    def centre(self) -> np.ndarray:
        return np.zeros(self.p) if self.w0 is None else np.asarray(self.w0, dtype=np.float64)

    @property
    def cost(self) -> np.ndarray:
        return np.zeros(self.p) if self.linear is None else np.asarray(self.linear, dtype=np.float64)

    def objective(self, w: np.ndarray) -> float:
        w = np.asarray(w, dtype=np.float64)
        r, pull = self.dense @ w - np.asarray(self.b, dtype=np.float64), w - self.centre
        return 0.5 * r @ r + self.ridge * pull @ pull + self.cost @ w

    def size(self, w: np.ndarray) -> float:
        """The size of the terms whose sum is the objective: what its rounding error is relative to."""
        w = np.abs(np.asarray(w, dtype=np.float64))
        terms, pull = np.abs(self.dense) @ w + np.abs(self.b), w + np.abs(self.centre)
        return 0.5 * terms @ terms + self.ridge * pull @ pull + np.abs(self.cost) @ w + 1e-300

    def gradient(self, w: np.ndarray) -> np.ndarray:
        w = np.asarray(w, dtype=np.float64)
        return self.dense.T @ (self.dense @ w - self.b) + 2 * self.ridge * (w - self.centre) + self.cost

    def refit(self, support: np.ndarray) -> np.ndarray:
        """The minimiser on a support, by least squares on the stacked system; the one nearest to w0 of several."""
        centre, w = self.centre, np.zeros(self.p)
        if self.ridge:
            centre = centre - self.cost / (2 * self.ridge)
        stacked = np.vstack([self.dense[:, support], np.sqrt(2 * self.ridge) * np.eye(len(support))])
        target = np.concatenate([self.b - self.dense[:, support] @ centre[support], np.zeros(len(support))])
        w[support] = centre[support] + np.linalg.lstsq(stacked, target, rcond=None)[0]
        return w

    def allows(self, support: np.ndarray) -> bool:
        return reference.allowed(support, self.k, self.p)


def monitor_of(core: CoreProblem, kind: Any = SolveMonitor, **rest: Any) -> SolveMonitor:
    """A monitor as `solve` gives it to a solver, for a core problem alone."""
    return kind(core.zero(), trivial_bound(core), Units(0, 0, core.w0, None), **rest)


def suited(method: str, instance: Instance) -> bool:
    """Whether the method can work on the problem."""
    return METHODS[method].needs.lacking(instance.core()) is None


def gaussian(n: int, p: int, k: Any, seed: int = 0, rho: float = 0.0, **rest: Any) -> Instance:
    """Columns with correlation rho^|i - j|, a sparse truth and some noise: data without ties."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p))
    for j in range(1, p):
        A[:, j] = rho * A[:, j - 1] + np.sqrt(1 - rho**2) * A[:, j]
    truth = np.where(np.arange(p) % 3 == 0, rng.standard_normal(p), 0.0)
    return Instance(A, A @ truth + 0.3 * rng.standard_normal(n), k, **rest)


def pruning(n: int, p: int, k: Any, seed: int = 0, **rest: Any) -> Instance:
    """The pruning form: b = A w0, more kept columns than rows."""
    rng = np.random.default_rng(seed)
    A, w0 = rng.standard_normal((n, p)), rng.standard_normal(p)
    return Instance(A, A @ w0, k, w0=w0, **{"ridge": 0.5, **rest})


def stored_as(instance: Instance, convert: Any) -> Instance:
    return instance.but(A=convert(instance.A))


def memory_mapped(A: np.ndarray) -> np.memmap:
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=A.dtype, mode="w+", shape=A.shape)
    mapped[:] = A
    return mapped


def thinned(A: np.ndarray) -> np.ndarray:
    return np.where(np.random.default_rng(5).random(A.shape) < 0.4, A, 0.0)


def _problems() -> dict[str, Instance]:
    base = gaussian(20, 12, 4, ridge=0.1)
    wide = gaussian(10, 25, 4, ridge=0.2)
    sparse = stored_as(gaussian(18, 12, 4, seed=3, ridge=0.1), thinned)
    repeated = base.A[:, [0, 1, 2, 2, 3, 3, 0, 5]].copy()
    repeated[:, 1] = 0.0
    linear = np.random.default_rng(8).standard_normal(12)
    labels = np.arange(12)[::-1] // 5
    trios, uneven = np.arange(12) % 4, np.array([7, 7, 3, 3, 3, 0, 0, 0, 0, 1, 3, 1])
    return {
        "gaussian": base,
        "no_ridge": gaussian(20, 12, 4, seed=1),
        "correlated": gaussian(30, 15, 5, rho=0.9, ridge=0.05),
        "tall": gaussian(60, 10, 3, seed=2, ridge=0.1),
        "tall_no_ridge": gaussian(60, 10, 3, seed=2),
        "wide": wide,
        "wide_no_ridge": wide.but(ridge=0.0),
        "pruning": pruning(12, 40, 20),
        "pruning_no_ridge": pruning(12, 40, 20, ridge=0.0),
        "fortran": stored_as(base, np.asfortranarray),
        "float32": stored_as(base, np.float32),
        "float32_fortran": stored_as(wide, lambda A: np.asfortranarray(A, dtype=np.float32)),
        "pruning_float32": stored_as(pruning(12, 40, 20), np.float32),
        "csc": stored_as(sparse, sp.csc_array),
        "csr": stored_as(sparse, sp.csr_matrix),
        "coo_float32": stored_as(sparse, lambda A: sp.coo_array(A.astype(np.float32))),
        "memmap": stored_as(base, memory_mapped),
        "strided": stored_as(base, lambda A: np.hstack([A, A])[:, : A.shape[1]]),
        "linear": base.but(linear=linear),
        "linear_w0": base.but(linear=linear, w0=linear[::-1].copy()),
        "gram": gaussian(20, 12, 4, ridge=0.1, gram=True),
        "gram_singular": wide.but(gram=True, w0=np.ones(25)),
        "per_block": base.but(k=PerBlock(labels, [2, 0, 3])),
        "n_of_m": pruning(10, 22, NofM(2, 4)),
        "n_of_m_order": pruning(10, 12, NofM(1, 3, order=np.arange(12).reshape(4, 3).T.ravel(), must=[4], never=[0])),
        "must": base.but(k=Cardinality(4, must=[1, 8])),
        "never": base.but(k=Cardinality(4, never=[0, 3, 11])),
        "must_never": gaussian(20, 12, 4, seed=4, rho=0.9).but(k=Cardinality(5, must=[2, 7], never=[0, 6]), w0=linear),
        "must_alone": base.but(k=Cardinality(2, must=[4, 10]), linear=linear),
        "never_any": base.but(k=Cardinality(4, never=np.arange(12)), w0=linear),
        "must_pruning": pruning(12, 40, 20).but(k=Cardinality(20, must=[3, 30], never=np.arange(5, 12))),
        "must_repeated": base.but(A=repeated, k=Cardinality(3, must=[1, 2, 3]), ridge=0.0),
        "per_block_must": base.but(k=PerBlock(labels, [2, 0, 3], must=[0, 11], never=[9]), w0=linear),
        "groups": base.but(k=Groups(trios, 2)),
        "groups_no_ridge": gaussian(20, 12, Groups(uneven, 2), seed=5, rho=0.8),
        "groups_w0": gaussian(20, 12, Groups(uneven, 3), seed=6, rho=0.8, ridge=0.1, w0=linear),
        "groups_linear": base.but(k=Groups(trios, 1), linear=linear),
        "groups_must_never": base.but(k=Groups(uneven, 3, must=[2], never=[0, 5, 6]), w0=linear),
        "groups_wide": wide.but(k=Groups(np.arange(25) % 9, 3)),
        "groups_wide_no_ridge": wide.but(k=Groups(np.arange(25) // 4, 2), ridge=0.0),
        "groups_pruning": pruning(12, 40, Groups(np.arange(40) // 4, 5)),
        "groups_float32": stored_as(pruning(12, 40, Groups(np.arange(40) % 13, 6)), np.float32),
        "groups_csc": sparse.but(k=Groups(trios, 2)),
        "groups_gram": gaussian(20, 12, Groups(trios, 2), ridge=0.1, gram=True),
        "groups_none": base.but(k=Groups(trios, 0), w0=linear),
        "groups_never_any": base.but(k=Groups(trios, 2, never=np.arange(12)), w0=linear),
        "groups_all": base.but(k=Groups(trios, 4)),
        "groups_repeated": base.but(A=repeated, k=Groups([0, 1, 0, 1, 2, 2, 3, 3], 2), ridge=0.0),
        "repeated_columns": base.but(A=repeated, k=3),
        "repeated_columns_no_ridge": base.but(A=repeated, k=6, ridge=0.0, w0=np.arange(8.0)),
        "one_row": gaussian(1, 5, 2, ridge=0.1),
        "one_column": gaussian(8, 1, 1),
        "one_by_one": Instance(np.array([[2.0]]), np.array([3.0]), 1, 0.5),
        "k_zero": base.but(k=0),
        "k_all": base.but(k=12),
        "k_beyond": wide.but(k=1000, ridge=0.0),
        "b_zero": base.but(b=np.zeros(20)),
        "b_zero_w0": base.but(b=np.zeros(20), w0=linear),
        "A_zero": base.but(A=np.zeros((20, 12))),
        "A_zero_w0": base.but(A=np.zeros((20, 12)), w0=linear),
        "all_zero": base.but(A=np.zeros((20, 12)), b=np.zeros(20), ridge=0.0),
    }


PROBLEMS = _problems()
