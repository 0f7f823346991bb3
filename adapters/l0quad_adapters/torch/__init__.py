"""Prune PyTorch networks with l0quad: gradient matrices, problem instances, CHITA++, masks, reports.

This page is the adapter's whole public interface; it needs the extra ``l0quad[torch]``.
"""

from l0quad_adapters.torch.baselines.cbs import CBS
from l0quad_adapters.torch.baselines.magnitude import MagnitudePruning
from l0quad_adapters.torch.baselines.mfac import MFAC
from l0quad_adapters.torch.baselines.registry import BASELINES
from l0quad_adapters.torch.baselines.woodfisher import WoodFisher
from l0quad_adapters.torch.network.batchnorm import recalibrate_batchnorm
from l0quad_adapters.torch.network.gradients import gradient_matrix
from l0quad_adapters.torch.network.masks import attach_masks, detach_masks, keep_masks, masks
from l0quad_adapters.torch.network.sparse_file import load_sparse, save_sparse
from l0quad_adapters.torch.network.weights import Weights, choose
from l0quad_adapters.torch.pruning.budget import budget
from l0quad_adapters.torch.pruning.gradual import gradual_prune
from l0quad_adapters.torch.pruning.layerwise import prune_layers
from l0quad_adapters.torch.pruning.memory import Memory, memory_needed
from l0quad_adapters.torch.pruning.problem import problem_from_gradients, pruning_problem
from l0quad_adapters.torch.pruning.prune import prune
from l0quad_adapters.torch.pruning.refit import Refit
from l0quad_adapters.torch.report.parts import LayerReport, LeftOut, StageReport
from l0quad_adapters.torch.report.report import PruneReport

__all__ = [
    "BASELINES",
    "CBS",
    "MFAC",
    "LayerReport",
    "LeftOut",
    "MagnitudePruning",
    "Memory",
    "PruneReport",
    "Refit",
    "StageReport",
    "Weights",
    "WoodFisher",
    "attach_masks",
    "budget",
    "choose",
    "detach_masks",
    "gradient_matrix",
    "gradual_prune",
    "keep_masks",
    "load_sparse",
    "masks",
    "memory_needed",
    "problem_from_gradients",
    "prune",
    "prune_layers",
    "pruning_problem",
    "recalibrate_batchnorm",
    "save_sparse",
]
