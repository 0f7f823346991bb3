"""Writing a file that is there whole or not at all."""

import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

# Windows lets nobody replace a file that another process, a virus scanner say, has open: access denied, sharing
# violation. Most let go soon.
_HELD = (5, 32)
_PATIENCE_SECONDS = (0.01, 0.05, 0.2, 0.5)


def check_writable(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse with a ValueError, before any work, a file that could not be written after it."""
    target = _target(path)
    folder = target.parent if path.is_symlink() else path.parent
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: must end in {', '.join(suffixes)}")
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {folder}")
    if target.exists() and not target.is_file():
        raise ValueError(f"{path}: exists and is not a regular file")
    if not _takes_files(folder):
        raise ValueError(f"{path}: its folder may not be written to")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a file beside ``path``, and only then give it that name; a failure leaves no trace.

    After a crash of the machine, ``path`` is the old file or the new one, never a part. What is replaced passes its
    permissions on; where ``path`` is a link, the file that it leads to is replaced.
    """
    target = _target(path)
    temporary = target.with_name(f".l0quad-{secrets.token_hex(8)}.tmp")
    mode = _mode_of(target)

    def create(name: str, flags: int) -> int:
        # With no more permissions than it will have, so that nobody else opens it meanwhile.
        return os.open(name, flags, 0o666 if mode is None else mode)

    try:
        with open(temporary, "xb", opener=create) as file:
            if mode is not None:
                with suppress(PermissionError):  # of a file system without permissions
                    temporary.chmod(mode)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, target)
    except BaseException:
        _remove(temporary)
        raise
    _sync_folder(target.parent)


def _takes_files(folder: Path) -> bool:
    # Not os.access, which knows nothing of access lists (on Windows) and of file systems that are read-only.
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _target(path: Path) -> Path:
    # Not Path.resolve, which raises RuntimeError where links lead in a circle.
    return Path(os.path.realpath(path))


def _mode_of(target: Path) -> int | None:
    """Return the permissions of a file to be replaced; None where there is none, or permissions mean little."""
    if os.name != "posix":
        return None
    try:
        return stat.S_IMODE(target.stat().st_mode) & 0o777
    except OSError:
        return None


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


def _remove(temporary: Path) -> None:
    """Remove the file even if one Ctrl-C follows another; whatever comes meanwhile, the error that led here counts."""
    while True:
        try:
            with suppress(OSError):
                temporary.unlink()
            return
        except KeyboardInterrupt:
            continue


def _sync_folder(folder: Path) -> None:
    """Make the new name last, where folders can be synced at all: the file is whole with or without it."""
    if os.name != "posix":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
