"""What the user has to put right."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What arguments of the library are called on the command line, where that is another name.
_OPTIONS = {"ks": "-k", "k": "-k", "n_threads": "--threads", "time_limit": "--time-limit"}
_SAME = {"cv", "seed", "must", "never", "ridge", "ridges", "criterion", "method", "bound", "effort", "checkpoint"}


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
        raise WrongInput(_of_options(str(error))) from error


def _of_options(message: str) -> str:
    """Return a message that begins with the name of an argument with that of its option."""
    name, rest = re.match(r"(\w*)(.*)", message, re.DOTALL).groups()  # type: ignore[union-attr]
    option = f"--{name}" if name in _SAME else _OPTIONS.get(name)
    return message if option is None or not rest.startswith((":", "[")) else option + rest


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
