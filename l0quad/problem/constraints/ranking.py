"""The largest of many scores."""

import numpy as np

from l0quad.types import FloatArray, IntArray


def top_k(scores: FloatArray, k: int) -> IntArray:
    """Return the sorted indices of the k largest scores; ties go to the smaller index, on every CPU."""
    if k >= scores.size:
        return np.arange(scores.size)
    if k == 0:
        return np.empty(0, dtype=np.int64)
    # The k-th largest value is well defined, the order in which a partition leaves its indices is not.
    threshold = np.partition(scores, scores.size - k)[scores.size - k]
    above = np.flatnonzero(scores > threshold)
    ties = np.flatnonzero(scores == threshold)[: k - above.size]
    return np.sort(np.concatenate([above, ties]))
