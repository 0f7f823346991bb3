"""The one thread count of a solve: for BLAS through threadpoolctl, for compiled kernels through a pool of threads.

Kernels release the interpreter lock, so that ordinary threads run them side by side. numba's own thread pool is not
used: it aborts the process on concurrent use or after a fork, and cannot be interrupted.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice

from threadpoolctl import threadpool_limits


def available() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def limited(n_threads: int | None) -> Iterator[None]:
    """Let BLAS use this many threads (None: as it is configured) until the block ends."""
    if n_threads is None:
        yield
        return
    with threadpool_limits(limits=n_threads):
        yield


def run(tasks: Iterable[Callable[[], None]], n_threads: int, expired: Callable[[], bool]) -> bool:
    """Run independent tasks on this many threads, BLAS on one each; True when all were run.

    No new task is begun once ``expired`` says so or an exception (a Ctrl-C among them) arrives.
    """
    waiting = iter(tasks)
    with threadpool_limits(limits=1), ThreadPoolExecutor(n_threads) as pool:
        running = {pool.submit(task) for task in islice(waiting, n_threads)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                each.result()
            if expired():
                return False
            running |= {pool.submit(task) for task in islice(waiting, len(done))}
    return True
