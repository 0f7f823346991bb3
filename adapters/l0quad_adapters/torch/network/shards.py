"""Gradients in shards: .npy files that each hold some columns of all rows, filled by one process or several.

A chunk of rows is computed as a whole, by whichever process, so that its bytes do not depend on how many there are.
When it is in all files, and not before, its byte in the file ``done`` is set: who comes after a crash goes on there.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from l0quad_adapters.torch.files import PathLike, write_atomically
from l0quad_adapters.torch.network.processes import meet, own_place
from l0quad_adapters.torch.network.trees import leaves

_ABOUT, _DONE = "gradients.json", "done"


class Shards:
    """The files of a matrix of gradients, in a folder of their own, laid out by rows, as these are computed.

    With a process group (``torch.distributed``), its processes share the rows: each has a range of the chunks, and all
    make the same calls, within `ended_together`.

    Parameters
    ----------
    shape, dtype
        Of the matrix.
    count : int
        How many files.
    chunk : int
        How many rows are computed at once.
    about : dict
        What else the gradients depend on.

    Raises
    ------
    ValueError
        It is no folder; it holds other gradients, or files of another size than these; the processes of a group differ.
    """

    def __init__(
        self, folder: PathLike, shape: tuple[int, int], dtype: Any, count: int, chunk: int, about: dict[str, Any]
    ) -> None:
        self._folder, self._shape, self._dtype, self._chunk = Path(folder), shape, np.dtype(dtype), chunk
        self.paths, self._edges = _layout(self._folder, shape[1], count)
        self._about = json.dumps({"shape": shape, "dtype": self._dtype.name, "shards": count, "chunk": chunk} | about)
        self._share, self._shares = own_place()
        if len(set(meet(self._about))) > 1:
            raise ValueError("model, batches: must be the same in all processes of the group")
        if self._share == 0:
            self._prepare()
        meet()

    def wanted(self) -> np.ndarray:
        """Return for each chunk of rows whether this process is to compute it."""
        numbers = np.arange(self._n_chunks)
        mine = numbers * self._shares // self._n_chunks == self._share
        done: np.ndarray = np.fromfile(self._folder / _DONE, np.uint8) != 0
        return mine & ~done

    def put(self, first: int, rows: np.ndarray) -> None:
        """Write a chunk of rows to all files, and then that it is there, unless batches ended within it."""
        for path, (start, stop) in zip(self.paths, pairwise(self._edges), strict=True):
            at = self._offsets[path] + first * (stop - start) * self._dtype.itemsize
            _write(path, at, np.ascontiguousarray(rows[:, start:stop]).data)
        if len(rows) == min(self._chunk, self._shape[0] - first):
            _write(self._folder / _DONE, first // self._chunk, memoryview(b"\1"))

    def finish(self) -> list[Path]:
        """Wait until all processes have written their rows; return the files in the order of their columns."""
        meet()
        return self.paths

    @property
    def _n_chunks(self) -> int:
        return -(-self._shape[0] // self._chunk)

    @functools.cached_property
    def _offsets(self) -> dict[Path, int]:
        return {path: int(np.load(path, mmap_mode="r").offset) for path in self.paths}

    def _prepare(self) -> None:
        """Make the files, without content, unless they are there already."""
        _make(self._folder)
        about = self._folder / _ABOUT
        if about.exists():
            if about.read_text(encoding="utf-8") != self._about:
                raise ValueError(
                    f"out: {self._folder} holds gradients of another call (model, weights, first batch, shape, "
                    "shards or chunk); name another folder, or delete this one"
                )
            if not self._is_whole():
                raise ValueError(
                    f"out: {self._folder} lacks a file, or has one of another size; delete the folder, or name another"
                )
            return
        _remove(column_files(self._folder) - set(self.paths))
        for path, (start, stop) in zip(self.paths, pairwise(self._edges), strict=True):
            np.lib.format.open_memmap(path, "w+", self._dtype, (self._shape[0], stop - start))
        (self._folder / _DONE).write_bytes(bytes(self._n_chunks))
        # Last: where it is, the others are.
        write_atomically(about, lambda file: file.write(self._about.encode()))

    def _is_whole(self) -> bool:
        """Return whether all files are there, with the sizes that they were made with."""
        try:
            files = [np.load(path, mmap_mode="r") for path in self.paths]
            found = [path.stat().st_size - file.offset for path, file in zip(self.paths, files, strict=True)]
            done = (self._folder / _DONE).stat().st_size
        except (FileNotFoundError, EOFError, ValueError):
            return False
        row = [(stop - start) * self._dtype.itemsize for start, stop in pairwise(self._edges)]
        return done == self._n_chunks and found == [self._shape[0] * each for each in row]


class RowFiles:
    """Such files that one process fills anew, and reads when all rows are there: what `Gradients.fill` takes.

    Files of other calls that are in the folder are replaced, or removed.

    Parameters
    ----------
    folder : path-like
    shape, count
        As for `Shards`; of float32.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, folder: PathLike, shape: tuple[int, int], count: int) -> None:
        self.paths, self._edges = _layout(Path(folder), shape[1], min(count, shape[1]))
        _make(Path(folder))
        # First what says that gradients of another call are here.
        _remove([Path(folder, _ABOUT), Path(folder, _DONE), *(column_files(folder) - set(self.paths))])
        self.shape = shape
        self._files = [
            np.lib.format.open_memmap(path, "w+", self.dtype, (shape[0], stop - start))
            for path, (start, stop) in zip(self.paths, pairwise(self._edges), strict=True)
        ]

    def __len__(self) -> int:
        return self.shape[0]

    def __setitem__(self, rows: slice, values: np.ndarray) -> None:
        for file, (start, stop) in zip(self._files, pairwise(self._edges), strict=True):
            file[rows] = values[:, start:stop]

    def flush(self) -> None:
        """Let other processes see them."""
        for file in self._files:
            file.flush()


def _layout(folder: Path, width: int, count: int) -> tuple[list[Path], list[int]]:
    """Return the files, and where the columns of each begin and the last ones end."""
    paths = [folder / f"columns{number:04d}.npy" for number in range(count)]
    return paths, [width * number // count for number in range(count + 1)]


def column_files(folder: PathLike) -> set[Path]:
    """Return the files in a folder that have the names of shards."""
    return set(Path(folder).glob("columns[0-9][0-9][0-9][0-9]*.npy"))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"out: must be a folder, got {str(folder)!r}") from error


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Return a hash of values."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def digest_of(model: torch.nn.Module, inputs: Any, targets: Any) -> str:
    """Return a hash of a model's parameters and buffers, and of a batch."""
    return digest([*model.parameters(), *model.buffers(), *leaves(inputs), *leaves(targets)])


def _write(path: Path, position: int, content: memoryview) -> None:
    """Write at a place of a file, so that it lasts."""
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
