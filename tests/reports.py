"""Reports for tests: of random sparse weights, and one that fits a small network."""

import math

import torch
from l0quad_adapters.torch.report.parts import LayerReport, StageReport
from l0quad_adapters.torch.report.report import PruneReport
from torch import nn

NAN = math.nan


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(7, 11))


def sparse(shape, sparsity, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(shape, generator=generator) >= sparsity
    # Not a product, which would leave zeros of either sign.
    return torch.where(keep, torch.randn(shape, generator=generator), 0.0).to(dtype)


def stage_report(number, metric=NAN, sparsity=0.5):
    return StageReport(
        stage=number, sparsity=sparsity, kept=10, objective=3.0 / number, lower_bound=2.0 / number, relative_gap=1 / 3,
        status="converged", rows=20, gradient_seconds=0.25 * number, solve_seconds=2.0 * number, metric=metric,
    )  # fmt: skip


def report_of(weights, buffers=None, **changes):
    fields = {
        "method": "auto", "sparsity": 0.6, "l2": 0.01, "seed": 3, "n_rows": 20, "batch_size": 2, "first_order": True,
        "layers": tuple(LayerReport.of(name, weight) for name, weight in weights.items()),
        "stages": (stage_report(1),), "metric_before": NAN, "metric_after": NAN, "seconds": 1.5,
        "weights": weights, "buffers": buffers or {},
    }  # fmt: skip
    return PruneReport(**(fields | changes))


def network_report(**changes):
    """A report that fits `network`."""
    weights = {"0.weight": sparse((5, 3, 3, 3), 0.7), "3.weight": sparse((11, 7), 0.4)}
    buffers = {"1.running_mean": torch.arange(5.0), "1.num_batches_tracked": torch.tensor(17)}
    return report_of(weights, buffers, **changes)
