"""The command line: what it prints and writes, how it fails, and that Ctrl-C keeps the result so far."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import l0quad
from l0quad import Problem
from l0quad.app.cli import main
from l0quad.app.report import Answer, as_text

RNG = np.random.default_rng(0)
A = RNG.standard_normal((30, 12))
B = A[:, :3] @ [3.0, -2.0, 1.0] + 0.1 * RNG.standard_normal(30)


@pytest.fixture
def folder(folder):
    """The current folder of a test, with a problem in it."""
    np.savez("in.npz", A=A, b=B, ridge=0.1)
    np.save("joined.npy", np.column_stack([A, B]))
    return folder


def fails(capsys, *argv):
    """Run, require the one line of an error and nothing else, and return what it says."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("l0quad: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err.removeprefix("l0quad: error: ").rstrip("\n")


def run_module(*argv, **options):
    """Run the command line in a process of its own, its standard output buffered as it is in a pipe."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "l0quad", *argv]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, env=environment, **options)


def fields(text):
    return dict(re.findall(r"^(\w+(?: \w+)?) {2,}(.*)$", text, re.MULTILINE))


def test_solve_reports(folder, capsys):
    assert main(["solve", "in.npz", "-k", "3", "--bound", "tight"]) == 0
    out, err = capsys.readouterr()
    expected = l0quad.minimize(A, B, 3, ridge=0.1, bound="tight")
    report = fields(out)
    assert err == ""
    assert report["status"] == expected.status.value
    assert all(f"\n             {clause}\n" in out for clause in expected.message.split("; ")[1:-1])
    assert float(report["objective"]) == pytest.approx(expected.objective, rel=1e-9)
    assert float(report["lower bound"]) == pytest.approx(expected.lower_bound, rel=1e-9)
    assert float(report["gap"].split()[0]) == pytest.approx(expected.gap, rel=1e-3)
    assert report["nonzeros"] == "3 of 12, k = 3"
    assert report["support"].split() == ["0", "1", "2"]
    np.testing.assert_allclose([float(each) for each in report["values"].split()], expected.w[:3], rtol=1e-4)
    lines = out.splitlines()
    assert len(lines[-2]) == len(lines[-1]), "indices and values are aligned"


def test_solve_shows_the_first_nonzeros_only(folder, capsys):
    assert main(["solve", "in.npz", "-k", "12", "--ridge", "0"]) == 0
    report = fields(capsys.readouterr().out)
    assert report["support"].endswith("... and 2 more")
    assert len(report["values"].split()) == 10
    assert main(["solve", "in.npz", "-k", "0"]) == 0
    assert "support" not in fields(capsys.readouterr().out)


def test_options_reach_the_solve(folder, capsys, monkeypatch):
    seen = {}

    def solve(problem, method, **options):
        seen.update(options, method=method, problem=problem)
        return original(problem, method, **options)

    original = l0quad.solve
    monkeypatch.setattr(l0quad, "solve", solve)
    argv = ["--ridge", "0.5", "--method", "iht", "--bound", "none", "--time-limit", "9000", "--threads", "1", "--quiet"]
    argv += ["--checkpoint", "run.npz"]
    assert main(["solve", "in.npz", "-k", "2", *argv]) == 0
    assert seen.pop("problem").ridge == 0.5
    rest = {"n_threads": 1, "verbose": False, "checkpoint": Path("run.npz")}
    assert seen == {"method": "iht", "bound": "none", "time_limit": 9000.0, **rest}
    assert main(["solve", "in.npz", "-k", "2"]) == 0
    assert seen["problem"].ridge == 0.1, "the file's ridge, where none is given"
    assert main(["solve", "joined.npy", "-k", "2"]) == 0
    assert seen["problem"].ridge == 0


def test_output_holds_the_result(folder, capsys):
    assert main(["solve", "in.npz", "-k", "3", "-o", "out.npz"]) == 0
    expected = l0quad.minimize(A, B, 3, ridge=0.1)
    with np.load("out.npz", allow_pickle=False) as saved:
        assert set(saved) == {
            "w", "support", "objective", "lower_bound", "gap", "relative_gap", "status", "method", "ridge", "k",
        }  # fmt: skip
        for name in ("w", "support", "objective", "lower_bound", "gap", "relative_gap"):
            np.testing.assert_array_equal(saved[name], getattr(expected, name))
        assert saved["status"] == expected.status.name.lower()
        assert (saved["method"], saved["ridge"], saved["k"]) == (expected.method, 0.1, 3)
    assert sorted(os.listdir()) == ["in.npz", "joined.npy", "out.npz"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_other(folder, capsys, monkeypatch, error):
    (folder / "out.npz").write_bytes(b"old")

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("numpy.savez", fail)
    status = main(["solve", "in.npz", "-k", "3", "-o", "out.npz"])
    out, err = capsys.readouterr()
    assert "objective" in fields(out), "the answer is printed all the same"
    if isinstance(error, OSError):
        assert (status, err) == (2, "l0quad: error: out.npz: No space left on device\n")
    else:
        assert (status, err) == (130, "l0quad: interrupted\n")
    assert (folder / "out.npz").read_bytes() == b"old"
    assert sorted(os.listdir()) == ["in.npz", "joined.npy", "out.npz"]


USAGE = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["cook"], "invalid choice: 'cook'"),
    "no k": (["solve", "in.npz"], "required: -k"),
    "no input": (["solve", "-k", "1"], "required: INPUT"),
    "k is text": (["solve", "in.npz", "-k", "few"], "argument -k: invalid int value: 'few'"),
    "k is a fraction": (["solve", "in.npz", "-k", "1.5"], "argument -k: invalid int value: '1.5'"),
    "k is negative": (["solve", "in.npz", "-k", "-1"], "-k: must be at least 0, got -1"),
    "ridge is text": (["solve", "in.npz", "-k", "1", "--ridge", "x"], "argument --ridge: invalid float value"),
    "ridge is negative": (["solve", "in.npz", "-k", "1", "--ridge", "-1"], "--ridge: must be finite and at least 0"),
    "ridge is NaN": (["solve", "in.npz", "-k", "1", "--ridge", "nan"], "--ridge: must be finite and at least 0"),
    "bound": (["solve", "in.npz", "-k", "1", "--bound", "loose"], "argument --bound: invalid choice: 'loose'"),
    "method": (["solve", "in.npz", "-k", "1", "--method", "magic"], "method: must be one of 'auto', 'magnitude'"),
    "time limit": (["solve", "in.npz", "-k", "1", "--time-limit", "-1"], "--time-limit: must be finite"),
    "threads": (["solve", "in.npz", "-k", "1", "--threads", "0"], "--threads: must be at least 1, got 0"),
    "max bytes": (["solve", "in.npz", "-k", "1", "--max-bytes", "0"], "--max-bytes: must be at least 1, got 0"),
    "limit": (["solve", "in.npz", "-k", "1", "--max-bytes", "99"], "bytes of memory, the limit is 99"),
    "memory": (
        ["solve", "A.npy", "-k", "1", "--rhs", "b.npy", "--memory", "much"],
        "memory: must be a number of bytes",
    ),
    "memory without b": (["solve", "A.npy", "-k", "1", "--memory", "1MB"], "--memory: needs b in a file of its own"),
    "memory of .npz": (["solve", "in.npz", "-k", "1", "--rhs", "b.npy", "--memory", "1MB"], "in.npz: must end in .npy"),
    "memory, target": (
        ["solve", "A.npy", "-k", "1", "--target", "0", "--memory", "1MB"],
        "as they are, not with --target",
    ),
    "missing": (["solve", "none.npz", "-k", "1"], "none.npz: No such file or directory"),
    "missing rhs": (["solve", "joined.npy", "-k", "1", "--rhs", "b.npy"], "b.npy: No such file or directory"),
    "extension": (["solve", "in.txt", "-k", "1"], "in.txt: must end in .npz, .npy, .mtx, .csv"),
    "a folder": (["solve", ".", "-k", "1"], ".: must end in"),
    "corrupt": (["solve", "corrupt.npz", "-k", "1"], "corrupt.npz: File is not a zip file"),
    "NaN": (["solve", "nan.npy", "-k", "1"], "A: all values must be finite"),
    "wrong b": (["solve", "joined.npy", "-k", "1", "--rhs", "short.npy"], "b: must have shape (30,)"),
    "wrong w0": (["solve", "w0.npz", "-k", "1"], "w0: must have shape (12,)"),
    "bad file ridge": (["solve", "ridge.npz", "-k", "1"], "ridge: must be finite and at least 0"),
    "linear alone": (["solve", "linear.npz", "-k", "1"], "linear: needs ridge > 0"),
    "no rows": (["solve", "rows.mtx", "-k", "1"], "A: must have at least one row and one column, got shape (0, 4)"),
    "one dimension": (["solve", "short.npy", "-k", "1"], "short.npy: must have two columns or more"),
    "output folder": (["solve", "in.npz", "-k", "1", "-o", "no/out.npz"], "no/out.npz: there is no folder no"),
    "output suffix": (["solve", "in.npz", "-k", "1", "-o", "out.pdf"], "out.pdf: must end in .npz, .csv"),
    "output a folder": (["solve", "in.npz", "-k", "1", "-o", "dir.npz"], "dir.npz: exists and is not a regular file"),
    "checkpoint folder": (["solve", "in.npz", "-k", "1", "--checkpoint", "no/c.npz"], "no/c.npz: there is no folder"),
    "picture folder": (["demo", "--picture", "no/p.png"], "no/p.png: there is no folder no"),
    "picture suffix": (["demo", "--picture", "p.gif"], "p.gif: must end in .png, .pdf, .svg"),
    "both pictures": (["demo", "--picture", "p.png", "--no-picture"], "not allowed with argument --picture"),
    "control characters": (["solve", "\x1b[31m\nx.npz", "-k", "1"], r"\x1b[31m\nx.npz: No such file"),
}


@pytest.mark.parametrize(("argv", "message"), USAGE.values(), ids=USAGE)
def test_wrong_input_is_one_line(folder, capsys, monkeypatch, argv, message):
    (folder / "corrupt.npz").write_bytes(b"PK\3\4 not really")
    (folder / "dir.npz").mkdir()
    np.save("nan.npy", np.full((3, 3), np.nan))
    (folder / "rows.mtx").write_text("%%MatrixMarket matrix array real general\n0 5\n", encoding="utf-8")
    np.save("short.npy", B[:-1])
    np.save("A.npy", A)
    np.savez("w0.npz", A=A, b=B, w0=B)
    np.savez("ridge.npz", A=A, b=B, ridge=-1.0)
    np.savez("linear.npz", A=A, b=B, linear=A[0])
    monkeypatch.setattr(l0quad, "solve", lambda *_, **__: pytest.fail("solved before all input was checked"))
    assert message in fails(capsys, *argv)


def test_unwritable_output_folder(folder, capsys, monkeypatch):
    def forbidden(**_):
        raise PermissionError

    monkeypatch.setattr("tempfile.TemporaryFile", forbidden)
    message = fails(capsys, "solve", "in.npz", "-k", "1", "-o", "out.npz")
    assert message == "out.npz: its folder may not be written to"


def test_out_of_memory_is_one_line(folder, capsys, monkeypatch):
    def greedy(*_, **__):
        raise MemoryError

    monkeypatch.setattr(l0quad, "solve", greedy)
    assert fails(capsys, "solve", "in.npz", "-k", "1") == "out of memory"


def test_bugs_are_not_called_wrong_input(folder, monkeypatch):
    def buggy(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr(l0quad, "solve", buggy)
    with pytest.raises(ValueError, match="a bug"):
        main(["solve", "in.npz", "-k", "1"])


def test_a_file_may_stay_on_disk(folder, capsys):
    np.save("A.npy", A)
    np.save("rhs.npy", B)
    asked = ["solve", "A.npy", "--rhs", "rhs.npy", "-k", "3", "--ridge", "0.1", "--method", "backsolve"]
    assert main([*asked, "--memory", "1MB", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes_read"] == found["n_sweeps"] * A.nbytes > 0
    assert main([*asked, "--format", "json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert [each["column"] for each in found["coefficients"]] == [each["column"] for each in expected["coefficients"]]
    assert found["objective"] == pytest.approx(expected["objective"], rel=1e-9)
    assert main([*asked, "--memory", "1MB"]) == 0
    assert re.search(r"^read +A \d+ times, [\d,]+ bytes$", capsys.readouterr().out, re.MULTILINE)


def test_a_checkpoint_goes_on_and_belongs_to_its_solve(folder, capsys):
    asked = ["solve", "in.npz", "--method", "exact", "--checkpoint", "run.npz", "--format", "json"]
    assert main([*asked, "-k", "3"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*asked, "-k", "3"]) == 0
    out, err = capsys.readouterr()
    again = json.loads(out)
    told = r"l0quad: note: goes on from run\.npz, written \d{4}-.* after .* s: \d+ iterations, best objective (\S+)\n"
    found = re.fullmatch(told, err)
    assert found is not None
    assert float(found[1]) == pytest.approx(first["objective"], rel=1e-6)
    assert again["objective"] == first["objective"]
    assert re.search(r"checkpoint: run\.npz is of another solve: k is 3 columns", fails(capsys, *asked, "-k", "2"))
    assert "cannot go on from a checkpoint" in fails(
        capsys, "solve", "in.npz", "-k", "3", "--method", "forward", "--checkpoint", "run.npz"
    )


def test_a_bad_value_on_disk_is_one_line(folder, capsys):
    bad = A.copy()
    bad[4, 7] = np.nan
    np.save("A.npy", bad)
    np.save("rhs.npy", B)
    message = fails(capsys, "solve", "A.npy", "--rhs", "rhs.npy", "-k", "3", "--memory", "1MB")
    assert re.search(r"got nan in row 4, column 7 of .*A\.npy", message)


def test_interrupt_keeps_the_result_so_far(folder, capsys, interrupting):
    assert main(["solve", "in.npz", "-k", "3", "--method", interrupting, "-o", "out.npz"]) == 130
    out, err = capsys.readouterr()
    assert fields(out)["status"].startswith("interrupted")
    assert err == ""
    with np.load("out.npz") as saved:
        assert saved["status"] == "interrupted"
        assert saved["support"].size == 3
        assert saved["objective"] == pytest.approx(Problem(A, B, 3, 0.1).objective(saved["w"]))


def test_interrupt_while_reading(folder, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("l0quad.app.inputs.read_problem_file", interrupted)
    assert main(["solve", "in.npz", "-k", "3", "-o", "out.npz"]) == 130
    assert capsys.readouterr() == ("", "l0quad: interrupted before there was a point\n")
    assert not (folder / "out.npz").exists()


def test_the_status_of_a_limit_is_one_line(folder, capsys):
    """It has a semicolon, as the message has between its clauses."""
    assert main(["solve", "in.npz", "-k", "3", "--time-limit", "0"]) == 0
    assert fields(capsys.readouterr().out)["status"] == "time limit reached; this is the best point so far"


def test_an_interrupt_while_modules_are_loaded_waits(folder, capsys, monkeypatch):
    def loaded(name):
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("l0quad.app.cli.importlib.import_module", loaded)
    assert main(["solve", "in.npz", "-k", "3"]) == 130
    assert capsys.readouterr() == ("", "l0quad: interrupted before there was a point\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_proven_is_said_in_words(folder, capsys):
    """As of a singular H without a ridge; the numbers stay finite."""
    problem = Problem.from_gram(A[:5].T @ A[:5], A[:5].T @ B[:5], 6)
    result = l0quad.solve(problem, "forward", bound="none")
    answer = Answer(result, result.w, None, None, None, 6, 0.0)
    assert fields(as_text(answer))["lower bound"] == "none"
    assert fields(as_text(answer))["gap"] == "none is proven"
    assert np.isfinite([result.lower_bound, result.gap, result.relative_gap]).all()
    assert "no lower bound, support=" in repr(result)
    assert result.message.endswith("; no lower bound is proven")
    assert "e+30" not in f"{result!r} {result.message} {result._repr_html_()} {as_text(answer)}"


def test_progress_on_a_terminal_only(folder, capsys, monkeypatch):
    argv = ["solve", "in.npz", "-k", "3", "--method", "iht"]
    assert main(argv) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main([*argv, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("COLUMNS", "30")
    assert main(argv) == 0
    err = capsys.readouterr().err
    shown, *_, blank, end = err.split("\r")[1:]
    assert shown.startswith("iteration 1  best ")
    assert len(shown) == 29, "cut to the terminal, so that it overwrites itself"
    assert (blank.strip(), end) == ("", "")
    assert "\n" not in err


def test_version_and_help_load_nothing():
    code = (
        "import sys\nfrom l0quad.app.cli import main\n"
        "try: main([sys.argv[1]])\nfinally: assert not {'numpy', 'scipy', 'numba'} & set(sys.modules)"
    )
    for option, expected in (("--version", f"l0quad {l0quad.__version__}\n"), ("--help", "usage: l0quad")):
        done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(expected)


def test_module_runs_and_a_broken_pipe_is_quiet(folder):
    command = ["solve", "in.npz", "-k", "3", "--bound", "none", "-o", "out.npz"]
    done = run_module(*command, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert fields(done.stdout)["nonzeros"] == "3 of 12, k = 3"
    (folder / "out.npz").unlink()
    reader, writer = os.pipe()
    os.close(reader)
    done = run_module(*command, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    assert (folder / "out.npz").exists(), "the result is written before it is printed"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_standard_output_is_one_line(folder):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run_module("solve", "in.npz", "-k", "3", "--bound", "none", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "l0quad: error: standard output: No space left on device\n"


@pytest.mark.parametrize("name", ["sparse.npz", "dense.csv"])
def test_every_kind_of_file_gives_the_same_answer(folder, capsys, name):
    sp.save_npz("sparse.npz", sp.csr_array(A))
    np.savetxt("dense.csv", A, delimiter=",")
    np.save("b.npy", B)
    assert main(["solve", name, "-k", "3", "--rhs", "b.npy", "--ridge", "0.1"]) == 0
    report = fields(capsys.readouterr().out)
    assert report["support"].split() == ["0", "1", "2"]
    assert float(report["objective"]) == pytest.approx(l0quad.minimize(A, B, 3, ridge=0.1).objective)
