"""Problem files for the tests of the readers, sound and hostile ones."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import scipy.io
import scipy.sparse as sp

RNG = np.random.default_rng(0)
A = RNG.standard_normal((5, 3))
B = RNG.standard_normal(5)
JOINED = np.column_stack([A, B])
SPARSE = sp.csc_array(np.where(RNG.random((6, 4)) < 0.5, RNG.standard_normal((6, 4)), 0.0))
MTX = "%%MatrixMarket matrix coordinate real general\n"
MTX_ARRAY = "%%MatrixMarket matrix array real general\n"


def dense(matrix):
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def npy_bytes(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def npy_header(shape, descr="<f8", version=(1, 0)):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n".encode()
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text


def zip_of(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def save(path, matrix):
    if path.suffix == ".npy":
        np.save(path, matrix)
    elif path.suffix == ".mtx":
        scipy.io.mmwrite(path, matrix, symmetry="general", precision=17)
    else:
        np.savetxt(path, np.atleast_2d(matrix), delimiter=",", fmt="%.17g")
    return path


def peak_bytes(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
