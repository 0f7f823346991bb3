"""Writing a file wholly or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PathLike = str | os.PathLike[str]


def write_atomically(path: PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Put a complete file at ``path``: at every moment, and after a crash, the old file is there or the new one.

    Parameters
    ----------
    path : path-like
        A symbolic link is followed. Its folder must be there and allow new files.
    write : callable
        ``write(file)`` writes the content to a file that is open for bytes. Where it raises, ``path`` is left as it is.

    Raises
    ------
    OSError
        The folder is not there, the disk is full, ...
    """
    target = Path(os.path.realpath(path))
    # In the same folder, because a file cannot be renamed from one file system to another.
    temporary = target.with_name(f".l0quad-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a renaming in this folder last, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
