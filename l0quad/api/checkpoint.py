"""The checkpoint of a solve: its file, and what tells the solve from others."""

import copy
import hashlib
import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from l0quad._version import __version__
from l0quad.api.result import Result
from l0quad.files.atomic import check_writable
from l0quad.files.checkpoint import CheckpointFile
from l0quad.matrix import GramMatrix, Matrix
from l0quad.problem.core import GramCore
from l0quad.problem.problem import Problem
from l0quad.run.checkpoint import Checkpoint

# Two writes of the file are at least so many seconds apart.
SECONDS = 30.0
# So many bytes of A are looked at, whole columns evenly spread; of files so many columns.
_BYTES = 1 << 28
_FILE_COLUMNS = 16


def checkpoint_of(path: Any, problem: Problem, options: Any, start: Any, seed: int) -> Checkpoint:
    """Return the checkpoint of a solve in this file, with the states that the file holds.

    Raises
    ------
    TypeError, ValueError
        Where the path is none, or cannot be written to; a `BadFile` where something else is there.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint: must be a path, got {path!r}")
    place = Path(path)
    try:
        check_writable(place, (".npz",))
    except ValueError as error:
        raise ValueError(f"checkpoint: {error}") from error
    file = CheckpointFile(place, _settings(problem, options, start, seed), problem)
    return Checkpoint(*file.read(), file.write, SECONDS)


def fresh(problem: Problem) -> Problem:
    """Return the problem with nothing computed about A, of which the last digits of an answer may depend."""
    other = copy.copy(problem)
    other.__dict__["core"] = replace(problem.core, matrix=copy.copy(problem.core.matrix))
    return other


def _settings(problem: Problem, options: Any, start: Any, seed: int) -> dict[str, str]:
    n, p = problem.shape
    core = problem.core
    return {
        "the version of l0quad": __version__,
        "A": f"{n} x {p} {problem.dtype} {_digest_of(problem.matrix)}",
        "b": _digest(core.g, core.const) if isinstance(core, GramCore) else _digest(problem.b),
        "k": f"{problem.constraint.total} columns {_digest(problem.k)}",
        "ridge": repr(problem.ridge),
        "w0": _digest(problem.w0),
        "linear": _digest(problem.linear),
        "the method": repr(options),
        "start": _digest(start.w if isinstance(start, Result) else start),
        "seed": repr(seed),
    }


def _digest_of(matrix: Matrix) -> str:
    """Return a digest of some of A's columns, in memory of all where they are few bytes."""
    n, p = matrix.shape
    most = _FILE_COLUMNS if matrix.counted else max(_FILE_COLUMNS, _BYTES // (8 * n))
    columns = np.unique(np.linspace(0, p - 1, min(p, most)).astype(np.int64))
    if isinstance(matrix, GramMatrix):
        return _digest(matrix.H[:, columns])
    return _digest(*(matrix.take(columns[piece]).T for piece in matrix.pieces(columns)))


def _digest(*values: Any) -> str:
    """Return a short digest of arrays, numbers, and objects made of them."""
    digest = hashlib.blake2b(digest_size=8)
    for value in values:
        if value is None:
            digest.update(b"none")
        elif is_dataclass(value):
            members = (getattr(value, each.name) for each in fields(value))
            digest.update(f"{type(value).__name__} {_digest(*members)}".encode())
        else:
            array = np.ascontiguousarray(value)
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(array.data)
    return digest.hexdigest()
