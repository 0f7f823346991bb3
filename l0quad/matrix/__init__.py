"""A as solvers see it: one interface, one file for each way in which A is stored."""

import copy
from collections.abc import Sequence

import scipy.sparse as sp

from l0quad import frames, validation
from l0quad.matrix.base import Matrix as Matrix
from l0quad.matrix.dense import DenseMatrix as DenseMatrix
from l0quad.matrix.gram import GramMatrix as GramMatrix
from l0quad.matrix.sparse import SparseMatrix as SparseMatrix
from l0quad.matrix.sparse_input import sparse_matrix
from l0quad.types import MatrixLike


def as_matrix(A: MatrixLike | Matrix, name: str = "A", *, names: Sequence[str] | None = None) -> Matrix:
    """Return A as a `Matrix`, without a copy where it is an array that BLAS can read or canonical CSC.

    Problems on the same `Matrix` share what depends on A alone. Its values are looked at when a `Problem` is made.

    Parameters
    ----------
    A : Matrix, array_like, data frame or scipy.sparse matrix, shape (n, p)
        Integers, bools and float16 become float64. What would lose values (complex, object, strings, masked entries)
        is refused.
    name : str
        What errors call it.
    names : sequence of str, optional
        The names of the columns, by default those of a frame.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> matrix = l0quad.as_matrix(A, names=[f"x{j}" for j in range(12)])
    >>> l0quad.minimize(matrix, A[:, 2] - 2 * A[:, 5], k=2).names
    ('x2', 'x5')
    """
    matrix: Matrix
    if isinstance(A, Matrix):
        matrix = A if names is None else copy.copy(A)
    elif sp.issparse(A):
        matrix = SparseMatrix(sparse_matrix(A, name))
    else:
        matrix = DenseMatrix(validation.dense_matrix(A, name))
        matrix.names, matrix.index = frames.names_of(A), frames.index_of(A)
    if names is not None:
        matrix.names = validation.names(names, "names", matrix.shape[1])
    return matrix
