"""A as solvers see it: one interface, one file for each way in which A is stored."""

from typing import Any

import scipy.sparse as sp

from l0quad import validation
from l0quad.matrix.base import Matrix as Matrix
from l0quad.matrix.dense import DenseMatrix as DenseMatrix
from l0quad.matrix.gram import GramMatrix as GramMatrix
from l0quad.matrix.sparse import SparseMatrix as SparseMatrix
from l0quad.matrix.sparse_input import sparse_matrix


def as_matrix(A: Any, name: str = "A") -> Matrix:
    """Return A as a `Matrix`, without a copy where it is an array that BLAS can read or canonical CSC.

    Problems on the same `Matrix` share what depends on A alone. Its values are looked at when a `Problem` is made.

    Parameters
    ----------
    A : Matrix, array_like or scipy.sparse matrix, shape (n, p)
        Integers, bools and float16 become float64. What would lose values (complex, object, strings, masked entries)
        is refused.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.
    """
    if isinstance(A, Matrix):
        return A
    if sp.issparse(A):
        return SparseMatrix(sparse_matrix(A, name))
    return DenseMatrix(validation.dense_matrix(A, name))
