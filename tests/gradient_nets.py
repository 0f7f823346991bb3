"""Networks of every kind that gradient_matrix meets, and the rows that autograd gives for them."""

import numpy as np
import torch
from l0quad_adapters.torch import choose, gradient_matrix
from torch import nn
from torch.nn.functional import cross_entropy, linear

N = 11


class Calls(nn.Module):
    """A module whose forward pass is a function of itself and the inputs."""

    def __init__(self, call, **modules):
        super().__init__()
        self.call = call
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.call(self, x)


class Pooled(nn.Module):
    """The mean over a sequence's places."""

    def forward(self, x):
        return x.mean(dim=1)


def with_statistics(model, *shape):
    """Give batch normalisation statistics that are not those of a fresh layer."""
    model.train()
    with torch.no_grad():
        model(2 * torch.randn(16, *shape) + 1)
    return model


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)), (5,)


def conv():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 3, (2, 3), padding=(0, 2), dilation=(1, 2)), nn.ReLU(inplace=True),
        nn.Conv2d(3, 3, 1, stride=(1, 2)), nn.Dropout(0.5), nn.Flatten(), nn.Linear(18, 3),
    )  # fmt: skip
    return with_statistics(model, 2, 7, 6), (2, 7, 6)


def conv_kinds():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 3, padding="same"), nn.BatchNorm2d(2, affine=False),
        nn.Conv2d(2, 2, 2, padding=1, padding_mode="circular"), nn.Flatten(2), nn.Conv1d(2, 2, 3), nn.Flatten(),
        nn.Linear(28, 3),
    )  # fmt: skip
    return with_statistics(model, 4, 5, 5), (4, 5, 5)


def sequence():
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3), Pooled()), (6, 4)


def called_twice():
    return Calls(lambda self, x: self.out(torch.tanh(self.fc(torch.tanh(self.fc(x))))),
                 fc=nn.Linear(5, 5), out=nn.Linear(5, 3)), (5,)  # fmt: skip


def called_faintly():
    """The first call of the layer adds so little that two samples hardly show it."""
    return Calls(lambda self, x: self.fc(1e-5 * self.fc(x) + x)[:, :3], fc=nn.Linear(5, 5)), (5,)


def twice_with_small_gradients():
    """A layer called once, its weight used again elsewhere, whose gradients are small beside those of another."""
    return Calls(lambda self, x: 1e-4 * self.fc(x) + 1e-4 * linear(x, self.fc.weight) + 100 * self.out(x),
                 fc=nn.Linear(5, 3), out=nn.Linear(5, 3)), (5,)  # fmt: skip


def attention():
    return Calls(lambda self, x: self.out(self.heads(x, x, x)[0].mean(1)),
                 heads=nn.MultiheadAttention(6, 2, batch_first=True), out=nn.Linear(6, 3)), (4, 6)  # fmt: skip


def recurrent():
    return Calls(lambda self, x: self.out(self.lstm(x)[0][:, -1]),
                 lstm=nn.LSTM(4, 5, batch_first=True), out=nn.Linear(5, 3)), (6, 4)  # fmt: skip


def tied():
    model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
    model[2].weight = model[0].weight
    return model, (5,)


def tied_elsewhere():
    model, shape = tied()
    return nn.Sequential(*model[:4], nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), shape


def used_beside_its_layer():
    return Calls(lambda self, x: self.out(torch.tanh(linear(torch.tanh(self.fc(x)), self.fc.weight))),
                 fc=nn.Linear(5, 5), out=nn.Linear(5, 3)), (5,)  # fmt: skip


def never_called():
    return Calls(lambda self, x: self.fc(x), fc=nn.Linear(5, 3), spare=nn.Linear(2, 2)), (5,)


def called_by_keyword():
    return Calls(lambda self, x: self.fc(input=x), fc=nn.Linear(5, 3)), (5,)


def not_for_vmap():
    return Calls(lambda self, x: self.fc(x) * (2.0 if x.sum() > 0 else 1.0), fc=nn.Linear(5, 3)), (5,)


def coupled():
    """The samples of a chunk influence each other: alone, a sample is its own mean."""
    return Calls(lambda self, x: self.fc(x + x.mean(dim=0)), fc=nn.Linear(5, 3)), (5,)


NETS = {
    make.__name__: make
    for make in (
        mlp, conv, conv_kinds, sequence, called_twice, called_faintly, tied, tied_elsewhere, used_beside_its_layer,
        never_called, twice_with_small_gradients, attention, recurrent, called_by_keyword, not_for_vmap, coupled,
    )
}  # fmt: skip


def setting(name, dtype=torch.float32, n=N):
    """A net in eval mode, and samples of three classes."""
    torch.manual_seed(0)
    model, shape = NETS[name]()
    inputs, targets = torch.randn(n, *shape), torch.randint(3, (n,))
    return model.eval().to(dtype), inputs.to(dtype), targets


def rows_of(model, inputs, targets, loss_fn=cross_entropy, **options):
    return gradient_matrix(model, loss_fn, [(inputs, targets)], **{"n_rows": len(targets)} | options)


def by_autograd(model, loss_fn, inputs, targets, weights=None):
    """The rows, by one backward pass a sample."""
    chosen, rows = choose(model, weights), []
    for i in range(len(inputs)):
        model.zero_grad()
        loss_fn(model(inputs[i : i + 1]), targets[i : i + 1]).backward()
        grads = [model.get_parameter(name).grad for name in chosen.names]
        rows.append([torch.zeros(shape) if g is None else g for g, shape in zip(grads, chosen.shapes, strict=True)])
    model.zero_grad()
    return np.array([torch.cat([part.double().reshape(-1) for part in row]).numpy() for row in rows])


def close(found, expected, share=1e-5):
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()
