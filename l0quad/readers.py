"""Safe reading of problem files: .npz, .npy, .mtx and .csv.

A file is believed only as far as its size bears it out: what its header declares is checked against the bytes that
are there, and against a limit on memory, before anything of that size is allocated. Nothing is ever unpickled. What
is wrong with a file is a ValueError that begins with its path; whether the arrays make a problem is `Problem`'s
business.
"""

import array
import csv
import io
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import numpy as np
import scipy.sparse as sp

from l0quad.matrix.sparse_input import sparse_matrix

# NumPy refuses longer .npy headers, and none of a plain array comes near.
_HEADER_BYTES = 10_000
# A longer line of text is refused, because the fields of a line are held as Python objects.
_LINE_CHARACTERS = 1 << 24
# Deflate cannot compress further than this.
_DEFLATE_RATIO = 1032
# Where the operating system does not tell its memory.
_FALLBACK_LIMIT = 1 << 33

_PROBLEM_MEMBERS = {"A", "b", "w0", "linear", "ridge"}
_SPARSE_MEMBERS = {"format", "shape", "data", "indices", "indptr", "row", "col", "_is_array"}
_MTX_FIELDS = {"real", "double", "integer"}
_MTX_SYMMETRIES = {"general", "symmetric", "skew-symmetric"}


class Instance(NamedTuple):
    """What a problem file holds: the arguments of `Problem` but ``k``, unchecked."""

    A: Any
    b: Any
    w0: Any = None
    linear: Any = None
    ridge: Any = None


def read_instance(path: Path, rhs: Path | None = None, limit: int | None = None) -> Instance:
    """Read A, b and, from an .npz file, what else it holds.

    Parameters
    ----------
    path : Path
        ``.npz`` with members of the names of `Instance`, or as `scipy.sparse.save_npz` writes it; ``.npy``, ``.mtx``
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
    with _naming(path):
        content = _read(path, limit, (".npz", ".npy", ".mtx", ".csv"))
        members = content if isinstance(content, dict) else {"A": content}
        if "A" not in members:
            raise ValueError(f"holds no array A, only {', '.join(members) or 'nothing'}")
        if rhs is not None and "b" in members:
            raise ValueError("holds b already; --rhs would be a second one")
        if rhs is None and "b" not in members:
            members["A"], members["b"] = _split_last_column(members["A"])
    if rhs is not None:
        with _naming(rhs):
            members["b"] = _as_vector(_read(rhs, limit, (".npy", ".mtx", ".csv")))
    return Instance(**members)


def physical_memory() -> int:
    """Return the bytes of memory of this machine; 8 GiB where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _FALLBACK_LIMIT


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises on a corrupt file into a ValueError that begins with its path."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # zlib.error, EOFError, RecursionError, TokenError, OSError of a seek, and more
        if isinstance(error, OSError) and error.filename:
            raise
        raise ValueError(f"{path}: {str(error) or type(error).__name__}") from error


def _read(path: Path, limit: int, suffixes: tuple[str, ...]) -> Any:
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise ValueError(f"must end in {', '.join(suffixes)}")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is not a regular file")
    return _READERS[suffix](path, limit)


def _read_npy(path: Path, limit: int) -> np.ndarray:
    """Open an .npy file memory-mapped; only what `Problem` must convert counts against the limit."""
    with open(path, "rb") as file:
        header = _npy_header(file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size)
    _require_room(header.converted_bytes, limit)
    if 0 in header.shape:
        raise ValueError(f"holds no values, its shape is {header.shape}")
    return np.load(path, mmap_mode="r", allow_pickle=False)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def converted_bytes(self) -> int:
        """What a copy as float64 takes; 0 for what is used as it is."""
        return 0 if self.dtype in (np.float32, np.float64) and self.dtype.isnative else 8 * math.prod(self.shape)


def _npy_header(start: bytes, size: int, kinds: str = "biuf") -> _Header:
    """Return what the .npy file of ``size`` bytes that begins with ``start`` declares, checked against that size."""
    stream = io.BytesIO(start)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"has .npy format version {version[0]}.{version[1]}, which only structured arrays need")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header that Python 2 wrote is read, but not without one
        shape, _, dtype = read(stream, max_header_size=_HEADER_BYTES)
    if dtype.hasobject:
        raise ValueError("holds Python objects, which are never unpickled")
    if dtype.kind not in kinds:
        raise ValueError(f"must hold real numbers (bool, int, float), got dtype {dtype}")
    declared, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or declared != there:
        raise ValueError(f"declares shape {shape} of {dtype}, {declared} bytes, but {there} bytes follow")
    return _Header(shape, dtype)


def _read_npz(path: Path, limit: int) -> Any:
    """Read the members of an .npz file: a dict of arrays, or the matrix that `scipy.sparse.save_npz` wrote."""
    with zipfile.ZipFile(path) as archive:
        members = _checked_members(archive, limit)
        arrays: dict[str, Any] = {}
        for name, info in members.items():
            with archive.open(info) as stream:
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_HEADER_BYTES)
    return _sparse_from_members(arrays, limit) if "format" in arrays else arrays


def _checked_members(archive: zipfile.ZipFile, limit: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, once every name, size and header is found to be in order."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"holds the member {info.filename!r} twice")
        members[name] = info
    known = _SPARSE_MEMBERS if "format" in members else _PROBLEM_MEMBERS
    foreign = [info.filename for name, info in members.items() if name not in known or info.filename == name]
    if foreign:
        raise ValueError(f"holds {foreign[0]!r}, which is none of {', '.join(sorted(known))}")
    for info in members.values():
        _check_compression(info)
    total = 0
    for name, info in members.items():
        with archive.open(info) as stream:
            try:
                header = _npy_header(stream.read(_HEADER_BYTES), info.file_size, "SU" if name == "format" else "biuf")
            except ValueError as error:
                raise ValueError(f"member {name!r}: {error}") from error
        total += info.file_size + header.converted_bytes
    _require_room(total, limit)
    return members


def _check_compression(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise ValueError(f"member {info.filename!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"member {info.filename!r} is compressed in a way that NumPy does not write")
    ratio = _DEFLATE_RATIO if info.compress_type == zipfile.ZIP_DEFLATED else 1
    if info.file_size > ratio * info.compress_size:
        raise ValueError(
            f"member {info.filename!r} declares {info.file_size} bytes, more than {info.compress_size} bytes can hold"
        )


def _sparse_from_members(arrays: dict[str, Any], limit: int) -> Any:
    """Return the matrix that `scipy.sparse.save_npz` wrote; of its formats, those that hold no more than they store."""
    kind = np.asarray(arrays["format"]).astype(str).item()
    needed = {"csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "coo": ("row", "col")}.get(kind)
    if needed is None:
        raise ValueError(f"is a sparse matrix of format {kind!r}; save it as csr, csc or coo")
    missing = {"shape", "data", *needed} - set(arrays)
    if missing:
        raise ValueError(f"is a {kind} matrix without {', '.join(sorted(missing))}")
    if arrays["shape"].shape != (2,) or arrays["shape"].dtype.kind not in "iu":
        raise ValueError("is a sparse matrix whose shape is not two integers")
    shape = (int(arrays["shape"][0]), int(arrays["shape"][1]))
    _require_sparse_room(shape, arrays["data"].size, limit)
    first, second = (arrays[name] for name in needed)
    if kind == "coo":
        return sp.coo_array((arrays["data"], (first, second)), shape=shape)
    return (sp.csr_array if kind == "csr" else sp.csc_array)((arrays["data"], first, second), shape=shape)


class _MtxHeader(NamedTuple):
    coordinate: bool
    pattern: bool
    symmetry: str
    shape: tuple[int, int]
    entries: int


def _read_mtx(path: Path, limit: int) -> Any:
    """Read a Matrix Market file: a dense array, or a sparse matrix from the coordinate format.

    `scipy.io.mmread` is no help: SciPy 1.17 crashes the interpreter on many a corrupt file.
    """
    with open(path, "rb") as file:
        header = _mtx_header(file, os.fstat(file.fileno()).st_size, limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no lines is told below
            # One line more than there should be, to see that there is none.
            lines = _lines(io.TextIOWrapper(file, "latin-1"))
            values = np.loadtxt(lines, comments="%", ndmin=2, max_rows=header.entries + 1)
    width = 3 - header.pattern if header.coordinate else 1
    if values.size == header.entries == 0:
        values = values.reshape(0, width)
    if values.shape != (header.entries, width):
        raise ValueError(f"declares {header.entries} lines of {width} numbers, but does not hold just these")
    return _sparse_from_mtx(header, values) if header.coordinate else _dense_from_mtx(header, values[:, 0])


def _sparse_from_mtx(header: _MtxHeader, values: np.ndarray) -> Any:
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


def _dense_from_mtx(header: _MtxHeader, values: np.ndarray) -> np.ndarray:
    if header.symmetry == "general":
        return values.reshape(header.shape, order="F")
    # Column by column of the lower triangle is row by row of the upper.
    skew = header.symmetry == "skew-symmetric"
    upper = np.triu_indices(header.shape[0], k=int(skew))
    out = np.zeros(header.shape)
    out[upper] = -values if skew else values
    out.T[upper] = values
    return out


def _mtx_header(file: BinaryIO, size: int, limit: int) -> _MtxHeader:
    """Read the lines before the numbers, and check what they declare against the size of the file."""
    banner = file.readline(_HEADER_BYTES).decode("latin-1").lower().split()
    if len(banner) != 5 or banner[:2] != ["%%matrixmarket", "matrix"] or banner[2] not in ("coordinate", "array"):
        raise ValueError("does not begin with a line '%%MatrixMarket matrix coordinate|array FIELD SYMMETRY'")
    coordinate, field, symmetry = banner[2] == "coordinate", *banner[3:]
    pattern = coordinate and field == "pattern"
    if not (field in _MTX_FIELDS or pattern) or symmetry not in _MTX_SYMMETRIES:
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
    if entries * (4 if coordinate else 2) > left + 1:  # "1 1\n" or "1\n", the last end of line being optional
        raise ValueError(f"declares {entries} entries, more than the {left} bytes after its header can hold")
    if coordinate:
        _require_sparse_room((rows, columns), 2 * entries, limit)
    else:
        _require_room(16 * rows * columns, limit)
    return _MtxHeader(coordinate, pattern, symmetry, (rows, columns), entries)


def _read_csv(path: Path, limit: int) -> np.ndarray:
    """Read comma-separated numbers, with at most one line of names before them."""
    values = array.array("d")
    columns = 0
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(_lines(file), skipinitialspace=True)
        for fields in rows:
            if not fields:
                continue
            # Only a first line without any number is a line of names: one bad value must not hide a row.
            if not columns and not any(map(_is_number, fields)):
                columns = len(fields)
                continue
            columns = columns or len(fields)
            if len(fields) != columns:
                raise ValueError(f"line {rows.line_num} has {len(fields)} values, the first line has {columns}")
            _append_row(values, fields, rows.line_num)
            _require_room(8 * len(values), limit)
    if not values:
        raise ValueError("holds no numbers")
    return np.frombuffer(values).reshape(-1, columns)


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LINE_CHARACTERS):
        if len(line) == _LINE_CHARACTERS:
            raise ValueError(f"has a line of more than {_LINE_CHARACTERS} characters; use .npy for a matrix so wide")
        yield line


def _append_row(values: "array.array[float]", fields: list[str], line: int) -> None:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        column, bad = next((i, each) for i, each in enumerate(fields, 1) if not _is_number(each, finite=True))
        raise ValueError(f"line {line}, column {column}: must be a finite number, got {bad[:40]!r}")
    values.extend(numbers)


def _is_number(text: str, finite: bool = False) -> bool:
    try:
        return math.isfinite(float(text)) or not finite
    except ValueError:
        return False


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


def _require_sparse_room(shape: tuple[int, int], stored: int, limit: int) -> None:
    """Check the room for the stored values with two indices each, twice over, and for one value a row and column."""
    if min(shape) < 0:
        raise ValueError(f"declares shape {shape}")
    _require_room(48 * stored + 8 * sum(shape), limit)


def _require_room(needed: int, limit: int) -> None:
    if needed > limit:
        raise ValueError(f"needs {needed} bytes of memory, the limit is {limit}")


_READERS: dict[str, Callable[[Path, int], Any]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".mtx": _read_mtx,
    ".csv": _read_csv,
}
