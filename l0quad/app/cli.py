"""The command line: ``l0quad demo``, ``l0quad solve`` and ``l0quad path``.

Whatever needs NumPy is imported where it is used, so that ``--help`` and ``--version`` answer at once.
"""

import argparse
import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from l0quad._version import __version__
from l0quad.app.options import add_input, add_path, add_rest, add_solve
from l0quad.app.wrong_input import WrongInput, checked
from l0quad.files.atomic import check_writable, write_atomically

WRONG_INPUT = 2
INTERRUPTED = 128 + 2  # as a shell reports SIGINT
BROKEN_PIPE = 128 + 13  # and SIGPIPE

# What loads numba, which takes longest, and which a solve would load.
_KERNELS = "l0quad.kernels.jit"
_PICTURE = "l0quad-demo.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 2 (wrong input), 130 (Ctrl-C) or 141 (broken pipe)."""
    try:
        try:
            arguments = _parser().parse_args(argv)
            return arguments.run(arguments)
        finally:
            sys.stdout.flush()
    except (WrongInput, MemoryError) as error:
        return _fail(str(error) or "out of memory")
    except KeyboardInterrupt as interrupt:
        print(f"l0quad: interrupted{interrupt}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # of input and output files it has become WrongInput
        _abandon_stdout()
        if isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL):
            return BROKEN_PIPE
        return _fail(f"{error.filename or 'standard output'}: {error.strerror}")


def _fail(message: str) -> int:
    """Print the one line of an error; what a file name could do to a terminal is escaped."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message)
    print(f"l0quad: error: {line}", file=sys.stderr)
    return WRONG_INPUT


def _abandon_stdout() -> None:
    """Send what is still buffered nowhere, so that Python's own flush at exit does not fail again."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # there may be no standard output
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongInput(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="l0quad", description="L0-constrained least squares, with a proof of how good the answer is.")
    parser.add_argument("--version", action="version", version=f"l0quad {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="a best-subset path on the diabetes data", description=_DEMO)
    demo.set_defaults(run=_demo)
    picture = demo.add_mutually_exclusive_group()
    picture.add_argument("--picture", type=Path, default=Path(_PICTURE), help="default: %(default)s", metavar="PATH")
    picture.add_argument("--no-picture", dest="picture", action="store_const", const=None, help="only the table")

    solve = commands.add_parser(
        "solve",
        help="solve the problem in a file",
        description=_SOLVE,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    solve.set_defaults(run=_solve)
    add_input(solve)
    add_solve(solve)
    add_rest(solve)

    path = commands.add_parser(
        "path",
        help="the best subsets of many sizes, and which to take",
        description=_PATH,
        epilog=_PATH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    path.set_defaults(run=_path, memory=None)
    add_input(path)
    add_path(path)
    add_rest(path)
    return parser


_DEMO = "Solve for the best 1 to 10 of 64 columns of the diabetes data; print a table and draw a picture."
_SOLVE = "Minimise 1/2 ||A w - b||^2 + ridge ||w - w0||^2 + linear'w subject to at most K nonzeros."
_PATH = "Solve for many K, with a proof of how good each is, and choose among them."
_PATH_EXAMPLES = """examples:
  l0quad path data.csv --target y -k 1:20 --cv 10 -o path.csv --plot path.png
  l0quad path data.csv --target y --must age -k 1:10 --ridges 0 0.01 0.1 --criterion ebic
"""
_EXAMPLES = """examples:
  l0quad solve data.csv --target y -k 5
  l0quad solve data.csv --target y --must age --never id -k 5 --ridge 0.01 --bound tight -o chosen.json
  l0quad solve gradients.npy --rhs b.npy -k 100000 --ridge 1 --memory 512MB --method backsolve -o answer.npz
  l0quad solve problem.npz -k 50 --method exact --time-limit 60 -o answer.npz
"""


def _demo(arguments: argparse.Namespace) -> int:
    from l0quad.app import demo
    from l0quad.run.outcome import Status

    if arguments.picture is not None:
        with checked():
            check_writable(arguments.picture, (".png", ".pdf", ".svg"))
    found = demo.print_path()
    if found.status is Status.INTERRUPTED:
        return INTERRUPTED
    if arguments.picture is not None:
        print(f"\n{_draw(demo.figure(found), arguments.picture)}")
    return 0


def _draw(figure: Any, picture: Path) -> str:
    """Write the picture of a path and return a line that says so; without matplotlib, one that says how to get it."""
    if figure is None:
        return 'For a picture of this path: pip install "l0quad[plot]"'
    form = picture.suffix[1:].lower()
    with checked(picture):
        write_atomically(picture, lambda file: figure.savefig(file, format=form, dpi=150))
    return f"Picture: {picture}"


def _solve(arguments: argparse.Namespace) -> int:
    return _status(_answered("solve", arguments).result.status)


def _path(arguments: argparse.Namespace) -> int:
    return _status(_answered("path", arguments).found.status)


def _answered(command: str, arguments: argparse.Namespace) -> Any:
    """Have the module of a command answer, and report that."""
    with _before_a_point():
        with _held_back():
            importlib.import_module(_KERNELS)
            module = importlib.import_module(f"l0quad.app.{command}")
        answer = module.answered(arguments)
    module.report(answer, arguments)
    return answer


@contextmanager
def _before_a_point() -> Iterator[None]:
    """Have an interrupt say that there is nothing to show; one of a solve that has begun is no error."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(" before there was a point") from None


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold a Ctrl-C back while modules are loaded, some of which turn it into other errors, or lose it."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _status(status: Any) -> int:
    return INTERRUPTED if status.name == "INTERRUPTED" else 0
