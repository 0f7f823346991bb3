"""Two small trained networks and what the tests of prune ask of them."""

from typing import Any

import torch
from l0quad_adapters.torch import prune
from torch import nn
from torch.nn.functional import cross_entropy

SAMPLES, CLASSES = 240, 3
BOTH = ("0.weight", "3.weight")
ONE_STAGE: dict[str, Any] = {
    "n_rows": 60,
    "batch_size": 1,
    "l2": 0.01,
    "method": "backsolve",
    "stages": 1,
    "refit_stages": 0,
}


def mlp():
    return nn.Sequential(nn.Linear(8, 10), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(10, CLASSES))


def conv():
    return nn.Sequential(nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 6, 2, padding=1, bias=False), nn.BatchNorm2d(6),
                         nn.ReLU(), nn.Flatten(), nn.Linear(54, CLASSES))  # fmt: skip


def samples():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, 8, generator=generator)
    teacher = torch.randn(8, CLASSES, generator=generator)
    return inputs, (inputs**2 @ teacher + inputs @ teacher.flip(0)).argmax(dim=1)


DATA = samples()


def trained(make):
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        cross_entropy(model(DATA[0]), DATA[1]).backward()
        optimizer.step()
    model.zero_grad()
    return model.eval()


STATES = {}


def again(make):
    """The same trained net each time."""
    if make not in STATES:
        STATES[make] = trained(make).state_dict()
    model = make()
    model.load_state_dict(STATES[make])
    return model.eval()


def run(model, sparsity, *, data=DATA, loss_fn=cross_entropy, **options):
    return prune(model, loss_fn, data, sparsity, **(ONE_STAGE | options))


def loss(model, data=DATA):
    with torch.no_grad():
        return float(cross_entropy(model(data[0]), data[1]))


def accuracy(model):
    with torch.no_grad():
        return float((model(DATA[0]).argmax(dim=1) == DATA[1]).float().mean())


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, before):
    """Bit for bit, NaN included."""
    found = model.state_dict()
    return found.keys() == before.keys() and all(
        found[name].numpy().tobytes() == value.numpy().tobytes() for name, value in before.items()
    )


def nonzeros(model, name):
    return int(torch.count_nonzero(model.get_parameter(name)))


def supports(model, names=BOTH):
    return {name: (model.get_parameter(name) != 0).clone() for name in names}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)
