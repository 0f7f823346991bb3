"""Magnitude pruning: the oldest rule, which sees no gradients."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad_adapters.torch.baselines.base import FloatArray, Task, restricted


@dataclass(frozen=True, slots=True)
class MagnitudePruning:
    """Keep the largest ``|w0|`` as they are.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import MagnitudePruning, prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, method=MagnitudePruning(), stages=1)
    >>> report.method, int((model.weight == 0).sum())
    ('magnitude', 12)
    """

    name: ClassVar[str] = "magnitude"


def magnitude(task: Task, options: MagnitudePruning) -> FloatArray:
    """Return the largest weights."""
    return restricted(task.w, task.select(np.abs(task.w)))
