"""``l0quad solve`` on a table of variables: names, target, intercept, and what is printed and written."""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tables import NAMES, X, Y, write_table

import l0quad
from l0quad import Cardinality, Design
from l0quad.app import options
from l0quad.app.cli import _parser, main


@pytest.fixture
def table(folder):
    """The current folder of a test, with a table in it."""
    write_table(folder / "data.csv")
    return folder


def expected(k=2, **options):
    design = Design(X, fit_intercept=True, standardize=True)
    result = l0quad.minimize(design.matrix, design.target(Y), k, **options)
    return result, design.coefficients(result.w, Y)


def test_target_and_names(table, capsys):
    assert main(["solve", "data.csv", "--target", "y", "-k", "2"]) == 0
    out, err = capsys.readouterr()
    assert err == (
        "l0quad: note: data.csv: column 1, which has no name and numbers the rows, is left out (--no-index keeps it)\n"
    )
    result, (coef, intercept) = expected()
    report = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert report["target"] == "y"
    assert report["support"].split() == ["age", "bmi"]
    np.testing.assert_allclose([float(each) for each in report["values"].split()], coef[:2], rtol=1e-4)
    assert float(report["intercept"]) == pytest.approx(intercept, rel=1e-4)
    assert report["status"] == result.status.value
    assert abs(coef[0] - 0.5) < 0.01
    assert abs(intercept - 100) < 1


def test_must_and_never_by_name(table, capsys):
    argv = ["solve", "data.csv", "--target", "y", "-k", "2", "--format", "json"]
    assert main([*argv, "--must", "sex", "--never", "age", "id"]) == 0
    answer = json.loads(capsys.readouterr().out)
    result, (coef, intercept) = expected(Cardinality(2, must=[2], never=[0, 3]))
    assert answer["coefficients"] == [
        {"name": NAMES[j], "column": j, "value": pytest.approx(coef[j], rel=1e-9)} for j in result.support
    ]
    assert answer["intercept"] == pytest.approx(intercept)
    assert (answer["status"], answer["k"], answer["target"]) == (result.status.name.lower(), 2, "y")
    assert answer["lower_bound"] == pytest.approx(result.lower_bound, rel=1e-9)


def test_columns_as_they_are(table, capsys):
    argv = ["solve", "data.csv", "--target", "y", "-k", "2", "--no-intercept", "--no-standardize", "--format", "csv"]
    assert main(argv) == 0
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    result = l0quad.minimize(X, Y, 2)
    assert header == ["name", "coefficient"]
    assert [name for name, _ in rows] == [NAMES[j] for j in result.support]
    np.testing.assert_allclose([float(value) for _, value in rows], result.w[result.support], rtol=1e-12)
    assert main(["solve", "data.csv", "-k", "2", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"{name},{value}" for name, value in rows]


@pytest.mark.parametrize("suffix", ["npz", "csv", "json", "txt"])
def test_output_files_have_names(table, capsys, suffix):
    assert main(["solve", "data.csv", "--target", "y", "-k", "2", "-o", f"out.{suffix}"]) == 0
    printed = capsys.readouterr().out
    _, (coef, intercept) = expected()
    if suffix == "npz":
        with np.load("out.npz") as saved:
            np.testing.assert_allclose(saved["w"], coef, rtol=1e-12)
            assert tuple(saved["names"]) == NAMES
            assert float(saved["intercept"]) == pytest.approx(intercept)
    elif suffix == "csv":
        assert [row[0] for row in csv.reader(Path("out.csv").read_text(encoding="utf-8").splitlines())] == [
            "name",
            "(intercept)",
            "age",
            "bmi",
        ]
    elif suffix == "json":
        assert [each["name"] for each in json.loads(Path("out.json").read_text(encoding="utf-8"))["coefficients"]] == [
            "age",
            "bmi",
        ]
    else:
        assert Path("out.txt").read_text(encoding="utf-8") == printed


def test_columns_by_number_where_there_are_no_names(folder, capsys):
    np.savetxt("plain.csv", np.column_stack([X, Y]), delimiter=";")
    argv = ["solve", "plain.csv", "--target", "4", "--must", "2", "-k", "3", "--format", "json"]
    assert main(argv) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["coefficients"]] == ["0", "1", "2"]


WRONG = {
    "target": (["--target", "x"], "--target: no column of A is named 'x'"),
    "must": (["--target", "y", "--must", "agee"], "--must: no column of A is named 'agee'; is 'age' meant?"),
    "both": (["--target", "y", "--must", "age", "--never", "age"], "--must: age is also in --never"),
    "too many": (["--target", "y", "--must", "age", "bmi", "sex"], "--must: has 3 column(s), more than k=2"),
    "repeated": (["--target", "y", "--must", "age", "age"], "--must: columns must be different"),
    "method": (["--target", "y", "--method", "best"], "--method: must be one of 'auto'"),
    "drop": (["--drop", "town"], "--drop: there is no column 'town'"),
    "separator": (["--separator", "ab"], "argument --separator: must be one character, got 'ab'"),
    "decimal": (["--decimal", "x"], "argument --decimal: invalid choice: 'x'"),
    "format": (["--format", "xml"], "argument --format: invalid choice: 'xml'"),
}


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_wrong_names_are_one_line(table, capsys, argv, message):
    assert main(["solve", "data.csv", "-k", "2", *argv]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_columns_of_text_are_named(folder, capsys):
    """All of them at once, in words that a shell takes; a missing value is no text."""
    Path("towns.csv").write_text("town,age,home town,y\nBern,1,Rome,2\nUri,3,Oslo,4\n", encoding="utf-8")
    assert main(["solve", "towns.csv", "--target", "y", "-k", "1"]) == 2
    err = capsys.readouterr().err
    assert "got 'Bern'; what is no number is left out by --drop town 'home town'\n" in err
    assert main(["solve", "towns.csv", "--target", "y", "-k", "1", "--drop", "town", "home town"]) == 0
    Path("missing.csv").write_text("age,y\n1,2\nNA,4\n5,7\n", encoding="utf-8")
    assert main(["solve", "missing.csv", "--target", "y", "-k", "1"]) == 2
    assert "--drop" not in capsys.readouterr().err


def test_another_encoding_is_told(folder, capsys):
    Path("latin.csv").write_bytes("größe,y\n1,2\n3,5\n".encode("latin-1"))
    assert main(["solve", "latin.csv", "--target", "y", "-k", "1"]) == 2
    assert "latin.csv: must be text in UTF-8, got byte 0xf6; save it" in capsys.readouterr().err


def test_a_table_without_a_target_is_told(table, capsys):
    assert main(["solve", "data.csv", "-k", "2"]) == 0
    note = "without --target, the last column, y, is b, and no intercept is fitted (--target or --intercept fits one)"
    assert note in capsys.readouterr().err
    assert main(["solve", "data.csv", "-k", "2", "--no-intercept"]) == 0
    assert "without --target" not in capsys.readouterr().err


def test_an_intercept_does_not_go_with_a_centre(folder, capsys):
    np.savez("w0.npz", A=X, b=Y, w0=np.ones(4), ridge=1.0)
    assert main(["solve", "w0.npz", "-k", "2", "--intercept"]) == 2
    assert "--intercept, --standardize: not with the w0" in capsys.readouterr().err


def test_every_option_has_an_example_and_every_method_is_listed():
    assert tuple(l0quad.METHODS) == options.METHODS
    commands = next(each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction))
    for action in commands.choices["solve"]._actions:
        if not isinstance(action, argparse._HelpAction):
            assert "e.g. " in action.help, action.option_strings
            name = action.option_strings[-1] if action.option_strings else ".csv"
            assert any(each in action.help.split("e.g. ")[1] for each in [*action.option_strings, name])
