"""A in files that the workers of a Dask cluster see: the same solves on several machines.

Needs the extra ``l0quad[dask]``. Dask launches and retries, the algorithms need nothing else of it: tasks hold no state
and are sent by ``submit`` with ``retries``; vectors of p numbers stay with the process that solves.
"""

from l0quad_adapters.dask.matrix import sharded

__all__ = ["sharded"]
