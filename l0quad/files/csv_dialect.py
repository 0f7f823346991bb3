"""How a text file of numbers is written, found by looking at its first lines."""

import csv
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_SAMPLE_LINES = 200
_SEPARATORS = ",;\t| "
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")

_TRUTH = {"true": 1.0, "false": 0.0}

Row = list[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user has said of the file; None: find out.

    Attributes
    ----------
    header : whether the first line holds names
    separator : one character
    decimal : "." or ","
    index : whether the first column labels the rows, and is left out
    drop : names of columns to leave out
    """

    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    index: bool | None = None
    drop: tuple[str, ...] = ()


class Dialect(NamedTuple):
    """How the file is read.

    Attributes
    ----------
    names : one for each column, numbers where there is no header; "" for none
    labels : columns that label rows, and are left out
    unnamed_first : whether the first column has no name under a header, and so may be the row's number
    """

    separator: str
    decimal: str
    header: bool
    names: tuple[str, ...]
    labels: frozenset[int]
    unnamed_first: bool

    def kept(self, drop: Sequence[str]) -> list[int]:
        """Return the columns to read."""
        for each in drop:
            if each not in self.names:
                raise ValueError(f"--drop: there is no column {each!r}, only {', '.join(self.names[:20])}")
        left_out = self.labels | {j for j, name in enumerate(self.names) if name in drop}
        return [j for j in range(len(self.names)) if j not in left_out]


def sniff(lines: Iterator[str], wanted: Wanted) -> Dialect:
    """Look at the first lines and say how they are written."""
    sample = list(itertools.islice(lines, _SAMPLE_LINES))
    separator = wanted.separator or _separator(sample)
    rows = _split(sample, separator)
    if not rows:
        raise ValueError("holds no numbers")
    first, body = rows[0], rows[1:]
    decimal = wanted.decimal or _decimal(body or rows)
    written = [line for line in sample if line.strip()]
    header = _header(rows, decimal, _quoted(written, separator)) if wanted.header is None else wanted.header
    if not header:
        labels = frozenset({0} if wanted.index else ())
        return Dialect(separator, decimal, False, tuple(map(str, range(len(first)))), labels, False)
    if body and len(body[0]) == len(first) + 1:  # as R's write.table names the columns
        first = ["", *first]
    names = tuple(each.strip() for each in first)
    unnamed = names[0] in ("", "Unnamed: 0") and len(names) > 1
    words = unnamed and any(as_number(row[0], decimal) is None for row in body if row)
    labels = frozenset({0} if wanted.index or (words and wanted.index is None) else ())
    return Dialect(separator, decimal, True, names, labels, unnamed)


def as_number(text: str, decimal: str) -> float | None:
    """Return the finite number that a text is, None where it is none; ``1_000`` is none, and true is 1."""
    if decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".", 1)
    try:
        number = float(text)
    except ValueError:
        return _TRUTH.get(text.strip().lower())
    return number if math.isfinite(number) and "_" not in text else None


def _split(sample: list[str], separator: str) -> list[Row]:
    try:
        return [row for row in csv.reader(sample, delimiter=separator, skipinitialspace=True) if row]
    except csv.Error:  # the reader, which knows the line, says what is wrong
        return [sample[0].split(separator)]


def _separator(sample: list[str]) -> str:
    """Return the separator with which all lines are equally long, and most of what is in them are numbers."""
    scores: dict[str, float] = {}
    for separator in _SEPARATORS:
        rows = _split(sample, separator)
        body = rows[1:] or rows
        widths = {len(row) for row in body}
        if len(widths) == 1 and min(widths) > 1 and len(rows[0]) - widths.pop() in (0, -1):
            fields = [each for row in body for each in row]
            numbers = sum(_is_number(each) for each in fields)
            scores[separator] = numbers / len(fields)
    if not scores:  # one column, or lines of different lengths, which the reader names
        return max(_SEPARATORS[:-1], key=sample[0].count) if sample else ","
    best = max(scores.values())
    found = [separator for separator, score in scores.items() if score == best]
    if len(found) > 1 and best > 0:
        raise ValueError(f"may be separated by any of {', '.join(map(repr, found))}; --separator says by which")
    return found[0]


def _decimal(rows: list[Row]) -> str:
    """Return the decimal mark."""
    fields = [each for row in rows for each in row]
    commas = [each for each in fields if _DECIMAL_COMMA.fullmatch(each.strip())]
    points = any("." in each and as_number(each, ".") is not None for each in fields)
    if not commas or points:
        return "."
    if all(_THOUSANDS.fullmatch(each.strip()) for each in commas):
        shown = commas[0].strip()
        raise ValueError(
            f"has numbers such as {shown}, which may be {shown.replace(',', '.', 1)} or {shown.replace(',', '')}; "
            "--decimal , says the first, and the second is not read"
        )
    return ","


def _header(rows: list[Row], decimal: str, quoted: bool) -> bool:
    """Whether the first line holds names."""
    first, body = rows[0], rows[1:]
    numbers = [_is_number(each, decimal) for each in first]
    if not any(numbers):
        return True
    if not body:
        return False
    if quoted:  # names are, numbers below are not
        return True
    if all(numbers):
        if len(first) > 2 and _runs(first) and not _runs(body[0]):
            raise ValueError(
                f"has {', '.join(first[:3])}, ... in its first line: names with --header, values with --no-header"
            )
        return False
    if first[0] == "" and all(numbers[1:]) and _runs([row[0] for row in body]):
        return True
    words = [each for each, number in zip(first, numbers, strict=True) if not number]
    if any(each.strip() for each in words):
        raise ValueError(
            f"line 1, column {numbers.index(False) + 1}: {words[0][:40]!r} is no number, others of the line are; "
            "these are names with --header, values with --no-header"
        )
    return False


def _is_number(text: str, decimal: str = "") -> bool:
    """Whether a text is a number, one that is not finite too; with either decimal mark where none is given."""
    return text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity") or any(
        as_number(text, each) is not None for each in decimal or ".,"
    )


def _runs(fields: Sequence[str]) -> bool:
    """Whether these are whole numbers, each one more than the one before."""
    if not all(re.fullmatch(r"-?\d{1,9}", each.strip()) for each in fields):
        return False
    values = [int(each) for each in fields]
    return all(after - before == 1 for before, after in itertools.pairwise(values))


def _quoted(lines: list[str], separator: str) -> bool:
    """Whether all of the first line is in quotes, and not all of the second."""
    fields = [[each.strip() for each in line.split(separator)] for line in lines[:2]]
    return len(fields) == 2 and _in_quotes(fields[0]) and not _in_quotes(fields[1])


def _in_quotes(fields: list[str]) -> bool:
    return all(len(each) > 1 and each[0] == each[-1] == '"' for each in fields)
