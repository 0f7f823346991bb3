"""compile: all kernels ahead of the first solve, for images and CI."""

import time
from typing import Any

import numpy as np
import scipy.sparse as sp

from l0quad.api.layer import Layer
from l0quad.api.solve import solve
from l0quad.problem.constraints.groups import Groups
from l0quad.problem.constraints.n_of_m import NofM
from l0quad.problem.problem import Problem
from l0quad.solvers.iht import IHT
from l0quad.solvers.registry import METHODS


def compile() -> float:
    """Compile every kernel for float32 and float64 and keep the machine code in numba's cache; return the seconds.

    Without it the kernels are compiled when they are first called, some seconds all together, once on a machine.

    Returns
    -------
    float
        The seconds that it took; few where the kernels are in the cache.

    Examples
    --------
    >>> import l0quad
    >>> seconds = l0quad.compile()
    """
    begin = time.perf_counter()
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 24))
    tall = rng.standard_normal((12, 4))
    for dtype in (np.float64, np.float32):
        stored: list[Any] = [A.astype(dtype), np.asfortranarray(A, dtype=dtype), sp.csc_array(A).astype(dtype)]
        for array in stored:
            for name in METHODS:
                solve(Problem(array, A[:, 0], 3, ridge=0.1), name)
            solve(Problem(array, A[:, 0], 12, ridge=0.1, w0=np.ones(24)), IHT(), bound="tight")
        for k in (NofM(2, 4), NofM(5, 20), Groups(np.arange(24) // 3, 2)):
            solve(Problem(A.astype(dtype), A[:, 0], k, ridge=0.1), bound="tight")
        solve(Problem(tall.astype(dtype), tall[:, 0], 2))
    Layer(np.ones((4, 2)), X=tall, k=NofM(2, 4)).solve()
    return time.perf_counter() - begin
