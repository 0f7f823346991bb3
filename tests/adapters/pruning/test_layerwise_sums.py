"""X'X of a layer's inputs: by NumPy, or by torch where the weight is."""

from functools import partialmethod

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import prune_layers
from l0quad_adapters.torch.network import gramians
from prune_runs import DATA, again, mlp, same, state
from refusals import refuse
from torch import nn

X = DATA[0]


class Attending(nn.Module):
    """Attention of a sequence to itself."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def spy(tensor, own, seen):
    """Note what a tensor's method is called for."""
    seen.append(tensor.shape)
    return own(tensor)


@pytest.mark.parametrize("most", [1, 1 << 25])
def test_torch_sums_where_the_weight_is(most, monkeypatch):
    """As NumPy does, in chunks; and no row goes to the host."""
    monkeypatch.setattr(gramians, "_ENTRIES", most)
    torch.manual_seed(0)
    grouped = nn.Sequential(nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(), nn.Conv2d(6, 4, 2)).eval()
    for model, inputs, name in (
        (grouped, [torch.randn(3, 4, 5, 5)] * 2, "0.weight"),
        (Attending().eval(), [torch.randn(3, 5, 8)], "attention.in_proj_weight"),
        (again(mlp).half(), [X.half()], "3.weight"),
        (nn.Linear(8, 2), [X[:0]], "weight"),
    ):
        (layer,) = gramians.layers_of(model, [name])
        expected, rows = gramians.gramians(model, inputs, layer, once=False)
        moved = []
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "cpu", partialmethod(spy, torch.Tensor.cpu, moved))
            found, count = gramians.gramians(model, inputs, layer, once=False, xp=torch)
        assert moved == [(len(found), *found[0].shape)]
        assert count == rows
        assert all(each.dtype == np.float64 for each in found)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("xp", [np, torch])
def test_inputs_that_are_not_finite_are_refused_wherever_they_are_summed(xp):
    model, batch = again(mlp), X.clone()
    batch[3, 2] = torch.inf
    before = state(model)
    refuse(lambda: prune_layers(model, batch, 0.5, xp=xp), ValueError, "batches:", "0.weight", "finite")
    assert same(model, before)
