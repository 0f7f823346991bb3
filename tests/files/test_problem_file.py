"""Reading a problem from a file or two, of whatever format, and what is said of files that hold none."""

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from problem_files import JOINED, MTX, SPARSE, A, B, dense, npy_bytes, save, write

from l0quad.files.limits import physical_memory
from l0quad.files.problem_file import read_problem_file


@pytest.mark.parametrize("suffix", [".npy", ".mtx", ".csv"])
def test_last_column_is_b(tmp_path, suffix):
    found = read_problem_file(save(tmp_path / f"in{suffix}", JOINED))
    np.testing.assert_array_equal(dense(found.A), A)
    np.testing.assert_array_equal(found.b, B)
    assert (found.w0, found.linear, found.ridge) == (None, None, None)


@pytest.mark.parametrize(("suffix", "rhs_suffix"), [(".npy", ".mtx"), (".mtx", ".csv"), (".csv", ".npy")])
def test_b_of_its_own_file(tmp_path, suffix, rhs_suffix):
    matrix = save(tmp_path / f"in{suffix}", A)
    for shape in ((5, 1), (1, 5)):
        found = read_problem_file(matrix, save(tmp_path / f"b{rhs_suffix}", B.reshape(shape)))
        np.testing.assert_array_equal(dense(found.A), A)
        np.testing.assert_array_equal(found.b, B)


def test_a_sparse_rhs(tmp_path):
    scipy.io.mmwrite(tmp_path / "b.mtx", sp.coo_array([[0.0], [2.0], [0.0], [0.0], [-1.0]]))
    found = read_problem_file(save(tmp_path / "in.csv", A), tmp_path / "b.mtx")
    np.testing.assert_array_equal(found.b, [0, 2, 0, 0, -1])


def test_rhs_errors(tmp_path):
    matrix = save(tmp_path / "in.npy", A)
    with pytest.raises(ValueError, match=r"rhs\.npy: must hold b as one row or one column, got shape \(5, 3\)"):
        read_problem_file(matrix, save(tmp_path / "rhs.npy", A))
    with pytest.raises(ValueError, match=r"rhs\.npz: must end in \.npy, \.mtx, \.csv"):
        read_problem_file(matrix, tmp_path / "rhs.npz")
    with pytest.raises(ValueError, match=r"rhs\.mtx: needs .* bytes of memory"):
        read_problem_file(matrix, write(tmp_path / "rhs.mtx", MTX + "1 10000 1\n1 1 1\n"), limit=10_000)
    with pytest.raises(ValueError, match=r"rhs\.mtx: declares 1 rows and 20000000 columns"):
        read_problem_file(matrix, write(tmp_path / "rhs.mtx", MTX + "1 20000000 1\n1 1 1\n"))
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
