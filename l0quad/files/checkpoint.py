"""The file of a checkpoint: one .npz, read without pickle.

Beside ``support``, ``w`` and ``objective`` of the best point, in the user's units, it holds the states of
`l0quad.run.checkpoint`: their arrays, and a JSON text of all else, in which an array is called by its number.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l0quad.certificates import AllColumns, AllSupports, Bound, Dual, Separable, Tree, Trivial
from l0quad.errors import BadFile, CheckpointWarning
from l0quad.files.atomic import write_atomically
from l0quad.problem.core import Point
from l0quad.problem.counted import Refit
from l0quad.problem.problem import Problem
from l0quad.run.checkpoint import States
from l0quad.run.outcome import Outcome, State, Status

# The number of the file's layout.
_FORMAT = 1
# What a state may hold beside numbers, texts, arrays, lists and dicts.
_KINDS: dict[str, Any] = {
    each.__name__: each
    for each in (Point, Refit, Outcome, Bound, Trivial, AllColumns, AllSupports, Dual, Separable, Tree)
}


@dataclass
class CheckpointFile:
    """The file of the checkpoint of one solve.

    Attributes
    ----------
    path : Path
    settings : dict of str to str
        What tells the solve from others.
    problem : Problem
    """

    path: Path
    settings: dict[str, str]
    problem: Problem
    _failed: bool = field(default=False, init=False)

    def read(self) -> tuple[States, tuple[State, ...]]:
        """Return the states and the history in the file; nothing where there is no file.

        Raises
        ------
        BadFile
            Where it is the file of another solve, or none at all.
        """
        if not self.path.exists():
            return {}, ()
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as members:
                # All of them, so that damage anywhere is found.
                found = {name: members[name] for name in members.files}
            told = json.loads(found["states"].tobytes())
            written, settings = told["format"], told["settings"]
            arrays = [found[f"array{number}"] for number in range(told["arrays"])]
            same = written == _FORMAT and settings == self.settings
            content = _decoded(told["content"], arrays) if same else {}
        except MemoryError:
            raise
        except Exception as error:  # BadZipFile, zlib.error, KeyError, JSONDecodeError, EOFError, ...
            raise BadFile(f"checkpoint: {self.path} is damaged, or none of l0quad's: {error}") from error
        if written != _FORMAT:
            raise BadFile(f"checkpoint: {self.path} must be of format {_FORMAT}, got {written}")
        for name, value in self.settings.items():
            if settings.get(name) != value:
                other = f"{name} is {settings.get(name)} there, {value} here"
                raise BadFile(f"checkpoint: {self.path} is of another solve: {other}")
        return {tuple(place): state for place, state in content["states"]}, _history(content["history"])

    def write(self, states: States, history: Sequence[State]) -> bool:
        """Replace the file; where that fails, warn once, leave the old one as it is, and return False."""
        members: dict[str, Any] = self._members(states, history)
        try:
            write_atomically(self.path, lambda file: np.savez(file, **members))
        except OSError as error:
            if not self._failed:
                self._failed = True
                text = f"checkpoint: {self.path} cannot be written, the solve goes on without: {error}"
                warnings.warn(text, CheckpointWarning, stacklevel=2)
            return False
        return True

    def _members(self, states: States, history: Sequence[State]) -> dict[str, np.ndarray]:
        arrays: dict[int, tuple[int, np.ndarray]] = {}
        content = _encoded({"states": list(states.items()), "history": _table(history)}, arrays)
        told = {"format": _FORMAT, "settings": self.settings, "arrays": len(arrays), "content": content}
        best = min((state["run"]["best"] for state in states.values()), key=lambda each: each.objective)
        # A state follows the sweep over tall files, which is kept.
        problem = self.problem.in_memory()
        members = {
            "support": best.support,
            "w": problem.dense(best)[best.support],
            "objective": np.array(problem.units.value(problem.core, best)),
            "states": np.frombuffer(json.dumps(told).encode(), dtype=np.uint8),
        }
        return members | {f"array{number}": array for number, array in arrays.values()}


def _table(history: Sequence[State]) -> np.ndarray:
    """Return a row for each state; all that is counted is far below 2**53."""
    names = [each.name for each in fields(State)]
    return np.array([[getattr(state, name) for name in names] for state in history]).reshape(-1, len(names))


def _history(table: np.ndarray) -> tuple[State, ...]:
    kinds: list[Any] = [int if each.type is int else float for each in fields(State)]
    return tuple(State(*(kind(value) for kind, value in zip(kinds, row, strict=True))) for row in table.tolist())


def _encoded(value: Any, arrays: dict[int, tuple[int, np.ndarray]]) -> Any:
    """Return a value as JSON has it; its arrays are added to ``arrays`` by identity, each once."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return {"array": arrays.setdefault(id(value), (len(arrays), value))[0]}
    if isinstance(value, Status):
        return {"status": value.name}
    kind = type(value).__name__
    if kind in _KINDS or kind == "dict":
        members = value if kind == "dict" else _fields(value)
        return {kind: {name: _encoded(each, arrays) for name, each in members.items()}}
    return [_encoded(each, arrays) for each in value]


def _fields(value: Any) -> dict[str, Any]:
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    members: dict[str, Any] = value._asdict()
    return members


def _decoded(value: Any, arrays: list[np.ndarray]) -> Any:
    """Return what `_encoded` was given; tuples come back as lists."""
    if isinstance(value, list):
        return [_decoded(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "array":
            return arrays[content]
        case "status":
            return Status[content]
    members = {name: _decoded(each, arrays) for name, each in content.items()}
    return members if kind == "dict" else _KINDS[kind](**members)
