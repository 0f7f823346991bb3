"""WoodFisher: the one-shot rule on diagonal blocks of the empirical Fisher matrix."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

from l0quad_adapters.torch.baselines.base import FloatArray, Task
from l0quad_adapters.torch.baselines.one_shot import one_shot
from l0quad_adapters.torch.checks import check_integers


@dataclass(frozen=True, slots=True)
class WoodFisher:
    """Remove the weights of least saliency ``w_q^2 / (2 [F^-1]_qq)`` and add up their updates, F cut to blocks.

    Singh and Alistarh ("WoodFisher: efficient second-order approximation for neural network compression", NeurIPS
    2020): one optimal-brain-surgeon step (their equation 10) for all removed weights at once,
    ``w0 - sum_q w_q / [F^-1]_qq F^-1 e_q``, in which the removed weights are then set to zero.

    Parameters
    ----------
    block_size : int
        F is replaced by its diagonal blocks of this many consecutive weights. Beyond n it no longer adds to the cost.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import WoodFisher, prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, method=WoodFisher(block_size=12), stages=1)
    >>> report.method, int((model.weight == 0).sum())
    ('woodfisher', 12)
    """

    # Of the accuracies and seconds in docs/benchmarks/results/pruning-mlpnet.md.
    block_size: int = 2000
    name: ClassVar[str] = "woodfisher"

    def __post_init__(self) -> None:
        check_integers(block_size=self.block_size)


def woodfisher(task: Task, options: WoodFisher) -> FloatArray:
    """Return the one-shot rule's weights; blocks end where layers do."""
    size = options.block_size
    layers = itertools.pairwise(task.edges)
    return one_shot(task, [(i, min(i + size, end)) for begin, end in layers for i in range(begin, end, size)])
