"""Data frames of pandas, polars and their like, known by what they offer: none of them is imported."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l0quad.types import IntArray

Check = Callable[[Any, str], np.ndarray]


def is_frame(value: object) -> bool:
    """Whether this is a table with named columns."""
    return all(hasattr(value, each) for each in ("columns", "dtypes", "to_numpy"))


def is_series(value: object) -> bool:
    """Whether this is one column of such a table."""
    return all(hasattr(value, each) for each in ("name", "dtype", "to_numpy"))


def names_of(value: Any) -> tuple[str, ...] | None:
    """Return the names of a frame's columns; None of anything else."""
    return tuple(map(str, value.columns)) if is_frame(value) else None


def index_of(value: Any) -> Any:
    """Return the labels of the rows of a pandas frame or series; None of anything else."""
    return getattr(value, "index", None) if is_frame(value) or is_series(value) else None


def array_of(value: Any, name: str, check: Check) -> np.ndarray:
    """Return the values of a frame or a series, a missing one as NaN.

    Without a copy where they lie in one array; else in float64, or in float32 where all columns are in it.

    Parameters
    ----------
    check : callable
        Refuses an array of values that float64 cannot hold; takes the array and what it is called in the error.
    """
    if is_series(value):
        return _values(value, name, check)
    same = {str(each) for each in value.dtypes}
    if len(same) == 1 and all(isinstance(each, np.dtype) for each in value.dtypes) and _is_numeric(value.dtypes):
        return np.asarray(value)
    columns = value.get_columns() if hasattr(value, "get_columns") else [column for _, column in value.items()]
    arrays = [
        _values(each, f"{name}: column {str(label)!r}", check)
        for label, each in zip(value.columns, columns, strict=True)
    ]
    single = bool(arrays) and all(each.dtype == np.float32 for each in arrays)
    out = np.empty(value.shape, dtype=np.float32 if single else np.float64, order="F")
    for j, each in enumerate(arrays):
        out[:, j] = each
    return out


def _values(series: Any, name: str, check: Check) -> np.ndarray:
    dtype = series.dtype
    if not _is_numeric([dtype]):
        raise TypeError(
            f"{name} must hold real numbers (bool, int, float), got {dtype}; "
            "make dummies of categories, or leave it out"
        )
    if hasattr(dtype, "numpy_dtype"):  # pandas' own, whose missing values are no numbers
        missing = bool(series.isna().any())
        array = series.to_numpy(dtype=np.float64, na_value=np.nan) if missing else series.to_numpy(dtype.numpy_dtype)
    else:
        array = series.to_numpy()
    if array.dtype == np.object_ and str(dtype) == "Boolean":  # polars', with missing values
        array = array.astype(np.float64)
    return check(array, name)


def _is_numeric(dtypes: Sequence[Any]) -> bool:
    return all(
        (each.is_numeric() or str(each) == "Boolean") if hasattr(each, "is_numeric") else each.kind in "biuf"
        for each in dtypes
    )


def require_aligned(index: Any, value: Any, name: str, of: str = "A") -> None:
    """Refuse a pandas vector whose rows are labelled otherwise than those of ``of``, which has this index."""
    other = index_of(value)
    if index is None or other is None or len(index) != len(other) or index.equals(other):
        return
    row = next(i for i, (ours, theirs) in enumerate(zip(index, other, strict=True)) if ours != theirs)
    raise ValueError(
        f"{name}: its index must be {of}'s, row by row, got {other[row]} in row {row}, where {of} has {index[row]}; "
        f"align the two ({name}.loc[{of}.index]) or, where only the order counts, pass {name}.to_numpy()"
    )


def positions(names: Sequence[str] | None, wanted: Sequence[Any], argument: str) -> IntArray:
    """Return the columns that have the wanted names."""
    if names is None:
        raise ValueError(
            f"{argument}: {wanted[0]!r} is a name, but A has none; pass a frame, or as_matrix(A, names=...)"
        )
    for each in wanted:
        if each not in names:
            near = difflib.get_close_matches(each, names, 1)
            hint = f"; is {near[0]!r} meant?" if near else ""
            raise ValueError(f"{argument}: no column of A is named {each!r}{hint}")
        if names.count(each) > 1:
            raise ValueError(f"{argument}: {names.count(each)} columns of A are named {each!r}; name it by its number")
    return np.array([names.index(each) for each in wanted], dtype=np.int64)
