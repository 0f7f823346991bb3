"""Sparse matrices at the door: every scipy.sparse format, checked in full before SciPy's compiled code sees it.

SciPy's conversions trust the index arrays and read and write outside of them, so here each format is turned into
checked triples by NumPy alone.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp

from l0quad import validation
from l0quad.types import IntArray, RealArray

_Triples = tuple[IntArray, IntArray, Any]


def sparse_matrix(value: Any, name: str) -> sp.csc_array:
    """Return ``value``, of any scipy.sparse format, as a canonical CSC array; a corrupt one is a ValueError.

    The arrays of a canonical float32 or float64 CSC matrix stay shared with the caller; they are never written to.
    """
    if len(value.shape) != 2:
        raise ValueError(f"{name}: must be 2-D, got shape {value.shape}")
    validation.require_rows_and_columns(value.shape, name)
    if value.format in ("csr", "csc"):
        return _compressed(value, name)
    try:
        rows, columns, data = _TRIPLES[value.format](value)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError, MemoryError) as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise ValueError(f"{name}: corrupt {value.format} matrix ({reason})") from error
    values = _values(data, name)
    _check_indices(rows, value.shape[0], values.size, f"{name}: row indices")
    _check_indices(columns, value.shape[1], values.size, f"{name}: column indices")
    return sp.csc_array((values, (rows, columns)), shape=value.shape)


def _compressed(value: Any, name: str) -> sp.csc_array:
    major, minor = value.shape if value.format == "csr" else value.shape[::-1]
    data = _values(value.data, name)
    stored = _check_compressed(value.indptr, value.indices, data.size, (major, minor), name)
    parts = (data[:stored], value.indices[:stored], value.indptr)
    if value.format == "csr":
        matrix = sp.csr_array(parts, shape=value.shape).tocsc()
    else:
        matrix = sp.csc_array(parts, shape=value.shape)
    if not _strictly_increasing(matrix.indices, matrix.indptr):
        matrix = sp.csc_array((matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()), shape=value.shape)
        matrix.sum_duplicates()
    return matrix


def _from_coo(value: Any) -> _Triples:
    return value.row, value.col, value.data


def _from_dok(value: Any) -> _Triples:
    keys = np.array(list(value.keys()), dtype=np.int64).reshape(-1, 2)
    return keys[:, 0], keys[:, 1], np.array(list(value.values()))


def _from_lil(value: Any) -> _Triples:
    if value.rows.shape != (value.shape[0],) or value.data.shape != value.rows.shape:
        raise ValueError(f"must have {value.shape[0]} rows, got {value.rows.shape}")
    counts = [len(each) for each in value.rows]
    if counts != [len(each) for each in value.data]:
        raise ValueError("each row must have as many indices as values")
    columns = np.array([j for each in value.rows for j in each])
    data = np.array([x for each in value.data for x in each], dtype=value.dtype)
    empty = np.empty(0, dtype=np.int64)
    return np.repeat(np.arange(value.shape[0]), counts), columns if columns.size else empty, data


def _from_dia(value: Any) -> _Triples:
    offsets, data = value.offsets, value.data
    fits = offsets.ndim == 1 and offsets.dtype.kind == "i" and data.ndim == 2 and data.shape[0] == offsets.size
    if not fits or np.unique(offsets).size != offsets.size:
        raise ValueError("must have one integer offset for each row of data, all different")
    rows, columns, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)], [data[:0, 0:1].ravel()]
    for offset, diagonal in zip(offsets.tolist(), data, strict=True):
        j = np.arange(max(0, offset), min(value.shape[1], value.shape[0] + offset, diagonal.size))
        rows.append(j - offset)
        columns.append(j)
        values.append(diagonal[j])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _from_bsr(value: Any) -> _Triples:
    data = value.data
    if data.ndim != 3 or 0 in data.shape[1:] or value.shape[0] % data.shape[1] or value.shape[1] % data.shape[2]:
        raise ValueError(f"blocks of shape {data.shape[1:]} do not tile {value.shape}")
    height, width = data.shape[1:]
    blocks = (value.shape[0] // height, value.shape[1] // width)
    stored = _check_compressed(value.indptr, value.indices, data.shape[0], blocks, "blocks")
    rows = np.repeat(np.arange(blocks[0]), np.diff(value.indptr))[:, None, None] * height + np.arange(height)[:, None]
    columns = value.indices[:stored].astype(np.int64)[:, None, None] * width + np.arange(width)
    shape = (stored, height, width)
    return np.broadcast_to(rows, shape).ravel(), np.broadcast_to(columns, shape).ravel(), data[:stored].ravel()


_TRIPLES = {"coo": _from_coo, "dok": _from_dok, "lil": _from_lil, "dia": _from_dia, "bsr": _from_bsr}


def _values(data: Any, name: str) -> RealArray:
    if not isinstance(data, np.ndarray) or data.ndim != 1:
        raise ValueError(f"{name}: corrupt sparse matrix, data must be a 1-D array, got {type(data).__name__}")
    values = validation.numeric(data, name)
    return np.ascontiguousarray(values, dtype=validation.float_dtype(values))


def _check_compressed(indptr: Any, inner: Any, available: int, blocks: tuple[int, int], name: str) -> int:
    """Check the index arrays of a compressed format and return the number of stored entries."""
    for part, label in ((indptr, "indptr"), (inner, "indices")):
        if not isinstance(part, np.ndarray) or part.ndim != 1 or part.dtype.kind != "i":
            raise ValueError(f"{name}: corrupt sparse matrix, {label} must be a 1-D array of integers")
    if indptr.size != blocks[0] + 1:
        raise ValueError(f"{name}: corrupt sparse matrix, indptr must hold {blocks[0] + 1} values, got {indptr.size}")
    stored = int(indptr[-1])
    if indptr[0] != 0 or not 0 <= stored <= min(inner.size, available) or np.any(indptr[1:] < indptr[:-1]):
        most = min(inner.size, available)
        raise ValueError(f"{name}: corrupt sparse matrix, indptr must rise from 0 to at most {most} stored values")
    _check_indices(inner[:stored], blocks[1], stored, f"{name}: indices")
    return stored


def _check_indices(array: Any, length: int, count: int, label: str) -> None:
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != "i" or array.size != count:
        raise ValueError(f"{label}: corrupt sparse matrix, must be {count} integers")
    if count and (int(array.min()) < 0 or int(array.max()) >= length):
        raise ValueError(
            f"{label}: corrupt sparse matrix, must lie in [0, {length}), got {array.min()} to {array.max()}"
        )


def _strictly_increasing(inner: np.ndarray, indptr: np.ndarray) -> bool:
    """Whether each column's row indices rise, so that they are sorted and have no duplicates."""
    if inner.size < 2:
        return True
    rises = inner[1:] > inner[:-1]
    boundaries = indptr[1:-1]
    rises[boundaries[(boundaries > 0) & (boundaries < inner.size)] - 1] = True
    return bool(rises.all())
