"""Selection of the best columns of each part of a partition, without sorting."""

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import BoolArray, FloatArray, IntArray

# In parts of at most this many columns, each is compared with all others.
_SMALL = 16
# Constants of a linear congruential generator (Numerical Recipes): pivots that no order of the scores can foil.
_FACTOR, _SUMMAND, _MASK = 1664525, 1013904223, 0xFFFFFFFF


@inlined
def _select_small(scores: FloatArray, budget: int, chosen: BoolArray) -> None:
    """Mark the scores that fewer than ``budget`` others precede."""
    for i in range(scores.size):
        score, before = scores[i], 0
        for j in range(i):
            before += scores[j] >= score
        for j in range(i + 1, scores.size):
            before += scores[j] > score
        chosen[i] = before < budget


@inlined
def largest(scores: FloatArray, k: int) -> float:
    """Return the k-th largest score by quickselect; reorders the scores."""
    low, high, place, state = 0, scores.size - 1, k - 1, 1
    while low < high:
        state = (state * _FACTOR + _SUMMAND) & _MASK
        pivot = scores[low + state % (high - low + 1)]
        # What is larger than the pivot goes to the left, what equals it to the middle, what is smaller to the right.
        first, last, i = low, high, low
        while i <= last:
            score = scores[i]
            if score > pivot:
                scores[i] = scores[first]
                scores[first] = score
                first += 1
                i += 1
            elif score < pivot:
                scores[i] = scores[last]
                scores[last] = score
                last -= 1
            else:
                i += 1
        if place < first:
            high = first - 1
        elif place > last:
            low = last + 1
        else:
            return pivot
    return scores[low]


@inlined
def _select_large(scores: FloatArray, budget: int, chosen: BoolArray) -> None:
    """Mark what is above the budget-th largest score, then the first ones equal to it."""
    threshold = largest(scores.copy(), budget)
    left = budget
    for i in range(scores.size):
        if scores[i] > threshold:
            chosen[i] = True
            left -= 1
    for i in range(scores.size):
        if left == 0:
            break
        if scores[i] == threshold:
            chosen[i] = True
            left -= 1


@kernel
def select_parts(scores: FloatArray, starts: IntArray, budgets: IntArray, chosen: BoolArray) -> None:
    """Mark, in each part, its ``budgets[part]`` largest scores; ties go to the smaller index.

    ``scores`` and ``chosen`` are in the order of the parts; part q is ``starts[q]:starts[q + 1]``; ``chosen`` comes
    in all False.
    """
    for q in range(budgets.size):
        first, last, budget = starts[q], starts[q + 1], budgets[q]
        if budget == 0:
            continue
        if last - first <= _SMALL:
            _select_small(scores[first:last], budget, chosen[first:last])
        else:
            _select_large(scores[first:last], budget, chosen[first:last])
