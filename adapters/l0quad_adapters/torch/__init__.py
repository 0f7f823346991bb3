"""Prune PyTorch networks with l0quad: gradient matrices, problem instances, CHITA++, masks, reports.

This page is the adapter's whole public interface; it needs the extra ``l0quad[torch]``.
"""

from l0quad_adapters.torch.baselines import BASELINES, CBS, MFAC, MagnitudePruning, WoodFisher
from l0quad_adapters.torch.batchnorm import recalibrate_batchnorm
from l0quad_adapters.torch.gradients import gradient_matrix
from l0quad_adapters.torch.gradual import gradual_prune
from l0quad_adapters.torch.instance import problem_from_gradients, pruning_problem
from l0quad_adapters.torch.masks import attach_masks, detach_masks, keep_masks, masks
from l0quad_adapters.torch.prune import prune
from l0quad_adapters.torch.report import LayerReport, PruneReport, StageReport
from l0quad_adapters.torch.stages import Refit
from l0quad_adapters.torch.weights import Weights, choose

__all__ = [
    "BASELINES",
    "CBS",
    "MFAC",
    "LayerReport",
    "MagnitudePruning",
    "PruneReport",
    "Refit",
    "StageReport",
    "Weights",
    "WoodFisher",
    "attach_masks",
    "choose",
    "detach_masks",
    "gradient_matrix",
    "gradual_prune",
    "keep_masks",
    "masks",
    "problem_from_gradients",
    "prune",
    "pruning_problem",
    "recalibrate_batchnorm",
]
