"""The matrix of gradients of a stage in column files, which this process or a cluster's workers read."""

from typing import TYPE_CHECKING, Any

import numpy as np

import l0quad
from l0quad_adapters.torch.files import PathLike
from l0quad_adapters.torch.network.shards import RowFiles
from l0quad_adapters.torch.pruning.window import Window

if TYPE_CHECKING:
    from distributed import Client


class ShardWindow(Window):
    """Files that each stage writes anew: no stage has rows of another.

    Parameters
    ----------
    n_rows, width : int
        The most rows and columns.
    folder : path-like
    count : int
        How many files.
    client : distributed.Client, optional
        Whose workers read them.
    """

    def __init__(self, n_rows: int, width: int, folder: PathLike, count: int, client: "Client | None" = None) -> None:
        super().__init__(1, 1)
        self.n_rows, self.width, self.is_file, self.first_order = n_rows, width, True, np.zeros(n_rows)
        self._folder, self._count, self._client = folder, count, client

    def fresh(self, n_rows: int, width: int) -> Any:
        """Return files for rows that no later stage sees."""
        return RowFiles(self._folder, (n_rows, width), self._count)

    def filled(self, room: Any) -> Any:
        """Return the matrix in these files."""
        room.flush()
        if self._client is None:
            return l0quad.open_columns(room.paths)
        from l0quad_adapters.dask import sharded

        return sharded(room.paths, self._client)

    def flush(self) -> None:
        """Do nothing: no later stage reads what is there."""
