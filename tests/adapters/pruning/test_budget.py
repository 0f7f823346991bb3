"""N:M along the inputs of every parameter, as sparse kernels expect it."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import budget, choose, gradual_prune, prune
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy

import l0quad


def groups_of(weight, axis, m):
    """The groups of a parameter, by hand: m inputs side by side for each output and place."""
    lines = np.moveaxis(weight, axis, -1).reshape(-1, weight.shape[axis])
    return [lines[i, first : first + m] for i in range(len(lines)) for first in range(0, lines.shape[1], m)]


def mixed():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(6, 4, 2, bias=False), nn.ConvTranspose2d(4, 5, 2, bias=False), nn.Flatten(), nn.Linear(80, 7)
    ).eval()


AXES = {"0.weight": 1, "1.weight": 0, "3.weight": 1}


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 3), (4, 4), (0, 5), (2, 100)])
def test_groups_lie_along_the_inputs_of_one_output(n, m):
    model = mixed()
    found = budget(model, l0quad.NofM(n, m))
    assert isinstance(found, l0quad.PerBlock)
    weights = choose(model)
    numbers = np.arange(weights.size)
    by_hand = []
    for name, part in weights.slices.items():
        by_hand += groups_of(numbers[part].reshape(model.get_parameter(name).shape), AXES[name], m)
    by_label = {}
    for column, label in enumerate(found.labels):
        by_label.setdefault(int(label), []).append(column)
    assert sorted(map(sorted, by_label.values())) == sorted(group.tolist() for group in by_hand)
    assert (found.budgets == n).all(), "of the rest too, as if zeros were appended"


@pytest.mark.parametrize("method", ["backsolve", "magnitude", "mfac"])
@pytest.mark.parametrize("how", ["prune", "gradual"])
def test_pruned_networks_have_the_pattern(method, how):
    model = mixed()
    data = torch.randn(60, 6, 4, 4), torch.arange(60) % 7
    if how == "prune":
        options: dict[str, Any] = {"n_rows": 30, "batch_size": 1, "stages": 2}
        prune(model, cross_entropy, data, l0quad.NofM(2, 4), method=method, **options)
    else:
        gradual_prune(model, cross_entropy, data, l0quad.NofM(2, 4), method=method, epochs=2, steps=2, n_rows=30,
                      batch_size=1, refit_stages=1)  # fmt: skip
    for name, axis in AXES.items():
        weight = model.get_parameter(name).detach().numpy()
        for group in groups_of(weight, axis, 4):
            assert np.count_nonzero(group) == min(2, group.size)


def test_torch_converts_a_pruned_layer_and_back():
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
    prune(model, cross_entropy, (torch.randn(40, 64), torch.arange(40) % 3), {"0": l0quad.NofM(2, 4)}, stages=1,
          n_rows=30, batch_size=1)  # fmt: skip
    dense = model.get_parameter("0.weight").detach().half()
    sparse, metadata = conversions.sparse_semi_structured_from_dense_cutlass(dense)
    assert torch.equal(conversions.sparse_semi_structured_to_dense_cutlass(sparse, metadata), dense)
    assert sparse.numel() == dense.numel() // 2


def test_a_pattern_has_nothing_of_its_own():
    model = mixed()
    for pattern in (l0quad.NofM(1, 2, order=np.arange(596)), l0quad.NofM(1, 2, must=[0]), l0quad.NofM(1, 2, never=[0])):
        for sparsity in (pattern, {"0": pattern}):
            refuse(lambda sparsity=sparsity: budget(model, sparsity), ValueError, "sparsity", "order")
