"""Matrix Market's .mtx files."""

import io
import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import scipy.sparse as sp

from l0quad.files.limits import lines, require_room, require_sparse_room

# Much longer than any line of a header that means something.
_HEADER_BYTES = 10_000
_FIELDS = {"real", "double", "integer"}
_SYMMETRIES = {"general", "symmetric", "skew-symmetric"}


class _Header(NamedTuple):
    coordinate: bool
    pattern: bool
    width: int
    symmetry: str
    shape: tuple[int, int]
    entries: int


def read_matrix_market(path: Path, limit: int) -> Any:
    """Read a Matrix Market file: a dense array, or a sparse matrix from the coordinate format.

    `scipy.io.mmread` is no help: SciPy 1.17 crashes the interpreter on many a corrupt file.
    """
    with open(path, "rb") as file:
        header = _read_header(file, os.fstat(file.fileno()).st_size, limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no lines is told below
            # One line more than there should be, to see that there is none.
            numbers = lines(io.TextIOWrapper(file, "latin-1"))
            values = np.loadtxt(numbers, comments="%", ndmin=2, max_rows=header.entries + 1)
    if values.size == header.entries == 0:
        values = values.reshape(0, header.width)
    if values.shape != (header.entries, header.width):
        raise ValueError(f"declares {header.entries} lines of {header.width} numbers, but does not hold just these")
    return _sparse(header, values) if header.coordinate else _dense(header, values[:, 0])


def _sparse(header: _Header, values: np.ndarray) -> Any:
    places = values[:, :2]
    if not np.all((places >= 1) & (places <= header.shape) & (places == np.floor(places))):
        raise ValueError(f"holds an index that is not an integer within its shape {header.shape}")
    i, j = (places - 1).astype(np.int64).T
    data = np.ones(header.entries) if header.pattern else values[:, 2]
    if header.symmetry != "general":
        off = i != j
        mirrored = -data[off] if header.symmetry == "skew-symmetric" else data[off]
        i, j, data = np.r_[i, j[off]], np.r_[j, i[off]], np.r_[data, mirrored]
    return sp.coo_array((data, (i, j)), shape=header.shape)


def _dense(header: _Header, values: np.ndarray) -> np.ndarray:
    if header.symmetry == "general":
        return values.reshape(header.shape, order="F")
    # Column by column of the lower triangle is row by row of the upper.
    skew = header.symmetry == "skew-symmetric"
    upper = np.triu_indices(header.shape[0], k=int(skew))
    out = np.zeros(header.shape)
    out[upper] = -values if skew else values
    out.T[upper] = values
    return out


def _read_header(file: BinaryIO, size: int, limit: int) -> _Header:
    """Read the lines before the numbers, and check what they declare against the size of the file."""
    banner = file.readline(_HEADER_BYTES).decode("latin-1").lower().split()
    if len(banner) != 5 or banner[:2] != ["%%matrixmarket", "matrix"] or banner[2] not in ("coordinate", "array"):
        raise ValueError("does not begin with a line '%%MatrixMarket matrix coordinate|array FIELD SYMMETRY'")
    coordinate, field, symmetry = banner[2] == "coordinate", *banner[3:]
    pattern = coordinate and field == "pattern"
    if not (field in _FIELDS or pattern) or symmetry not in _SYMMETRIES:
        raise ValueError(f"must hold a real matrix, got {field} {symmetry}")
    line = file.readline(_HEADER_BYTES)
    while line.startswith(b"%") or line.isspace():
        line = file.readline(_HEADER_BYTES)
    try:
        sizes = [int(word) for word in line.split()]
    except ValueError:
        sizes = []
    if len(sizes) != 2 + coordinate:
        raise ValueError(f"has no line with its {'rows, columns and entries' if coordinate else 'rows and columns'}")
    rows, columns = sizes[:2]
    if min(sizes) < 0 or (symmetry != "general" and rows != columns):
        raise ValueError(f"declares a {symmetry} matrix with {' '.join(map(str, sizes))}")
    stored = {"general": rows * columns, "symmetric": rows * (rows + 1) // 2, "skew-symmetric": rows * (rows - 1) // 2}
    entries = sizes[2] if coordinate else stored[symmetry]
    left = size - file.tell()
    width = 3 - pattern if coordinate else 1
    if entries * 2 * width > left + 1:  # "1 1 1\n" is the least, the last end of line being optional
        raise ValueError(f"declares {entries} entries, more than the {left} bytes after its header can hold")
    if coordinate:
        require_sparse_room((rows, columns), 2 * entries, left, limit)
    else:
        require_room(16 * rows * columns, limit)
    return _Header(coordinate, pattern, width, symmetry, (rows, columns), entries)
