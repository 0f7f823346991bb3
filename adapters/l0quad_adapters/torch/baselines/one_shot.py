"""The optimal brain surgeon's step for all removed weights at once, with the inverse of F or of its diagonal blocks."""

import functools
from collections.abc import Sequence

import numpy as np
import scipy.linalg

from l0quad_adapters.torch.baselines.base import FloatArray, Task, restricted


class _Inverse:
    """F^-1 for one diagonal block of F.

    By the Cholesky factor of that block or, where it is wider than n, of ``M = l2 I + A A'/n``:
    F^-1 = (I - A'M^-1 A / n) / l2 (Woodbury's identity).
    """

    def __init__(self, task: Task, first: int, last: int) -> None:
        self.task, self.first, self.last = task, first, last
        n, width = task.A.shape[0], last - first
        self.narrow = width <= n
        M = np.zeros((min(n, width),) * 2)
        if self.narrow:
            for rows in task.rows_in_pieces(first, last):
                M += rows.T @ rows
        else:
            for _, piece in task.pieces(first, last):
                M += piece @ piece.T
        M /= n
        M[np.diag_indices_from(M)] += task.l2
        try:
            self.factor = scipy.linalg.cholesky(M, lower=True, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError:
            raise ValueError(f"l2: too small beside A'A/n for float64, got {task.l2:g}") from None

    def diagonal(self) -> FloatArray:
        """Return the diagonal of F^-1."""
        if self.narrow:
            return self._solved_sq_norms(np.eye(self.last - self.first))
        n, l2 = self.task.A.shape[0], self.task.l2
        parts = []
        for _, piece in self.task.pieces(self.first, self.last):
            largest = l2 + np.einsum("ij,ij->j", piece, piece) / n
            # 1 - q may cancel; [F^-1]_jj >= 1 / F_jj holds for every positive definite F.
            parts.append(np.maximum((1 - self._solved_sq_norms(piece) / n) / l2, 1 / largest))
        return np.concatenate(parts)

    def product(self, v: FloatArray) -> FloatArray:
        """Return F^-1 v."""
        if self.narrow:
            return np.asarray(scipy.linalg.cho_solve((self.factor, True), v, check_finite=False))
        n = self.task.A.shape[0]
        total = np.zeros(n)
        for columns, piece in self.task.pieces(self.first, self.last):
            total += piece @ v[columns.start - self.first : columns.stop - self.first]
        y = scipy.linalg.cho_solve((self.factor, True), total / n, check_finite=False)
        back = [y @ piece for _, piece in self.task.pieces(self.first, self.last)]
        return (v - np.concatenate(back)) / self.task.l2

    def _solved_sq_norms(self, X: FloatArray) -> FloatArray:
        solved = scipy.linalg.solve_triangular(self.factor, X, lower=True, check_finite=False)
        return np.asarray(np.einsum("ij,ij->j", solved, solved))


def one_shot(task: Task, blocks: Sequence[tuple[int, int]]) -> FloatArray:
    """Remove the weights of least saliency ``w_q^2 / (2 [F^-1]_qq)`` and add up their updates.

    Parameters
    ----------
    blocks : sequence of (int, int)
        The first column of each diagonal block of F and the one after its last; F is zero outside of them.
    """

    # The factors of all blocks could need more memory than A, so only one is held, and built anew for the update.
    @functools.lru_cache(maxsize=1)
    def inverse(first: int, last: int) -> _Inverse:
        return _Inverse(task, first, last)

    diagonal = np.concatenate([inverse(*block).diagonal() for block in blocks])
    kept = task.select(task.w**2 / (2 * diagonal))
    removal = task.w / diagonal
    removal[kept] = 0.0
    update = np.concatenate([inverse(first, last).product(removal[first:last]) for first, last in blocks])
    return restricted(task.w - update, kept)
