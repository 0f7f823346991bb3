"""What a run needs of memory and disk, and whether there is as much."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from l0quad_adapters.torch.files import PathLike, takes_files
from l0quad_adapters.torch.network.shards import column_files

# Measured: vectors of p float64 numbers that are there at once, and n x n matrices, without and with a relaxation.
_VECTORS, _SQUARES = {False: 14, True: 18}, {False: 2, True: 5}
# What is gathered of A's columns at a time: a third of it where A is in memory.
_GATHERED = 64_000_000


class Memory(NamedTuple):
    """Bytes that a run needs.

    Attributes
    ----------
    matrix : int
        The matrix A of gradients, in memory, or in the file of ``out=``.
    peak : int
        Estimated, of memory in all, beside the model and its own passes; with A where no file has it.
    disk : int
        The file.

    Examples
    --------
    >>> from l0quad_adapters.torch import memory_needed
    >>> needed = memory_needed(10**6, 100, in_file=True)
    >>> needed.disk == needed.matrix
    True
    """

    matrix: int
    peak: int
    disk: int


def memory_needed(
    n_weights: int, n_rows: int, *, chunk: int = 1, in_file: bool = False, relaxation: bool = True
) -> Memory:
    """Estimate what pruning needs.

    Parameters
    ----------
    n_weights, n_rows : int
        p, and the rows of a stage.
    chunk : int
        How many rows are computed at once.
    in_file : bool
        Whether A is in a file (``out=``).
    relaxation : bool
        Whether a relaxation is solved: for a bound, and by the methods "auto" and "rounding".

    Returns
    -------
    Memory
        In bytes.

    Examples
    --------
    >>> from l0quad_adapters.torch import memory_needed
    >>> memory_needed(10**6, 100).matrix
    400000000
    """
    matrix = 4 * n_rows * n_weights
    # A chunk's rows, and what the layers keep for them.
    beside = _GATHERED + 8 * (_VECTORS[relaxation] * n_weights + _SQUARES[relaxation] * n_rows**2)
    beside += 3 * 4 * chunk * n_weights
    return Memory(matrix, beside + (0 if in_file else matrix), matrix if in_file else 0)


def check_memory(needed: Memory, out: PathLike | None, *, shards: bool = False) -> None:
    """Raise where memory or disk have less than is needed, as far as the system tells; ``shards``: out is a folder."""
    free = free_memory()
    if free is not None and needed.peak > free:
        advice = "fewer rows" if needed.disk else "fewer rows, or out= with a file"
        raise ValueError(
            f"n_rows: A takes {sized(needed.matrix)} and the run {sized(needed.peak)}, but {sized(free)} of memory "
            f"are free: take {advice}"
        )
    if out is None:
        return
    path = Path(os.path.realpath(out))
    # A folder need not be there yet.
    folder = next(each for each in (path, *path.parents) if each.exists()) if shards else path.parent
    if (path.is_dir() and not shards) or not takes_files(folder):
        what = "folder" if shards else "file in a folder"
        raise ValueError(f"out: must be a {what} that can be written to, got {str(out)!r}")
    replaced = column_files(path) if shards else {path}
    space = shutil.disk_usage(folder).free + sum(each.stat().st_size for each in replaced if each.exists())
    if needed.disk > space:
        raise ValueError(f"out: A takes {sized(needed.disk)}, but {sized(space)} are free in {folder}")


def free_memory() -> int | None:
    """Return the bytes of memory that can be had, None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # No such group, or "max".
        return free
    cached = sum(
        int(line.split()[1])
        for line in Path("/sys/fs/cgroup/memory.stat").read_text(encoding="utf-8").splitlines()
        if line.startswith(("inactive_file ", "active_file "))
    )
    return min(free, limit - used + cached)


def sized(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
