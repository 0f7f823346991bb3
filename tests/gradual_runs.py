"""A small network that gradual_prune runs on, to the end or stopped, for tests."""

import copy
import functools
import os
import signal
from dataclasses import replace
from typing import Any

import torch
from l0quad_adapters.torch.pruning.gradual import cosine, gradual_prune
from one_thread import one_thread
from torch import nn
from torch.nn.functional import cross_entropy

P, STEPS, EPOCHS, BATCHES = 6 * 12 + 12 * 3, 3, 2, 5
# As many epochs after each step.
SETTINGS: dict[str, Any] = {
    "steps": STEPS, "epochs": STEPS * EPOCHS, "rise": 1.0, "method": "auto", "l2": 1e-3, "n_rows": 40, "batch_size": 1,
    "train_batch_size": 32, "refit_stages": 0, "seed": 5,
}  # fmt: skip


def net():
    torch.manual_seed(0)
    layers = nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 3)
    return nn.Sequential(*layers).eval()


def data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(150, 6, generator=generator)
    return inputs, inputs[:, :3].argmax(1)


def accuracy(model):
    inputs, targets = data()
    with torch.no_grad():
        return float((model(inputs).argmax(1) == targets).float().mean())


def run(model, sparsity=0.8, samples=None, **changes):
    return gradual_prune(model, cross_entropy, samples or data(), sparsity, **(SETTINGS | changes))


def frozen(model):
    return copy.deepcopy(model.state_dict())


def same(model, state):
    found = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[name], value) for name, value in state.items())


def timeless(report):
    """What can be compared: seconds differ, and nan equals nothing."""
    return [repr(replace(stage, gradient_seconds=0.0, solve_seconds=0.0)) for stage in report.stages]


@functools.cache
def whole():
    """The model and the report of a run that nothing stops."""
    model = net()
    report = run(model, evaluate=accuracy)
    return model.state_dict(), report


class Stop(Exception):
    pass


def stopping(step, error=Stop):
    """A callback that raises after a step."""

    def callback(stage):
        if stage.stage == step:
            raise error

    return callback


def die_in_training(path, batch):
    """Run until before this batch of the training, and be killed."""
    left = iter(range(batch + 4))

    def deadly(share):
        # A checkpoint asks for the first four before the run.
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return cosine(share)

    # On as many threads as the tests, since sums depend on how they are cut.
    with one_thread():
        run(net(), checkpoint=path, evaluate=accuracy, learning_rate=deadly)
