"""Reading .npy files: memory-mapped, and refused where the header and the size disagree."""

import struct

import numpy as np
import pytest
from problem_files import JOINED, RNG, B, npy_bytes, npy_header, write

from l0quad.files.problem_file import read_problem_file


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_stays_a_memory_map_and_costs_no_memory(tmp_path, order):
    big = np.asarray(RNG.standard_normal((300, 400)), order=order)
    np.save(tmp_path / "in.npy", big)
    found = read_problem_file(tmp_path / "in.npy", limit=1)
    assert isinstance(found.A, np.memmap)
    np.testing.assert_array_equal(found.A, big[:, :-1])


NPY_ERRORS = {
    "truncated": (npy_bytes(JOINED)[:-1], "declares shape .* 160 bytes, but 159 bytes follow"),
    "too long": (npy_bytes(JOINED) + b"\0", "160 bytes, but 161 bytes follow"),
    "a petabyte": (npy_header((10**8, 10**7)), "8000000000000000 bytes, but 0 bytes follow"),
    "overflowing": (npy_header((2**62, 2**62)) + b"x" * 8, "but 8 bytes follow"),
    "negative": (npy_header((-1, -1)) + b"x" * 8, "declares shape"),
    "empty": (npy_header((0, 3)), "holds no values"),
    "objects": (npy_bytes(np.array([[{}]]), allow_pickle=True), "Python objects, which are never unpickled"),
    "complex": (npy_bytes(np.ones((2, 2), complex)), "must hold real numbers .* complex128"),
    "strings": (npy_bytes(np.array([["a"]])), "must hold real numbers"),
    "records": (npy_bytes(np.zeros(2, "i4,f8")), "must hold real numbers"),
    "version 3": (npy_header((1, 1), version=(3, 0)), "format version 3.0"),
    "long header": (b"\x93NUMPY\2\0" + b"\xff\xff\xff\x7f" + b" " * 20_000, "EOF: reading array header"),
    "code": (npy_header("__import__('os').abort()"), "in.npy: "),
    "deep": (b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"(" * 9000, "in.npy: "),
    "no header": (b"", "in.npy: "),
    "text": ("1,2\n", "magic string"),
    "one dimension": (npy_bytes(B), r"two columns or more, one being b, got shape \(5,\)"),
}


@pytest.mark.parametrize(("content", "message"), NPY_ERRORS.values(), ids=NPY_ERRORS)
def test_npy_errors(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_problem_file(write(tmp_path / "in.npy", content))


def test_integers_count_as_what_they_become(tmp_path):
    np.save(tmp_path / "in.npy", np.ones((10, 10), dtype=np.int8))
    with pytest.raises(ValueError, match="needs 800 bytes of memory, the limit is 799"):
        read_problem_file(tmp_path / "in.npy", limit=799)
    assert read_problem_file(tmp_path / "in.npy", limit=800).A.shape == (10, 9)
