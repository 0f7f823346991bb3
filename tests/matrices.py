"""Matrices of every kind, as users store them."""

import numpy as np
import pytest
import scipy.sparse as sp

import l0quad
from l0quad.matrix import Matrix, base, dense

SHAPES = [(1, 1), (1, 7), (6, 1), (5, 40), (17, 9)]


def strided(array, steps):
    """The same values as a view that skips rows, or columns, of a larger array."""
    n, p = array.shape
    wide = np.full((n * steps[0], p * steps[1]), np.nan, dtype=array.dtype)
    wide[:: steps[0], :: steps[1]] = array
    return wide[:: steps[0], :: steps[1]]


def sliced(array, order):
    n, p = array.shape
    wide = np.full((n + 3, p + 2), np.nan, dtype=array.dtype, order=order)
    wide[1 : n + 1, 2:] = array
    return wide[1 : n + 1, 2:]


def readonly(array):
    array.flags.writeable = False
    return array


def mapped(array, order, folder):
    file = np.memmap(folder / f"{order}.bin", dtype=array.dtype, mode="w+", shape=array.shape, order=order)
    file[...] = array
    file.flush()
    return np.memmap(folder / f"{order}.bin", dtype=array.dtype, mode="r", shape=array.shape, order=order)


def column_files(array, order, folder, memory=1 << 12):
    """Two files, where there are two columns, read a few columns at a time."""
    halves = np.array_split(array, 2, axis=1) if array.shape[1] > 1 else [array]
    paths = [folder / f"{order}{number}{array.dtype}.npy" for number in range(len(halves))]
    for path, half in zip(paths, halves, strict=True):
        np.save(path, np.asarray(half, order=order))
    return l0quad.open_columns(paths, memory)


KINDS = {
    "C": lambda A, folder: A.copy(order="C"),
    "F": lambda A, folder: A.copy(order="F"),
    "C sliced": lambda A, folder: sliced(A, "C"),
    "F sliced": lambda A, folder: sliced(A, "F"),
    "every second row": lambda A, folder: strided(A, (2, 1)),
    "every third column": lambda A, folder: strided(A, (1, 3)),
    "backwards": lambda A, folder: A[::-1, ::-1].copy()[::-1, ::-1],
    "readonly": lambda A, folder: readonly(A.copy()),
    "C mapped": lambda A, folder: mapped(A, "C", folder),
    "F mapped": lambda A, folder: mapped(A, "F", folder),
    "C files": lambda A, folder: column_files(A, "C", folder),
    "F files": lambda A, folder: column_files(A, "F", folder),
    "sparse": lambda A, folder: sp.csc_array(A),
}
SPARSE = pytest.mark.parametrize("kind", ["sparse"])


def values(shape, dtype):
    rng = np.random.default_rng(shape[0] + 100 * shape[1])
    return (rng.standard_normal(shape) * (rng.random(shape) < 0.7)).astype(dtype)


def supports(p):
    """None, none, one, a few (gathered), many out of order (not gathered), all."""
    rng = np.random.default_rng(p)
    few, many = rng.permutation(p)[: max(1, p // 10)], rng.permutation(p)[: max(1, (3 * p) // 4)]
    return [None, np.arange(0), np.array([p - 1]), np.sort(few), many, np.arange(p)]


def snapshot(A):
    if isinstance(A, Matrix):
        return A.shape, A.dtype, A.nbytes
    if isinstance(A, sp.csc_array | sp.csc_matrix | sp.csr_array | sp.csr_matrix):
        return A.data.tobytes(), A.indices.tobytes(), A.indptr.tobytes(), A.data.flags.writeable
    return A.tobytes(), A.flags.writeable, A.strides


def set_chunk(monkeypatch, nbytes):
    """Let one pass over A take this much memory at a time."""
    for module in (base, dense):
        monkeypatch.setattr(module, "CHUNK_BYTES", nbytes)
