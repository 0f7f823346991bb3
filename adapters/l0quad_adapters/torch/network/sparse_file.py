"""A whole sparse network in one file: all that a fresh one needs to give the same outputs, to the bit."""

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from l0quad_adapters.torch import packing
from l0quad_adapters.torch.files import PathLike, write_atomically
from l0quad_adapters.torch.network.named import named

_FORMAT = 1
_KEY = "l0quad_sparse_network"


def save_sparse(model: nn.Module, path: PathLike) -> None:
    """Write all parameters and buffers of a model to one safetensors file, atomically.

    Tensors that have enough zeros are packed: a bit for each value, and the nonzeros. A weight under a mask is written
    as the network uses it, under its own name; a tied one once.

    Parameters
    ----------
    model : Module
        It is not changed.
    path : path
        The file, replaced where there is one.

    Raises
    ------
    ValueError
        The model has state that is no tensor (``get_extra_state``).
    OSError
        The file cannot be written; one that was there stays.

    Examples
    --------
    >>> import os, tempfile
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import load_sparse, save_sparse
    >>> other = torch.nn.Linear(8, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_sparse(model, os.path.join(folder, "model.safetensors"))
    ...     load_sparse(other, os.path.join(folder, "model.safetensors"))
    >>> torch.equal(model.weight, other.weight)
    True
    """
    if odd := [name for name, value in model.state_dict().items() if not isinstance(value, torch.Tensor)]:
        raise ValueError(f"model: {odd[0]} is no tensor, which a file of tensors cannot hold")
    tensors: dict[str, torch.Tensor] = {}
    shapes: dict[str, list[int]] = {}
    first: dict[int, str] = {}
    same: dict[str, str] = {}
    for name, tensor, mask in _state(model):
        if id(tensor) in first:
            same[name] = first[id(tensor)]
            continue
        first[id(tensor)] = name
        value = tensor.detach().cpu()
        if mask is not None:
            value = value.masked_fill(~mask.cpu(), 0)
        value = value.contiguous().clone()
        if value.is_floating_point() and packing.packed_bytes(value) < value.numel() * value.element_size():
            tensors |= packing.pack(name, value)
            shapes[name] = list(value.shape)
        else:
            tensors[f"dense:{name}"] = value
    told = json.dumps({"format": _FORMAT, "shapes": shapes, "same": same})
    content = safetensors.torch.save(tensors, {_KEY: told})
    write_atomically(path, lambda file: file.write(content))


def load_sparse(model: nn.Module, path: PathLike) -> None:
    """Give a model all that `save_sparse` wrote, so that it has the same outputs to the bit, or leave it as it is.

    The prefixes that ``DataParallel`` (``module.``) and ``torch.compile`` (``_orig_mod.``) put before names do not
    matter on either side. Nothing in the file is run or believed unchecked.

    Parameters
    ----------
    model : Module
        Of the same layers; its weights are replaced.
    path : path
        What `save_sparse` wrote.

    Raises
    ------
    ValueError
        Naming the file and the tensor: one that either side lacks, of another shape or dtype, or that the model ties to
        another which has other values; or saying what is wrong with the file.
    OSError
        There is no such file.

    Examples
    --------
    >>> import os, tempfile
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import load_sparse, save_sparse
    >>> other = torch.nn.Linear(8, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_sparse(model, os.path.join(folder, "model.safetensors"))
    ...     load_sparse(other, os.path.join(folder, "model.safetensors"))
    >>> torch.equal(model.weight, other.weight)
    True
    """
    try:
        values = _read(path)
        places = _places(model, values)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # SafetensorError, JSONDecodeError, KeyError of a damaged description, and more
        raise ValueError(f"{path}: {str(error) or type(error).__name__}") from error
    with torch.no_grad():
        for place, value in places:
            place.copy_(value)


def _state(model: nn.Module) -> Iterable[tuple[str, torch.Tensor, torch.Tensor | None]]:
    """Yield every parameter and buffer with its name, those of masks aside, and the mask on it."""
    masks = {id(each.mask) for each in named(model) if each.mask is not None}
    for each in named(model):
        yield each.name, each.parameter, each.mask
    hidden = {f"{each.name}_mask" for each in named(model) if each.mask is not None}
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if id(buffer) not in masks and name not in hidden:
            yield name, buffer, None


def _read(path: PathLike) -> dict[str, torch.Tensor]:
    """Return every tensor of a file by name."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError("is not a regular file")
    with safetensors.safe_open(path, framework="pt") as file:
        told = (file.metadata() or {}).get(_KEY)
        if told is None:
            raise ValueError("holds no network of save_sparse")
        # Clones, because what is read lies in the mapped file, which may change.
        tensors = {key: file.get_tensor(key).clone() for key in list(file.keys())}
    description: dict[str, Any] = json.loads(told)
    if description["format"] != _FORMAT:
        raise ValueError(f"must be of format {_FORMAT}, got {description['format']}")
    values = {key.removeprefix("dense:"): value for key, value in tensors.items() if key.startswith("dense:")}
    values |= {name: packing.unpack(tensors, name, tuple(shape)) for name, shape in description["shapes"].items()}
    return values | {name: values[other] for name, other in description["same"].items()}


def _places(model: nn.Module, values: dict[str, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each tensor of a model beside the value that it is to get."""
    there = {}
    for name, tensor, mask in _state(model):
        if mask is not None:
            raise ValueError(f"the model has a mask on {name!r}; call detach_masks first")
        there[_plain(name)] = (name, tensor)
    given = {_plain(name): value for name, value in values.items()}
    if len(given) != len(values):
        raise ValueError("has two tensors whose names differ in prefixes only")
    if missing := [name for plain, (name, _) in there.items() if plain not in given]:
        raise ValueError(f"lacks {missing[0]!r}, which the model has ({len(missing)} such)")
    if odd := [name for name in given if name not in there]:
        raise ValueError(f"has {odd[0]!r}, which the model lacks ({len(odd)} such)")
    places: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for plain, (name, tensor) in there.items():
        value = given[plain]
        if (tuple(value.shape), value.dtype) != (tuple(tensor.shape), tensor.dtype):
            here, other = f"{tuple(tensor.shape)} of {tensor.dtype}", f"{tuple(value.shape)} of {value.dtype}"
            raise ValueError(f"has {name!r} as {other}, the model as {here}")
        if id(tensor) in places and packing.digest(places[id(tensor)][1]) != packing.digest(value):
            raise ValueError(f"has other values for {name!r} than for the tensor that the model ties to it")
        places[id(tensor)] = (tensor, value)
    return list(places.values())


def _plain(name: str) -> str:
    """Return a name without the prefixes of wrappers."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while len(parts) > 1 and parts[0] == "module":
        del parts[0]
    return ".".join(parts)
