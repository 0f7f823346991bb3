"""The processes of a group (``torch.distributed``) that make one call together; without a group there is one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist


class OtherProcessError(RuntimeError):
    """Another process of the group ended with an error, or cannot be reached."""


def own_place() -> tuple[int, int]:
    """Return which process of the group this is, and of how many."""
    return (dist.get_rank(), dist.get_world_size()) if _in_group() else (0, 1)


def meet(said: Any = None) -> list[Any]:
    """Wait for all processes, and return what each said; raise where one has ended with an error."""
    told = _exchanged((said, None))
    for place, (_, error) in enumerate(told):
        if error is not None:
            raise OtherProcessError(f"process {place} of the group ended with {error}")
    return [each for each, _ in told]


@contextlib.contextmanager
def ended_together() -> Iterator[None]:
    """Tell the others of an error where they next `meet`, so that none waits for a process that has ended."""
    try:
        yield
    except OtherProcessError:
        raise
    except Exception as error:
        with contextlib.suppress(OtherProcessError):
            _exchanged((None, f"{type(error).__name__}: {error}"))
        raise


def _exchanged(mine: Any) -> list[Any]:
    if not _in_group():
        return [mine]
    told: list[Any] = [None] * dist.get_world_size()
    try:
        dist.all_gather_object(told, mine)
    except RuntimeError as error:
        raise OtherProcessError("a process of the group cannot be reached") from error
    return told


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized()
