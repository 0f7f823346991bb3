"""How many weights may be kept, and where: what sparsities mean and solvers and baselines take."""

import math

import l0quad
from l0quad_adapters.torch.checks import real

Budget = l0quad.Cardinality | l0quad.PerBlock | l0quad.NofM


def checked_sparsity(sparsity: object, name: str = "sparsity", kind: str = "a number") -> float:
    """Return a sparsity, refused outside of [0, 1)."""
    return real(sparsity, name, below=1.0, kind=kind)


def kept(sparsity: float, size: int) -> int:
    """Return how many of ``size`` weights a sparsity keeps: size - floor(sparsity size + 1/2)."""
    return size - math.floor(sparsity * size + 0.5)
