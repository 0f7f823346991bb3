"""How results and problems are shown: a few of many, and small tables for notebooks."""

import html
from collections.abc import Iterable, Sequence

import numpy as np

_FEW = 6
_LEAST = -float(np.finfo(np.float64).max)


def proves(lower_bound: float) -> bool:
    """Whether a lower bound says anything; the least float stands for none."""
    return lower_bound > _LEAST


def gap_words(relative_gap: float, lower_bound: float, form: str = ".3g") -> str:
    """Return a relative gap as the end of a sentence, in words where nothing is proven."""
    return f"relative gap {relative_gap:{form}}" if proves(lower_bound) else "no lower bound is proven"


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
