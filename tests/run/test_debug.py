"""The debug mode: a bound above the known optimum is an error where it comes to be."""

from fractions import Fraction

import numpy as np
import pytest
from problems import PROBLEMS

from l0quad import solve
from l0quad.run.debug import BoundAboveOptimum, known_optimum


@pytest.mark.parametrize("bound", ["fast", "tight"])
@pytest.mark.parametrize("method", ["auto", "rounding", "magnitude"])
def test_a_bound_above_the_known_optimum_raises(method, bound):
    problem = PROBLEMS["gaussian"].problem()
    result = solve(problem, method, bound=bound)
    with known_optimum(result.lower_bound):
        assert solve(problem, method, bound=bound).lower_bound == result.lower_bound
    with known_optimum(Fraction(np.nextafter(result.lower_bound, -np.inf))), pytest.raises(BoundAboveOptimum):
        solve(problem, method, bound=bound)
    with known_optimum(lambda other: None if other is problem else -1.0):
        solve(problem, method, bound=bound)


def test_the_first_bound_is_checked():
    with known_optimum(-1.0), pytest.raises(BoundAboveOptimum):
        solve(PROBLEMS["gaussian"].problem(), bound="none")
