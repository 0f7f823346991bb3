"""Reading .mtx files: as SciPy reads sound ones, and refused before a hostile one costs anything."""

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from problem_files import MTX, MTX_ARRAY, RNG, dense, peak_bytes, save, write

from l0quad.files.problem_file import read_problem_file


@pytest.mark.parametrize("symmetry", ["general", "symmetric", "skew-symmetric"])
@pytest.mark.parametrize("form", [np.asarray, sp.coo_array])
def test_mtx_agrees_with_scipy(tmp_path, symmetry, form):
    square = RNG.integers(-3, 4, (4, 4)).astype(float)
    square = {"general": square, "symmetric": square + square.T, "skew-symmetric": square - square.T}[symmetry]
    scipy.io.mmwrite(tmp_path / "in.mtx", form(square), symmetry=symmetry, comment="a comment\nof two lines")
    assert symmetry in (tmp_path / "in.mtx").read_text(encoding="utf-8")
    found = read_problem_file(tmp_path / "in.mtx", save(tmp_path / "b.npy", np.ones(4)))
    np.testing.assert_array_equal(dense(found.A), dense(scipy.io.mmread(tmp_path / "in.mtx")))


def test_mtx_pattern_unended_and_empty(tmp_path):
    pattern = write(tmp_path / "p.mtx", MTX.replace("real", "pattern") + "2 2 2\n1 1\n2 2\n")
    np.testing.assert_array_equal(dense(read_problem_file(pattern).A), [[1], [0]])
    unended = write(tmp_path / "u.mtx", MTX + "1 2 2\n1 1 3\n1 2 4")
    np.testing.assert_array_equal(dense(read_problem_file(unended).A), [[3]])
    empty = write(tmp_path / "e.mtx", MTX + "2 3 0\n")
    np.testing.assert_array_equal(dense(read_problem_file(empty).A), np.zeros((2, 2)))


MTX_ERRORS = {
    "no banner": ("3 3 1\n1 1 1\n", "does not begin with a line"),
    "vector": (MTX.replace("matrix c", "vector c") + "3 1\n1 1\n", "does not begin with a line"),
    "complex": (MTX.replace("real", "complex") + "2 2 1\n1 1 1 1\n", "must hold a real matrix, got complex general"),
    "hermitian": (MTX.replace("general", "hermitian") + "2 2 1\n1 1 1\n", "must hold a real matrix"),
    "pattern array": (MTX_ARRAY.replace("real", "pattern") + "1 1\n1\n", "must hold a real matrix"),
    "no sizes": (MTX + "% only a comment\n", "has no line with its rows, columns and entries"),
    "two sizes": (MTX + "3 3\n1 1 1\n", "has no line with its rows, columns and entries"),
    "text sizes": (MTX_ARRAY + "a b\n1\n", "has no line with its rows and columns"),
    "absurd rows": (MTX + "999999999999999 3 1\n1 1 1\n", "declares 999999999999999 rows and 3 columns"),
    "absurd columns": (MTX + "3 999999999999999 1\n1 1 1\n", "declares 3 rows and 999999999999999 columns"),
    "absurd entries": (MTX + "3 3 99999999999999999999\n1 1 1\n", "declares 99999999999999999999 entries"),
    "an entry too many": (
        MTX + "3 3 3\n1 1 1\n2 2 2 \n",
        "declares 3 entries, more than the 13 bytes after its header",
    ),
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
    "ragged": (MTX + "3 3 2\n1 1 1\n2 2   \n", "number of columns changed"),
    "text": (MTX + "3 3 1\n1 1 x\n", "could not convert string 'x'"),
    "array too short": (MTX_ARRAY + "2 2\n1\n2\n3   \n", "declares 4 lines of 1 numbers"),
    "one column": (MTX_ARRAY + "2 1\n1\n2\n", "two columns or more"),
}


@pytest.mark.parametrize(("content", "message"), MTX_ERRORS.values(), ids=MTX_ERRORS)
def test_mtx_errors(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_problem_file(write(tmp_path / "in.mtx", content))


def test_mtx_array_within_the_limit(tmp_path):
    path = write(tmp_path / "in.mtx", MTX_ARRAY + "2 2\n1\n2\n3\n4\n")
    with pytest.raises(ValueError, match="needs 64 bytes of memory, the limit is 63"):
        read_problem_file(path, limit=63)
    assert read_problem_file(path, limit=64).A.shape == (2, 1)


ENTRY = "1 1 1\n"


@pytest.mark.parametrize(
    ("symmetry", "rows", "columns"),
    [("general", 3, 20_000_000), ("general", 20_000_000, 3), ("symmetric", 20_000_000, 20_000_000)],
)
def test_empty_rows_and_columns_cost_nothing(tmp_path, symmetry, rows, columns):
    """Comments before the entries count for nothing, nor does a machine with memory enough help."""
    text = MTX.replace("general", symmetry) + "%" * 9000 + f"\n{rows} {columns} 1\n{ENTRY}"
    path = write(tmp_path / "in.mtx", text)
    message = f"in.mtx: declares {rows} rows and {columns} columns, but the 6 bytes of its entries can hold 65542 tog"

    def read():
        with pytest.raises(ValueError, match=message):
            read_problem_file(path, limit=2**60)

    assert peak_bytes(read) < 1e6


@pytest.mark.parametrize("entries", [1, 20])
def test_as_many_rows_and_columns_as_bytes_and_65536(tmp_path, entries):
    most = 6 * entries + 65536
    kept = write(tmp_path / "in.mtx", MTX + f"3 {most - 3} {entries}\n{ENTRY * entries}")
    assert read_problem_file(kept).A.shape == (3, most - 4)
    refused = write(tmp_path / "in.mtx", MTX + f"3 {most - 2} {entries}\n{ENTRY * entries}")
    with pytest.raises(ValueError, match=f"can hold {most} together, one a byte and 65536"):
        read_problem_file(refused)


def test_empty_columns_count_against_the_limit(tmp_path):
    path = write(tmp_path / "in.mtx", MTX + f"3 997 1\n{ENTRY}")
    with pytest.raises(ValueError, match="needs 24096 bytes of memory, the limit is 24095"):
        read_problem_file(path, limit=24095)
    assert read_problem_file(path, limit=24096).A.shape == (3, 996)
