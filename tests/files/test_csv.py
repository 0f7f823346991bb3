"""Reading .csv files: the usual dialects, and errors that name the line and column."""

import numpy as np
import pytest
from problem_files import write

from l0quad.files.csv import read_csv
from l0quad.files.csv_dialect import Wanted
from l0quad.files.problem_file import read_problem_file


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "x,y\n1,2\n3,4",
        '\ufeff"x, y","z"\r\n1, 2\r\n\r\n3,4\r\n',
        '"1","2"\n"3","4"\n',
        "1,2\n\n\n3,4e0\n",
        "x,y\nTrue,2\n3,4\n",
        "1;2\n3;4\n",
        "x;y\n1,0;2,0\n3,0;4,0\n",
        "x\ty\r\n1\t2\r\n3\t4\r\n",
        "x|y\n1|2\n3|4\n",
        " 1.0   2.0\n 3.0   4.0\n",
        '"1,0","2,0"\n"3,0","4,0"\n',
        ",x,y\n0,1,2\n1,3,4\n",
        ",0,1\n0,1,2\n1,3,4\n",
        '"","x","y"\n"1",1,2\n"2",3,4\n',
        '"","x","y"\n"Ulm",1,2\n"Bonn",3,4\n',
        '"x" "y"\n"1" 1 2\n"2" 3 4\n',
        '"2019","2020"\n1,2\n3,4\n',
    ],
)
def test_csv_dialects(tmp_path, text):
    found = read_problem_file(write(tmp_path / "in.csv", text))
    np.testing.assert_array_equal(found.A, [[1], [3]])
    np.testing.assert_array_equal(found.b, [2, 4])


CSV_ERRORS = {
    "a bad value": ("x,y\n1,2\n3,abc\n", r"line 3, column 2 \('y'\): must be a finite number, got 'abc'"),
    "a bad first value": ("1,2,x\n3,4,5\n", "line 1, column 3: 'x' is no number, .* names with --header, values with"),
    "an underscore": ("1,2\n1_000,4\n", "line 2, column 1: must be a finite number, got '1_000'"),
    "a named column": ("x,town\n1,Ulm\n", r"line 2, column 2 \('town'\): must be a finite number, got 'Ulm'"),
    "thousands": ("1,234;5,678\n", "has numbers such as 1,234, which may be 1.234 or 1234; --decimal , says the first"),
    "numbers that may be names": (
        "2019,2020,2021\n1,5,2\n",
        "2019, 2020, 2021, ... in its first line: names with --head",
    ),
    "an unnamed column": (",x,y\n7,1,2\n3,4,5\n", "column 1 has no name and does not number the rows; --index leaves"),
    "both decimal marks": ("x;y\n1,5;2.5\n", r"line 2, column 1 \('x'\): must be a finite number, got '1,5'"),
    "NaN": ("1,2\n3,nan\n", "line 2, column 2: must be a finite number, got 'nan'"),
    "infinity": ("1,-inf\n", "line 1, column 2: must be a finite number"),
    "overflow": ("1,1e999\n", "line 1, column 2: must be a finite number"),
    "a missing value": ("1,2\n3,\n", "line 2, column 2: must be a finite number, got ''"),
    "two headers": ("a,b\nc,d\n1,2\n", r"line 2, column 1 \('a'\): must be a finite number, got 'c'"),
    "a short row": ("1,2\n\n3\n", "line 3 has 1 values, the first line has 2"),
    "nothing": ("", "holds no numbers"),
    "only names": ("a,b\n", "holds no numbers"),
    "not text": (b"\xff\xfe1,2\n", "UTF-8"),
    "one column": ("1\n2\n", r"two columns or more, one being b, got shape \(2, 1\)"),
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


SETTLED = {
    "header": ("2019,2020,2021\n1,5,2\n", Wanted(header=True), [[1, 5, 2]], ("2019", "2020", "2021")),
    "no header": ("2019,2020,2021\n1,5,2\n", Wanted(header=False), [[2019, 2020, 2021], [1, 5, 2]], None),
    "mixed names": ("age,2020\n1,5\n", Wanted(header=True), [[1, 5]], ("age", "2020")),
    "index": (",x\n7,1\n3,4\n", Wanted(index=True), [[1], [4]], ("x",)),
    "no index": (",x\n0,1\n1,4\n", Wanted(index=False), [[0, 1], [1, 4]], ("column 1", "x")),
    "an index without names": ("7,1\n3,4\n", Wanted(index=True), [[1], [4]], None),
    "decimal comma": ("1,234;5,678\n", Wanted(decimal=","), [[1.234, 5.678]], None),
    "separator": ("x;y\n1;2\n", Wanted(separator=";"), [[1, 2]], ("x", "y")),
    "drop": ("x,town,y\n1,Ulm,2\n", Wanted(drop=("town",)), [[1, 2]], ("x", "y")),
}


@pytest.mark.parametrize(("text", "wanted", "values", "names"), SETTLED.values(), ids=SETTLED)
def test_an_option_settles_it(tmp_path, text, wanted, values, names):
    table = read_csv(write(tmp_path / "in.csv", text), 1 << 20, wanted)
    np.testing.assert_array_equal(table.values, values)
    assert table.names == names


def test_what_is_left_out_is_said(tmp_path):
    table = read_csv(write(tmp_path / "in.csv", ",x,y\n1,1,2\n2,3,4\n"), 1 << 20)
    assert table.notes == ("column 1, which has no name and numbers the rows, is left out (--no-index keeps it)",)
    table = read_csv(write(tmp_path / "in.csv", ",x,y\nUlm,1,2\nBonn,3,4\n"), 1 << 20)
    assert table.notes == ("column 1 (without a name) is left out",)
    with pytest.raises(ValueError, match="--drop: there is no column 'z', only x, y"):
        read_csv(write(tmp_path / "in.csv", "x,y\n1,2\n"), 1 << 20, Wanted(drop=("z",)))


def test_a_row_number_that_stops_counting_late_is_not_left_out(tmp_path):
    rows = [f"{i},{i % 7}" for i in range(400)]
    rows[350] = "7,1"
    with pytest.raises(ValueError, match="column 1 has no name and does not number the rows"):
        read_csv(write(tmp_path / "in.csv", ",x\n" + "\n".join(rows)), 1 << 20)


def test_the_target_is_named(tmp_path):
    path = write(tmp_path / "in.csv", "x,y,z\n1,2,3\n4,5,6\n")
    found = read_problem_file(path, target="y")
    np.testing.assert_array_equal(found.A, [[1, 3], [4, 6]])
    np.testing.assert_array_equal(found.b, [2, 5])
    assert (found.names, found.target) == (("x", "z"), "y")
    assert read_problem_file(path).target == "z"
    with pytest.raises(ValueError, match="--target: no column of A is named 'Y'"):
        read_problem_file(path, target="Y")
    unnamed = read_problem_file(write(tmp_path / "plain.csv", "1,2,9\n4,5,6\n"), target="0")
    np.testing.assert_array_equal(unnamed.b, [1, 4])
    assert (unnamed.names, unnamed.target) == (None, None)
