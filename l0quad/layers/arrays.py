"""The array namespace of the dense part: NumPy, or one with its functions, on whatever device."""

from typing import Any

import numpy as np


def host(array: Any) -> np.ndarray:
    """Return an array of any namespace as NumPy's, from its device where it has one."""
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)
