"""Several targets on one design that share a support."""

import numpy as np

import l0quad


class Repeated(l0quad.Matrix):
    """A block-diagonal matrix of equal blocks, one for each target; column ``t * p + j`` is column j of block t.

    Attributes
    ----------
    base : Matrix
    columns : ndarray of int
        Which of the columns it has.
    """

    def __init__(self, base: l0quad.Matrix, n_targets: int, columns: np.ndarray | None = None) -> None:
        self.base, self.n_targets = base, n_targets
        self.columns = np.arange(n_targets * base.shape[1]) if columns is None else columns
        self.shape = n_targets * base.shape[0], self.columns.size
        self.dtype, self.nbytes = np.dtype(np.float64), n_targets * base.nbytes

    def take(self, columns: np.ndarray) -> np.ndarray:
        """Return the columns as a Fortran-ordered array."""
        n, p = self.base.shape
        taken = np.zeros((self.shape[0], columns.size), order="F")
        target, own = np.divmod(self.columns[columns], p)
        for t in np.unique(target).tolist():
            here = np.flatnonzero(target == t)
            taken[t * n : (t + 1) * n, here] = self.base.take(own[here])
        return taken

    def subset(self, columns: np.ndarray) -> "Repeated":
        """Return the columns as a matrix of its own."""
        return Repeated(self.base, self.n_targets, self.columns[columns])

    def scaled(self, exponent: int) -> "Repeated":
        """Return ``2**exponent`` times the matrix."""
        return Repeated(self.base.scaled(exponent), self.n_targets, self.columns)

    def rmatvec(self, r: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """Return A_S'r."""
        products = np.concatenate([self.base.rmatvec(each) for each in r.reshape(self.n_targets, -1)])
        return products[self.columns if columns is None else self.columns[columns]]

    def matvec(self, columns: np.ndarray | None, w: np.ndarray) -> np.ndarray:
        """Return A_S w."""
        full = np.zeros(self.n_targets * self.base.shape[1])
        full[self.columns if columns is None else self.columns[columns]] = w
        return np.concatenate([self.base.matvec(None, each) for each in full.reshape(self.n_targets, -1)])
