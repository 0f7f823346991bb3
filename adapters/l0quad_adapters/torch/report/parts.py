"""The parts of a report: sizes of layers, what was left out, and what each stage did."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class LayerReport:
    """The sizes of one pruned parameter.

    Attributes
    ----------
    name : str
        As in ``model.named_parameters()``.
    shape : tuple of int
    weights, kept : int
        How many weights there are, and how many of them are not zero.
    dense_bytes, sparse_bytes : int
        What storing them takes: every weight in its dtype, or a bit for each and the nonzeros.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, stages=1)
    >>> layer = report.layers[0]
    >>> layer.name, layer.shape, layer.sparsity, layer.dense_bytes, layer.sparse_bytes
    ('weight', (3, 8), 0.5, 96, 51)
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    kept: int
    dense_bytes: int
    sparse_bytes: int

    @classmethod
    def of(cls, name: str, weight: torch.Tensor) -> "LayerReport":
        """Measure a parameter."""
        weights, kept, size = weight.numel(), int(torch.count_nonzero(weight)), weight.element_size()
        dense_bytes, sparse_bytes = weights * size, -(-weights // 8) + kept * size
        return cls(name, tuple(weight.shape), weights, kept, dense_bytes, sparse_bytes)

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return 1 - self.kept / self.weights if self.weights else 0.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A parameter that was not pruned, and why.

    Attributes
    ----------
    name : str
    shape : tuple of int
    weights : int
    reason : str
    is_expected : bool
        Whether it is one of those that no one prunes: a bias, or of one dimension.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, stages=1)
    >>> report.left_out[0].name, report.left_out[0].weights, report.left_out[0].is_expected
    ('bias', 3, True)
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    reason: str
    is_expected: bool


@dataclass(frozen=True, slots=True)
class TotalReport(LayerReport):
    """All pruned parameters together: named ``"total"``, of shape (), and with what no single layer has.

    Attributes
    ----------
    objective, lower_bound, relative_gap : float
        Of the last stage whose bound was computed; without any, of the last stage. Layer by layer, sums.
    gradient_seconds, solve_seconds : float
        Of all stages.
    """

    objective: float
    lower_bound: float
    relative_gap: float
    gradient_seconds: float
    solve_seconds: float


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage: a problem made of gradients, or a layer and its inputs, and its solution.

    Attributes
    ----------
    stage : int
        From 1.
    sparsity : float
        The target of the stage, or of its layer.
    kept : int
        How many weights are not zero after it, of all or of its layer.
    objective, lower_bound, relative_gap, status : float, float, float, str
        Of its problem.
    rows : int
        How many rows its problem had: of gradients, or of the layer's inputs.
    gradient_seconds, solve_seconds : float
        The former of the gradients, or of gathering the inputs.
    metric : float
        What ``evaluate`` gave after it; nan without.
    layer : str
        The parameter that it pruned; empty where it pruned all.
    relative_error : float
        Of a layer, its objective over that with all weights zero; else nan.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> from l0quad_adapters.torch import prune
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> report = prune(model, torch.nn.functional.cross_entropy, data, 0.5, stages=1)
    >>> stage = report.stages[0]
    >>> stage.kept, stage.lower_bound <= stage.objective
    (12, True)
    """

    stage: int
    sparsity: float
    kept: int
    objective: float
    lower_bound: float
    relative_gap: float
    status: str
    rows: int
    gradient_seconds: float
    solve_seconds: float
    metric: float = math.nan
    layer: str = ""
    relative_error: float = math.nan
