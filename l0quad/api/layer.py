"""Layer: a whole layer, or several targets on one design, as the user states it; validated once and immutable."""

from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.api.layer_result import LayerResult
from l0quad.api.layer_solve import METHODS, solve_layer
from l0quad.layers.bound import diagonal
from l0quad.layers.budgets import LayerBudget, pattern
from l0quad.layers.gram import GramAccumulator
from l0quad.layers.quadratic import Quadratic, regularised
from l0quad.linalg.cholesky import cholesky
from l0quad.problem.core import frozen
from l0quad.run.monitor import Callback
from l0quad.types import BoolArray, FloatArray, Pause, go_on

# |H_ij| <= sqrt(H_ii H_jj) where H is semidefinite, up to what single precision leaves of it.
_ABOVE = 1 + 1e-5
# How far from the range of a singular H a target may be, beside its own size.
_OUTSIDE = 1e-8


class Layer:
    """Minimise ``1/2 tr((W - W0)'H(W - W0)) + ridge ||W - W0||^2`` over W (d x m) under a budget of nonzeros.

    H (d x d) is the Gram matrix of the inputs, one for all m outputs. One of ``H``, ``X`` and ``gram`` gives it.

    Parameters
    ----------
    W0 : array_like of shape (d, m)
        The dense weights: inputs by outputs (of a `torch.nn.Linear`, the transpose of its ``weight``).
    H : array_like of shape (d, d), optional
        Symmetric, positive semidefinite.
    X : array_like of shape (n, d), optional
        The inputs; H = X'X, summed in float64. What is claimed is claimed of this sum.
    gram : GramAccumulator, optional
        The same sum, over chunks.
    k : int, PerColumn, NofM or SharedSupport
        The budget: of the whole layer; of each output; n of m consecutive inputs of each output; of inputs that serve
        all outputs.
    ridge, damping : float, optional
        The weight of ``||W - W0||^2``; or ``damping`` times half the mean of H's diagonal, which adds that share of
        the mean to the diagonal. By default there is none.
    must, never : array_like of bool, shape (d, m), optional
        Entries that have a place within the budget whatever their value, and entries that are zero. For
        `SharedSupport`, an input has a place where any of its entries has, and is zero where all of them are.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.

    Attributes
    ----------
    shape : (d, m)
    k, ridge : the budget as given, and the ridge
    W0 : ndarray of shape (d, m)
    quadratic : Quadratic
        What methods see, a row an output.

    Notes
    -----
    A dead input (a zero in H's diagonal, without a ridge) costs nothing whatever its weight; it is zero in every
    answer. Where H is singular without a ridge, supports are refitted with a diagonal of 1e-10 of H's own (or more,
    until it can be factored) added; objectives are those of H itself.

    Examples
    --------
    >>> import numpy as np
    >>> import l0quad
    >>> rng = np.random.default_rng(0)
    >>> X, W0 = rng.standard_normal((200, 16)), rng.standard_normal((16, 6))
    >>> result = l0quad.Layer(W0, X=X, k=l0quad.NofM(2, 4), damping=0.01).solve()
    >>> np.count_nonzero(result.W, axis=0)
    array([8, 8, 8, 8, 8, 8])
    >>> bool(0 < result.lower_bound <= result.objective)
    True
    """

    k: LayerBudget
    ridge: float
    W0: np.ndarray
    quadratic: Quadratic
    _diagonal: list[FloatArray | None]

    def __init__(
        self,
        W0: ArrayLike,
        *,
        H: ArrayLike | None = None,
        X: ArrayLike | None = None,
        gram: GramAccumulator | None = None,
        k: LayerBudget,
        ridge: float | None = None,
        damping: float | None = None,
        must: ArrayLike | None = None,
        never: ArrayLike | None = None,
    ) -> None:
        weights = validation.dense_matrix(W0, "W0")
        validation.largest_exponent(weights, "W0")
        gramian = _gram(H, X, gram)
        d, m = weights.shape
        if gramian.shape != (d, d):
            raise ValueError(f"W0: must have a row for each of {gramian.shape[0]} inputs, got shape {weights.shape}")
        ridge = _ridge(gramian, ridge, damping)
        Q, dead = _curvature(gramian, ridge)
        centre = np.array(weights.T, dtype=np.float64, order="C")
        if dead.any():
            centre = np.where(dead, 0.0, centre)
        zero, none = np.zeros((1, 1)), np.zeros(m)
        self._build(k, ridge, weights, Q, must, never, (centre, zero, zero, none, none))

    @classmethod
    def from_targets(
        cls,
        H: ArrayLike,
        G: ArrayLike,
        const: ArrayLike,
        *,
        k: LayerBudget,
        ridge: float | None = None,
        damping: float | None = None,
        must: ArrayLike | None = None,
        never: ArrayLike | None = None,
    ) -> "Layer":
        """Return the layer ``1/2 tr(W'HW) - tr(G'W) + sum(const) + ridge ||W||^2``: m targets on one design.

        ``W0`` is then its minimiser without a budget. Where H is singular without a ridge nothing is proven: the lower
        bound is the least float.

        Parameters
        ----------
        H : array_like of shape (d, d)
            X'X.
        G : array_like of shape (d, m)
            X'Y. Without a ridge, in the range of H, as any X'Y is.
        const : array_like of shape (m,), or 0
            Half the squared norm of each target, so that objectives are half the squared residuals; it decides nothing.
        k, ridge, damping, must, never
            As of `Layer`.

        Raises
        ------
        ValueError, TypeError
            Naming the argument.

        Examples
        --------
        >>> import numpy as np
        >>> import l0quad
        >>> X = np.random.default_rng(0).standard_normal((100, 10))
        >>> Y = X[:, [2, 5, 7]] @ np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]])
        >>> layer = l0quad.Layer.from_targets(X.T @ X, X.T @ Y, (Y * Y).sum(axis=0) / 2, k=l0quad.SharedSupport(3))
        >>> np.flatnonzero(layer.solve().W.any(axis=1))
        array([2, 5, 7])
        """
        gramian = _gram(H, None, None)
        targets = np.array(validation.dense_matrix(G, "G"), dtype=np.float64)
        validation.largest_exponent(targets, "G")
        d, m = targets.shape
        if gramian.shape != (d, d):
            raise ValueError(f"G: must have a row for each of {gramian.shape[0]} inputs, got shape {targets.shape}")
        array = validation.numeric(const, "const")
        constant = np.zeros(m) if array.ndim == 0 and not array else validation.vector(array, "const", m, "or be 0")
        ridge = _ridge(gramian, ridge, damping)
        Q, dead = _curvature(gramian, ridge)
        if targets[dead].any():
            raise ValueError("G: must be zero for inputs whose H is zero; a ridge > 0 is the way out")
        g = np.ascontiguousarray(targets.T)
        W, singular = _minimiser(Q, g)
        residual = g - W @ Q
        size = np.abs(W) @ np.abs(Q) + np.abs(g)
        if singular and np.any(np.abs(residual) > _OUTSIDE * size.max(axis=1, keepdims=True)):
            raise ValueError("G: leaves the range of the singular H, so that the layer is unbounded unless ridge > 0")
        pull = 0.5 * np.einsum("ij,ij->i", W, g + residual)
        pull_size = 0.5 * np.einsum("ij,ij->i", np.abs(W), np.abs(g) + np.abs(residual) + size)
        layer = cls.__new__(cls)
        centre = (W, residual, size, constant - pull, np.abs(constant) + pull_size)
        layer._build(k, ridge, W.T, Q, must, never, centre)
        return layer

    def _build(
        self,
        k: LayerBudget,
        ridge: float,
        W0: np.ndarray,
        Q: FloatArray,
        must: ArrayLike | None,
        never: ArrayLike | None,
        centre: tuple[FloatArray, ...],
    ) -> None:
        shape = centre[0].shape
        kept, zero = _entries(must, "must", shape), _entries(never, "never", shape)
        if np.any(kept & zero):
            raise ValueError("must: has an entry that is also in never")
        bound = pattern(k, shape, kept, zero)
        self.k, self.ridge, self._diagonal = k, ridge, []
        self.W0 = frozen(W0.copy())
        W, residual, residual_size, constant, constant_size = (frozen(each) for each in centre)
        self.quadratic = Quadratic(
            Q, 2 * ridge, W, residual, residual_size, constant, constant_size, regularised(Q), bound
        )
        if not np.all(np.isfinite(self.quadratic.at_zero)):
            raise ValueError("W0: the objective at W = 0 overflows float64; scale H and W0 down")

    @property
    def shape(self) -> tuple[int, int]:
        """(d, m), that of W."""
        return self.W0.shape[0], self.W0.shape[1]

    def diagonal(self, pause: Pause = go_on) -> FloatArray | None:
        """Return the diagonal that bounds rest on (`l0quad.layers.bound.diagonal`), computed once."""
        if not self._diagonal:
            self._diagonal.append(diagonal(self.quadratic, pause))
        return self._diagonal[0]

    def solve(
        self,
        method: str = "auto",
        *,
        start: ArrayLike | LayerResult | None = None,
        bound: str = "fast",
        gap_tol: float | None = None,
        time_limit: float | None = None,
        n_threads: int | None = None,
        seed: int = 0,
        callback: Callback | None = None,
        verbose: int = 0,
        xp: ModuleType = np,
    ) -> LayerResult:
        """Solve the layer and bound its optimum.

        Parameters
        ----------
        method : {"auto", "admm", "magnitude", "wanda", "sparsegpt", "exact"}
            ADMM with exact exchanges after it; ADMM with a refit; the published rules as they are, without a refit;
            branch and bound, where d <= 64 and H is regular or has a ridge: in each output with its own budget; for
            one budget of the layer in each output for every size, d times the work, where m k <= 2^27; for
            `SharedSupport` on all outputs at once, where d m <= 512. It begins with Wanda's rule and a refit.
        start : array_like of shape (d, m) or LayerResult, optional
            For "auto": a mask (bool) or weights that exchanges begin from, in place of ADMM. Too many entries are cut
            to the largest, too few are filled up.
        bound : {"fast", "none", "tight"}
            25 iterations of the relaxation; nothing, that is 0 (or the least float of `from_targets`); 200 iterations.
        gap_tol : float, optional
            End without exchanges where the bound proves this relative gap of ADMM's answer.
        time_limit : float, optional
            Seconds, after which the best point so far is returned. An eigendecomposition of order d cannot be stopped
            (some 2 s for d = 2048 and 12 s for 4096 on one core). It is not begun where it would not fit: the rule of
            Wanda then takes the place of ADMM, and there is no bound.
        n_threads : int, optional
            Threads over the outputs, by default all cores; the answer is the same for every number.
        seed : int
            As in `solve`; no method for layers draws random numbers, so that it changes nothing.
        callback : callable, optional
            Called with a `State` some times a round; a true return value stops the solve.
        verbose : int
            1: `Progress` on stderr.
        xp : namespace, optional
            What holds the arrays of ADMM, of its refit (by conjugate gradients) and of the bound's relaxation and
            computes with them: NumPy, or torch on its default device. Exchanges, and the proof of the bound, are
            NumPy's.

        Returns
        -------
        LayerResult
            A limit, a callback's stop and Ctrl-C return the best point so far, with the status that says so.

        Raises
        ------
        Unsuited
            From "exact"; a ValueError.
        """
        validation.choice(method, "method", METHODS)
        return solve_layer(self, method, start, bound, gap_tol, time_limit, n_threads, seed, callback, verbose, xp)


def _gram(H: ArrayLike | None, X: ArrayLike | None, gram: GramAccumulator | None) -> FloatArray:
    if sum(each is not None for each in (H, X, gram)) != 1:
        raise ValueError("H, X, gram: exactly one of them must be given")
    if X is not None:
        gram = GramAccumulator()
        gram.update(validation.dense_matrix(X, "X"))
    if gram is not None:
        if not isinstance(gram, GramAccumulator):
            raise TypeError(f"gram: must be a GramAccumulator, got {type(gram).__name__}")
        if gram.H is None:
            raise ValueError("gram: has seen no rows yet")
        H = gram.H
    given = validation.symmetric(H, "H")
    diagonal = given.diagonal()
    root = np.sqrt(np.maximum(diagonal, 0.0))
    if np.any(diagonal < 0) or np.any(np.abs(given) > _ABOVE * np.outer(root, root)):
        raise ValueError("H: must be positive semidefinite, got an entry above the root of its two diagonal entries")
    return np.asarray(0.5 * (given + given.T))


def _ridge(H: FloatArray, ridge: float | None, damping: float | None) -> float:
    if ridge is not None and damping is not None:
        raise ValueError("ridge, damping: only one of them may be given")
    if damping is not None:
        return 0.5 * validation.real(damping, "damping") * float(H.diagonal().mean())
    return validation.real(0.0 if ridge is None else ridge, "ridge")


def _curvature(H: FloatArray, ridge: float) -> tuple[FloatArray, BoolArray]:
    """Return Q = H + 2 ridge I and the dead inputs, which have a one in Q's diagonal."""
    Q = H + 2 * ridge * np.eye(H.shape[0])
    dead = Q.diagonal() == 0
    Q[dead, dead] = 1.0
    return frozen(Q), dead


def _minimiser(Q: FloatArray, g: FloatArray) -> tuple[FloatArray, bool]:
    """Return g Q^-1 (m x d), refined once, or that of least norm; and whether Q is singular."""
    solve = cholesky(Q.copy(), 0.0)
    if solve is not None:
        W = solve(g.T).T
        return np.ascontiguousarray(W + solve((g - W @ Q).T).T), False
    root = np.sqrt(Q.diagonal())
    inverse = np.linalg.pinv(Q / np.outer(root, root), hermitian=True) / np.outer(root, root)
    return g @ inverse, True


def _entries(value: ArrayLike | None, name: str, shape: tuple[int, ...]) -> BoolArray:
    """Return a mask of the user's shape (d, m) with a row an output."""
    if value is None:
        return np.zeros(shape, dtype=np.bool_)
    array = validation.as_array(value, name)
    if array.dtype != np.bool_ or array.shape != shape[::-1]:
        raise ValueError(f"{name}: must be bool of shape {shape[::-1]}, got {array.dtype}, shape {array.shape}")
    return np.ascontiguousarray(array.T)
