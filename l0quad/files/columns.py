"""open_columns: a matrix that stays in its .npy files."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from l0quad.files.limits import naming
from l0quad.files.npy import HEADER_BYTES, npy_header
from l0quad.matrix.column_file import ColumnFile, Stored, stamp

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}

Paths = str | os.PathLike[str]


def open_columns(paths: Paths | Sequence[Paths], memory: str | int = "512MB") -> ColumnFile:
    """Return the matrix in a .npy file, or in several that each hold some columns of all rows, without reading it.

    Solvers read it by chunks, in as few passes as they can; a thread reads ahead. ``n_sweeps`` and ``bytes_read`` of a
    `Result` say how much was read. The values are looked at as they are first read: they must be finite and at most
    2**120.

    Parameters
    ----------
    paths : path or sequence of paths
        2-D arrays of float16, float32 or float64, by rows or by columns (the faster, where n is large), with the same
        number of rows.
    memory : str or int
        The bytes that reading may take: "512MB", "2GB", or a number. Two chunks of up to 16 MB are held, and at least
        two columns.

    Raises
    ------
    ValueError, OSError
        Naming the file and what is wrong with it. A file that changes afterwards is a `BadFile` of the solve.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import l0quad
    >>> path = Path(tempfile.mkdtemp()) / "A.npy"
    >>> A = np.random.default_rng(0).standard_normal((20, 500)).astype(np.float32)
    >>> np.save(path, np.asfortranarray(A))
    >>> problem = l0quad.Problem(l0quad.open_columns(path), A[:, 3] - A[:, 30], k=2, ridge=0.1)
    >>> l0quad.solve(problem).support
    array([ 3, 30])
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several:
        raise ValueError("paths: must name a file or more, got none")
    files = tuple(_stored(Path(each)) for each in several)
    for each in files:
        if each.shape[0] != files[0].shape[0]:
            raise ValueError(
                f"paths: all files must have the same number of rows; {files[0].path} has {files[0].shape[0]}, "
                f"{each.path} has {each.shape[0]}"
            )
    return ColumnFile(files, _bytes(memory))


def _stored(path: Path) -> Stored:
    with naming(path):
        written = stamp(path)
        with open(path, "rb") as file:
            header = npy_header(file.read(HEADER_BYTES), written[0], kinds="f")
        if len(header.shape) != 2 or 0 in header.shape:
            raise ValueError(f"must hold a matrix with a row and a column or more, its shape is {header.shape}")
        if header.dtype.itemsize > np.dtype(np.float64).itemsize:
            raise ValueError(f"must hold float16, float32 or float64, got {header.dtype}")
        shape = header.shape[0], header.shape[1]
    return Stored(path.absolute(), header.offset, shape, header.dtype, header.by_columns, written)


def _bytes(memory: str | int) -> int:
    if isinstance(memory, int) and not isinstance(memory, bool) and memory > 0:
        return memory
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]B)?", memory) if isinstance(memory, str) else None
    if found is None or float(found[1]) == 0:
        raise ValueError(f"memory: must be a number of bytes or text such as '512MB' or '2GB', got {memory!r}")
    return int(float(found[1]) * _UNITS[found[2] or ""])
