"""An answer as text, as a table, as JSON or as arrays, its columns called by their names."""

import csv
import io
import json
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from l0quad.api.result import Result
from l0quad.run.outcome import Status
from l0quad.shown import proves
from l0quad.types import FloatArray

# What is written to a file of each kind: a format of text, or arrays.
OUTPUTS = {".npz": None, ".csv": "csv", ".json": "json", ".txt": "text"}
_SHOWN_NONZEROS = 10


class Answer(NamedTuple):
    """A result with its coefficients in the units of the file.

    Attributes
    ----------
    result : Result
    coef : ndarray of shape (p,)
    intercept : float, or None without one
    names : tuple of str, or None
        Of all columns.
    target : str or None
    k, ridge : as asked for
    """

    result: Result
    coef: FloatArray
    intercept: float | None
    names: tuple[str, ...] | None
    target: str | None
    k: int
    ridge: float

    def chosen(self) -> list[tuple[str, int, float]]:
        """Return name, number and coefficient of each column of the support."""
        names = self.names
        return [(str(j) if names is None else names[j], j, float(self.coef[j])) for j in self.result.support.tolist()]


def as_text(answer: Answer) -> str:
    """Return the answer in a few aligned lines."""
    result, chosen = answer.result, answer.chosen()
    cells = [(name, f"{value:.5g}") for name, _, value in chosen[:_SHOWN_NONZEROS]]
    widths = [max(map(len, pair)) for pair in cells]
    more = len(chosen) - len(cells)
    rest = f"  ... and {more} more" if more else ""
    proven, clauses = proves(result.lower_bound), result.message.removeprefix(result.status.value).split("; ")[1:]
    if result.status is not Status.OPTIMAL:
        clauses.pop()  # The gap, which has a line of its own.
    lines = [
        ("status", result.status.value),
        ("objective", f"{result.objective:.10g}"),
        ("lower bound", f"{result.lower_bound:.10g}" if proven else "none"),
        *(("", each) for each in clauses),
        ("gap", f"{result.gap:.4g}  (relative {result.relative_gap:.3g})" if proven else "none is proven"),
        ("nonzeros", f"{result.support.size} of {result.w.size}, k = {answer.k}"),
        ("time", f"{result.solve_time:.3g} s; method {result.method}, iterations: {result.n_iter}"),
    ]
    if result.bytes_read:
        lines.append(("read", f"A {result.n_sweeps:.3g} times, {result.bytes_read:,} bytes"))
    if answer.target is not None:
        lines.insert(1, ("target", answer.target))
    if answer.intercept is not None:
        lines.append(("intercept", f"{answer.intercept:.5g}"))
    if cells:
        columns = [
            [text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in zip(*cells, strict=True)
        ]
        lines += [("support", "  ".join(columns[0]) + rest), ("values", "  ".join(columns[1]))]
    return "\n".join(f"{name:<13}{text}" for name, text in lines)


def as_csv(answer: Answer) -> str:
    """Return a line of name and coefficient for each chosen column, the intercept first."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("name", "coefficient"))
    if answer.intercept is not None:
        rows.writerow(("(intercept)", repr(answer.intercept)))
    rows.writerows((name, repr(value)) for name, _, value in answer.chosen())
    return text.getvalue().rstrip("\n")


def as_json(answer: Answer) -> str:
    """Return everything as JSON."""
    result = answer.result
    content = {
        **_numbers(answer),
        "message": result.message,
        "seconds": result.solve_time,
        "n_sweeps": result.n_sweeps,
        "bytes_read": result.bytes_read,
        "n_columns": result.w.size,
        "target": answer.target,
        "intercept": answer.intercept,
        "coefficients": [{"name": name, "column": j, "value": value} for name, j, value in answer.chosen()],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def save_npz(answer: Answer, file: BinaryIO) -> None:
    """Write everything as arrays."""
    fields: dict[str, Any] = {"w": answer.coef, "support": answer.result.support, **_numbers(answer)}
    if answer.intercept is not None:
        fields["intercept"] = answer.intercept
    if answer.names is not None:
        fields["names"] = np.array(answer.names)
    np.savez(file, **fields)


def _numbers(answer: Answer) -> dict[str, Any]:
    result = answer.result
    return {
        "status": result.status.name.lower(),
        "objective": result.objective,
        "lower_bound": result.lower_bound,
        "gap": result.gap,
        "relative_gap": result.relative_gap,
        "method": result.method,
        "ridge": answer.ridge,
        "k": answer.k,
    }


FORMATS = {"text": as_text, "csv": as_csv, "json": as_json}
