"""Reading problem files: every format there and back, and hostile files refused before they cost anything."""

import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from problem_files import JOINED, MTX, MTX_ARRAY, RNG, SPARSE, A, B, dense, npy_bytes, npy_header, save, write

from l0quad.files.limits import physical_memory
from l0quad.files.problem_file import read_problem_file


@pytest.mark.parametrize("suffix", [".npy", ".mtx", ".csv"])
def test_last_column_is_b(tmp_path, suffix):
    found = read_problem_file(save(tmp_path / f"in{suffix}", JOINED))
    np.testing.assert_array_equal(dense(found.A), A)
    np.testing.assert_array_equal(found.b, B)
    assert (found.w0, found.linear, found.ridge) == (None, None, None)


@pytest.mark.parametrize("rhs_shape", [(5, 1), (1, 5)])
@pytest.mark.parametrize("rhs_suffix", [".npy", ".mtx", ".csv"])
@pytest.mark.parametrize("suffix", [".npy", ".mtx", ".csv"])
def test_b_of_its_own_file(tmp_path, suffix, rhs_suffix, rhs_shape):
    found = read_problem_file(
        save(tmp_path / f"in{suffix}", A), save(tmp_path / f"b{rhs_suffix}", B.reshape(rhs_shape))
    )
    np.testing.assert_array_equal(dense(found.A), A)
    np.testing.assert_array_equal(found.b, B)


def test_a_sparse_rhs(tmp_path):
    scipy.io.mmwrite(tmp_path / "b.mtx", sp.coo_array([[0.0], [2.0], [0.0], [0.0], [-1.0]]))
    found = read_problem_file(save(tmp_path / "in.csv", A), tmp_path / "b.mtx")
    np.testing.assert_array_equal(found.b, [0, 2, 0, 0, -1])


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_stays_a_memory_map_and_costs_no_memory(tmp_path, order):
    big = np.asarray(RNG.standard_normal((300, 400)), order=order)
    np.save(tmp_path / "in.npy", big)
    found = read_problem_file(tmp_path / "in.npy", limit=1)
    assert isinstance(found.A, np.memmap)
    np.testing.assert_array_equal(found.A, big[:, :-1])


@pytest.mark.parametrize("symmetry", ["general", "symmetric", "skew-symmetric"])
@pytest.mark.parametrize("form", [np.asarray, sp.coo_array])
def test_mtx_agrees_with_scipy(tmp_path, symmetry, form):
    square = RNG.integers(-3, 4, (4, 4)).astype(float)
    square = {"general": square, "symmetric": square + square.T, "skew-symmetric": square - square.T}[symmetry]
    scipy.io.mmwrite(tmp_path / "in.mtx", form(square), symmetry=symmetry, comment="a comment\nof two lines")
    assert symmetry in (tmp_path / "in.mtx").read_text()
    found = read_problem_file(tmp_path / "in.mtx", save(tmp_path / "b.npy", np.ones(4)))
    np.testing.assert_array_equal(dense(found.A), dense(scipy.io.mmread(tmp_path / "in.mtx")))


def test_mtx_pattern_and_empty(tmp_path):
    pattern = write(tmp_path / "p.mtx", MTX.replace("real", "pattern") + "2 2 2\n1 1\n2 2\n")
    np.testing.assert_array_equal(dense(read_problem_file(pattern).A), [[1], [0]])
    empty = write(tmp_path / "e.mtx", MTX + "2 3 0\n")
    np.testing.assert_array_equal(dense(read_problem_file(empty).A), np.zeros((2, 2)))


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "x,y\n1,2\n3,4",
        '\ufeff"x, y","z"\r\n1, 2\r\n\r\n3,4\r\n',
        '"1","2"\n"3","4"\n',
        "1,2\n\n\n3,4e0\n",
    ],
)
def test_csv_dialects(tmp_path, text):
    found = read_problem_file(write(tmp_path / "in.csv", text))
    np.testing.assert_array_equal(found.A, [[1], [3]])
    np.testing.assert_array_equal(found.b, [2, 4])


CSV_ERRORS = {
    "a bad value": ("x,y\n1,2\n3,abc\n", "line 3, column 2: must be a finite number, got 'abc'"),
    "a bad first value": ("1,2,x\n3,4,5\n", "line 1, column 3: must be a finite number, got 'x'"),
    "NaN": ("1,2\n3,nan\n", "line 2, column 2: must be a finite number, got 'nan'"),
    "infinity": ("1,-inf\n", "line 1, column 2: must be a finite number"),
    "overflow": ("1,1e999\n", "line 1, column 2: must be a finite number"),
    "a missing value": ("1,2\n3,\n", "line 2, column 2: must be a finite number, got ''"),
    "two headers": ("a,b\nc,d\n1,2\n", "line 2, column 1: must be a finite number, got 'c'"),
    "a short row": ("1,2\n\n3\n", "line 3 has 1 values, the first line has 2"),
    "semicolons": ("1;2\n3;4\n", "line 2, column 1: must be a finite number, got '3;4'"),
    "nothing": ("", "holds no numbers"),
    "only names": ("a,b\n", "holds no numbers"),
    "not text": (b"\xff\xfe1,2\n", "utf-8"),
    "one column": ("1\n2\n", r"two columns or more, the last being b, got shape \(2, 1\)"),
    "an endless line": ("1," * (1 << 23) + "1\n", "a line of more than"),
    "an open quote": ('"1,2\n' + "3,4\n" * 50_000, "field larger than field limit"),
}


@pytest.mark.parametrize(("content", "message"), CSV_ERRORS.values(), ids=CSV_ERRORS)
def test_csv_errors(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_problem_file(write(tmp_path / "in.csv", content))


NPY_ERRORS = {
    "truncated": (npy_bytes(JOINED)[:-1], "declares shape .* 160 bytes, but 159 bytes follow"),
    "too long": (npy_bytes(JOINED) + b"\0", "160 bytes, but 161 bytes follow"),
    "a petabyte": (npy_header((10**8, 10**7)), "8000000000000000 bytes, but 0 bytes follow"),
    "overflowing": (npy_header((2**62, 2**62)) + b"x" * 8, "but 8 bytes follow"),
    "negative": (npy_header((-1, -1)) + b"x" * 8, "declares shape"),
    "empty": (npy_header((0, 3)), "holds no values"),
    "objects": (npy_bytes(np.array([[{}]]), allow_pickle=True), "Python objects, which are never unpickled"),
    "complex": (npy_bytes(np.ones((2, 2), complex)), "must hold real numbers .* complex128"),
    "strings": (npy_bytes(np.array([["a"]])), "must hold real numbers"),
    "records": (npy_bytes(np.zeros(2, "i4,f8")), "must hold real numbers"),
    "version 3": (npy_header((1, 1), version=(3, 0)), "format version 3.0"),
    "long header": (b"\x93NUMPY\2\0" + b"\xff\xff\xff\x7f" + b" " * 20_000, "EOF: reading array header"),
    "code": (npy_header("__import__('os').abort()"), "in.npy: "),
    "deep": (b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"(" * 9000, "in.npy: "),
    "no header": (b"", "in.npy: "),
    "text": ("1,2\n", "magic string"),
    "one dimension": (npy_bytes(B), r"two columns or more, the last being b, got shape \(5,\)"),
}


@pytest.mark.parametrize(("content", "message"), NPY_ERRORS.values(), ids=NPY_ERRORS)
def test_npy_errors(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_problem_file(write(tmp_path / "in.npy", content))


def test_integers_count_as_what_they_become(tmp_path):
    np.save(tmp_path / "in.npy", np.ones((10, 10), dtype=np.int8))
    with pytest.raises(ValueError, match="needs 800 bytes of memory, the limit is 799"):
        read_problem_file(tmp_path / "in.npy", limit=799)
    assert read_problem_file(tmp_path / "in.npy", limit=800).A.shape == (10, 9)


MTX_ERRORS = {
    "no banner": ("3 3 1\n1 1 1\n", "does not begin with a line"),
    "vector": (MTX.replace("matrix c", "vector c") + "3 1\n1 1\n", "does not begin with a line"),
    "complex": (MTX.replace("real", "complex") + "2 2 1\n1 1 1 1\n", "must hold a real matrix, got complex general"),
    "hermitian": (MTX.replace("general", "hermitian") + "2 2 1\n1 1 1\n", "must hold a real matrix"),
    "pattern array": (MTX_ARRAY.replace("real", "pattern") + "1 1\n1\n", "must hold a real matrix"),
    "no sizes": (MTX + "% only a comment\n", "has no line with its rows, columns and entries"),
    "two sizes": (MTX + "3 3\n1 1 1\n", "has no line with its rows, columns and entries"),
    "text sizes": (MTX_ARRAY + "a b\n1\n", "has no line with its rows and columns"),
    "absurd rows": (MTX + "999999999999999 3 1\n1 1 1\n", "bytes of memory, the limit is"),
    "absurd columns": (MTX + "3 999999999999999 1\n1 1 1\n", "bytes of memory, the limit is"),
    "absurd entries": (MTX + "3 3 99999999999999999999\n1 1 1\n", "declares 99999999999999999999 entries"),
    "absurd array": (MTX_ARRAY + "1000000 1000000\n1\n", "declares 1000000000000 entries"),
    "negative": (MTX + "3 -3 1\n1 1 1\n", "declares a general matrix with 3 -3 1"),
    "symmetric, not square": (MTX.replace("general", "symmetric") + "3 2 1\n1 1 1\n", "a symmetric matrix with 3 2 1"),
    "index 0": (MTX + "3 3 1\n0 1 1\n", "an index that is not an integer within its shape"),
    "index beyond": (MTX + "3 3 1\n1 4 1\n", "an index that is not an integer within its shape"),
    "index 1.5": (MTX + "3 3 1\n1 1.5 1\n", "an index that is not an integer within its shape"),
    "index nan": (MTX + "3 3 1\n1 nan 1\n", "an index that is not an integer within its shape"),
    "a line too few": (MTX + "3 3 2\n1 1 1.00000\n", "declares 2 lines of 3 numbers"),
    "a line too many": (MTX + "3 3 1\n1 1 1\n2 2 2\n", "declares 1 lines of 3 numbers"),
    "lines for none": (MTX + "3 3 0\n1 1 1\n", "declares 0 lines of 3 numbers"),
    "no values": (MTX + "3 3 1\n1 1      \n", "declares 1 lines of 3 numbers"),
    "ragged": (MTX + "3 3 2\n1 1 1\n2 2\n", "number of columns changed"),
    "text": (MTX + "3 3 1\n1 1 x\n", "could not convert string 'x'"),
    "array too short": (MTX_ARRAY + "2 2\n1\n2\n3   \n", "declares 4 lines of 1 numbers"),
    "one column": (MTX_ARRAY + "2 1\n1\n2\n", "two columns or more"),
}


@pytest.mark.parametrize(("content", "message"), MTX_ERRORS.values(), ids=MTX_ERRORS)
def test_mtx_errors(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_problem_file(write(tmp_path / "in.mtx", content))


@pytest.mark.parametrize(
    ("name", "content", "limit"), [("in.csv", "1,2\n3,4\n", 31), ("in.mtx", MTX_ARRAY + "2 2\n1\n2\n3\n4\n", 63)]
)
def test_text_within_the_limit(tmp_path, name, content, limit):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=f"needs {limit + 1} bytes of memory, the limit is {limit}"):
        read_problem_file(path, limit=limit)
    assert read_problem_file(path, limit=limit + 1).A.shape == (2, 1)


def test_rhs_errors(tmp_path):
    matrix = save(tmp_path / "in.npy", A)
    with pytest.raises(ValueError, match=r"rhs\.npy: must hold b as one row or one column, got shape \(5, 3\)"):
        read_problem_file(matrix, save(tmp_path / "rhs.npy", A))
    with pytest.raises(ValueError, match=r"rhs\.npz: must end in \.npy, \.mtx, \.csv"):
        read_problem_file(matrix, tmp_path / "rhs.npz")
    with pytest.raises(ValueError, match=r"rhs\.mtx: needs .* bytes of memory"):
        read_problem_file(matrix, write(tmp_path / "rhs.mtx", MTX + "1 10000 1\n1 1 1\n"), limit=10_000)
    np.savez(tmp_path / "both.npz", A=A, b=B)
    with pytest.raises(ValueError, match=r"both\.npz: holds b already"):
        read_problem_file(tmp_path / "both.npz", save(tmp_path / "b.npy", B))
    with pytest.raises(FileNotFoundError):
        read_problem_file(matrix, tmp_path / "missing.npy")


def test_what_is_no_file(tmp_path):
    (tmp_path / "in.npy").mkdir()
    with pytest.raises(ValueError, match=r"in\.npy: is not a regular file"):
        read_problem_file(tmp_path / "in.npy")
    with pytest.raises(ValueError, match=r"in\.txt: must end in \.npz, \.npy, \.mtx, \.csv"):
        read_problem_file(tmp_path / "in.txt")
    with pytest.raises(FileNotFoundError):
        read_problem_file(tmp_path / "missing.npy")


def test_random_damage_is_a_value_error_or_a_problem_file(tmp_path):
    """Nothing but ValueError comes out, whatever bytes change; a crash would end the test run."""
    rng = np.random.default_rng(1)
    originals = {".npy": npy_bytes(JOINED), ".mtx": MTX.encode() + b"3 3 3\n1 1 1.5\n2 2 -2\n3 3 1e3\n"}
    np.savez(tmp_path / "a.npz", A=A, b=B)
    sp.save_npz(tmp_path / "s.npz", SPARSE.tocsr(), compressed=False)
    originals |= {".npz": (tmp_path / "a.npz").read_bytes(), ".s.npz": (tmp_path / "s.npz").read_bytes()}
    outcomes = set()
    for suffix, original in originals.items():
        for _ in range(150):
            damaged = bytearray(original)
            for _ in range(rng.integers(1, 4)):
                damaged[rng.integers(len(damaged))] = rng.choice(list(b"0123456789 \n\xff\0"))
            try:
                read_problem_file(write(tmp_path / f"in{suffix}", damaged), limit=10**6)
                outcomes.add("read")
            except ValueError as error:
                assert str(error).startswith(str(tmp_path))  # noqa: PT017
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_memory_of_a_machine_that_does_not_tell(monkeypatch):
    assert physical_memory() > 2**26
    monkeypatch.delattr("os.sysconf", raising=False)
    assert physical_memory() == 2**33
