"""The one-dimensional equation behind the perspective of a ridge term under a budget."""

import numpy as np

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import FloatArray, IntArray


@inlined
def _count(a: FloatArray, sums: FloatArray, beta: float, c: float) -> float:
    """Return sum_i clip(a_i / c - beta, 0, 1) for sorted a, with ``sums[i] = a_0 + ... + a_{i-1}``."""
    if c == 0.0:  # where a_i / divisor underflows
        return np.inf
    first = np.searchsorted(a, beta * c, side="right")
    last = max(first, np.searchsorted(a, (1.0 + beta) * c))
    return (sums[last] - sums[first]) / c - beta * (last - first) + (a.size - last)


@inlined
def _first_below(a: FloatArray, sums: FloatArray, beta: float, divisor: float, budget: int) -> int:
    """Return the first i with a_i > 0 and ``_count`` at ``c = a_i / divisor`` at most ``budget``; it falls in i."""
    low, high = int(np.searchsorted(a, 0.0, side="right")), a.size
    while low < high:
        middle = (low + high) // 2
        if _count(a, sums, beta, a[middle] / divisor) <= budget:
            high = middle
        else:
            low = middle + 1
    return low


@inlined
def _threshold(a: FloatArray, sums: FloatArray, beta: float, budget: int) -> float:
    """Solve ``_count = budget`` for c, exactly: find which terms are 0 and which are 1, the rest is linear in 1/c."""
    if budget == 0:
        return np.inf
    if a.size <= budget or a[a.size - budget - 1] == 0.0:
        return 0.0
    ones = _first_below(a, sums, beta, 1.0 + beta, budget)
    zeros = _first_below(a, sums, beta, beta, budget) if beta > 0.0 else np.searchsorted(a, 0.0, side="right")
    left = budget - (a.size - ones) + beta * (ones - zeros)
    if zeros >= ones or left <= 0.0:  # none in between, or the ones use up the budget to rounding
        return a[min(ones, a.size - 1)] / (1.0 + beta)
    return (sums[ones] - sums[zeros]) / left


@kernel
def part_thresholds(
    magnitudes: FloatArray, starts: IntArray, budgets: IntArray, beta: float, thresholds: FloatArray
) -> None:
    """For each part q, solve ``sum_i clip(magnitudes_i / c - beta, 0, 1) = budgets[q]`` for ``c = thresholds[q]``.

    Part q is ``magnitudes[starts[q]:starts[q + 1]]``, at least 0. c is 0 where no more than the budget are nonzero,
    and infinite where the budget is 0.
    """
    for q in range(budgets.size):
        a = np.sort(magnitudes[starts[q] : starts[q + 1]])
        sums = np.zeros(a.size + 1)
        sums[1:] = np.cumsum(a)
        thresholds[q] = _threshold(a, sums, beta, budgets[q])
