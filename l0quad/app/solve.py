"""``l0quad solve``: from the arguments of the command line to an answer."""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import l0quad
from l0quad import validation
from l0quad.api.result import Result
from l0quad.app.report import FORMATS, Answer, save_npz
from l0quad.app.wrong_input import checked, checked_method
from l0quad.files.atomic import check_writable, write_atomically
from l0quad.files.csv_dialect import Wanted
from l0quad.files.problem_file import ProblemFile, column_names, read_problem_file
from l0quad.frames import positions
from l0quad.problem.constraints.cardinality import Cardinality
from l0quad.problem.design import Design
from l0quad.problem.problem import Problem
from l0quad.solvers.registry import resolve

OUTPUTS = {".npz": None, ".csv": "csv", ".json": "json", ".txt": "text"}


class Task(NamedTuple):
    """What the file and the arguments ask for; without a design the file's columns are taken as they are."""

    file: ProblemFile
    problem: Problem
    design: Design | None

    def answer(self, result: Result, k: int) -> Answer:
        """Return the result in the units of the file."""
        coef, intercept = result.w, None
        if self.design is not None:
            coef, intercept = self.design.coefficients(result.w, self.file.b)
        return Answer(result, coef, intercept, self.file.names, self.file.target, k, self.problem.ridge)


def run(arguments: argparse.Namespace) -> bool:
    """Solve and report; return whether the solve was interrupted."""
    with checked():
        if arguments.output is not None:
            check_writable(arguments.output, tuple(OUTPUTS))
        task = read(arguments)
    with checked_method():
        result = l0quad.solve(
            task.problem,
            arguments.method,
            bound=arguments.bound,
            time_limit=arguments.time_limit,
            n_threads=arguments.threads,
            verbose=sys.stderr.isatty() and not arguments.quiet,
        )
    answer = task.answer(result, arguments.k)
    try:
        if arguments.output is not None:
            with checked(arguments.output):
                _save(answer, arguments.output)
    finally:
        # A full disk must not cost the answer.
        print(FORMATS[arguments.format](answer))
    return result.status is l0quad.Status.INTERRUPTED


def read(arguments: argparse.Namespace) -> Task:
    """Read INPUT and check it with all arguments of the solve."""
    resolve(arguments.method)
    validation.integer(arguments.k, "-k", 0)
    for value, name in ((arguments.threads, "--threads"), (arguments.max_bytes, "--max-bytes")):
        if value is not None:
            validation.integer(value, name, 1)
    for value, name in ((arguments.ridge, "--ridge"), (arguments.time_limit, "--time-limit")):
        if value is not None:
            validation.real(value, name)
    wanted = Wanted(arguments.header, arguments.separator, arguments.decimal, arguments.index, tuple(arguments.drop))
    found = read_problem_file(arguments.input, arguments.rhs, arguments.max_bytes, arguments.target, wanted)
    for note in found.notes:
        print(f"l0quad: note: {arguments.input}: {note}", file=sys.stderr)
    ridge = next(each for each in (arguments.ridge, found.ridge, 0.0) if each is not None)
    k = _budget(arguments, found)
    A = l0quad.as_matrix(found.A, names=found.names)
    # A target picked by its name is a column among variables: what is done to these is done as by the estimators.
    intercept, standardize = (
        arguments.target is not None if each is None else each for each in (arguments.intercept, arguments.standardize)
    )
    if not (intercept or standardize):
        return Task(found, Problem(A, found.b, k, ridge, found.w0, found.linear), None)
    if found.w0 is not None or found.linear is not None:
        raise ValueError("--intercept, --standardize: not with the w0 or linear of an .npz file")
    design = Design(A, fit_intercept=intercept, standardize=standardize)
    return Task(found, Problem(design.matrix, design.target(found.b), k, ridge), design)


def _budget(arguments: argparse.Namespace, found: ProblemFile) -> int | Cardinality:
    if not arguments.must and not arguments.never:
        k: int = arguments.k
        return k
    names = column_names(found.names, found.A.shape[1])
    must, never = (
        positions(names, each, option) for each, option in ((arguments.must, "--must"), (arguments.never, "--never"))
    )
    return Cardinality(arguments.k, must=must, never=never)


def _save(answer: Answer, path: Path) -> None:
    form = OUTPUTS[path.suffix.lower()]
    if form is None:
        write_atomically(path, lambda file: save_npz(answer, file))
    else:
        text = FORMATS[form](answer) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))
