"""The two trained networks that pruning is measured on, with their data, from the folder L0QUAD_DATA names."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from instances import data_folder
from torch import nn


class MLPNet(nn.Module):
    """784-40-20-10, ReLU, no biases, log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 40, bias=False)
        self.fc2 = nn.Linear(40, 20, bias=False)
        self.fc3 = nn.Linear(20, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        return nn.functional.log_softmax(self.fc3(hidden), dim=-1)


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        shortcut = [nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)]
        self.downsample = nn.Sequential(*shortcut) if stride != 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.downsample(x))


class ResNet20(nn.Module):
    """ResNet20 for CIFAR: widths 16, 32, 64, three blocks each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3)))


class Network(NamedTuple):
    """A trained network with its loss and data."""

    model: nn.Module
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]

    def accuracy(self, model: nn.Module) -> float:
        """Return the test accuracy in per cent."""
        inputs, targets = self.test
        # Few at a time: what they leave behind them stays in the cache.
        with torch.no_grad():
            right = [
                int((model(x).argmax(1) == y).sum()) for x, y in zip(inputs.split(50), targets.split(50), strict=True)
            ]
        return 100 * sum(right) / len(targets)


def load(name: str) -> Network:
    """Return "MLPNet" on MNIST or "ResNet20" on JPEG CIFAR-10."""
    if name == "MLPNet":
        return Network(_trained(MLPNet(), "mlpnet.npz"), nn.functional.nll_loss, *_mnist())
    return Network(_trained(ResNet20(), "resnet20.npz"), nn.functional.cross_entropy, *_cifar())


def softened(network: Network) -> Network:
    """Return ResNet20 with targets halfway from the labels to its own predictions, and their divergence as loss.

    What is left of a network should do what that did, also where it differs from the labels. Source:
    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015.
    """
    inputs, labels = network.train
    # An image's predictions serve its mirror image too, which is as far behind it as there are images.
    images = inputs[: len(inputs) // 2]
    with torch.no_grad():
        predicted = torch.cat([network.model(x).softmax(1) for x in images.split(50)]).repeat(2, 1)
    targets = (predicted + nn.functional.one_hot(labels, predicted.shape[1])) / 2
    return network._replace(loss_fn=_divergence, train=(inputs, targets))


def _divergence(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (torch.xlogy(targets, targets) - targets * outputs.log_softmax(-1)).sum(-1).mean()


def _trained(model: nn.Module, file: str) -> nn.Module:
    stored = np.load(data_folder() / file)
    model.load_state_dict({name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files})
    return model.eval()


def _mnist() -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    stored = np.load(data_folder() / "mnist.npz")
    found = []
    for part in ("train", "test"):
        x = (stored[f"x_{part}"].reshape(-1, 784) / 255.0 - 0.1307) / 0.3081
        found.append((torch.from_numpy(x.astype(np.float32)), torch.from_numpy(stored[f"y_{part}"].astype(np.int64))))
    return tuple(found)


def _cifar() -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    from PIL import Image

    stored = np.load(data_folder() / "cifar10_jpeg.npz")
    mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2023, 0.1994, 0.2010])
    found = []
    for part in ("train", "test"):
        files, ends = stored[f"jpeg_{part}"].tobytes(), stored[f"end_{part}"].tolist()
        images = [Image.open(io.BytesIO(files[a:b])).convert("RGB") for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        x = (np.stack([np.asarray(image) for image in images]) / 255.0 - mean) / deviation
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2).astype(np.float32))
        found.append((torch.from_numpy(x), torch.from_numpy(stored[f"y_{part}"].astype(np.int64))))
    (x, y), test = found
    # Mirror images, as in every training on CIFAR.
    return (torch.cat([x, x.flip(3)]), torch.cat([y, y])), test
