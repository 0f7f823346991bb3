"""M-FAC: the one-shot rule with the whole of the empirical Fisher matrix."""

from dataclasses import dataclass
from typing import ClassVar

from l0quad_adapters.torch.baselines.base import FloatArray, Task
from l0quad_adapters.torch.baselines.one_shot import one_shot


@dataclass(frozen=True, slots=True)
class MFAC:
    """WoodFisher's rule with the whole of F, which is never formed.

    Frantar, Kurtic and Alistarh ("M-FAC: efficient matrix-free approximations of second-order information", NeurIPS
    2021); by one n x n Cholesky factorization in place of their recursion over the samples, with the same result.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import MFAC, prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, method=MFAC(), stages=1)
    >>> report.method, int((model.weight == 0).sum())
    ('mfac', 12)
    """

    name: ClassVar[str] = "mfac"


def mfac(task: Task, options: MFAC) -> FloatArray:
    """Return the one-shot rule's weights."""
    return one_shot(task, [(0, task.w.size)])
