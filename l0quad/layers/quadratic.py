"""The quadratic of a layer, and the best weights on given supports."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from l0quad.layers.budgets import Pattern
from l0quad.linalg.cholesky import cholesky, cholesky_factor, inverse_of
from l0quad.types import BoolArray, FloatArray, IntArray, Pause, go_on

# A singular Q is worked on with this share of its diagonal added, or with the first larger one that factors.
_SHIFTS = (1e-10, 1e-8, 1e-6, 1e-4)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """F = ``sum_j 1/2 e_j'Q e_j - r_j'e_j + c_j``, e = w - w0: the outputs w_j are the rows of W (m x d).

    Attributes
    ----------
    Q : ndarray of shape (d, d)
        H + mu I, with a one for dead inputs, whose weights are zero.
    mu : float
        Twice the ridge.
    W0 : ndarray of shape (m, d)
        The centre w0: the least F, or as near as rounding lets it be.
    residual, residual_size : ndarray of shape (m, d) or (1, 1)
        r, what rounding leaves of -grad F at the centre, and the size of the terms that it is the difference of; zero
        where the centre is given.
    constant, constant_size : ndarray of shape (m,)
        c, F at the centre, and the size of its terms.
    regular : ndarray of shape (d, d)
        Q, or where that is singular Q with a little more diagonal; what is factored.
    pattern : Pattern
    """

    Q: FloatArray
    mu: float
    W0: FloatArray
    residual: FloatArray
    residual_size: FloatArray
    constant: FloatArray
    constant_size: FloatArray
    regular: FloatArray
    pattern: Pattern

    @property
    def is_regular(self) -> bool:
        """Whether Q itself is regular."""
        return self.regular is self.Q

    def objectives(self, W: FloatArray) -> FloatArray:
        """Return F of each output (m)."""
        E = W - self.W0
        return 0.5 * np.einsum("ij,ij->i", E, E @ self.Q) - (E * self.residual).sum(axis=1) + self.constant

    @cached_property
    def targets(self) -> FloatArray:
        """The g (m x d) by which, on a support S, the best weights are ``regular[S, S]^-1 g[S]``."""
        return self.W0 @ self.regular + self.residual

    @cached_property
    def at_zero(self) -> FloatArray:
        """F of each output at W = 0 (m)."""
        return self.objectives(np.zeros_like(self.W0))


def regularised(Q: FloatArray, pause: Pause = go_on) -> FloatArray:
    """Return Q where it has a Cholesky factor, else Q with a small share of its diagonal added."""
    own = Q.copy()
    if cholesky_factor(own, 0.0, pause) is not None:
        return Q
    for share in _SHIFTS:
        if cholesky_factor(own, share * Q.diagonal(), pause) is not None:
            return Q + np.diag(share * Q.diagonal())
    raise ValueError("H: must be positive semidefinite, but has a negative eigenvalue")


def solver(Q: FloatArray, S: IntArray) -> Callable[[FloatArray], FloatArray]:
    """Return what solves with Q[S, S], Q regular: a part of a regular matrix is regular."""
    if not S.size:
        return np.zeros_like
    solve = cholesky(Q[np.ix_(S, S)], 0.0)
    assert solve is not None
    return solve


def inverse(Q: FloatArray, S: IntArray) -> FloatArray:
    """Return ``Q[S, S]^-1``, Q regular."""
    factor = cholesky_factor(Q[np.ix_(S, S)], 0.0)
    assert factor is not None
    return inverse_of(factor)


def exchange(Q: FloatArray, S: IntArray, P: FloatArray, leaving: IntArray, joining: IntArray) -> None:
    """Give the slots ``leaving`` of S to the inputs ``joining``, and bring P = Q[S, S]^-1 up to date; both are changed.

    Without what leaves, then with what joins: two Schur complements.
    """
    S[leaving] = joining
    B = P[:, leaving].copy()
    P -= B @ np.linalg.solve(B[leaving], B.T)
    P[leaving], P[:, leaving] = 0.0, 0.0
    cross = Q[np.ix_(S, joining)]
    Z = P @ cross
    schur = cross[leaving] - cross.T @ Z
    Z[leaving] = -np.eye(leaving.size)
    P += Z @ np.linalg.solve(schur, Z.T)


def refit_one(Q: FloatArray, g: FloatArray, chosen: BoolArray) -> FloatArray:
    """Return the best w (d) of one output on the chosen inputs."""
    S, w = np.flatnonzero(chosen), np.zeros(g.size)
    w[S] = solver(Q, S)(g[S])
    return w


def refit_shared(Q: FloatArray, G: FloatArray, chosen: BoolArray) -> FloatArray:
    """Return the best W (m x d) on one support for all outputs: one factorization."""
    S, W = np.flatnonzero(chosen), np.zeros(G.shape)
    W[:, S] = solver(Q, S)(np.ascontiguousarray(G[:, S].T)).T
    return W


def refit(Q: FloatArray, G: FloatArray, mask: BoolArray, pause: Pause = go_on) -> FloatArray:
    """Return the best W (m x d) on a mask: one factorization an output."""
    W = np.zeros(mask.shape)
    for j in range(mask.shape[0]):
        pause()
        W[j] = refit_one(Q, G[j], mask[j])
    return W
