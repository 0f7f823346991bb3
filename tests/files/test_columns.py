"""open_columns: what it takes and what it refuses."""

import numpy as np
import pytest

import l0quad


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "A.npy", np.ones((4, 6), dtype=np.float32))
    return tmp_path / "A.npy"


def test_one_path_or_several(path):
    assert l0quad.open_columns(path).shape == (4, 6)
    assert l0quad.open_columns([str(path), path]).shape == (4, 12)
    assert l0quad.open_columns(path).dtype == np.float32


@pytest.mark.parametrize("memory", ["512MB", "2GB", "1.5 KB", 1000])
def test_memory(path, memory):
    assert l0quad.open_columns(path, memory).take(np.arange(6)).sum() == 24


@pytest.mark.parametrize("memory", ["", "MB", "0MB", "12QB", 0, -1, True, 1.5, None])
def test_memory_that_is_none(path, memory):
    with pytest.raises(ValueError, match="memory: must be a number of bytes or text"):
        l0quad.open_columns(path, memory)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.ones((4, 6), dtype=np.int32), "real numbers"),
        (np.ones((4, 6), dtype=complex), "real numbers"),
        (np.ones(6), "must hold a matrix"),
        (np.ones((0, 6)), "must hold a matrix"),
        (np.ones((2, 2, 2)), "must hold a matrix"),
    ],
)
def test_arrays_that_are_no_columns(tmp_path, array, reason):
    np.save(tmp_path / "B.npy", array)
    with pytest.raises(ValueError, match=rf"B.npy: .*{reason}"):
        l0quad.open_columns(tmp_path / "B.npy")


def test_files_that_do_not_go_together_or_are_not_there(path, tmp_path):
    np.save(tmp_path / "B.npy", np.ones((5, 6)))
    with pytest.raises(ValueError, match=r"the same number of rows; .*A.npy has 4, .*B.npy has 5"):
        l0quad.open_columns([path, tmp_path / "B.npy"])
    with pytest.raises(ValueError, match="must name a file or more"):
        l0quad.open_columns([])
    with pytest.raises(FileNotFoundError, match=r"C\.npy"):
        l0quad.open_columns(tmp_path / "C.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"A.npy: declares shape"):
        l0quad.open_columns(path)
