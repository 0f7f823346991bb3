"""The tests' own cache of compiled kernels: nothing stale is ever used."""

import os
import shutil
from pathlib import Path

import kernel_cache
import numba
import pytest

pytestmark = pytest.mark.no_jit


@pytest.fixture
def copied(tmp_path):
    return [Path(shutil.copy(file, tmp_path)) for file in kernel_cache.sources()]


def test_numba_uses_the_folder_of_these_sources():
    name = kernel_cache.folder_name(kernel_cache.sources(), os.environ)
    assert Path(os.environ["NUMBA_CACHE_DIR"]).name == name
    assert os.environ["NUMBA_CACHE_DIR"] == numba.config.CACHE_DIR


def test_the_name_depends_on_every_source_and_setting(copied):
    assert {"blocks.py", "jit.py", "products.py"} <= {file.name for file in copied}
    names = [kernel_cache.folder_name(kernel_cache.sources(), {})]
    assert kernel_cache.folder_name(copied, {"NUMBA_CACHE_DIR": "elsewhere", "HOME": "x"}) == names[0]
    for file in copied:
        file.write_text(file.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
        names.append(kernel_cache.folder_name(copied, {}))
    names += [kernel_cache.folder_name(copied, {"NUMBA_BOUNDSCHECK": value}) for value in "01"]
    names.append(kernel_cache.folder_name(copied, {"NUMBA_CPU_NAME": "generic"}))
    assert len(set(names)) == len(copied) + 4


def test_only_the_last_folders_are_kept(tmp_path):
    (tmp_path / "something else").mkdir()
    for age in range(9):
        kernel_cache.prepare(tmp_path, f"{kernel_cache.PREFIX}{age}")
        os.utime(tmp_path / f"{kernel_cache.PREFIX}{age}", ns=(age, age))
    again = kernel_cache.prepare(tmp_path, f"{kernel_cache.PREFIX}5")
    left = sorted(each.name for each in tmp_path.iterdir())
    assert again.name in left
    assert left == ["kernels-5", "kernels-6", "kernels-7", "kernels-8", "something else"]


@pytest.mark.parametrize("given", [None, "mine"])
def test_the_users_own_folder_is_respected(tmp_path, monkeypatch, given):
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    if given:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / given))
    for _ in range(2):  # the second time as in a worker
        kernel_cache.use(tmp_path / "default")
        assert Path(os.environ["NUMBA_CACHE_DIR"]).parent == tmp_path / (given or "default")
