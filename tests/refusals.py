"""What the tests of refused input share: a small problem, values that no argument takes, and the check itself."""

import re

import numpy as np
import pytest

A = np.arange(12.0).reshape(4, 3) % 5
B = np.arange(4.0)
NAN, INF = float("nan"), float("inf")
HUGE = 10**400
LONGDOUBLE = np.longdouble if np.dtype(np.longdouble).itemsize > 8 else np.clongdouble


def refuse(call, error, *words):
    """The call raises this error, and its message has these words in this order."""
    pattern = ".*".join(re.escape(word) for word in words)
    with pytest.raises(error, match=f"(?s)^{pattern}") as caught:
        call()
    assert type(caught.value) is error


def masked(array):
    return np.ma.masked_array(array, np.zeros(np.shape(array), dtype=bool))
