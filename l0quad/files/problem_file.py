"""Reading a problem from .npz, .npy, .mtx or .csv.

Whether the arrays make a problem is `Problem`'s business.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from l0quad.files.columns import open_columns
from l0quad.files.csv import Table, read_csv
from l0quad.files.csv_dialect import Wanted
from l0quad.files.limits import naming, physical_memory
from l0quad.files.matrix_market import read_matrix_market
from l0quad.files.npy import read_npy
from l0quad.files.npz import read_npz
from l0quad.frames import positions
from l0quad.matrix.sparse_input import sparse_matrix


class ProblemFile(NamedTuple):
    """What a problem file holds: the arguments of `Problem` but ``k``, unchecked, and what its columns are called.

    ``target`` is the name of the column that b was, None where it was none or has no name; ``notes`` say what was left
    out.
    """

    A: Any
    b: Any
    w0: Any = None
    linear: Any = None
    ridge: Any = None
    names: tuple[str, ...] | None = None
    target: str | None = None
    notes: tuple[str, ...] = ()


def read_problem_file(
    path: Path,
    rhs: Path | None = None,
    limit: int | None = None,
    target: str | None = None,
    wanted: Wanted | None = None,
) -> ProblemFile:
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
    target : str, optional
        The column that is b, by its name or, where columns have none, by its number, in place of the last one.
    wanted : Wanted, optional
        How a ``.csv`` is written, as far as it shall not be found out.

    Raises
    ------
    ValueError, OSError
        Naming the file and what is wrong with it.
    """
    limit = physical_memory() if limit is None else limit
    with naming(path):
        content = _read(path, limit, (".npz", ".npy", ".mtx", ".csv"), wanted)
        table = content if isinstance(content, Table) else Table(content, None, ())
        members = content if isinstance(content, dict) else {"A": table.values}
        if "A" not in members:
            raise ValueError(f"holds no array A, only {', '.join(members) or 'nothing'}")
        if (rhs is not None or target is not None) and "b" in members:
            raise ValueError(f"holds b already; --{'target' if rhs is None else 'rhs'} would be a second one")
        names, chosen = table.names, None
        if rhs is None and "b" not in members:
            j = _column(members["A"], names, target)
            members["A"], members["b"] = _split(members["A"], j)
            if names is not None:
                names, chosen = names[:j] + names[j + 1 :], names[j]
    if rhs is not None:
        members["b"] = _read_vector(rhs, limit, wanted)
    return ProblemFile(**members, names=names, target=chosen, notes=table.notes)


def read_columns(path: Path, rhs: Path, memory: str, limit: int | None = None) -> ProblemFile:
    """Return A, left in its ``.npy`` file (`open_columns`), and b, read as `read_problem_file` does."""
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{path}: must end in .npy to be left on disk")
    A = open_columns(path, memory)
    return ProblemFile(A, _read_vector(rhs, physical_memory() if limit is None else limit, None))


def _read_vector(path: Path, limit: int, wanted: Wanted | None) -> Any:
    with naming(path):
        found = _read(path, limit, (".npy", ".mtx", ".csv"), wanted)
        return _as_vector(found.values if isinstance(found, Table) else found)


def _read(path: Path, limit: int, suffixes: tuple[str, ...], wanted: Wanted | None) -> Any:
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise ValueError(f"must end in {', '.join(suffixes)}")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is not a regular file")
    return read_csv(path, limit, wanted) if suffix == ".csv" else _READERS[suffix](path, limit)


def _column(matrix: Any, names: tuple[str, ...] | None, target: str | None) -> int:
    """Return which column is b."""
    if len(matrix.shape) != 2 or matrix.shape[1] < 2:
        raise ValueError(
            f"must have two columns or more, one being b, got shape {tuple(matrix.shape)}; or give b with --rhs"
        )
    n_columns: int = matrix.shape[1]
    if target is None:
        return n_columns - 1
    return int(positions(column_names(names, n_columns), [target], "--target")[0])


def column_names(names: tuple[str, ...] | None, n_columns: int) -> tuple[str, ...]:
    """Return what columns are called on the command line: their numbers, from 0 on, where they have no names."""
    return tuple(map(str, range(n_columns))) if names is None else names


def _split(matrix: Any, j: int) -> tuple[Any, Any]:
    """Return all columns but one, without a copy where it is the last, and that one."""
    if sp.issparse(matrix):
        # SciPy slices a corrupt matrix by reading outside of its arrays.
        columns: Any = sparse_matrix(matrix, "A")
        return columns[:, np.delete(np.arange(columns.shape[1]), j)], columns[:, [j]].toarray().ravel()
    rest = matrix[:, :-1] if j == matrix.shape[1] - 1 else np.delete(matrix, j, axis=1)
    return rest, matrix[:, j]


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
}
