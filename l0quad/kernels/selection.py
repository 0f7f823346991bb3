"""Selection of the best columns of each part of a partition: without sorting, and without a copy of the scores."""

import numpy as np

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import BoolArray, FloatArray, IntArray

# In parts of at most this many columns, each is compared with all others.
_SMALL = 16
# The bits of a score, 11 at a time: 2048 bins, and one for what is elsewhere. So few scores in a bin are looked at.
_DIGIT, _BINS = 11, 2048
_SIGN, _LEAST = 0x7FFFFFFFFFFFFFFF, -0x8000000000000000
_FEW = 64
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
def _key(score: float) -> int:
    """Return an integer that orders as the scores do: their bits, those of negative ones reversed."""
    bits = np.float64(score + 0.0).view(np.int64)
    return int(bits ^ ((bits >> 63) & _SIGN))


@inlined
def _threshold(scores: FloatArray, k: int) -> tuple[float, int]:
    """Return the k-th largest score, and how many of those equal to it are among the k largest.

    By histograms of the bits: scores in the bin that holds it are counted by their next bits, until they are few.
    """
    low, shift, bins, left = _LEAST, 64 - _DIGIT, _BINS, k
    counts = np.empty(_BINS + 1, dtype=np.int64)
    while True:
        counts[:] = 0
        origin = low >> shift
        for i in range(scores.size):
            place = (_key(scores[i]) >> shift) - origin
            counts[place if 0 <= place < bins else _BINS] += 1
        place = bins - 1
        while counts[place] < left:
            left -= counts[place]
            place -= 1
        low = (origin + place) << shift
        if counts[place] <= _FEW or shift == 0:
            break
        # The last digit has fewer bits.
        bins = 1 << min(shift, _DIGIT)
        shift = max(shift - _DIGIT, 0)
    few = np.empty(min(counts[place], _FEW))
    found, prefix = 0, low >> shift
    for i in range(scores.size):
        if found < few.size and _key(scores[i]) >> shift == prefix:
            few[found] = scores[i]
            found += 1
    # Where there are more than a few, all in the bin are equal.
    threshold = largest(few, min(left, few.size))
    for i in range(few.size):
        left -= few[i] > threshold
    return threshold, left


@inlined
def _select_large(scores: FloatArray, budget: int, chosen: BoolArray) -> None:
    """Mark what is above the budget-th largest score, then the first ones equal to it."""
    threshold, ties = _threshold(scores, budget)
    for i in range(scores.size):
        if scores[i] > threshold:
            chosen[i] = True
        elif ties > 0 and scores[i] == threshold:
            chosen[i] = True
            ties -= 1


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
