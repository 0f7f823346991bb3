"""Statistics of batch normalisation, computed anew."""

from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from l0quad_adapters.torch.network.batchnorm import has_batchnorm, recalibrate_batchnorm
from l0quad_adapters.torch.network.data import Samples
from refusals import refuse
from torch import nn
from torch.nn.functional import batch_norm
from torch.utils.data import DataLoader, TensorDataset


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(2), nn.Conv2d(2, 3, 2), nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.3), nn.Flatten(),
        nn.Linear(12, 4), nn.BatchNorm1d(4, momentum=None, affine=False),
    )  # fmt: skip
    with torch.no_grad():
        for layer in (model[0], model[3]):
            assert isinstance(layer, nn.BatchNorm2d)
            layer.weight.uniform_(0.5, 2)
            layer.bias.normal_()
    model(torch.randn(7, 2, 3, 3) * 5 - 1)
    return model.eval()


def data(n=60, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 + 3 * torch.randn(n, 2, 3, 3, generator=generator), torch.zeros(n)


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def statistics(x):
    """Mean and unbiased variance by channel, in float64."""
    flat = x.detach().double().transpose(0, 1).flatten(1)
    return flat.mean(1), flat.var(1)


def by_hand(model, batches):
    """The averages over batches of the statistics of every layer's own input."""
    seen = {0: [], 3: [], 6: []}
    for x in batches:
        for place, layer in enumerate(model):
            if place in seen:
                seen[place].append(statistics(x))
                x = batch_norm(x, None, None, layer.weight, layer.bias, training=True)  # noqa: PLW2901
            elif not isinstance(layer, nn.Dropout):
                x = layer(x)  # noqa: PLW2901
    return {place: [torch.stack(part).mean(0) for part in zip(*each, strict=True)] for place, each in seen.items()}


def agrees(model, expected):
    for place, (mean, var) in expected.items():
        assert torch.allclose(model[place].running_mean.double(), mean, rtol=1e-4, atol=1e-5)
        assert torch.allclose(model[place].running_var.double(), var, rtol=1e-4, atol=1e-5)


def test_one_batch_gives_the_statistics_of_all_data(net):
    inputs, targets = data()
    recalibrate_batchnorm(net, (inputs, targets))
    agrees(net, by_hand(net, [inputs]))
    mean, var = statistics(inputs)
    assert torch.allclose(net[0].running_mean.double(), mean, rtol=1e-5)
    assert torch.allclose(net[0].running_var.double(), var, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, (3, 1, 2)])
def test_several_batches_count_the_same(net, seed):
    pair = data()
    recalibrate_batchnorm(net, pair, batch_size=12, seed=seed)
    agrees(net, by_hand(net, [inputs for inputs, _ in Samples(pair).all_batches(12, seed)]))
    assert torch.allclose(net[0].running_mean.double(), statistics(pair[0])[0], rtol=1e-5)


@pytest.mark.parametrize(("n", "n_samples", "batch_size", "sizes"), [
    (10, 100, 4, [4, 4]), (60, 30, 12, [12, 12]), (60, 5, 12, [5]), (9, 9, 4, [4, 4]), (7, 100, 12, [7]),
])  # fmt: skip
def test_whole_batches_are_used_up_to_n_samples(net, n, n_samples, batch_size, sizes):
    pair = data(n)
    recalibrate_batchnorm(net, pair, n_samples=n_samples, batch_size=batch_size)
    batches = [inputs for inputs, _ in Samples(pair).all_batches(min(batch_size, n_samples), 0)][: len(sizes)]
    assert [len(batch) for batch in batches] == sizes
    agrees(net, by_hand(net, batches))
    assert net[0].num_batches_tracked == len(sizes)


def test_a_loader_keeps_its_batches_and_samples_may_be_given(net):
    pair = data()
    loader = DataLoader(TensorDataset(*pair), batch_size=16)
    recalibrate_batchnorm(net, loader, n_samples=40, batch_size=5)
    agrees(net, by_hand(net, pair[0][:32].split(16)))
    recalibrate_batchnorm(net, Samples(loader), n_samples=10)
    agrees(net, by_hand(net, [pair[0][:10]]))
    uneven = [(pair[0][:8], None), (pair[0][8:24], None), (pair[0][24:31], None)]
    recalibrate_batchnorm(net, iter(uneven))
    agrees(net, by_hand(net, [pair[0][:8], pair[0][8:16]]))


def test_all_else_stays(net):
    net[0].train()
    net[2].train()
    before, modes = copied(net), [module.training for module in net.modules()]
    generator = torch.get_rng_state()
    recalibrate_batchnorm(net, data())
    after = copied(net)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    names = ("running_mean", "running_var")
    assert changed - {f"{place}.num_batches_tracked" for place in (0, 3, 6)} == {
        f"{place}.{name}" for place in (0, 3, 6) for name in names
    }
    assert [module.training for module in net.modules()] == modes
    assert [net[place].momentum for place in (0, 3, 6)] == [0.1, 0.3, None]
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    net.train()
    recalibrate_batchnorm(net, data())
    assert equal(net, after), "neither the mode before nor the old statistics matter"
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_failure_brings_the_old_statistics_back(net, error):
    calls = []

    def fail(*_):
        calls.append(net[0].momentum)
        if len(calls) == 3:
            raise error("stop")

    net[3].register_forward_hook(fail)
    net[3].train()
    before, modes = copied(net), [module.training for module in net.modules()]
    with pytest.raises(error, match="stop"):
        recalibrate_batchnorm(net, data(), batch_size=12)
    assert calls == [None] * 3
    assert equal(net, before)
    assert [module.training for module in net.modules()] == modes
    assert net[3].momentum == 0.3


def test_no_samples_and_single_values_are_refused(net):
    before = copied(net)
    refuse(lambda: recalibrate_batchnorm(net, iter([])), ValueError, "data:", "none")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        recalibrate_batchnorm(net, data(1))
    assert equal(net, before)
    for name in ("n_samples", "batch_size"):
        for wrong, error in ((0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), (None, TypeError)):
            given: dict[str, Any] = {name: wrong}
            call = partial(recalibrate_batchnorm, net, data(), **given)
            refuse(call, error, f"{name}:", repr(wrong))
    assert equal(net, before)


class Auxiliary(nn.Module):
    """A network with a second output, in train mode only."""

    def __init__(self):
        super().__init__()
        self.main, self.aux = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

    def forward(self, x):
        return (self.main(x), self.aux(x)) if self.training else self.main(x)


def test_a_layer_that_is_not_run_keeps_its_statistics():
    torch.manual_seed(0)
    model = Auxiliary()
    model(torch.randn(9, 2, 3, 3) - 1)
    before = copied(model)
    recalibrate_batchnorm(model, data())
    assert all(torch.equal(value, before[f"aux.{name}"]) for name, value in model.aux.state_dict().items())
    assert model.main.running_mean is not None
    assert torch.allclose(model.main.running_mean.double(), statistics(data()[0])[0], rtol=1e-5)


def test_without_running_statistics_the_data_is_not_read():
    def unread():
        pytest.fail("the data was read")
        yield

    for model in (nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.LayerNorm(2)):
        assert not has_batchnorm(model)
        recalibrate_batchnorm(model, unread())
    assert has_batchnorm(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2))))
