"""The command line: ``l0quad demo`` and ``l0quad solve``.

Whatever needs NumPy is imported where it is used, so that ``--help`` and ``--version`` answer at once.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from l0quad._version import __version__
from l0quad.files.atomic import check_writable, write_atomically

if TYPE_CHECKING:
    from l0quad.api.result import Result
    from l0quad.problem.problem import Problem

WRONG_INPUT = 2
INTERRUPTED = 128 + 2  # as a shell reports SIGINT
BROKEN_PIPE = 128 + 13  # and SIGPIPE

_PICTURE = "l0quad-demo.png"
_SHOWN_NONZEROS = 10


class _WrongInput(Exception):
    """What the user has to put right, in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 2 (wrong input), 130 (Ctrl-C) or 141 (broken pipe)."""
    try:
        try:
            arguments = _parser().parse_args(argv)
            return arguments.run(arguments)
        finally:
            sys.stdout.flush()
    except (_WrongInput, MemoryError) as error:
        return _fail(str(error) or "out of memory")
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # of input and output files it has become _WrongInput
        _abandon_stdout()
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        return _fail(f"{error.filename or 'standard output'}: {error.strerror}")


def _fail(message: str) -> int:
    """Print the one line of an error; what a file name could do to a terminal is escaped."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message)
    print(f"l0quad: error: {line}", file=sys.stderr)
    return WRONG_INPUT


def _abandon_stdout() -> None:
    """Send what is still buffered nowhere, so that Python's own flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _checked(output: Path | None = None) -> Iterator[None]:
    """Turn the errors of files and of validation into `_WrongInput`. Solves run outside: their errors are bugs."""
    try:
        yield
    except OSError as error:
        # While an output is written, the error may name its temporary file, or nothing.
        raise _WrongInput(f"{output or error.filename}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise _WrongInput(str(error)) from error


@contextmanager
def _checked_method() -> Iterator[None]:
    """Turn a method that cannot work on the problem into `_WrongInput`; other errors of a solve are bugs."""
    from l0quad.errors import Unsuited

    try:
        yield
    except Unsuited as error:
        raise _WrongInput(str(error)) from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _WrongInput(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="l0quad", description="L0-constrained least squares, with a proof of how good the answer is.")
    parser.add_argument("--version", action="version", version=f"l0quad {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="a best-subset path on the diabetes data", description=_DEMO)
    demo.set_defaults(run=_demo)
    picture = demo.add_mutually_exclusive_group()
    picture.add_argument("--picture", type=Path, default=Path(_PICTURE), help="default: %(default)s", metavar="PATH")
    picture.add_argument("--no-picture", dest="picture", action="store_const", const=None, help="only the table")

    solve = commands.add_parser("solve", help="solve the problem in a file", description=_SOLVE)
    solve.set_defaults(run=_solve)
    add = solve.add_argument
    add("input", type=Path, metavar="INPUT", help=".npz, .npy, .mtx or .csv; without a separate b its last column is b")
    add("-k", type=int, required=True, metavar="K", help="the largest number of nonzeros")
    add("--rhs", type=Path, metavar="FILE", help="b, as .npy, .mtx or .csv")
    add("--ridge", type=float, metavar="R", help="weight of the ridge term (default: that of the .npz, or 0)")
    add("--method", default="auto", metavar="NAME", help="auto (default), active_set, backsolve, ...")
    add("--bound", choices=("none", "fast", "tight"), default="fast", help="effort for the lower bound (default: fast)")
    add("--time-limit", type=float, metavar="S", help="seconds, after which the best point so far is the result")
    add("--threads", type=int, metavar="N", help="threads (default: all cores)")
    add("--max-bytes", type=int, metavar="N", help="memory that reading may take (default: all of the machine's)")
    add("-o", "--output", type=Path, metavar="OUT", help="write the result to this .npz file")
    add("--quiet", action="store_true", help="no progress on the terminal")
    return parser


_DEMO = "Solve for the best 1 to 10 of 64 columns of the diabetes data; print a table and draw a picture."
_SOLVE = "Minimise 1/2 ||A w - b||^2 + ridge ||w - w0||^2 + linear'w subject to at most K nonzeros."


def _demo(arguments: argparse.Namespace) -> int:
    from l0quad.app import demo
    from l0quad.run.outcome import Status

    if arguments.picture is not None:
        with _checked():
            check_writable(arguments.picture, (".png", ".pdf", ".svg"))
    steps = demo.print_path()
    if steps[-1].result.status is Status.INTERRUPTED:
        return INTERRUPTED
    if arguments.picture is not None:
        print(f"\n{_draw(demo.figure(steps), arguments.picture)}")
    return 0


def _draw(figure: Any, picture: Path) -> str:
    """Write the picture of a path and return a line that says so; without matplotlib, one that says how to get it."""
    if figure is None:
        return 'For a picture of this path: pip install "l0quad[plot]"'
    form = picture.suffix[1:].lower()
    with _checked(picture):
        write_atomically(picture, lambda file: figure.savefig(file, format=form, dpi=150))
    return f"Picture: {picture}"


def _solve(arguments: argparse.Namespace) -> int:
    import l0quad

    with _checked():
        if arguments.output is not None:
            check_writable(arguments.output, (".npz",))
        problem = _problem(arguments)
    with _checked_method():
        result = l0quad.solve(
            problem,
            arguments.method,
            bound=arguments.bound,
            time_limit=arguments.time_limit,
            n_threads=arguments.threads,
            verbose=sys.stderr.isatty() and not arguments.quiet,
        )
    try:
        if arguments.output is not None:
            with _checked(arguments.output):
                _save(arguments.output, result, problem)
    finally:
        # A full disk must not cost the answer.
        print(_report(result, problem))
    return INTERRUPTED if result.status is l0quad.Status.INTERRUPTED else 0


def _problem(arguments: argparse.Namespace) -> "Problem":
    """Read INPUT and check it with all arguments of the solve."""
    from l0quad import validation
    from l0quad.files.problem_file import read_problem_file
    from l0quad.problem.problem import Problem
    from l0quad.solvers.registry import resolve

    resolve(arguments.method)
    validation.integer(arguments.k, "-k", 0)
    for value, name in ((arguments.threads, "--threads"), (arguments.max_bytes, "--max-bytes")):
        if value is not None:
            validation.integer(value, name, 1)
    for value, name in ((arguments.ridge, "--ridge"), (arguments.time_limit, "--time-limit")):
        if value is not None:
            validation.real(value, name)
    found = read_problem_file(arguments.input, arguments.rhs, arguments.max_bytes)
    ridge = next(each for each in (arguments.ridge, found.ridge, 0.0) if each is not None)
    return Problem(found.A, found.b, arguments.k, ridge, found.w0, found.linear)


def _save(path: Path, result: "Result", problem: "Problem") -> None:
    import numpy as np

    fields: dict[str, Any] = {
        "w": result.w,
        "support": result.support,
        "objective": result.objective,
        "lower_bound": result.lower_bound,
        "gap": result.gap,
        "relative_gap": result.relative_gap,
        "status": result.status.name.lower(),
        "method": result.method,
        "ridge": problem.ridge,
        "k": problem.k,
    }
    write_atomically(path, lambda file: np.savez(file, **fields))


def _report(result: "Result", problem: "Problem") -> str:
    """Return the result in a few aligned lines."""
    shown = result.support[:_SHOWN_NONZEROS]
    cells = [(str(index), f"{result.w[index]:.5g}") for index in shown]
    widths = [max(map(len, pair)) for pair in cells]
    rest = f"  ... and {result.support.size - shown.size} more" if shown.size < result.support.size else ""
    lines = [
        ("status", result.message),
        ("objective", f"{result.objective:.10g}"),
        ("lower bound", f"{result.lower_bound:.10g}"),
        ("gap", f"{result.gap:.4g}  (relative {result.relative_gap:.3g})"),
        ("nonzeros", f"{result.support.size} of {problem.shape[1]}, k = {problem.k}"),
        ("time", f"{result.solve_time:.3g} s; method {result.method}, iterations: {result.n_iter}"),
    ]
    if cells:
        columns = [
            [text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in zip(*cells, strict=True)
        ]
        lines += [("support", "  ".join(columns[0]) + rest), ("values", "  ".join(columns[1]))]
    return "\n".join(f"{name:<13}{text}" for name, text in lines)
