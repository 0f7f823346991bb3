"""Reading .npz files: dense and sparse ones there and back, and hostile ones refused before they unfold."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
from problem_files import RNG, SPARSE, A, B, npy_bytes, npy_header, peak_bytes, save, write, zip_of

from l0quad import Problem
from l0quad.files.problem_file import read_problem_file


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_npz_with_everything(tmp_path, writer):
    members = {"A": np.asfortranarray(A), "b": B, "w0": np.arange(3), "linear": np.ones(3), "ridge": 0.25}
    writer(tmp_path / "in.npz", **members)
    found = read_problem_file(tmp_path / "in.npz")
    for name, value in members.items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert Problem(found.A, found.b, 2, found.ridge, found.w0, found.linear).ridge == 0.25


@pytest.mark.parametrize(("kind", "compressed"), [("csr", True), ("csc", False), ("coo", True)])
def test_sparse_npz(tmp_path, kind, compressed):
    sp.save_npz(tmp_path / "in.npz", SPARSE.asformat(kind), compressed=compressed)
    last = read_problem_file(tmp_path / "in.npz")
    np.testing.assert_array_equal(last.A.toarray(), SPARSE.toarray()[:, :-1])
    np.testing.assert_array_equal(last.b, SPARSE.toarray()[:, -1])
    whole = read_problem_file(tmp_path / "in.npz", save(tmp_path / "b.npy", np.arange(6.0)))
    np.testing.assert_array_equal(whole.A.toarray(), SPARSE.toarray())


class Bomb:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


GOOD = npy_bytes(A)
VECTOR = npy_bytes(B)
NPZ_ERRORS = {
    "a pickle": ([("A.npy", pickle.dumps(Bomb()))], "member 'A'.* magic string"),
    "an object array": (
        [("A.npy", npy_bytes(np.array([[Bomb()]], dtype=object), allow_pickle=True))],
        "member 'A': holds Python objects",
    ),
    "foreign": ([("A.npy", GOOD), ("extra.npy", GOOD)], "'extra.npy', which is none of A, b, linear, ridge, w0"),
    "no suffix": ([("A", GOOD)], "holds 'A', which is none of"),
    "a path": ([("../A.npy", GOOD)], "holds '../A.npy'"),
    "no A": ([("b.npy", VECTOR)], "holds no array A, only b"),
    "nothing": ([], "holds no array A, only nothing"),
    "truncated member": ([("A.npy", GOOD[:-8])], "member 'A': declares shape .* but 112 bytes follow"),
    "huge header": ([("A.npy", npy_header((10**8, 10**7)))], "member 'A': declares shape"),
    "one column": ([("A.npy", npy_bytes(A[:, :1]))], "two columns or more"),
    "sparse and dense": ([("format.npy", npy_bytes(np.array(b"csr"))), ("A.npy", GOOD)], "'A.npy', which is none of"),
    "sparse, incomplete": (
        [("format.npy", npy_bytes(np.array(b"csr"))), ("data.npy", VECTOR)],
        "is a csr matrix without indices, indptr, shape",
    ),
    "a format of nothing, often": (
        [("format.npy", npy_header((200_000_000,), "|S0"))],
        "member 'format': must hold one short word, got shape .200000000,. of .S0",
    ),
    "a format of many": ([("format.npy", npy_bytes(np.full(9, b"csr")))], "'format': must hold one short word"),
    "a long format": ([("format.npy", npy_bytes(np.array(b"c" * 65)))], "'format': must hold one short word"),
    "unknown format": ([("format.npy", npy_bytes(np.array(b"dia")))], "format 'dia'; save it as csr, csc or coo"),
}


@pytest.mark.parametrize(("members", "message"), NPZ_ERRORS.values(), ids=NPZ_ERRORS)
def test_npz_errors(tmp_path, members, message):
    with pytest.raises(ValueError, match=message):
        read_problem_file(zip_of(tmp_path / "in.npz", members))


def test_npz_twice_the_same_member(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        zip_of(tmp_path / "in.npz", [("A.npy", GOOD), ("A.npy", GOOD)])
    with pytest.raises(ValueError, match=r"holds the member 'A.npy' twice"):
        read_problem_file(tmp_path / "in.npz")


def test_npz_other_compression(tmp_path):
    with pytest.raises(ValueError, match="compressed in a way that NumPy does not write"):
        read_problem_file(zip_of(tmp_path / "in.npz", [("A.npy", GOOD)], zipfile.ZIP_LZMA))


def test_zip_bomb_is_refused_before_it_unfolds(tmp_path):
    zeros = npy_bytes(np.zeros((2000, 2000)))
    path = zip_of(tmp_path / "in.npz", [("A.npy", zeros)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < len(zeros) / 500

    def read():
        with pytest.raises(ValueError, match="needs 32000128 bytes of memory, the limit is 32000127"):
            read_problem_file(path, limit=32000127)

    assert peak_bytes(read) < 1e6
    assert read_problem_file(path, limit=32000128).A.shape == (2000, 1999)


def test_all_members_together_count(tmp_path):
    np.savez(tmp_path / "in.npz", A=np.ones((10, 10)), b=np.ones(10), w0=np.ones(10))
    size = 3 * 128 + 8 * 120
    assert read_problem_file(tmp_path / "in.npz", limit=size).b.size == 10
    with pytest.raises(ValueError, match=f"needs {size} bytes"):
        read_problem_file(tmp_path / "in.npz", limit=size - 1)


def lying_zip(path, compression):
    """Write a member whose header declares 800 MB, and put sizes as untrue into the directory."""
    header = npy_header((10**4, 10**4))
    zip_of(path, [("A.npy", header + b"\0" * 8)], compression)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    for offset in (20, 24) if compression == zipfile.ZIP_STORED else (24,):
        data[entry + offset : entry + offset + 4] = struct.pack("<I", 8 * 10**8 + len(header))
    return write(path, data)


@pytest.mark.parametrize(
    ("compression", "message"),
    [
        (zipfile.ZIP_DEFLATED, "member 'A.npy' declares 800000078 bytes, more than .* bytes can hold"),
        (zipfile.ZIP_STORED, "declares members of 800000078 bytes together, more than its 194 bytes can hold"),
    ],
)
def test_a_zip_directory_that_lies_about_sizes(tmp_path, compression, message):
    path = lying_zip(tmp_path / "in.npz", compression)

    def read():
        with pytest.raises(ValueError, match=message):
            read_problem_file(path, limit=2**60)

    assert peak_bytes(read) < 1e6


def corrupt(matrix, **changes):
    parts = {"format": matrix.format.encode(), "shape": np.array(matrix.shape), "data": matrix.data}
    names = ("row", "col") if matrix.format == "coo" else ("indices", "indptr")
    parts |= {name: getattr(matrix, name) for name in names} | changes
    return [(f"{name}.npy", npy_bytes(np.asarray(value))) for name, value in parts.items()]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("csr", {"indices": np.full(SPARSE.nnz, 1000)}),
        ("csc", {"indices": np.full(SPARSE.nnz, -1)}),
        ("csc", {"indptr": np.array([0, 1000, 1000, 1000, SPARSE.nnz])}),
        ("csr", {"indptr": np.zeros(3, int)}),
        ("coo", {"row": np.full(SPARSE.nnz, 6)}),
        ("coo", {"row": np.zeros(1, int)}),
        ("csr", {"data": np.ones((2, 2))}),
        ("csr", {"shape": np.array([6])}),
        ("csr", {"shape": np.array([6.5, 4.0])}),
        ("coo", {"shape": np.array([-6, 4])}),
        ("coo", {"shape": np.array([10**15, 4])}),
        ("coo", {"shape": np.array([6, 10**15])}),
        ("csr", {"format": np.array([b"csr", b"csr"])}),
    ],
)
def test_corrupt_sparse_npz(tmp_path, kind, changes):
    path = zip_of(tmp_path / "in.npz", corrupt(SPARSE.asformat(kind), **changes))
    with pytest.raises(ValueError, match=r"in\.npz: "):
        read_problem_file(path)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("shape", [(6, 20_000_000), (20_000_000, 4)])
def test_empty_rows_and_columns_cost_nothing(tmp_path, kind, shape):
    path = zip_of(tmp_path / "in.npz", corrupt(SPARSE.asformat(kind), shape=np.array(shape)), zipfile.ZIP_DEFLATED)

    def read():
        message = (
            rf"in\.npz: declares {shape[0]} rows and {shape[1]} columns, but the \d+ bytes of its entries can hold"
        )
        with pytest.raises(ValueError, match=message):
            read_problem_file(path, limit=2**60)

    assert peak_bytes(read) < 1e6


@pytest.mark.parametrize(("kind", "axis"), [("csr", 0), ("csc", 1)])
def test_as_many_pointers_as_rows_or_columns(tmp_path, kind, axis):
    shape = np.array(SPARSE.shape)
    shape[axis] += 1
    with pytest.raises(ValueError, match=f"is a {kind} matrix of shape .*, but its indptr holds {shape[axis]} values"):
        read_problem_file(zip_of(tmp_path / "in.npz", corrupt(SPARSE.asformat(kind), shape=shape)))


def test_a_wide_matrix_with_few_entries(tmp_path):
    """Many a column without an entry is no reason to refuse a matrix: its index arrays are bytes, too."""
    columns = np.sort(RNG.choice(400_000, 40_000, replace=False))
    wide = sp.csr_array((np.ones(40_000), columns, np.arange(0, 40_001, 800)), shape=(50, 400_000))
    sp.save_npz(tmp_path / "in.npz", wide)
    assert (tmp_path / "in.npz").stat().st_size < 400_000
    assert read_problem_file(tmp_path / "in.npz", save(tmp_path / "b.npy", np.ones(50))).A.shape == (50, 400_000)
