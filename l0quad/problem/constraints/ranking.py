"""The largest of many scores."""

import numpy as np

from l0quad.types import BoolArray, FloatArray, IntArray

# Of more scores a partition's copy counts; up to so many it is faster than histograms of their bits.
_PARTITIONED = 1 << 17


def top_k(scores: FloatArray, k: int) -> IntArray:
    """Return the sorted indices of the k largest scores; ties go to the smaller index, on every CPU."""
    if k >= scores.size:
        return np.arange(scores.size)
    if k == 0:
        return np.empty(0, dtype=np.int64)
    if scores.size > _PARTITIONED:
        return np.flatnonzero(_by_bits(scores, k))
    # The k-th largest value is well defined, the order in which a partition leaves its indices is not.
    threshold = np.partition(scores, scores.size - k)[scores.size - k]
    above = np.flatnonzero(scores > threshold)
    ties = np.flatnonzero(scores == threshold)[: k - above.size]
    return np.sort(np.concatenate([above, ties]))


def marked_top_k(scores: FloatArray, k: int) -> BoolArray:
    """Return the same as a mask."""
    if 0 < k < scores.size and scores.size > _PARTITIONED:
        return _by_bits(scores, k)
    mask = np.zeros(scores.size, dtype=np.bool_)
    mask[top_k(scores, k)] = True
    return mask


def _by_bits(scores: FloatArray, k: int) -> BoolArray:
    """Mark them without a copy of the scores."""
    from l0quad.kernels.selection import select_parts

    chosen = np.zeros(scores.size, dtype=np.bool_)
    select_parts(np.ascontiguousarray(scores), np.array([0, scores.size]), np.array([k]), chosen)
    return chosen
