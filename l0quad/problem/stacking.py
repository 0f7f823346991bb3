"""A complex problem as a real one of twice the rows and columns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.problem.constraints.base import Kind
from l0quad.problem.constraints.cardinality import Cardinality
from l0quad.problem.constraints.groups import Groups
from l0quad.problem.problem import Problem
from l0quad.types import MatrixLike

Back = Callable[[Any], np.ndarray]


def stack_complex(
    A: MatrixLike, b: ArrayLike, k: int | Cardinality | Groups, *, ridge: float = 0.0, w0: ArrayLike | None = None
) -> tuple[Problem, Back]:
    """Return the real problem that is a complex one, and the way back from its answer.

    ``1/2 ||A w - b||^2 + ridge ||w - w0||^2`` over complex w is the same function of its real and imaginary parts,
    stacked; the two of a coefficient are one group, so that at most k complex coefficients are nonzero. The real
    matrix has twice the rows and columns of A, and twice its bytes.

    Parameters
    ----------
    A : array_like or scipy.sparse matrix, shape (n, p), complex or real
    b : array_like, shape (n,) or (n, 1), complex or real
    k : int, Cardinality or Groups
        Of the complex coefficients.
    ridge : float, default 0
    w0 : array_like, shape (p,), optional

    Returns
    -------
    problem : Problem
    back : callable
        Takes a `Result`, or a real vector of length 2p such as its ``w``, and returns the complex vector of length p.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; k of another kind is a TypeError.

    Examples
    --------
    >>> import numpy as np
    >>> import l0quad
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((20, 8)) + 1j * rng.standard_normal((20, 8))
    >>> problem, back = l0quad.stack_complex(A, A[:, 2] * (1 - 2j), k=1)
    >>> np.flatnonzero(back(l0quad.solve(problem)).round(9))
    array([2])
    """
    matrix: Any = A if sp.issparse(A) else np.asarray(A)
    if matrix.ndim != 2:
        raise ValueError(f"A: must be a 2-D array, got {matrix.ndim} dimension(s)")
    n, p = matrix.shape
    real, imaginary = matrix.real, matrix.imag
    stack: Any = sp.block_array if sp.issparse(A) else np.block
    stacked = stack([[real, -imaginary], [imaginary, real]])
    problem = Problem(stacked, _parts(b, "b", n), _groups(k, p), ridge, None if w0 is None else _parts(w0, "w0", p))

    def back(answer: Any) -> np.ndarray:
        w = validation.vector(getattr(answer, "w", answer), "answer", 2 * p, "twice the columns of A")
        return w[:p] + 1j * w[p:]

    return problem, back


def _parts(value: ArrayLike, name: str, size: int) -> np.ndarray:
    array = np.asarray(value)
    array = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
    if array.shape != (size,):
        each = "row" if name == "b" else "column"
        raise ValueError(f"{name}: must have shape ({size},), one value for each {each} of A, got shape {array.shape}")
    return np.concatenate([array.real, array.imag])


def _groups(k: int | Cardinality | Groups, p: int) -> Groups:
    match k:
        case Groups(labels=labels):
            return Groups(np.tile(labels, 2), k.k, must=k.must, never=_both(k.never, p))
        case Cardinality():
            return Groups(np.tile(np.arange(p), 2), k.k, must=k.must, never=_both(k.never, p))
        case Kind():
            raise TypeError(f"k: must be an integer, Cardinality or Groups, got {type(k).__name__}")
        case _:
            return Groups(np.tile(np.arange(p), 2), validation.integer(k, "k", 0))


def _both(columns: ArrayLike, p: int) -> np.ndarray:
    columns = validation.indices(np.asarray(columns, dtype=np.int64), "never", p)
    return np.concatenate([columns, columns + p])
