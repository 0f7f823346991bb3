"""Tensors as bits and bytes: a mask of a bit a value beside the values that are left, and digests."""

import hashlib
import math

import numpy as np
import torch

Tensors = dict[str, torch.Tensor]


def pack(name: str, value: torch.Tensor) -> Tensors:
    """Return a tensor as ``mask:NAME``, a bit a value in C order (`numpy.packbits`), and ``values:NAME``, those left.

    What is left out is zero in every bit, so that a zero with a sign stays.
    """
    flat = value.detach().cpu().contiguous().reshape(-1)
    n_bytes = flat.element_size()
    mask = (flat.view(torch.uint8).reshape(-1, n_bytes) != 0).any(dim=1)
    return {f"mask:{name}": torch.from_numpy(np.packbits(mask.numpy())), f"values:{name}": flat[mask]}


def packed_bytes(value: torch.Tensor) -> int:
    """Return how many bytes `pack` makes of a tensor."""
    return -(-value.numel() // 8) + int(torch.count_nonzero(value)) * value.element_size()


def unpack(tensors: Tensors, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the tensor of this shape that was packed; a ValueError says what is wrong."""
    for key in (f"mask:{name}", f"values:{name}"):
        if key not in tensors:
            raise ValueError(f"holds no {key!r}")
    packed, values = tensors[f"mask:{name}"], tensors[f"values:{name}"]
    size = math.prod(shape)
    n_bytes = -(-size // 8)
    if packed.dtype != torch.uint8 or packed.shape != (n_bytes,):
        raise ValueError(
            f"'mask:{name}' must be {n_bytes} bytes for shape {shape}, got {tuple(packed.shape)} of {packed.dtype}"
        )
    bits = np.unpackbits(packed.numpy())
    kept = int(np.count_nonzero(bits))
    if np.any(bits[size:]):
        raise ValueError(f"'mask:{name}' has bits beyond its {size} weights")
    if not values.is_floating_point() or values.shape != (kept,):
        raise ValueError(
            f"'values:{name}' must be {kept} floating-point numbers, got {tuple(values.shape)} of {values.dtype}"
        )
    value = torch.zeros(size, dtype=values.dtype)
    value[torch.from_numpy(bits[:size] != 0)] = values
    return value.reshape(shape)


def digest(value: torch.Tensor) -> str:
    """Return a digest of a tensor's shape, dtype and values."""
    found = hashlib.sha256(f"{tuple(value.shape)} {value.dtype};".encode())
    found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
