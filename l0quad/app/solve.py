"""``l0quad solve``: from the arguments of the command line to an answer."""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import l0quad
from l0quad import validation
from l0quad.api.checkpoint import checkpoint_of
from l0quad.api.result import Result
from l0quad.app.inputs import read, shown
from l0quad.app.report import FORMATS, OUTPUTS, Answer, save_npz
from l0quad.app.wrong_input import checked, checked_method
from l0quad.files.atomic import check_writable, write_atomically
from l0quad.files.problem_file import ProblemFile
from l0quad.problem.design import Design
from l0quad.problem.problem import Problem
from l0quad.solvers.registry import resolve


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


def answered(arguments: argparse.Namespace) -> Answer:
    """Solve what the arguments ask for."""
    with checked():
        if arguments.output is not None:
            check_writable(arguments.output, tuple(OUTPUTS))
        if arguments.checkpoint is not None:
            check_writable(arguments.checkpoint, (".npz",))
        task = _task(arguments)
    with checked_method():
        _tell_where_it_goes_on(task.problem, arguments)
        result = l0quad.solve(
            task.problem,
            arguments.method,
            bound=arguments.bound,
            time_limit=arguments.time_limit,
            n_threads=arguments.threads,
            verbose=shown(arguments),
            checkpoint=arguments.checkpoint,
        )
    return task.answer(result, arguments.k)


def report(answer: Answer, arguments: argparse.Namespace) -> None:
    """Write and print an answer."""
    try:
        if arguments.output is not None:
            with checked(arguments.output):
                _save(answer, arguments.output)
    finally:
        # A full disk must not cost the answer.
        print(FORMATS[arguments.format](answer))


def _tell_where_it_goes_on(problem: Problem, arguments: argparse.Namespace) -> None:
    """Say from when and where the checkpoint is, if it holds a state of this solve."""
    path, (method, options) = arguments.checkpoint, resolve(arguments.method)
    if path is None or not path.exists() or not method.needs.resumes:
        return
    states = checkpoint_of(path, problem, options, None, 0).states
    if states:
        run = max((state["run"] for state in states.values()), key=lambda each: each["seconds"])
        written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))
        objective = problem.units.objective(run["best"].objective)
        print(
            f"l0quad: note: goes on from {path}, written {written} after {run['seconds']:.1f} s: "
            f"{run['count']} iterations, best objective {objective:.8g}",
            file=sys.stderr,
        )


def _task(arguments: argparse.Namespace) -> Task:
    resolve(arguments.method)
    validation.integer(arguments.k, "-k", 0)
    if arguments.ridge is not None:
        validation.real(arguments.ridge, "--ridge")
    given = read(arguments)
    found = given.file
    ridge = next(each for each in (arguments.ridge, found.ridge, 0.0) if each is not None)
    k = given.constraint(arguments.k)
    if not (given.intercept or given.standardize):
        return Task(found, Problem(given.A, found.b, k, ridge, found.w0, found.linear), None)
    if found.w0 is not None or found.linear is not None:
        raise ValueError("--intercept, --standardize: not with the w0 or linear of an .npz file")
    design = Design(given.A, fit_intercept=given.intercept, standardize=given.standardize)
    return Task(found, Problem(design.matrix, design.target(found.b), k, ridge), design)


def _save(answer: Answer, path: Path) -> None:
    form = OUTPUTS[path.suffix.lower()]
    if form is None:
        write_atomically(path, lambda file: save_npz(answer, file))
    else:
        text = FORMATS[form](answer) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))
