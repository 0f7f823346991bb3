"""Selection of the best columns of each part of a partition."""

import numpy as np

from l0quad.kernels.jit import kernel
from l0quad.types import BoolArray, FloatArray, IntArray


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
        part = scores[first:last]
        threshold = np.partition(part, part.size - budget)[part.size - budget]
        left = budget
        for i in range(part.size):
            if part[i] > threshold:
                chosen[first + i] = True
                left -= 1
        for i in range(part.size):
            if left == 0:
                break
            if part[i] == threshold:
                chosen[first + i] = True
                left -= 1
