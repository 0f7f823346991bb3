"""A cache of compiled kernels that is missing, broken or cannot be written costs one warning and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import l0quad

# Two kernels are compiled, so that a warning for each would show.
SCRIPT = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import l0quad
    from l0quad.kernels.products import column_products, gather_columns
    A = np.arange(1.0, 41.0).reshape(4, 10) % 7
    result = l0quad.minimize(A, A[:, 3] * 2, 1, method="magnitude", start=[3], bound="none")
    out, columns = np.empty(4), np.arange(3)
    column_products(A, columns, np.ones(3), out)
    gathered = np.empty((3, 4))
    gather_columns(A, columns, gathered)
assert np.array_equal(out, A[:, :3].sum(axis=1)) and np.array_equal(gathered, A[:, :3].T)
print(l0quad.__file__)
print(result.w[3])
print([each.category.__name__ for each in caught])
"""
ONE_WARNING = "['KernelCacheWarning']"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package whose own folder can hold no cache: __pycache__ is a file, which even root cannot enter."""
    copy = tmp_path_factory.mktemp("site") / "l0quad"
    shutil.copytree(Path(l0quad.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "kernels" / "__pycache__").write_text("not a folder", encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def sound_cache(package, tmp_path_factory):
    """A cache that SCRIPT has filled."""
    cache = tmp_path_factory.mktemp("cache")
    assert solve(package, NUMBA_CACHE_DIR=str(cache)) == "[]"
    return cache


@pytest.fixture
def blocked(tmp_path):
    """A path under which nothing can be made."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    return str(tmp_path / "file" / "inside")


def solve(package, **environment):
    """Run SCRIPT with this copy and with no home; return the categories of the warnings that it saw."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    for name in ("HOME", "XDG_CACHE_HOME", "USERPROFILE", "LOCALAPPDATA"):
        env.pop(name, None)
    env |= {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=env, cwd=package.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, weight, categories = done.stdout.splitlines()
    assert Path(where).parent == package
    assert float(weight) == pytest.approx(2.0, rel=1e-12)
    return categories


def test_nowhere_to_write(package, blocked):
    everywhere = dict.fromkeys(("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), blocked)
    assert solve(package, **everywhere) == ONE_WARNING


@pytest.mark.skipif(sys.platform != "linux", reason="where a cache goes differs elsewhere")
def test_no_home_but_another_place(package, tmp_path):
    assert solve(package, XDG_CACHE_HOME=str(tmp_path)) == "[]"
    assert list(tmp_path.rglob("*.nbi"))


def test_sound_cache_is_used(package, sound_cache):
    before = {file: file.stat().st_mtime_ns for file in sound_cache.rglob("*.nb*")}
    assert before
    assert solve(package, NUMBA_CACHE_DIR=str(sound_cache)) == "[]"
    assert {file: file.stat().st_mtime_ns for file in sound_cache.rglob("*.nb*")} == before


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [("nbi", b""), ("nbi", b"\x80\x04no index"), ("nbc", b"\x80\x04no machine code"), ("nbc", "first half")],
    ids=["empty index", "garbage index", "garbage code", "half the code"],
)
def test_damaged_cache(package, sound_cache, tmp_path, suffix, damage):
    cache = tmp_path / "cache"
    shutil.copytree(sound_cache, cache)
    files = list(cache.rglob(f"*.{suffix}"))
    assert len(files) > 1
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2] if damage == "first half" else damage)
    assert solve(package, NUMBA_CACHE_DIR=str(cache)) == ONE_WARNING


def test_an_interrupt_during_compilation_comes_after_it(tmp_path):
    """numba would swallow it, or break; the second call finds the kernel compiled."""
    script = """
import signal
from numba.core.event import Listener, register
from l0quad.kernels import jit

class Interrupting(Listener):
    def on_start(self, event):
        signal.raise_signal(signal.SIGINT)
    def on_end(self, event):
        pass

signal.signal(signal.SIGINT, signal.default_int_handler)
jit._compilation()
register("numba:compile", Interrupting())

@jit.kernel
def double(x):
    return 2.0 * x

try:
    double(1.5)
except KeyboardInterrupt:
    print("interrupted")
print(double(1.5), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["interrupted", "3.0", "True"], done.stderr
