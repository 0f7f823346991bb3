"""What the user has to put right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WrongInput(Exception):
    """What the user has to put right, in one line."""


@contextmanager
def checked(output: Path | None = None) -> Iterator[None]:
    """Turn the errors of files and of validation into `WrongInput`. Solves run outside: their errors are bugs."""
    try:
        yield
    except OSError as error:
        # While an output is written, the error may name its temporary file, or nothing.
        raise WrongInput(f"{output or error.filename}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise WrongInput(str(error)) from error


@contextmanager
def checked_method() -> Iterator[None]:
    """Turn errors that the input caused into `WrongInput`; other errors of a solve are bugs.

    The method cannot work on the problem, or a file shows bad values as it is read.
    """
    from l0quad.errors import BadFile, Unsuited

    try:
        yield
    except (Unsuited, BadFile) as error:
        raise WrongInput(str(error)) from error
