"""The matrix of gradients that the stages of one run share, in memory or in a file."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from l0quad_adapters.torch.files import PathLike


class Window:
    """Room for n rows of gradients, and how much of the first-order term each of them has.

    In memory it is laid out by columns, so that solvers read those of a support where they are, without a copy; in a
    file by rows, as they are computed.

    Parameters
    ----------
    n_rows, width : int
        The most rows and columns.
    path : path-like, optional
        The file, replaced where it is there.
    keep : bool
        Go on with the content of the file.
    """

    def __init__(self, n_rows: int, width: int, path: PathLike | None = None, keep: bool = False) -> None:
        self.n_rows, self.width, self.is_file = n_rows, width, path is not None
        size = n_rows * width
        if path is None:
            self._room: Any = np.empty(size, dtype=np.float32)
        else:
            mode: Any = "r+" if keep and Path(path).exists() else "w+"
            self._room = np.memmap(os.fspath(path), np.float32, mode, shape=(size,))
        self.first_order = np.zeros(n_rows)
        self._next = 0

    def fresh(self, n_rows: int, width: int) -> Any:
        """Return room for rows that no later stage sees; all that was there is lost."""
        room = self._room[: n_rows * width]
        return room.reshape(n_rows, width) if self.is_file else room.reshape(width, n_rows).T

    def filled(self, room: Any) -> Any:
        """Return what solvers read, now that the room is filled."""
        return room

    def oldest(self, n_rows: int) -> slice:
        """Return which rows a stage replaces, a divisor of all."""
        part = slice(self._next, self._next + n_rows)
        self._next = part.stop % self.n_rows
        return part

    def flush(self) -> None:
        """Let the rows in a file last."""
        if self.is_file:
            self._room.flush()

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: where the oldest rows are, and the rows themselves unless a file has them."""
        self.flush()
        kept = {"next": self._next, "first_order": torch.from_numpy(self.first_order)}
        return kept if self.is_file else kept | {"rows": torch.from_numpy(self._room)}

    @state.setter
    def state(self, kept: dict[str, Any]) -> None:
        self._next = kept["next"]
        self.first_order[:] = kept["first_order"].numpy()
        if not self.is_file:
            self._room[:] = kept["rows"].numpy()
