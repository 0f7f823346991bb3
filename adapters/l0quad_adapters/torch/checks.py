"""Checks of arguments that several functions share."""

from typing import Any

import numpy as np


def check_integers(least: int = 1, **integers: Any) -> None:
    """Raise where one of the arguments is not an integer of at least ``least``."""
    for name, value in integers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name}: must be an integer of at least {least}, got {value!r}")
