"""How results and problems are shown: a few of many, and small tables for notebooks."""

import html
from collections.abc import Iterable, Sequence

import numpy as np

_FEW = 6


def few(items: Sequence[object] | np.ndarray, most: int = _FEW) -> str:
    """Return the first items in brackets, and how many more there are."""
    rest = f", ... {len(items) - most} more" if len(items) > most else ""
    return f"[{', '.join(map(str, items[:most]))}{rest}]"


def html_table(caption: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a two-column table."""
    body = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<table><caption>{html.escape(caption)}</caption>{body}</table>"
