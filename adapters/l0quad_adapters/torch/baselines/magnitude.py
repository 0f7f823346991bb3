"""Magnitude pruning: the oldest rule, which sees no gradients."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l0quad_adapters.torch.baselines.base import FloatArray, Task, restricted


@dataclass(frozen=True, slots=True)
class MagnitudePruning:
    """Keep the largest ``|w0|`` as they are."""

    name: ClassVar[str] = "magnitude"


def magnitude(task: Task, options: MagnitudePruning) -> FloatArray:
    """Return the largest weights."""
    return restricted(task.w, task.select(np.abs(task.w)))
