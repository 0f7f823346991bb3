"""Where a solve or a bound begins: a point, a support or an earlier result, checked."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from l0quad import validation
from l0quad.api.result import Result
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.problem import Problem
from l0quad.solvers.magnitude import largest_entries
from l0quad.solvers.needs import Needs
from l0quad.types import FloatArray, IntArray


def starting_point(problem: Problem, needs: Needs, start: ArrayLike | Result | None) -> Callable[[CoreProblem], Point]:
    """Check ``start`` and return what makes a point of it, for the problem or an equivalent one."""
    if start is None:
        if needs.from_zero:
            return CoreProblem.zero
        return lambda working: _point(working, *largest_entries(working), needs)
    if isinstance(start, Result):
        start = start.w
    array = validation.as_array(start, "start")
    constraint = problem.constraint
    if array.dtype.kind == "f" and array.size > 0:
        w = problem.units.own_w(validation.vector(array, "start", problem.shape[1], "one value for each column of A"))
        support = constraint.nearest(w)
        support = constraint.closed(support[w[support] != 0])
        return functools.partial(_evaluate_start, support, w[support])
    support = validation.indices(array, "start", problem.shape[1])
    if not constraint.allows(support):
        raise ValueError(f"start: must be a support that k allows, got {support.size} columns for {problem.k!r}")
    support = constraint.closed(support)
    return lambda working: _point(working, support, working.w0[support], needs)


def _point(working: CoreProblem, support: IntArray, w: FloatArray, needs: Needs) -> Point:
    """Return a point without its objective, which costs a pass over A, where the method does not ask for it."""
    return Point(support, w, np.inf) if needs.solves_start else working.evaluate(support, w)


def _evaluate_start(support: IntArray, w: FloatArray, working: CoreProblem) -> Point:
    if working.exponents is not None:
        w = np.ldexp(w, -working.exponents[support])
    with np.errstate(over="ignore", invalid="ignore"):
        point = working.evaluate(support, w)
    if not np.isfinite(point.objective):
        raise ValueError("start: its objective overflows float64")
    return point
