"""Progress as people see it: a line on a terminal, lines in a log, at most five a second."""

import io
import re

import numpy as np
import pytest

import l0quad
from l0quad import Progress, State


class Terminal(io.StringIO):
    def isatty(self):
        return True


def state(count, seconds):
    return State(count, 2.0 + count, 3, seconds, 2.0, 1.0)


def test_a_log_gets_a_line_for_each_report():
    log = io.StringIO()
    progress = Progress(log)
    for count in range(1, 11):
        progress(state(count, 0.05 * count))
    progress.clear()
    lines = log.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["iteration 1", "iteration 5", "iteration 9"]
    assert lines[0] == "iteration 1  best 2  bound 1  3 nonzeros  0.1 s"


def test_no_bound_is_none():
    log = io.StringIO()
    Progress(log)(State(1, 3.0, 3, 0.05, 2.0, -float(np.finfo(np.float64).max), 5, 2))
    assert log.getvalue() == "nodes 5  open 2  best 2  bound none  3 nonzeros  0.1 s\n"


def test_a_long_sweep_tells_bytes_and_the_time_left():
    log = io.StringIO()
    progress = Progress(log)
    for seconds in (0.5, 2.0, 2.1, 8.0):
        progress.reading(int(1e9 * seconds), 4 * 10**9, seconds)
    assert log.getvalue().splitlines() == [
        "sweep 1  2 of 4 GB read, about 2 s left",
        "sweep 3  0 of 4 GB read, about 4 s left",
    ]


def test_sweeps_of_a_second_solve_are_shown_from_its_start():
    log = io.StringIO()
    progress = Progress(log)
    for seconds in (60.0, 2.0, 2.1):
        progress.reading(10**9, 4 * 10**9, seconds)
    assert [line.split(", ")[1] for line in log.getvalue().splitlines()] == ["about 180 s left", "about 6 s left"]


def test_a_solve_on_files_tells_how_much_is_read(tmp_path, monkeypatch):
    from matrices import column_files

    seen = []
    monkeypatch.setattr(Progress, "reading", lambda self, *state: seen.append(state))
    A = np.random.default_rng(0).standard_normal((20, 300))
    M = column_files(A, "F", tmp_path)
    problem = l0quad.Problem(M, A @ np.ones(300), 30, ridge=1.0, w0=np.ones(300))
    l0quad.solve(problem, l0quad.Backsolve(steps=0), verbose=1)
    assert [size for _, size, _ in seen] == [A.nbytes] * len(seen)
    assert [nbytes for nbytes, _, _ in seen] == sorted(nbytes for nbytes, _, _ in seen)
    assert A.nbytes < seen[-1][0] <= 2 * A.nbytes


def test_a_terminal_keeps_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Terminal()
    progress = Progress(terminal)
    progress(state(1, 0.0))
    progress(state(2, 1.0))
    progress.clear()
    shown = terminal.getvalue().split("\r")
    assert "\n" not in terminal.getvalue()
    assert shown[1].startswith("iteration 1")
    assert all(len(line) == 29 for line in shown[1:3]), "cut to the terminal, so that it overwrites itself"
    assert shown[-2].strip() == shown[-1] == ""


def test_over_steps():
    log = io.StringIO()
    assert list(Progress(log).over("abc", "stage")) == ["a", "b", "c"]
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("stage 1 of 3, ")
    assert "left" in lines[1]
    assert lines[2].startswith("stage 3 of 3, ")


def test_it_is_a_callback_beside_the_users_own(capsys):
    seen = []
    l0quad.minimize([[1.0, 0.2], [0.3, 1.0]], [1.0, 0.5], 1, ridge=0.1, verbose=True, callback=seen.append)
    assert seen
    assert "iteration 1" in capsys.readouterr().err


def test_a_second_solve_is_shown_from_its_start():
    log = io.StringIO()
    progress = Progress(log)
    progress(state(1, 0.0))
    progress(state(9, 60.0))
    progress(state(1, 0.0))
    progress(state(2, 1.0))
    assert len(log.getvalue().splitlines()) == 4


def test_the_best_objective_is_shown_whatever_start_is_tried(capsys, monkeypatch):
    monkeypatch.setattr("l0quad.run.progress._EVERY", 0.0)
    rng = np.random.default_rng(0)
    A = rng.standard_normal((40, 30))
    b = A[:, :8].sum(axis=1) + rng.standard_normal(40)
    result = l0quad.minimize(A, b, 6, start=[20, 21, 22, 23, 24, 25], method=l0quad.Swap(kicks=20), verbose=True)
    shown = [float(each) for each in re.findall(r"best ([^ ]+)", capsys.readouterr().err)]
    assert len(shown) > 3
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == pytest.approx(result.objective, rel=1e-6)
