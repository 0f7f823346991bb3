"""Long vectors a piece at a time: what is computed on the way stays in cache, and takes no memory as long as they."""

from collections.abc import Iterator

_PIECE = 1 << 14


def pieces(size: int) -> Iterator[slice]:
    """Yield the slices of a vector of this size, one after the other."""
    for start in range(0, size, _PIECE):
        yield slice(start, min(start + _PIECE, size))
