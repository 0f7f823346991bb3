"""What a model must be like before gradients, or inputs of its layers, are computed: in eval mode, on one device."""

import torch
from torch import nn


def refuse_training(model: nn.Module) -> None:
    """Raise where a module is in training mode: gradients could be random, or coupled, whatever kind it is."""
    training = [(name, module) for name, module in model.named_modules() if module.training]
    # Of all in it, a layer says more than its container.
    for name, module in sorted(training, key=lambda each: bool(next(each[1].children(), None))):
        raise ValueError(
            f"model: {name or 'the model itself'} ({type(module).__name__}) is in train mode; call model.eval() first"
        )


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are; raise where that is in several places, or nowhere."""
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) != 1:
        raise ValueError(f"model: must be on one device, got {sorted(map(str, devices)) or 'no parameters'}")
    return devices.pop()
