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
# So many take a few megabytes, and small files of few entries are none the worse for them.
_EMPTY_ROWS_AND_COLUMNS = 1 << 16


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
    """Yield the lines of a text, each of bounded length."""
    while line := file.readline(_LINE_CHARACTERS):
        if len(line) == _LINE_CHARACTERS:
            raise ValueError(f"has a line of more than {_LINE_CHARACTERS} characters; use .npy for a matrix so wide")
        yield line


def require_room(needed: int, limit: int) -> None:
    """Refuse what takes more bytes of memory than the limit."""
    if needed > limit:
        raise ValueError(f"needs {needed} bytes of memory, the limit is {limit}")


def require_sparse_room(shape: tuple[int, int], stored: int, held: int, limit: int) -> None:
    """Check what a sparse matrix declares against the bytes that hold its entries, then against the limit.

    A row or column without entries takes memory, but no byte of the file. So rows and columns together may be one for
    each byte that the entries take (unpacked, where they are compressed), and 65,536 more. As an entry takes a dozen
    bytes or so, no matrix comes near of which more than a column in ten holds anything.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns, as declared.
    stored : int
        The entries, both halves of a symmetric matrix among them.
    held : int
        The bytes of the file that hold them, and the index arrays.
    limit : int
        The bytes of memory that reading may take.
    """
    if min(shape) < 0:
        raise ValueError(f"declares shape {shape}")
    most = held + _EMPTY_ROWS_AND_COLUMNS
    if sum(shape) > most:
        raise ValueError(
            f"declares {shape[0]} rows and {shape[1]} columns, but the {held} bytes of its entries can hold {most} "
            f"together, one a byte and {_EMPTY_ROWS_AND_COLUMNS}"
        )
    # The entries with two indices each, twice over, and pointers and copies of them for each row and column.
    require_room(48 * stored + 24 * sum(shape), limit)
