"""NumPy's .npy files, and what their headers declare."""

import io
import math
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l0quad.files.limits import require_room

# NumPy refuses longer .npy headers, and none of a plain array comes near.
HEADER_BYTES = 10_000


def read_npy(path: Path, limit: int) -> np.ndarray:
    """Open an .npy file memory-mapped; only what `Problem` must convert counts against the limit."""
    with open(path, "rb") as file:
        header = npy_header(file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size)
    require_room(header.converted_bytes, limit)
    if 0 in header.shape:
        raise ValueError(f"holds no values, its shape is {header.shape}")
    return np.load(path, mmap_mode="r", allow_pickle=False)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool
    offset: int

    @property
    def converted_bytes(self) -> int:
        """What a copy as float64 takes; 0 for what is used as it is."""
        return 0 if self.dtype in (np.float32, np.float64) and self.dtype.isnative else 8 * math.prod(self.shape)


def npy_header(start: bytes, size: int, kinds: str = "biuf") -> _Header:
    """Return what the .npy file of ``size`` bytes that begins with ``start`` declares, checked against that size."""
    stream = io.BytesIO(start)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"has .npy format version {version[0]}.{version[1]}, which only structured arrays need")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header that Python 2 wrote is read, but not without one
        shape, by_columns, dtype = read(stream, max_header_size=HEADER_BYTES)
    if dtype.hasobject:
        raise ValueError("holds Python objects, which are never unpickled")
    if dtype.kind not in kinds:
        raise ValueError(f"must hold real numbers (bool, int, float), got dtype {dtype}")
    declared, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or declared != there:
        raise ValueError(f"declares shape {shape} of {dtype}, {declared} bytes, but {there} bytes follow")
    return _Header(shape, dtype, by_columns, stream.tell())
