"""Writing a file wholly or not at all."""

import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PathLike = str | os.PathLike[str]

# Windows lets nobody replace a file that another process, a virus scanner say, has open; most let go soon.
_HELD = (5, 32)
_PATIENCE_SECONDS = (0.01, 0.05, 0.2, 0.5)


def takes_files(folder: Path) -> bool:
    """Whether a file can be written to this folder, found out by one that leaves no trace."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


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
        _replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _replace(temporary: Path, target: Path) -> None:
    for seconds in _PATIENCE_SECONDS:
        try:
            os.replace(temporary, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _HELD:
                raise
        time.sleep(seconds)
    os.replace(temporary, target)


def _sync_folder(folder: Path) -> None:
    """Make a renaming in this folder last, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
