"""Types used in annotations."""

import os
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
SignArray = NDArray[np.int8]
# Sorted numbers, or a mask of all columns: however large the set is, that takes an eighth of a vector as long as w0.
ColumnSet = IntArray | BoolArray
RealArray = NDArray[np.float32] | NDArray[np.float64]

# What users pass as a matrix (frames are array_like too), and as a place in the file system.
MatrixLike = ArrayLike | sp.sparray | sp.spmatrix
PathLike = str | os.PathLike[str]

# Called between slices of long work; raises `l0quad.errors.Stopped` where a limit has come.
Pause = Callable[[], None]


def go_on() -> None:
    """Let the work go on, whatever it takes."""
