"""The one thread count of a solve: for BLAS through threadpoolctl, for compiled kernels through a pool of threads.

Kernels release the interpreter lock, so that ordinary threads run them side by side. numba's own thread pool is not
used: it aborts the process on concurrent use or after a fork, and cannot be interrupted.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice

from threadpoolctl import ThreadpoolController


def available() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _BlasThreads:
    """BLAS has one thread count a process, so one Python thread controls it at a time; others take it as it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner, self._depth = 0, 0
        self._controller: ThreadpoolController | None = None

    @contextmanager
    def limited(self, n_threads: int) -> Iterator[None]:
        with self._lock:
            mine = self._depth == 0 or self._owner == threading.get_ident()
            if mine:
                self._owner, self._depth = threading.get_ident(), self._depth + 1
                # Looking for the libraries takes milliseconds, and ours are loaded by now.
                self._controller = self._controller or ThreadpoolController()
        if not mine:
            yield
            return
        assert self._controller is not None
        try:
            with self._controller.limit(limits=n_threads):
                yield
        finally:
            with self._lock:
                self._depth -= 1


_BLAS = _BlasThreads()


@contextmanager
def limited(n_threads: int | None) -> Iterator[None]:
    """Let BLAS use this many threads (None: as it is configured) until the block ends.

    Where solves overlap in several Python threads, the first one's number holds.
    """
    if n_threads is None:
        yield
        return
    with _BLAS.limited(n_threads):
        yield


def run(tasks: Iterable[Callable[[], None]], n_threads: int, expired: Callable[[], bool]) -> None:
    """Run independent tasks on this many threads, BLAS on one each.

    No new task is begun once ``expired`` says so or an exception (a Ctrl-C among them) arrives.
    """
    waiting = iter(tasks)
    with _BLAS.limited(1), ThreadPoolExecutor(n_threads) as pool:
        running = {pool.submit(task) for task in islice(waiting, n_threads)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                each.result()
            if expired():
                return
            running |= {pool.submit(task) for task in islice(waiting, len(done))}
