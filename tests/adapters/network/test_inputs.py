"""What layers multiply: rows times matrices are a layer's outputs, whatever its geometry."""

from typing import Any

import pytest
from narrowed import some

torch = pytest.importorskip("torch")

from l0quad_adapters.torch.network import inputs
from l0quad_adapters.torch.network.inputs import sources_of
from torch import nn

IMAGE, SIGNAL, VOLUME = (3, 4, 7, 6), (3, 4, 9), (2, 2, 4, 5, 4)
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (nn.Linear(5, 3), (4, 5)),
    "linear, of sequences": (nn.Linear(5, 3), (4, 2, 5)),
    "convolution": (nn.Conv2d(4, 6, 3), IMAGE),
    "stride, padding": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2)), IMAGE),
    "dilation, groups": (nn.Conv2d(4, 6, 3, dilation=(2, 1), groups=2, padding=2), IMAGE),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, stride=2), IMAGE),
    "same": (nn.Conv2d(4, 6, (2, 3), padding="same", dilation=(2, 1)), IMAGE),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    "one sample": (nn.Conv2d(4, 6, 3), IMAGE[1:]),
    "signals": (nn.Conv1d(4, 6, 4, stride=3, padding=1, padding_mode="reflect"), SIGNAL),
    "volumes": (nn.Conv3d(2, 4, (2, 3, 2), groups=2, padding=1), VOLUME),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), IMAGE),
    "transposed, groups": (nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 3), dilation=2, groups=2), IMAGE),
    "transposed, cut": (nn.ConvTranspose1d(4, 2, 3, padding=2, stride=2), SIGNAL),
}
WEIGHTS = {"self": {}, "dims": {"kdim": 5, "vdim": 3}}


def outputs(source, weight, rows):
    """X W of every matrix, outputs last: (n, outputs), groups side by side."""
    products = rows @ weight.detach().reshape(-1)[source.places]
    return products.movedim(0, 1).reshape(products.shape[1], -1)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("entries", [1, 1 << 22])
def test_rows_times_matrices_are_the_outputs(name, entries, monkeypatch):
    monkeypatch.setattr(inputs, "_ENTRIES", entries)
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = layer.double(), torch.randn(shape, dtype=torch.float64)
    (source,) = some(sources_of(layer, layer.weight))
    assert sorted(source.places.reshape(-1).tolist()) == list(range(layer.weight.numel()))
    with torch.no_grad():
        y = layer(x)
        rows = torch.cat(list(source.rows((x,), {}, y)), dim=1)
        by_name = torch.cat(list(source.rows((), {"input": x}, y)), dim=1)
    assert torch.equal(rows, by_name)
    if not isinstance(layer, nn.Linear):
        y = (y if y.ndim == x.ndim == len(layer.kernel_size) + 2 else y[None]).movedim(1, -1)
        # The channels of one place of the kernel lie side by side.
        assert source.line == x.shape[-len(layer.kernel_size) - 1] // layer.groups
        first = source.places[0, : source.line, 0]
        axis = 0 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 1
        assert set(first.diff().tolist()) <= {layer.weight.stride(axis)}
    torch.testing.assert_close(outputs(source, layer.weight, rows), y.reshape(-1, y.shape[-1]) - layer.bias)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given", WEIGHTS)
@pytest.mark.parametrize("bias", [False, True])
def test_an_attentions_projections(given, batch_first, bias):
    torch.manual_seed(0)
    layer: Any = nn.MultiheadAttention(
        4, 2, bias=bias, batch_first=batch_first, dtype=torch.float64, **WEIGHTS[given]
    ).eval()
    sizes = (4, layer.kdim, layer.vdim)
    query, key, value = (torch.randn(3, 3, size, dtype=torch.float64) for size in sizes)
    query = query[:2] if not batch_first else query[:, :2]
    with torch.no_grad():
        y = layer(query, key, value)[0]
        (out,) = some(sources_of(layer, layer.out_proj.weight))
        (rows,) = out.rows((query,), {"key": key, "value": value}, y)
        offset = layer.out_proj.bias if bias else 0.0
        torch.testing.assert_close(outputs(out, layer.out_proj.weight, rows), y.reshape(-1, 4) - offset)
        assert torch.equal(layer(query, key, value)[0], y), "as it was"
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight") if given == "dims" else ("in_proj_weight",)
        seen, products = [], []
        for name in names:
            weight = layer.get_parameter(name)
            (source,) = some(sources_of(layer, weight))
            (rows,) = source.rows((query, key, value), {}, y)
            seen += list(rows)
            products += list(rows @ weight.reshape(-1)[source.places])
        blocks = [layer.get_parameter(name) for name in names] if given == "dims" else layer.in_proj_weight.chunk(3)
    for rows, product, x, block in zip(seen, products, (query, key, value), blocks, strict=True):
        n = x[..., 0].numel()
        assert torch.equal(rows[:n], x.reshape(n, -1))
        assert not rows[n:].any(), "zeros add nothing to X'X"
        torch.testing.assert_close(product[:n], nn.functional.linear(x, block).reshape(n, -1))


def test_transformers_linear_layer_has_its_inputs_first():
    made = type("Conv1D", (nn.Module,), {"__module__": "transformers.pytorch_utils"})()
    made.weight = nn.Parameter(torch.randn(5, 3))
    (source,) = some(sources_of(made, made.weight))
    assert torch.equal(made.weight.detach().reshape(-1)[source.places[0]], made.weight.detach())


def test_a_shared_weight_has_a_source_in_each_layer():
    first, second = nn.Linear(4, 5), nn.Linear(4, 5)
    model = nn.Sequential(nn.Embedding(5, 4), first, second)
    model[0].weight = second.weight = first.weight
    assert [source.module for source in some(sources_of(model, first.get_parameter("weight")))] == [first, second]


@pytest.mark.parametrize("layer", [nn.LSTM(2, 3), nn.Bilinear(2, 3, 4), nn.Embedding(3, 4), nn.LayerNorm((2, 3))])
def test_what_no_hook_sees(layer):
    assert sources_of(layer, next(layer.parameters())) is None
