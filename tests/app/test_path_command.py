"""``l0quad path``: the table, what is chosen, what is written, and what is refused."""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tables import NAMES, X, Y, write_table

import l0quad
from l0quad import Cardinality, PathResult
from l0quad.app.cli import _parser, main

ARGV = ["path", "data.csv", "--target", "y", "--must", "sex", "-k", "1:4", "--cv", "4"]


@pytest.fixture
def table(folder):
    """The current folder of a test, with a table in it."""
    write_table(folder / "data.csv")
    return folder


def expected():
    def held(k):
        return Cardinality(k, must=[2])

    return l0quad.path(X, Y, range(1, 5), fit_intercept=True, standardize=True, constraint=held, cv=4)


def test_a_line_for_each_k_and_the_one_that_is_chosen(table, capsys):
    assert main(ARGV) == 0
    out, err = capsys.readouterr()
    found = expected()
    best = found.best("cv")
    lines = out.splitlines()
    assert err.startswith("l0quad: note: data.csv: column 1, which has no name")
    for line, fit in zip(lines[1:5], found, strict=True):
        assert line.split()[:2] == [str(fit.k), "0"]
        assert float(line.split()[5]) == pytest.approx(fit.scores["cv"], rel=1e-3)
        assert line.split()[6:] == [NAMES[j] for j in fit.result.support]
    assert lines[6].startswith(f"best by cv: k = {best.k}, ridge = 0; ")
    shown = dict(line.split() for line in lines[7:])
    assert float(shown["(intercept)"]) == pytest.approx(best.intercept, rel=1e-4)
    for j in best.result.support:
        assert float(shown[NAMES[j]]) == pytest.approx(best.coef[j], rel=1e-4)


@pytest.mark.parametrize("suffix", ["npz", "csv", "json", "txt"])
def test_output_files(table, capsys, suffix):
    assert main([*ARGV, "-o", f"out.{suffix}", "--ridges", "0", "0.1"]) == 0
    printed = capsys.readouterr().out
    fits = expected().fits
    if suffix == "npz":
        loaded = PathResult.load("out.npz")
        assert (len(loaded), loaded.names) == (8, NAMES)
    elif suffix == "csv":
        rows = list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))
        assert [(int(row["k"]), float(row["ridge"])) for row in rows] == [(k, r) for r in (0, 0.1) for k in range(1, 5)]
        for row, fit in zip(rows[:4], fits, strict=True):
            np.testing.assert_allclose([float(row[name]) for name in NAMES], fit.coef, rtol=1e-9)
            assert float(row["(intercept)"]) == pytest.approx(fit.intercept)
            assert float(row["cv"]) == pytest.approx(fit.scores["cv"])
    elif suffix == "json":
        answer = json.loads(Path("out.json").read_text(encoding="utf-8"))
        assert answer["criterion"] == "cv"
        assert [each["name"] for each in answer["fits"][1]["coefficients"]] == [
            NAMES[j] for j in fits[1].result.support
        ]
    else:
        assert Path("out.txt").read_text(encoding="utf-8") == printed


def test_the_picture(table, capsys):
    pytest.importorskip("matplotlib")
    assert main([*ARGV, "--plot", "path.png"]) == 0
    assert Path("path.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("criterion", ["bic", "1se"])
def test_the_criterion(table, capsys, criterion):
    assert main([*ARGV, "--criterion", criterion, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"]["k"] == expected().best(criterion).k


def test_a_limit_leaves_what_was_reached(table, capsys):
    assert main([*ARGV, "--time-limit", "0"]) == 0
    assert "time limit reached" in capsys.readouterr().out


WRONG = {
    "no k": (["-k", ":"], "argument -k: must be numbers such as 1:20 or 1,5,10, got ':'"),
    "backwards": (["-k", "5:1"], "argument -k: must be numbers such as"),
    "three": (["-k", "1:2:3"], "argument -k: must be numbers such as"),
    "no folds": (["-k", "1:3", "--criterion", "1se"], "--criterion: 1se needs --cv"),
    "folds": (["-k", "1:3", "--cv", "1"], "--cv: must be at least 2, got 1"),
    "picture": (["-k", "1:3", "--plot", "p.gif"], "p.gif: must end in .png, .pdf, .svg"),
    "must": (["-k", "0:3", "--must", "age", "sex"], "--must: has 2 column(s), more than k=0"),
    "output": (["-k", "1:3", "-o", "out.pdf"], "out.pdf: must end in .npz"),
    "ridge": (["-k", "1:3", "--ridges", "-1"], "--ridges: must be finite and at least 0"),
}


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line(table, capsys, argv, message):
    assert main(["path", "data.csv", "--target", "y", *argv]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_sizes_above_the_number_of_columns(table, capsys):
    """They would all have the same fit."""
    assert main(["path", "data.csv", "--target", "y", "-k", "3:100", "--never", "sex", "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    most = int(out.splitlines()[-1].split(",")[0])
    assert f"l0quad: note: data.csv: -k ends at {most}, the number of columns\n" in err
    assert len(out.splitlines()) == 1 + most - 2
    assert most == len(out.splitlines()[0].split("(intercept),")[1].split(",")) - 1


def test_sizes():
    parsed = _parser().parse_args(["path", "data.csv", "-k", "1:3,7,10:11"])
    assert parsed.k == [1, 2, 3, 7, 10, 11]


def test_every_option_has_an_example():
    commands = next(each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction))
    for action in commands.choices["path"]._actions:
        assert isinstance(action, argparse._HelpAction) or "e.g. " in action.help, action.option_strings
