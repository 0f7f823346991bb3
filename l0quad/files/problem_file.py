"""Reading a problem from .npz, .npy, .mtx or .csv.

Whether the arrays make a problem is `Problem`'s business.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from l0quad.files.csv import read_csv
from l0quad.files.limits import naming, physical_memory
from l0quad.files.matrix_market import read_matrix_market
from l0quad.files.npy import read_npy
from l0quad.files.npz import read_npz
from l0quad.matrix.sparse_input import sparse_matrix


class ProblemFile(NamedTuple):
    """What a problem file holds: the arguments of `Problem` but ``k``, unchecked."""

    A: Any
    b: Any
    w0: Any = None
    linear: Any = None
    ridge: Any = None


def read_problem_file(path: Path, rhs: Path | None = None, limit: int | None = None) -> ProblemFile:
    """Read A, b and, from an .npz file, what else it holds.

    Parameters
    ----------
    path : Path
        ``.npz`` with members of the names of `ProblemFile`, or as `scipy.sparse.save_npz` writes it; ``.npy``, ``.mtx``
        or ``.csv`` with one matrix.
    rhs : Path, optional
        ``.npy``, ``.mtx`` or ``.csv`` with b as one row or one column. Without it, and without a member ``b``, the
        last column of the matrix is b.
    limit : int, optional
        The bytes of memory that reading may take, by default all that the machine has.

    Raises
    ------
    ValueError, OSError
        Naming the file and what is wrong with it.
    """
    limit = physical_memory() if limit is None else limit
    with naming(path):
        content = _read(path, limit, (".npz", ".npy", ".mtx", ".csv"))
        members = content if isinstance(content, dict) else {"A": content}
        if "A" not in members:
            raise ValueError(f"holds no array A, only {', '.join(members) or 'nothing'}")
        if rhs is not None and "b" in members:
            raise ValueError("holds b already; --rhs would be a second one")
        if rhs is None and "b" not in members:
            members["A"], members["b"] = _split_last_column(members["A"])
    if rhs is not None:
        with naming(rhs):
            members["b"] = _as_vector(_read(rhs, limit, (".npy", ".mtx", ".csv")))
    return ProblemFile(**members)


def _read(path: Path, limit: int, suffixes: tuple[str, ...]) -> Any:
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise ValueError(f"must end in {', '.join(suffixes)}")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is not a regular file")
    return _READERS[suffix](path, limit)


def _split_last_column(matrix: Any) -> tuple[Any, Any]:
    if len(matrix.shape) != 2 or matrix.shape[1] < 2:
        raise ValueError(
            f"must have two columns or more, the last being b, got shape {tuple(matrix.shape)}; or give b with --rhs"
        )
    if not sp.issparse(matrix):
        return matrix[:, :-1], matrix[:, -1]
    # SciPy slices a corrupt matrix by reading outside of its arrays.
    columns = sparse_matrix(matrix, "A")
    return columns[:, :-1], columns[:, [-1]].toarray().ravel()


def _as_vector(matrix: Any) -> np.ndarray:
    if len(matrix.shape) > 2 or (len(matrix.shape) == 2 and 1 not in matrix.shape):
        raise ValueError(f"must hold b as one row or one column, got shape {tuple(matrix.shape)}")
    if sp.issparse(matrix):
        matrix = sparse_matrix(matrix, "b").toarray()
    return np.asarray(matrix).ravel()


_READERS: dict[str, Callable[[Path, int], Any]] = {
    ".npz": read_npz,
    ".npy": read_npy,
    ".mtx": read_matrix_market,
    ".csv": read_csv,
}
