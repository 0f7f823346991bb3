"""Comma-separated numbers."""

import array
import csv
import math
from pathlib import Path

import numpy as np

from l0quad.files.limits import lines, require_room


def read_csv(path: Path, limit: int) -> np.ndarray:
    """Read comma-separated numbers, with at most one line of names before them."""
    values = array.array("d")
    columns = 0
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(lines(file), skipinitialspace=True)
        for fields in rows:
            if not fields:
                continue
            # Only a first line without any number is a line of names: one bad value must not hide a row.
            if not columns and not any(map(_is_number, fields)):
                columns = len(fields)
                continue
            columns = columns or len(fields)
            if len(fields) != columns:
                raise ValueError(f"line {rows.line_num} has {len(fields)} values, the first line has {columns}")
            _append_row(values, fields, rows.line_num)
            require_room(8 * len(values), limit)
    if not values:
        raise ValueError("holds no numbers")
    return np.frombuffer(values).reshape(-1, columns)


def _append_row(values: "array.array[float]", fields: list[str], line: int) -> None:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        column, bad = next((i, each) for i, each in enumerate(fields, 1) if not _is_number(each, finite=True))
        raise ValueError(f"line {line}, column {column}: must be a finite number, got {bad[:40]!r}")
    values.extend(numbers)


def _is_number(text: str, finite: bool = False) -> bool:
    try:
        return math.isfinite(float(text)) or not finite
    except ValueError:
        return False
