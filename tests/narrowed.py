"""What a test knows of a value and its type does not say."""

from typing import TypeVar

T = TypeVar("T")


def some(value: T | None) -> T:
    """The value, which is not None."""
    assert value is not None
    return value


def a(kind: type[T], value: object) -> T:
    """The value, which is of this kind."""
    assert isinstance(value, kind)
    return value
