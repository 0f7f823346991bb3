"""NumPy's .npz files: the arrays of a problem, or the matrix that `scipy.sparse.save_npz` wrote."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from l0quad.files.limits import require_room, require_sparse_room
from l0quad.files.npy import HEADER_BYTES, npy_header

# Deflate cannot compress further than this.
_DEFLATE_RATIO = 1032

# The name of a sparse format, even four bytes a character.
_FORMAT_BYTES = 64

_PROBLEM_MEMBERS = {"A", "b", "w0", "linear", "ridge"}
_SPARSE_MEMBERS = {"format", "shape", "data", "indices", "indptr", "row", "col", "_is_array"}


def read_npz(path: Path, limit: int) -> Any:
    """Read the members of an .npz file: a dict of arrays, or the matrix that `scipy.sparse.save_npz` wrote."""
    with zipfile.ZipFile(path) as archive:
        members = _checked_members(archive, path.stat().st_size, limit)
        arrays: dict[str, Any] = {}
        for name, info in members.items():
            with archive.open(info) as stream:
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=HEADER_BYTES)
    return _sparse(arrays, limit) if "format" in arrays else arrays


def _checked_members(archive: zipfile.ZipFile, size: int, limit: int) -> dict[str, zipfile.ZipInfo]:
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
    packed = sum(info.compress_size for info in members.values())
    if packed > size:  # or some would share their bytes
        raise ValueError(f"declares members of {packed} bytes together, more than its {size} bytes can hold")
    require_room(sum(_unpacked_bytes(archive, name, info) for name, info in members.items()), limit)
    return members


def _unpacked_bytes(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> int:
    """Check the header of a member, and return what reading it takes."""
    with archive.open(info) as stream:
        try:
            header = npy_header(stream.read(HEADER_BYTES), info.file_size, "SU" if name == "format" else "biuf")
            # Strings of no length take no bytes, however many.
            if name == "format" and (math.prod(header.shape) != 1 or header.dtype.itemsize > _FORMAT_BYTES):
                raise ValueError(f"must hold one short word, got shape {header.shape} of {header.dtype}")
        except ValueError as error:
            raise ValueError(f"member {name!r}: {error}") from error
    return info.file_size + header.converted_bytes


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


def _sparse(arrays: dict[str, Any], limit: int) -> Any:
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
    first, second = (arrays[name] for name in needed)
    held = arrays["data"].nbytes + first.nbytes + second.nbytes
    require_sparse_room(shape, arrays["data"].size, held, limit)
    if kind != "coo" and second.size != shape[kind == "csc"] + 1:
        raise ValueError(f"is a {kind} matrix of shape {shape}, but its indptr holds {second.size} values")
    if kind == "coo":
        return sp.coo_array((arrays["data"], (first, second)), shape=shape)
    return (sp.csr_array if kind == "csr" else sp.csc_array)((arrays["data"], first, second), shape=shape)
