"""What the commands read: a file, and what its columns are to be."""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import l0quad
from l0quad import validation
from l0quad.files.csv_dialect import Wanted
from l0quad.files.problem_file import ProblemFile, column_names, read_columns, read_problem_file
from l0quad.frames import positions
from l0quad.matrix.base import Matrix
from l0quad.problem.constraints.cardinality import Cardinality


class Input(NamedTuple):
    """A file with its columns named, whether they get an intercept and are standardised, and what k means."""

    file: ProblemFile
    A: Matrix
    intercept: bool
    standardize: bool
    constraint: Callable[[int], Cardinality]


def read(arguments: argparse.Namespace) -> Input:
    """Read INPUT and check it with the arguments that are about it; notes go to standard error."""
    for value, name in ((arguments.threads, "--threads"), (arguments.max_bytes, "--max-bytes")):
        if value is not None:
            validation.integer(value, name, 1)
    if arguments.time_limit is not None:
        validation.real(arguments.time_limit, "--time-limit")
    wanted = Wanted(arguments.header, arguments.separator, arguments.decimal, arguments.index, tuple(arguments.drop))
    if arguments.memory is None:
        found = read_problem_file(arguments.input, arguments.rhs, arguments.max_bytes, arguments.target, wanted)
    else:
        found = _on_disk(arguments)
    for note in (*found.notes, *_of_no_intercept(arguments, found)):
        print(f"l0quad: note: {arguments.input}: {note}", file=sys.stderr)
    both = set(arguments.must) & set(arguments.never)
    if both:
        raise ValueError(f"--must: {min(both)} is also in --never")
    names = column_names(found.names, found.A.shape[-1])
    must, never = (
        positions(names, each, option) if each else ()
        for each, option in ((arguments.must, "--must"), (arguments.never, "--never"))
    )
    # A target picked by its name is a column among variables: these are taken as the estimators take them.
    intercept, standardize = (
        arguments.target is not None if each is None else each for each in (arguments.intercept, arguments.standardize)
    )
    A = l0quad.as_matrix(found.A, names=found.names)
    return Input(found, A, intercept, standardize, lambda k: Cardinality(k, must=must, never=never))


def _of_no_intercept(arguments: argparse.Namespace, found: ProblemFile) -> Iterator[str]:
    """Say that a table is taken as a matrix, where nothing on the command line says so."""
    if arguments.input.suffix.lower() == ".csv" and arguments.target is None and arguments.intercept is None:
        last = "" if found.target is None else f", the last column, {found.target}, is b"
        yield f"without --target{last}, and no intercept is fitted (--target or --intercept fits one)"


def _on_disk(arguments: argparse.Namespace) -> ProblemFile:
    """Return A as it lies on disk, with b."""
    options = {"--target": arguments.target, "--intercept": arguments.intercept, "--standardize": arguments.standardize}
    for name, value in options.items():
        if value:
            raise ValueError(f"--memory: takes the columns as they are, not with {name}")
    if arguments.rhs is None:
        raise ValueError("--memory: needs b in a file of its own, --rhs")
    return read_columns(arguments.input, arguments.rhs, arguments.memory, arguments.max_bytes)


def shown(arguments: argparse.Namespace) -> bool:
    """Whether progress is shown."""
    return sys.stderr.isatty() and not arguments.quiet
