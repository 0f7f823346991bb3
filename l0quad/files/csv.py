"""Tables of numbers as text, with or without names of the columns."""

import array
import csv
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from l0quad.files.csv_dialect import Dialect, Wanted, as_number, sniff
from l0quad.files.limits import lines, require_room

_MISSING = ("na", "nan", "n/a", "null", "none", "inf", "-inf", "+inf", "infinity")


class Table(NamedTuple):
    """What a text file of numbers holds; ``notes`` say what was left out."""

    values: np.ndarray
    names: tuple[str, ...] | None
    notes: tuple[str, ...]


def read_csv(path: Path, limit: int, wanted: Wanted | None = None) -> Table:
    """Read numbers in columns, with at most one line of names before them.

    Separator, quotes, decimal comma, names and an unnamed column of row numbers are recognised, as far as ``wanted``
    does not say; what may be read in two ways is refused, with the option that settles it.
    """
    wanted = Wanted() if wanted is None else wanted
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            dialect = sniff(lines(file), wanted)
            file.seek(0)
            return _read(file, dialect, wanted, limit)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise ValueError(f"must be text in UTF-8, got byte {byte:#x}; save it in that encoding") from error


def _read(file: TextIO, dialect: Dialect, wanted: Wanted, limit: int) -> Table:
    kept = dialect.kept(wanted.drop)
    values, n_columns = array.array("d"), len(dialect.names)
    for line, fields in _rows(file, dialect):
        if len(fields) != n_columns:
            raise ValueError(f"line {line} has {len(fields)} values, the first line has {n_columns}")
        _append_row(values, fields, kept, dialect, line)
        require_room(8 * len(values), limit)
    if not values:
        raise ValueError("holds no numbers")
    table = np.frombuffer(values).reshape(-1, len(kept))
    names = dialect.names
    notes = tuple(f"column {j + 1} ({names[j] or 'without a name'}) is left out" for j in sorted(dialect.labels))
    if dialect.unnamed_first and 0 in kept and wanted.index is None:
        # Whether it counts the rows is known at the end.
        if not _counts(table[:, 0]):
            raise ValueError(
                "column 1 has no name and does not number the rows; "
                "--index leaves it out, --no-index makes it a predictor"
            )
        table, kept = table[:, 1:], kept[1:]
        notes = ("column 1, which has no name and numbers the rows, is left out (--no-index keeps it)", *notes)
    if not kept:
        raise ValueError("holds no numbers")
    named = tuple(names[j] or f"column {j + 1}" for j in kept) if dialect.header else None
    return Table(table, named, notes)


def _rows(file: TextIO, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(lines(file), delimiter=dialect.separator, skipinitialspace=True)
    first = dialect.header
    for fields in rows:
        if not fields:
            continue
        if not first:
            yield rows.line_num, fields
        first = False


def _append_row(values: "array.array[float]", fields: list[str], kept: list[int], dialect: Dialect, line: int) -> None:
    numbers = [as_number(fields[j], dialect.decimal) for j in kept]
    if None in numbers:
        j = kept[numbers.index(None)]
        named = f" ({dialect.names[j]!r})" if dialect.header and dialect.names[j] else ""
        words = [
            dialect.names[i] for i, each in zip(kept, numbers, strict=True) if each is None and _is_text(fields[i])
        ]
        advice = f"; what is no number is left out by --drop {shlex.join(words)}" if all(words) and words else ""
        raise ValueError(f"line {line}, column {j + 1}{named}: must be a finite number, got {fields[j][:40]!r}{advice}")
    values.extend(numbers)  # type: ignore[arg-type]


def _is_text(field: str) -> bool:
    """Whether a field is something else than a number: no mark of a missing or an infinite value."""
    return field.strip() != "" and field.strip().lower() not in _MISSING


def _counts(column: np.ndarray) -> bool:
    return bool(column[0] in (0, 1) and np.all(np.diff(column) == 1))
