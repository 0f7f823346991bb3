"""Types used in annotations."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
RealArray = NDArray[np.float32] | NDArray[np.float64]

# Called between slices of long work; raises `l0quad.errors.Stopped` where a limit has come.
Pause = Callable[[], None]


def go_on() -> None:
    """Let the work go on, whatever it takes."""
