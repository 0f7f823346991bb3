"""What the readers share: the memory of the machine, the limits, and errors that name the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

# Where the operating system does not tell its memory.
_FALLBACK_LIMIT = 1 << 33
# A longer line of text is refused, because the fields of a line are held as Python objects.
_LINE_CHARACTERS = 1 << 24


def physical_memory() -> int:
    """Return the bytes of memory of this machine; 8 GiB where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _FALLBACK_LIMIT


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises on a corrupt file into a ValueError that begins with its path."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # zlib.error, EOFError, RecursionError, TokenError, OSError of a seek, and more
        if isinstance(error, OSError) and error.filename:
            raise
        raise ValueError(f"{path}: {str(error) or type(error).__name__}") from error


def lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LINE_CHARACTERS):
        if len(line) == _LINE_CHARACTERS:
            raise ValueError(f"has a line of more than {_LINE_CHARACTERS} characters; use .npy for a matrix so wide")
        yield line


def require_room(needed: int, limit: int) -> None:
    if needed > limit:
        raise ValueError(f"needs {needed} bytes of memory, the limit is {limit}")


def require_sparse_room(shape: tuple[int, int], stored: int, limit: int) -> None:
    """Check the room for the stored values with two indices each, twice over, and for one value a row and column."""
    if min(shape) < 0:
        raise ValueError(f"declares shape {shape}")
    require_room(48 * stored + 8 * sum(shape), limit)
