"""The baselines by name, and the one call that runs them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l0quad_adapters.torch.baselines.base import FloatArray, RealArray, task_of
from l0quad_adapters.torch.baselines.cbs import CBS, cbs
from l0quad_adapters.torch.baselines.magnitude import MagnitudePruning, magnitude
from l0quad_adapters.torch.baselines.mfac import MFAC, mfac
from l0quad_adapters.torch.baselines.woodfisher import WoodFisher, woodfisher
from l0quad_adapters.torch.budgets import Budget

Baseline = MagnitudePruning | WoodFisher | MFAC | CBS

_RUN: dict[type[Baseline], Callable[[Any, Any], FloatArray]] = {
    MagnitudePruning: magnitude,
    WoodFisher: woodfisher,
    MFAC: mfac,
    CBS: cbs,
}
BASELINES: dict[str, type[Baseline]] = {options.name: options for options in _RUN}


def pruned(
    options: Baseline,
    A: RealArray,
    w0: RealArray,
    k: int | Budget,
    l2: float,
    allowed: NDArray[np.bool_] | None = None,
    layers: Sequence[int] | NDArray[np.int64] | None = None,
) -> FloatArray:
    """Return the weights that a baseline leaves.

    Parameters
    ----------
    options : MagnitudePruning, WoodFisher, MFAC or CBS
    A : ndarray of shape (n, p), float32 or float64
        The gradients. Read in pieces, never converted as a whole.
    w0 : ndarray of shape (p,)
        The weights of the trained network.
    k : int, Cardinality, PerBlock or NofM
        How many weights may be kept; all budgets are used up as far as ``allowed`` has weights for them.
    l2 : float
        What is added to the diagonal of A'A/n; positive.
    allowed : ndarray of bool, shape (p,), optional
        False for weights that are pruned already: they stay zero, and F is that of the others.
    layers : sequence of int, optional
        Where each layer begins, 0 first, and p at the end; WoodFisher's blocks then end where layers do.

    Returns
    -------
    ndarray of shape (p,), float64

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the rule and the value.
    """
    run = _RUN.get(type(options))
    if run is None:
        names = ", ".join(each.__name__ for each in BASELINES.values())
        raise TypeError(f"options: must be one of {names}, got {options!r}")
    return run(task_of(A, w0, k, l2, allowed, layers), options)
