"""The one-dimensional equation behind the perspective of a ridge term under a budget."""

import numpy as np

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import FloatArray, IntArray

_SMALLEST = 5e-324
# Newton's method on the piecewise linear equation; every so many steps the bracket is halved instead.
_HALVE_EVERY = 4
_MOST_STEPS = 1000


@inlined
def _terms(a: FloatArray, beta: float, c: float) -> tuple[int, int, float]:
    """Return how many terms clip(a_i / c - beta, 0, 1) are 1, how many are in between, and the sum of their a_i."""
    zero, one = beta * c, (1.0 + beta) * c
    ones, between, total = 0, 0, 0.0
    for i in range(a.size):
        if a[i] >= one:
            ones += 1
        elif a[i] > zero:
            between += 1
            total += a[i]
    return ones, between, total


@inlined
def _bracket(a: FloatArray, beta: float, budget: int) -> tuple[float, float]:
    """Return a c at which all nonzero terms are 1 and one at which they add up to the budget at most; (0, 0) if none.

    There is none where no more than the budget are nonzero.
    """
    smallest, total, nonzero = np.inf, 0.0, 0
    for i in range(a.size):
        if a[i] > 0.0:
            smallest = min(smallest, a[i])
            total += a[i]
            nonzero += 1
    if nonzero <= budget:
        return 0.0, 0.0
    # sum_i clip(a_i / c - beta, 0, 1) <= sum_i a_i / c.
    return max(smallest / (1.0 + beta), _SMALLEST), max(total / budget, _SMALLEST)


@inlined
def _largest_zero(a: FloatArray, beta: float, c: float) -> float:
    """Return the largest a_i whose term is 0."""
    largest = 0.0
    for i in range(a.size):
        if largest < a[i] <= beta * c:
            largest = a[i]
    return largest


@inlined
def threshold(a: FloatArray, beta: float, budget: int) -> float:
    """Solve sum_i clip(a_i / c - beta, 0, 1) = budget for c: once it is known which terms are 0 and 1, exactly.

    The sum falls in c. Where the terms that are 0 and 1 at the solution for the last c's sets are again these, it is
    the solution; until then the bracket shrinks. Of an interval of solutions it is the least.
    """
    if budget == 0:
        return np.inf
    low, high = _bracket(a, beta, budget)
    c, last_ones, last_between = high, -1, -1
    for step in range(_MOST_STEPS):
        if not low < high:
            break
        ones, between, total = _terms(a, beta, c)
        if ones == last_ones and between == last_between:
            return c
        if between == 0 and ones == budget:
            return _largest_zero(a, beta, c) / beta
        left = budget - ones + beta * between
        # The sum at c is below the budget where total / c < left.
        if total < left * c:
            high = c
        else:
            low = c
        last_ones, last_between = ones, between
        solution = total / left if between > 0 and left > 0.0 else 0.0
        if low <= solution <= high and step % _HALVE_EVERY != _HALVE_EVERY - 1:
            c = solution
        else:
            middle = np.sqrt(low) * np.sqrt(high)
            if not low < middle < high:
                break
            c, last_ones = middle, -1
    return high


@kernel
def part_thresholds(
    magnitudes: FloatArray, starts: IntArray, budgets: IntArray, beta: float, thresholds: FloatArray
) -> None:
    """For each part q, solve ``sum_i clip(magnitudes_i / c - beta, 0, 1) = budgets[q]`` for ``c = thresholds[q]``.

    Part q is ``magnitudes[starts[q]:starts[q + 1]]``, at least 0. c is 0 where no more than the budget are nonzero,
    and infinite where the budget is 0.
    """
    for q in range(budgets.size):
        thresholds[q] = threshold(magnitudes[starts[q] : starts[q + 1]], beta, budgets[q])
