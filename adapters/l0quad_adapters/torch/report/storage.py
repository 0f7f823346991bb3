"""What a report is on disk: its description as strict JSON, its weights as the values that are left and their places.

The file is of the safetensors format, which holds tensors and text and nothing that runs. It has each pruned parameter
packed (`l0quad_adapters.torch.packing`), for each buffer ``buffer:NAME``, and the description, under the key ``report``
of its metadata. Shapes come from the description and are believed only as far as the masks bear them out, so that
weights take at most 64 times as many bytes as their file (one of float64 for a bit).
"""

import dataclasses
import math
import stat
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import safetensors
import safetensors.torch

from l0quad_adapters.torch import packing
from l0quad_adapters.torch.files import PathLike, write_atomically
from l0quad_adapters.torch.packing import Tensors


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Turn whatever a damaged file makes a parser raise into a ValueError that begins with its path."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # SafetensorError, RecursionError, RuntimeError of a reshape, and more
        raise ValueError(f"{path}: {str(error) or type(error).__name__}") from error


def write(path: PathLike, description: str, weights: Tensors, buffers: Tensors) -> None:
    """Write a report's file atomically."""
    tensors = {f"buffer:{name}": buffer.contiguous().clone() for name, buffer in buffers.items()}
    for name, weight in weights.items():
        tensors |= packing.pack(name, weight)
    content = safetensors.torch.save(tensors, {"report": description})
    write_atomically(path, lambda file: file.write(content))


def read(path: PathLike) -> tuple[str, Tensors]:
    """Return the description and the tensors of a report's file, as they stand there."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError("is not a regular file")
    with safetensors.safe_open(path, framework="pt") as file:
        description = (file.metadata() or {}).get("report")
        if description is None:
            raise ValueError("holds no report")
        # Clones, because what is read lies in the mapped file, which may change.
        return description, {key: file.get_tensor(key).clone() for key in list(file.keys())}


def unpack(tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Tensors, Tensors]:
    """Return weights of these shapes, and buffers, from the tensors of a report's file."""
    weights = {name: packing.unpack(tensors, name, shape) for name, shape in shapes.items()}
    buffers = {key.removeprefix("buffer:"): value for key, value in tensors.items() if key.startswith("buffer:")}
    if len(tensors) != 2 * len(weights) + len(buffers):
        known = {f"{part}:{name}" for part in ("mask", "values") for name in weights}
        foreign = sorted(key for key in tensors if key not in known and not key.startswith("buffer:"))
        raise ValueError(f"holds {foreign[0]!r}, which belongs to no layer of the report")
    return weights, buffers


def described(kind: Any) -> list[dataclasses.Field[Any]]:
    """Return the fields of a dataclass, or of an instance, that its description holds: all but the tensors."""
    return [field for field in dataclasses.fields(kind) if field.type != Tensors]


def to_plain(value: Any) -> Any:
    """Return what JSON can hold of a value: a number that is not finite becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in described(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: to_plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """Return what `to_plain` was given, None as nan; a ValueError says where ``value`` is no ``kind``."""
    origin, parts = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _record(kind, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(from_plain(parts[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: from_plain(parts[1], each, f"{where}[{key!r}]") for key, each in value.items()}
    if origin is types.UnionType:
        kind = next((each for each in parts if isinstance(value, get_origin(each) or each)), parts[0])
        return from_plain(kind, value, where)
    if kind is float and (value is None or (type(value) in (int, float) and math.isfinite(value))):
        return math.nan if value is None else float(value)
    if kind in (str, bool, int) and type(value) is kind and not (kind is int and value < 0):
        return value
    raise ValueError(f"{where}: must be {getattr(kind, '__name__', kind)}, got {str(value)[:40]!r}")


def _record(kind: Any, value: dict[str, Any], where: str) -> Any:
    fields = {field.name: field.type for field in described(kind)}
    if fields.keys() != value.keys():
        odd = sorted(fields.keys() ^ value.keys())
        raise ValueError(f"{where}: must have the fields {', '.join(fields)}; missing or more: {', '.join(odd)}")
    return kind(**{name: from_plain(of, value[name], f"{where}.{name}") for name, of in fields.items()})
