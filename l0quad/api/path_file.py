"""Results in an .npz file: numbers and words as JSON, arrays as they are; nothing that could be executed."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l0quad.api.result import Result
from l0quad.certificates import AllColumns, AllSupports, Certificate, Dual, Separable, Tree, Trivial
from l0quad.files.atomic import check_writable, write_atomically
from l0quad.run.outcome import Status

Arrays = dict[str, np.ndarray]

_FORMAT = "l0quad path 1"
_WORDS = ("objective", "lower_bound", "gap", "relative_gap", "message", "n_iter", "solve_time", "bound_time", "method")
_KINDS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "trivial": (Trivial, ()),
    "all columns": (AllColumns, ()),
    "all supports": (AllSupports, ()),
    "dual": (Dual, ("nu",)),
    "separable": (Separable, ("w", "d")),
}


def write_path(path: Path, about: dict[str, Any], results: Sequence[Result]) -> None:
    """Write results, without their histories, with what there is to say about them."""
    check_writable(path, (".npz",))
    arrays: Arrays = {}
    places: dict[int, int] = {}
    records = [
        {
            **{name: getattr(result, name) for name in _WORDS},
            "status": result.status.name,
            "certificate": _packed(result.certificate, arrays, places),
        }
        for result in results
    ]
    for i, result in enumerate(results):
        arrays[f"support_{i}"], arrays[f"w_{i}"] = result.support, result.w[result.support]
    text = json.dumps({"format": _FORMAT, **about, "results": records})
    write_atomically(path, lambda file: np.savez_compressed(file, about=np.array(text), **arrays))  # type: ignore[arg-type]


def read_path(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """Read what `write_path` has written; a ValueError where the file is something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            if about["format"] != _FORMAT:
                raise ValueError(f"is of format {about['format']!r}")
            arrays = {name: archive[name] for name in archive.files}
        p = int(about["n_columns"])
        return about, [_result(i, each, arrays, p, about["names"]) for i, each in enumerate(about["results"])]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: is not a path that was saved ({error})") from error


def _result(i: int, record: dict[str, Any], arrays: Arrays, p: int, names: list[str] | None) -> Result:
    support = arrays[f"support_{i}"].astype(np.int64)
    values = arrays[f"w_{i}"]
    w = np.zeros(p, dtype=values.dtype)
    w[support] = values
    known = {name: record[name] for name in _WORDS}
    certificate = _unpacked(record["certificate"], arrays)
    known["names"] = None if names is None else tuple(names[j] for j in support.tolist())
    return Result(w=w, support=support, certificate=certificate, status=Status[record["status"]], history=(), **known)


def _packed(certificate: Certificate, arrays: Arrays, places: dict[int, int]) -> dict[str, Any]:
    """Return a certificate in words, its arrays apart, each once."""
    if isinstance(certificate, Tree):
        root = _packed(certificate.root, arrays, places)
        numbers = {name: getattr(certificate, name) for name in ("root_bound", "lower_bound", "n_nodes")}
        return {"kind": "tree", "root": root, **numbers}
    kind, names = next((kind, names) for kind, (type_, names) in _KINDS.items() if isinstance(certificate, type_))
    packed: dict[str, Any] = {"kind": kind}
    for name in names:
        array = getattr(certificate, name)
        place = places.setdefault(id(array), len(places))
        arrays[f"certificate_{place}"] = array
        packed[name] = place
    return packed


def _unpacked(packed: dict[str, Any], arrays: Arrays) -> Certificate:
    if packed["kind"] == "tree":
        root = _unpacked(packed["root"], arrays)
        return Tree(root, packed["root_bound"], packed["lower_bound"], packed["n_nodes"])
    type_, names = _KINDS[packed["kind"]]
    certificate: Certificate = type_(*(arrays[f"certificate_{packed[name]}"] for name in names))
    return certificate
