"""The workers of a cluster, asked for something of every shard: waiting, retries, and errors in words of files."""

import asyncio
import concurrent.futures
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import dask.config
from distributed import Client, Future, KilledWorker

from l0quad_adapters.dask.shard import Refused, Shard, answer

# How often a task is tried again that raised what may pass, such as a file that one of the workers does not see.
_RETRIES = 3
# The caller's limits and interrupts are looked at so often, in seconds.
_POLL = 0.05

Pause = Callable[[], None]


def go_on() -> None:
    """Let the work go on."""


class Patience(NamedTuple):
    """How many seconds without an answer are waited: as a rule, and once the solve's limit has come."""

    timeout: float
    grace: float


class Cluster:
    """The workers, and how many bytes they have read for one matrix and what was made of it."""

    def __init__(self, client: Client, patience: Patience) -> None:
        self._client, self._patience, self.nbytes = client, patience, 0
        # Solves on one matrix may run in several threads.
        self._solve = threading.local()

    @contextmanager
    def watched(self, expired: Callable[[], bool]) -> Iterator[None]:
        """Ask, while shards are waited for, whether the limit of a solve has come."""
        before = getattr(self._solve, "expired", None)
        self._solve.expired = expired
        try:
            yield
        finally:
            self._solve.expired = before

    def ask(self, shards: Sequence[Shard], asked: Sequence[tuple[Any, ...]], pause: Pause = go_on) -> Iterator[Any]:
        """Yield the answer for each shard, in their order: ``function(shard, *arguments)``, done by any worker.

        What comes before its turn stays with its worker, so that one answer at a time is here.
        """
        # Which parts of p-vectors go along is known; Dask's advice about them is not for these tasks.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            futures = [
                self._client.submit(answer, shard, *each, retries=_RETRIES, pure=False)
                for shard, each in zip(shards, asked, strict=True)
            ]
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        for future in futures:
            future.add_done_callback(done.put)
        path = {future.key: shard.path for future, shard in zip(futures, shards, strict=True)}
        finished: set[str] = set()
        waiting = _Waiting(self._patience, getattr(self._solve, "expired", None))

        def brought(future: Future) -> tuple[Any, int] | Refused:
            found = self._brought(future, path[future.key], pause, waiting)
            if found is None:
                # Its worker may have been lost since it had it.
                finished.discard(future.key)
                raise waiting.given_up([path[each] for each in path if each not in finished])
            return found

        def note() -> None:
            """Note what is done by now, and raise what has failed, whoever's turn it is."""
            for each in _drained(done):
                _require(each, path[each.key])
                finished.add(each.key)
                waiting.begin()
                if each.type is Refused:
                    _accepted(brought(each))

        try:
            while futures:
                future = futures[0]
                while future.key not in finished:
                    pause()
                    note()
                    if waiting.is_over():
                        raise waiting.given_up([path[each] for each in path if each not in finished])
                answer_of, nbytes = _accepted(brought(future))
                # So that its worker lets go of what it holds.
                del futures[0], future
                self.nbytes += nbytes
                yield answer_of
                # Before the next one comes; the time the caller took is no waiting.
                del answer_of
                waiting.begin()
        finally:
            for future in futures:
                if not future.done():
                    future.cancel()

    def _brought(
        self, future: Future, path: str, pause: Pause, waiting: "_Waiting"
    ) -> tuple[Any, int] | Refused | None:
        """Return what a finished task has left with its worker, or None where nothing comes any more."""
        coming = asyncio.run_coroutine_threadsafe(
            self._client.gather(future, asynchronous=True), self._client.loop.asyncio_loop
        )
        try:
            while not concurrent.futures.wait([coming], _POLL).done:
                pause()
                if waiting.is_over():
                    return None
        finally:
            coming.cancel()
        waiting.begin()
        try:
            found: tuple[Any, int] | Refused = coming.result()
        except Exception:
            # Lost with its worker, it has been tried again.
            _require(future, path)
            raise
        return found


def _accepted(found: tuple[Any, int] | Refused) -> tuple[Any, int]:
    """Return an answer, and raise what is none."""
    if isinstance(found, Refused):
        raise found.error
    return found


def _drained(done: "queue.SimpleQueue[Future]") -> list[Future]:
    """Return the tasks that are done by now; where none is, wait a moment for one."""
    try:
        finished = [done.get(timeout=_POLL)]
    except queue.Empty:
        return []
    while not done.empty():
        finished.append(done.get())
    return finished


class _Waiting:
    """For how long nothing has come back, in all and since the limit of the solve."""

    def __init__(self, patience: Patience, expired: Callable[[], bool] | None) -> None:
        self._patience, self._expired = patience, expired
        self.begin()

    def begin(self) -> None:
        self._since = time.monotonic()
        self._limit_since: float | None = None

    def is_over(self) -> bool:
        now = time.monotonic()
        if self._limit_since is None and self._expired is not None and self._expired():
            self._limit_since = now
        if self._limit_since is not None and now - self._limit_since > self._patience.grace:
            return True
        return now - self._since > self._patience.timeout

    def given_up(self, paths: list[str]) -> TimeoutError:
        timeout, grace = self._patience
        after = f"{timeout:g} s" if self._limit_since is None else f"{min(timeout, grace):g} s after the solve's limit"
        more = f" and {len(paths) - 1} more are" if len(paths) > 1 else " is"
        return TimeoutError(
            f"A: nothing came back within {after}; {paths[0]}{more} waited for: a worker hangs, or none is "
            "running (client.processing() says who has the tasks)"
        )


def _require(future: Future, path: str) -> None:
    """Raise where a task has failed, in words of files."""
    error = None if future.status == "finished" else future.exception()
    if isinstance(error, KilledWorker):
        raise RuntimeError(
            f"A: the workers that read {path} died, one after the other; they may lack memory: {error}"
        ) from error
    if isinstance(error, OSError):
        raise type(error)(f"A: a worker cannot read {path}: {error}") from error
    if future.cancelled():
        raise RuntimeError(f"A: the cluster is gone, or has dropped the reading of {path}")
    if error is not None:
        raise error
