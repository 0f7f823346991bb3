"""The file of a gradual run, from which it goes on after it was stopped."""

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from l0quad_adapters.torch.files import PathLike, write_atomically
from l0quad_adapters.torch.report.report import StageReport

# The number of the file's layout.
_FORMAT = 1


@dataclass(slots=True)
class Done:
    """What finished steps leave behind, beside the model."""

    metric_before: float
    stages: list[StageReport]
    l2: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of a run, and what tells that run from others."""

    path: Path
    settings: dict[str, str]

    @classmethod
    def of(cls, path: PathLike, model: nn.Module, told: dict[str, Any]) -> "Checkpoint":
        """Return the checkpoint of a run that begins with this model and has these settings."""
        file = Path(path)
        if file.is_dir() or not os.access(file.absolute().parent, os.W_OK):
            raise ValueError(f"checkpoint: must be a file in a folder that can be written to, got {str(path)!r}")
        settings = {"model": _digest(model)} | told
        return cls(file, {name: repr(value) for name, value in settings.items()})

    def write(self, model: nn.Module, done: Done) -> None:
        """Replace the file by the state after the steps that are done."""
        content = {"format": _FORMAT, "settings": self.settings, "model": model.state_dict(), **asdict(done)}
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
                raise ValueError(f"checkpoint: {self.path} is no checkpoint of gradual_prune: {error}") from error
        if written != _FORMAT:
            raise ValueError(f"checkpoint: {self.path} must be of format {_FORMAT}, got {written}")
        for name, here in self.settings.items():
            if there.get(name) != here:
                other = f"{name} is {there.get(name)} there, {here} here"
                raise ValueError(f"checkpoint: {self.path} is of another run: {other}")
        model.load_state_dict(content["model"])
        stages = [StageReport(**stage) for stage in content["stages"]]
        return Done(content["metric_before"], stages, content["l2"], content["seconds"])


def _digest(model: nn.Module) -> str:
    """Return a digest of a model's names, shapes, dtypes and values."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
