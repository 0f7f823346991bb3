"""The door: every argument is checked here, once, before any work; errors name the argument, the rule and the value."""

import math
import numbers
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.sparse as sp

from l0quad import frames
from l0quad.types import FloatArray, IntArray, RealArray

# Arrays are looked at in pieces of this many elements, so that checking a file larger than memory needs little of it.
_CHUNK = 1 << 22
_EXACT_INTEGER = 2**53


def integer(value: object, name: str, minimum: int) -> int:
    """Return ``value`` as an int of at least ``minimum``; bools and floats are refused."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: must be an integer, got {_show(value)}")
    if value < minimum:
        raise ValueError(f"{name}: must be at least {minimum}, got {int(value)}")
    return int(value)


def real(value: object, name: str, minimum: float = 0.0) -> float:
    """Return ``value`` as a finite float of at least ``minimum``; bools are refused."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: must be a real number, got {_show(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < minimum:
        raise ValueError(f"{name}: must be finite and at least {minimum:g}, got {number}")
    return number


def choice(value: object, name: str, allowed: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}: must be one of {', '.join(map(repr, allowed))}, got {_show(value)}")
    return value


def vector(value: object, name: str, length: int, rule: str, column: bool = False) -> FloatArray:
    """Return ``value`` as a new float64 array of shape (length,), all finite; ``rule`` says what the length is.

    With ``column``, shape (length, 1) will do.
    """
    array = numeric(value, name)
    if column and array.shape == (length, 1):
        array = array.reshape(length)
    if array.shape != (length,):
        raise ValueError(f"{name}: must have shape ({length},), {rule}; got shape {array.shape}")
    out = np.array(array, dtype=np.float64)
    largest_exponent(out, name)
    return out


def indices(value: object, name: str, length: int) -> IntArray:
    """Return ``value``, unique integers in [0, length) or a boolean mask of shape (length,), as sorted indices."""
    array = as_array(value, name)
    if array.dtype == np.bool_:
        if array.shape != (length,):
            raise ValueError(f"{name}: a mask must have shape ({length},), got shape {array.shape}")
        return np.flatnonzero(array).astype(np.int64)
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, dtype=np.int64)
    array = integers(array, name)
    if int(array.min()) < 0 or int(array.max()) >= length:
        raise ValueError(f"{name}: indices must lie in [0, {length}), got {int(array.min())} to {int(array.max())}")
    chosen = np.zeros(length, dtype=np.bool_)
    chosen[array] = True
    unique = np.flatnonzero(chosen).astype(np.int64)
    if unique.size != array.size:
        raise ValueError(f"{name}: indices must be unique, got {array.size - unique.size} repeated")
    return unique


def integers(value: object, name: str) -> np.ndarray:
    """Return ``value`` as a 1-D array of integers, of any integer dtype."""
    array = as_array(value, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"{name}: must be a 1-D array of integers, got dtype {array.dtype}, shape {array.shape}")
    return array


def names(value: Sequence[str], name: str, length: int) -> tuple[str, ...]:
    """Return ``value``, one string for each column, as a tuple."""
    found = tuple(value)
    if isinstance(value, str) or not all(isinstance(each, str) for each in found):
        raise TypeError(f"{name}: must be strings, got {_show(value)}")
    if len(found) != length:
        raise ValueError(f"{name}: must be {length}, one for each column, got {len(found)}")
    return found


def dense_matrix(value: object, name: str) -> RealArray:
    """Return ``value`` as a 2-D float32 or float64 array that BLAS can read, without a copy where it already is one."""
    array = numeric(value, name)
    if array.ndim != 2:
        raise ValueError(f"{name}: must be a 2-D array, got {array.ndim} dimension(s)")
    require_rows_and_columns(array.shape, name)
    if array.dtype not in (np.float32, np.float64) or not array.dtype.isnative:
        array = array.astype(float_dtype(array))
    if not _blas_can_read(array):
        array = np.ascontiguousarray(array)
    return array.view(np.ndarray)


def symmetric(value: object, name: str) -> FloatArray:
    """Return ``value`` as a symmetric float64 array of shape (p, p), all finite."""
    array = np.asarray(dense_matrix(value, name), dtype=np.float64)
    largest_exponent(array, name)
    if array.shape[0] != array.shape[1]:
        raise ValueError(f"{name}: must be square, got shape {array.shape}")
    asymmetry, size = float(np.abs(array - array.T).max()), float(np.abs(array).max())
    if asymmetry > 1e-8 * size:
        raise ValueError(f"{name}: must be symmetric, got entries that differ by {asymmetry:g}")
    return array


def place(*index: int) -> str:
    """Say where in an array a value stands."""
    return f"row {index[0]}, column {index[1]}" if len(index) == 2 else f"place {index[0]}"


def largest_exponent(array: RealArray, name: str, place: Callable[..., str] = place) -> int | None:
    """Return e with max|array| in [2^(e-1), 2^e), None when all is zero; a value that is not finite is a ValueError.

    ``place`` says, for the error, what an index of the array means.
    """
    largest = 0.0
    for start, chunk, turned in _chunks(array):
        high, low = float(chunk.max()), float(chunk.min())
        if not (math.isfinite(high) and math.isfinite(low)):
            bad = np.argwhere(~np.isfinite(chunk))
            first = bad[0] + np.eye(1, chunk.ndim, dtype=np.int64)[0] * start
            index = (first[::-1] if turned else first).tolist()
            more = f", and at least {len(bad) - 1} more" if len(bad) > 1 else ""
            raise ValueError(f"{name}: all values must be finite, got {array[tuple(index)]} in {place(*index)}{more}")
        largest = max(largest, abs(high), abs(low))
    return math.frexp(largest)[1] if largest > 0 else None


def _chunks(array: RealArray) -> Iterator[tuple[int, RealArray, bool]]:
    """Yield pieces along the axis that is read fastest: where each begins, and whether it is of the transpose."""
    turned = array.ndim == 2 and abs(array.strides[0]) < abs(array.strides[1])
    rows = array.T if turned else array
    step = max(1, _CHUNK // max(1, math.prod(rows.shape[1:])))
    for start in range(0, rows.shape[0], step):
        yield start, rows[start : start + step], turned


def as_array(value: object, name: str) -> np.ndarray:
    """Return ``value`` as an array; masked, sparse and ragged ones are refused."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: masked arrays are refused, because masked entries have no value; fill them first")
    if sp.issparse(value):
        raise TypeError(f"{name}: must be dense, got a sparse matrix")
    if getattr(value, "requires_grad", False):
        raise TypeError(
            f"{name}: is a tensor that requires a gradient, and none passes through a solve; pass {name}.detach()"
        )
    if hasattr(value, "matvec"):
        raise TypeError(
            f"{name}: is a linear operator, which tells products alone, and solvers take columns; "
            f"subclass l0quad.Matrix (docs/adding-a-matrix.md), or pass the array {name} @ np.eye({name}.shape[1])"
        )
    if frames.is_frame(value) or frames.is_series(value):
        return frames.array_of(value, name, numeric)
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: must be an array of real numbers ({error})") from error


def numeric(value: object, name: str) -> np.ndarray:
    """Return ``value`` as an array of a real dtype that float64 (or float32) can hold without loss."""
    array = as_array(value, name)
    _require_real_dtype(array, name)
    return array


def float_dtype(array: np.ndarray) -> type:
    """Return float32 for single precision of either byte order, else float64."""
    return np.float32 if array.dtype.kind == "f" and array.dtype.itemsize == 4 else np.float64


def _require_real_dtype(array: np.ndarray, name: str) -> None:
    if array.dtype.kind == "c":
        raise TypeError(
            f"{name}: must hold real numbers, got dtype {array.dtype}; "
            "l0quad.stack_complex(A, b, k) makes a real problem of a complex one"
        )
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name}: must hold real numbers that fit float64 (bool, int, float), got dtype {array.dtype}")
    wide = array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size > 0
    if wide and max(abs(int(array.max())), abs(int(array.min()))) > _EXACT_INTEGER:
        raise ValueError(f"{name}: integers must lie within +-2**53, beyond that float64 loses digits")


def _blas_can_read(array: np.ndarray) -> bool:
    """Whether one axis is contiguous and the other strides forward over whole rows of it."""
    item = array.itemsize
    for (outer, inner), length in ((array.strides, array.shape[1]), (array.strides[::-1], array.shape[0])):
        if inner == item and outer % item == 0 and outer >= length * item:
            return array.flags.aligned
    return array.flags.aligned and (array.flags.c_contiguous or array.flags.f_contiguous)


def require_rows_and_columns(shape: tuple[int, ...], name: str) -> None:
    """Refuse what has no row or no column."""
    if shape[0] < 1 or shape[1] < 1:
        raise ValueError(f"{name}: must have at least one row and one column, got shape {tuple(shape)}")


def _show(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
