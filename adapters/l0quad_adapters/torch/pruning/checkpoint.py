"""The file of a long run, from which it goes on after it was stopped."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from l0quad_adapters.torch import packing
from l0quad_adapters.torch.files import PathLike, takes_files, write_atomically
from l0quad_adapters.torch.report.parts import StageReport

# The number of the file's layout.
_FORMAT = 1


@dataclass(slots=True)
class Done:
    """What finished steps leave behind, beside the model; ``more`` is the run's own, of numbers, texts and tensors."""

    metric_before: float
    stages: list[StageReport]
    l2: float
    seconds: float
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of a run, and what tells that run from others."""

    path: Path
    settings: dict[str, str]

    @classmethod
    def of(cls, path: PathLike, model: nn.Module, told: dict[str, Any]) -> "Checkpoint":
        """Return the checkpoint of a run that begins with this model and has these settings."""
        file = Path(path)
        if file.is_dir() or not takes_files(file.absolute().parent):
            raise ValueError(f"checkpoint: must be a file in a folder that can be written to, got {str(path)!r}")
        digests = repr({name: packing.digest(value) for name, value in _state(model).items()})
        settings = {"model": hashlib.sha256(digests.encode()).hexdigest()} | told
        return cls(file, {name: repr(value) for name, value in settings.items()})

    def write(self, model: nn.Module, done: Done) -> None:
        """Replace the file by the state after the steps that are done."""
        content = {
            "format": _FORMAT, "settings": self.settings, "model": _state(model), "metric_before": done.metric_before,
            "stages": [asdict(stage) for stage in done.stages], "l2": done.l2, "seconds": done.seconds,
            "more": done.more,
        }  # fmt: skip
        write_atomically(self.path, lambda file: torch.save(content, file))

    def restore(self, model: nn.Module) -> Done | None:
        """Give the model the state in the file, if there is one, and return what was done."""
        if not self.path.exists():
            return None
        with open(self.path, "rb") as file:
            try:
                content = torch.load(file, map_location="cpu", weights_only=True)
                written, there = content["format"], content["settings"]
            except MemoryError:
                raise
            except Exception as error:  # UnpicklingError, RuntimeError, OSError of a file cut short, KeyError, ...
                raise ValueError(f"checkpoint: {self.path} is no checkpoint: {error}") from error
        if written != _FORMAT:
            raise ValueError(f"checkpoint: {self.path} must be of format {_FORMAT}, got {written}")
        for name in {**self.settings, **there}:
            if there.get(name) != self.settings.get(name):
                other = f"{name} is {there.get(name)} there, {self.settings.get(name)} here"
                raise ValueError(f"checkpoint: {self.path} is of another run: {other}")
        with torch.no_grad():
            for name, value in _state(model).items():
                value.copy_(content["model"][name])
        stages = [StageReport(**stage) for stage in content["stages"]]
        return Done(content["metric_before"], stages, content["l2"], content["seconds"], content["more"])


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's parameters and buffers, also those that its state_dict leaves out."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
