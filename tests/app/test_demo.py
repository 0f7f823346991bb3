"""The demo: its data, its table and picture, and that Ctrl-C ends it at the rows so far."""

import csv
import re
import signal
import sys
from importlib import resources

import numpy as np
import pytest

from l0quad import path
from l0quad.app import demo
from l0quad.app.cli import main


def test_demo_data_is_the_published_one():
    """Means and sums that the paper's data set is known by, and the columns that come of it."""
    with resources.files("l0quad").joinpath("data/diabetes.csv").open(encoding="ascii") as file:
        header, *rows = csv.reader(file)
    table = np.array(rows, dtype=float)
    assert table.shape == (442, 11)
    assert header[-1] == "y"
    assert table[:, -1].sum() == 67243
    assert table[:, 2].mean() == pytest.approx(26.3758, abs=1e-4)
    assert sorted(set(table[:, 1])) == [1, 2]

    columns, response, names = demo.load()
    assert columns.shape == (442, 64)
    assert len(set(names)) == 64
    assert {"bmi", "bmi^2", "age:sex"} < set(names)
    assert "sex^2" not in names
    np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(columns, axis=0), 1)
    np.testing.assert_allclose([response.mean(), np.linalg.norm(response)], [0, 1], atol=1e-15)
    age, sex, product = (columns[:, names.index(name)] for name in ("age", "sex", "age:sex"))
    assert np.corrcoef(age * sex, product)[0, 1] == pytest.approx(1)


def table_rows(out):
    return [line.split() for line in out.splitlines() if re.match(r" *\d+ +0\.", line)]


def test_demo_prints_and_draws(folder, capsys):
    had_pyplot = "matplotlib.pyplot" in sys.modules
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    rows = table_rows(out)
    assert err == ""
    assert [int(row[0]) for row in rows] == list(demo.KS)
    assert max(map(len, out.splitlines()[5:])) <= 80
    for k, objective, bound, gap, *_ in rows:
        assert 0 < float(bound) <= float(objective) < 0.5
        assert float(bound) >= (1 - 1e-5) * float(objective)
        assert gap == "proven", k
    objectives = [float(row[1]) for row in rows]
    assert objectives == sorted(objectives, reverse=True)
    assert rows[1][4:] == ["bmi", "ltg"], "what every account of these data finds"
    assert out.endswith("\nPicture: l0quad-demo.png\n")
    assert (folder / "l0quad-demo.png").read_bytes().startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot, "which chooses a backend for the whole process"


@pytest.fixture
def short_path(monkeypatch):
    monkeypatch.setattr(demo, "KS", range(1, 4))


def test_demo_without_matplotlib(folder, capsys, monkeypatch, short_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["demo"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'For a picture of this path: pip install "l0quad[plot]"'
    assert not (folder / "l0quad-demo.png").exists()


def test_demo_picture_options(folder, capsys, short_path):
    assert main(["demo", "--no-picture"]) == 0
    assert "icture" not in capsys.readouterr().out
    assert not list(folder.glob("*.png"))
    assert main(["demo", "--picture", "path.svg"]) == 0
    assert (folder / "path.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_demo_picture_that_cannot_be_written(folder, capsys, monkeypatch, short_path):
    def full(_, file, **__):
        file.write(b"half a picture")
        raise OSError(28, "No space left on device")

    (folder / "l0quad-demo.png").write_bytes(b"old")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert main(["demo"]) == 2
    out, err = capsys.readouterr()
    assert len(table_rows(out)) == 3
    assert err == "l0quad: error: l0quad-demo.png: No space left on device\n"
    assert [(each.name, each.read_bytes()) for each in folder.iterdir()] == [("l0quad-demo.png", b"old")]


@pytest.mark.parametrize("iteration", [1, 5, 15])
def test_demo_stops_at_an_interrupt(folder, capsys, monkeypatch, iteration):
    """Ctrl-C in the search: the rows so far, and no picture."""
    original = path

    def interrupted(state):
        if state.n_iter == iteration:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(demo, "path", lambda *a, **options: original(*a, **options, callback=interrupted))
    assert main(["demo"]) == 130
    assert len(table_rows(capsys.readouterr().out)) in range(11)
    assert not (folder / "l0quad-demo.png").exists()


@pytest.mark.parametrize(
    ("width", "expected"),
    [(30, "age bmi^2 age:sex"), (17, "age bmi^2 age:sex"), (16, "age bmi^2 +1"), (3, "3 columns")],
)
def test_names_that_fit(width, expected):
    assert demo._fitting(["age", "bmi^2", "age:sex"], width) == expected
