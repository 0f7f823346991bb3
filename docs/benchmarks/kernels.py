"""How far the back-solve, a hard-thresholding step and the block back-solve are above their floors (MLPNet, 90 %)."""

from functools import partial

import numpy as np
import scipy.linalg
from instances import Instance, mlpnet
from measure import machine, medians, report, table

import l0quad
from l0quad.solvers.iht import hard_thresholding_step

BLOCKS = (500, 50)


def naive_backsolve(instance: Instance, support: np.ndarray) -> None:
    """Gather the columns, form one n x n Gram matrix, factor it."""
    A_S = instance.A[:, support]
    M = A_S @ A_S.T
    M[np.diag_indices_from(M)] += 2 * instance.ridge
    np.linalg.cholesky(M)


def naive_blocks(instance: Instance, support: np.ndarray, size: int) -> np.ndarray:
    """Solve one block after the other with NumPy and SciPy."""
    A, b, _, ridge, w0 = instance
    w = np.zeros(w0.size)
    remainder = b - A @ w0
    for first in range(0, w0.size, size):
        block = slice(first, min(first + size, w0.size))
        kept = support[(support >= block.start) & (support < block.stop)]
        outside = w0[block].copy()
        outside[kept - first] = 0
        A_S = A[:, kept]
        H = A_S.T @ A_S + 2 * ridge * np.eye(kept.size)
        rhs = A_S.T @ (remainder + A[:, block] @ outside)
        w[kept] = w0[kept] + scipy.linalg.cho_solve(scipy.linalg.cho_factor(H), rhs)
    return w


def against_floor(instance: Instance) -> list[list[object]]:
    """Return a row for each figure: what was measured, the reference, their ratio and the ratio asked for."""
    whole = l0quad.Problem(*instance)
    problem = whole.core
    A, support = problem.matrix, problem.constraint.select(np.abs(instance.w0))
    point = problem.evaluate(support, instance.w0[support])
    residual = problem.residual(point.support, point.w)
    r = np.random.default_rng(0).standard_normal(problem.shape[0])
    step = hard_thresholding_step(problem, point, residual)
    assert step is not None
    further = hard_thresholding_step(problem, *step)
    assert further is not None

    def run(method: str | l0quad.Options) -> l0quad.Result:
        return l0quad.solve(whole, method, start=support, bound="none")

    pairs = {
        "backsolve against gather + Gram + Cholesky": (
            lambda: run(l0quad.Backsolve(steps=0)),
            lambda: naive_backsolve(instance, support),
            "<= 1.3",
        ),
        "one iht step from the magnitude point against gemv": (
            lambda: hard_thresholding_step(problem, point, residual),
            lambda: A.rmatvec(r),
            "<= 2.5",
        ),
        "the next iht step against gemv": (
            lambda: hard_thresholding_step(problem, *step),
            lambda: A.rmatvec(r),
            "<= 2.5",
        ),
    }
    for size in BLOCKS:
        blocks = l0quad.BlockBacksolve(block_size=size)
        np.testing.assert_allclose(run(blocks).w, naive_blocks(instance, support, size), atol=1e-8)
        pairs[f"block_backsolve (blocks of {size}) against a NumPy loop"] = (
            partial(run, blocks),
            partial(naive_blocks, instance, support, size),
            "",
        )
    rows: list[list[object]] = []
    for name, (ours, reference, asked) in pairs.items():
        seconds = medians({"ours": ours, "reference": reference}, repeats=15)
        ratio = seconds["ours"] / seconds["reference"]
        rows.append([name, f"{seconds['ours'] * 1e3:.1f}", f"{seconds['reference'] * 1e3:.1f}", f"{ratio:.2f}", asked])
    return rows


def main() -> None:
    instance = mlpnet(0.9, 1e-2)
    by_columns = instance._replace(A=np.asfortranarray(instance.A))
    header = ["what", "ms", "reference ms", "ratio", "asked"]
    report(
        "kernels",
        "Distance from the floor",
        f"MLPNet instance, 90 % sparsity, l2 = 1e-2, float64, warm, medians of 15 alternating runs. {machine()}.",
        "A stored by rows:",
        table(header, against_floor(instance)),
        "A stored by columns:",
        table(header, against_floor(by_columns)),
    )


if __name__ == "__main__":
    main()
