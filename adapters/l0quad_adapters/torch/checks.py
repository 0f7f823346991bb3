"""Checks of arguments: a TypeError for a wrong type, a ValueError for a wrong value of a right one."""

import math

import numpy as np

# Not numbers.Real, which has no place for float32 of every library, and has one for fractions.
_REAL = (int, float, np.integer, np.floating)


def check_integers(least: int = 1, **integers: object) -> None:
    """Raise where one of the arguments is not an integer of at least ``least``."""
    for name, value in integers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name}: must be an integer, got {value!r}")
        if value < least:
            raise ValueError(f"{name}: must be at least {least}, got {value!r}")


def check_flags(**flags: object) -> None:
    """Raise where one of the arguments is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name}: must be True or False, got {value!r}")


def check_choice(value: object, name: str, allowed: tuple[str, ...]) -> None:
    """Raise where an argument is not one of some words."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: must be one of {allowed}, got {value!r}")
    if value not in allowed:
        raise ValueError(f"{name}: must be one of {allowed}, got {value!r}")


def real(value: object, name: str, below: float = math.inf, kind: str = "a number") -> float:
    """Return a number that lies in [0, below) as a float.

    Parameters
    ----------
    kind : str
        What a refusal says that the argument must be, where numbers are not all that it may be.
    """
    if isinstance(value, bool) or not isinstance(value, _REAL):
        raise TypeError(f"{name}: must be {kind}, got {value!r}")
    if not 0 <= value < below:
        raise ValueError(f"{name}: must lie in [0, {below:g}), got {value!r}")
    return float(value)


def vector(value: object, name: str, size: int, rule: str) -> np.ndarray:
    """Return ``size`` finite numbers as a new float64 array of shape (size,); ``rule`` says what they are."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: must hold real numbers, got {array.dtype}")
    if array.shape != (size,):
        raise ValueError(f"{name}: must have shape ({size},), {rule}, got shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name}: all values must be finite, got NaN or infinite ones")
    return np.array(array, dtype=np.float64)
