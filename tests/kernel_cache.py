"""Where the compiled kernels of a test run are kept: in a folder of their own for every state of their sources.

numba compiles a kernel anew when the kernel's own file has changed, but not when a helper that it inlines from another
file has, nor when a setting such as NUMBA_BOUNDSCHECK has. Nothing here imports numba, which reads its settings once.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import llvmlite.binding

KEPT = 4
PREFIX = "kernels-"


def sources() -> list[Path]:
    """The files of l0quad.kernels, found without running them."""
    found = importlib.util.find_spec("l0quad.kernels")
    assert found is not None
    assert found.origin is not None
    return sorted(Path(found.origin).parent.rglob("*.py"))


def processor() -> list[str]:
    """What code is compiled for, unless NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say otherwise."""
    return [llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()]


def folder_name(files: list[Path], environment: Mapping[str, str]) -> str:
    """A name that changes with anything that the compiled code depends on."""
    settings = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith("NUMBA_")]
    settings = [each for each in settings if not each.startswith("NUMBA_CACHE_DIR=")]
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite", "numpy")]
    digest = hashlib.sha256("\n".join([*versions, *processor(), *settings]).encode())
    for file in files:
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return PREFIX + digest.hexdigest()[:16]


def prepare(parent: Path, name: str) -> Path:
    """Make this run's folder, the newest of its kind, and remove all but the last few."""
    chosen = parent / name
    chosen.mkdir(parents=True, exist_ok=True)
    os.utime(chosen)
    ages = {}
    for each in parent.glob(f"{PREFIX}*"):
        try:
            ages[each] = each.stat().st_mtime_ns
        except OSError:  # another run has just removed it
            continue
    for old in sorted(ages, key=lambda each: ages[each], reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return chosen


def use(default_parent: Path) -> None:
    """Set NUMBA_CACHE_DIR for this process and all that it starts: below the user's own setting where there is one."""
    name = folder_name(sources(), os.environ)
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given and Path(given).name == name:  # a worker inherits what its parent has set
        return
    os.environ["NUMBA_CACHE_DIR"] = str(prepare(Path(given) if given else default_parent, name))
