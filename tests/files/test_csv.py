"""Reading .csv files: the usual dialects, and errors that name the line and column."""

import numpy as np
import pytest
from problem_files import write

from l0quad.files.problem_file import read_problem_file


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


def test_csv_within_the_limit(tmp_path):
    path = write(tmp_path / "in.csv", "1,2\n3,4\n")
    with pytest.raises(ValueError, match="needs 32 bytes of memory, the limit is 31"):
        read_problem_file(path, limit=31)
    assert read_problem_file(path, limit=32).A.shape == (2, 1)
