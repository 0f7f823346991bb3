"""Sparse matrices at the door: corrupt ones are refused, sound ones mean what they say and are left alone."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from refusals import INF, NAN, refuse

import l0quad
from l0quad import Problem

# Sparse matrices whose parts do not fit together. SciPy would read or write outside of them.

LIKE = sp.csr_array(np.array([[1.0, 0, 2, 0], [0, 3, 0, 0], [4, 0, 5, 6]]))


def compressed(form, matrix=False, **changes):
    kind = getattr(sp, f"{form}_matrix" if matrix else f"{form}_array")
    array = kind(LIKE)
    for name, change in changes.items():
        # Set past SciPy's own properties.
        array.__dict__[name] = change(getattr(array, name).copy())
    return array


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


HUGE_INDEX = 2**31 - 1
COMPRESSED = {
    "negative index": {"indices": put(0, -1)},
    "very negative index": {"indices": put(2, -(2**31))},
    "index one too large": {"indices": put(-1, 4)},
    "huge index": {"indices": put(1, HUGE_INDEX)},
    "indptr falls": {"indptr": put(1, 5)},
    "indptr negative": {"indptr": put(1, -1)},
    "indptr starts beyond 0": {"indptr": put(0, 1)},
    "indptr starts below 0": {"indptr": put(0, -1)},
    "indptr ends beyond the data": {"indptr": put(-1, 7)},
    "indptr ends far beyond": {"indptr": put(-1, HUGE_INDEX)},
    "indptr ends below 0": {"indptr": put(-1, -1)},
    "indptr too short": {"indptr": lambda a: a[:-1]},
    "indptr too long": {"indptr": lambda a: np.append(a, a[-1])},
    "indptr empty": {"indptr": lambda a: a[:0]},
    "indptr of floats": {"indptr": lambda a: a.astype(float)},
    "indptr 2-D": {"indptr": lambda a: a[None]},
    "indptr no array": {"indptr": lambda a: a.tolist()},
    "indices of floats": {"indices": lambda a: a.astype(float)},
    "indices NaN": {"indices": lambda a: np.full(a.shape, NAN)},
    "indices too short": {"indices": lambda a: a[:3]},
    "indices 2-D": {"indices": lambda a: a[:, None]},
    "indices no array": {"indices": lambda a: a.tolist()},
    "indices objects": {"indices": lambda a: a.astype(object)},
    "data too short": {"data": lambda a: a[:3]},
    "data empty": {"data": lambda a: a[:0]},
    "data 2-D": {"data": lambda a: a[:, None]},
    "data a row": {"data": lambda a: a[None]},
    "data no array": {"data": lambda a: a.tolist()},
    "data None": {"data": lambda a: None},
}
SHAPES = {"one row": (1, 4), "one column": (3, 1), "many rows": (1000, 4), "1-D": (12,), "no rows": (0, 4)}


@pytest.mark.parametrize("matrix", [False, True], ids=["array", "matrix"])
@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_corrupt_compressed(form, kind, matrix):
    changes = COMPRESSED[kind]
    if form == "csc" and kind == "index one too large":
        changes = {"indices": put(-1, 3)}
    array = compressed(form, matrix, **changes)
    refuse(lambda: Problem(array, np.ones(3), 2), ValueError, "A: ")


def test_the_compressed_cases_are_sound_without_the_change():
    for form in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok"):
        Problem(LIKE.asformat(form), np.ones(3), 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_wrong_shape(form, shape):
    array = LIKE.copy().asformat(form)
    array._shape = SHAPES[shape]
    # Where rows are only numbered, more of them are no corruption.
    if form in ("coo", "csc") and shape == "many rows":
        Problem(array, np.ones(1000), 2)
    else:
        refuse(lambda: Problem(array, np.ones(SHAPES[shape][0]), 2), ValueError, "A: ")


COORDINATES = {
    "negative row": lambda c: c.row.__setitem__(0, -1),
    "negative column": lambda c: c.col.__setitem__(0, -1),
    "row too large": lambda c: c.row.__setitem__(0, 3),
    "column too large": lambda c: c.col.__setitem__(0, 4),
    "huge row": lambda c: c.row.__setitem__(0, HUGE_INDEX),
    "float rows": lambda c: setattr(c, "coords", (c.row + 0.5, c.col)),
    "short rows": lambda c: setattr(c, "coords", (c.row[:2], c.col)),
    "short columns": lambda c: setattr(c, "coords", (c.row, c.col[:2])),
    "2-D rows": lambda c: setattr(c, "coords", (c.row[:, None], c.col)),
    "one coordinate": lambda c: setattr(c, "coords", (c.row,)),
    "short data": lambda c: setattr(c, "data", c.data[:2]),
    "2-D data": lambda c: setattr(c, "data", c.data[:, None]),
    "no data": lambda c: setattr(c, "data", None),
}


@pytest.mark.parametrize("kind", COORDINATES)
def test_corrupt_coo(kind):
    array = sp.coo_array(LIKE)
    array.coords = tuple(each.copy() for each in array.coords)
    COORDINATES[kind](array)
    refuse(lambda: Problem(array, np.ones(3), 2), ValueError, "A: ")


def blocks():
    return sp.bsr_array(sp.bsr_array(np.ones((4, 8))), blocksize=(2, 4))


BLOCKS = {
    "negative index": lambda c: c.indices.__setitem__(0, -1),
    "index too large": lambda c: c.indices.__setitem__(0, 2),
    "index that wraps around": lambda c: c.indices.__setitem__(0, 2**30),
    "indptr falls": lambda c: c.indptr.__setitem__(1, 9),
    "indptr beyond": lambda c: c.indptr.__setitem__(-1, 9),
    "indptr starts beyond 0": lambda c: c.indptr.__setitem__(0, 1),
    "indptr short": lambda c: setattr(c, "indptr", c.indptr[:-1]),
    "indptr floats": lambda c: setattr(c, "indptr", c.indptr + 0.5),
    "indices short": lambda c: setattr(c, "indices", c.indices[:1]),
    "indices floats": lambda c: setattr(c, "indices", c.indices + 0.5),
    "data short": lambda c: setattr(c, "data", c.data[:1]),
    "data 2-D": lambda c: setattr(c, "data", c.data[0]),
    "data 1-D": lambda c: setattr(c, "data", c.data.ravel()),
    "data None": lambda c: setattr(c, "data", None),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_corrupt_bsr(kind):
    array = blocks()
    BLOCKS[kind](array)
    refuse(lambda: Problem(array, np.ones(4), 2), ValueError, "A: ")


# Each runs in a process of its own, because SciPy itself may write outside of its arrays, and then crash or hang.
DIAGONALS = {
    "short offsets": "c.offsets = c.offsets[:1]",
    "long offsets": "c.offsets = np.arange(5)",
    "very long offsets": "c.offsets = np.tile(np.arange(3), 400000)",
    "float offsets": "c.offsets = c.offsets + 0.5",
    "2-D offsets": "c.offsets = c.offsets[:, None]",
    "offsets None": "c.offsets = None",
    "data 1-D": "c.data = c.data[0]",
    "data 3-D": "c.data = c.data[None]",
    "data None": "c.data = None",
}
LISTS = {
    "negative index": "c.rows[0][0] = -1",
    "index too large": "c.rows[0][0] = 4",
    "huge index": "c.rows[0][0] = 2**31 - 1",
    "beyond any integer": "c.rows[0][0] = 2**80",
    "float index": "c.rows[0][0] = 0.5",
    "string index": "c.rows[0][0] = 'a'",
    "fewer values": "c.data[0] = c.data[0][:1]",
    "more values": "c.data[0] = c.data[0] * 100000",
    "more indices": "c.rows[0] = [0] * 100000",
    "a row less": "c.rows = c.rows[:2]",
    "a row more": "c.rows = np.append(c.rows, c.rows)",
    "data of a row less": "c.data = c.data[:2]",
    "row is no list": "c.rows[0] = 5",
    "data is no list": "c.data[0] = None",
    "rows None": "c.rows = None",
    "string value": "c.data[0][0] = 'a'",
    "fewer rows in the shape": "c._shape = (1, 4)",
    "more rows in the shape": "c._shape = (1000, 4)",
    "fewer columns in the shape": "c._shape = (3, 1)",
}
SCRIPT = """
import os, resource
import numpy as np, scipy.sparse as sp
from l0quad import Problem
for name, change in {cases!r}.items():
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (9, 9))
        c = sp.{form}_array(np.array([[1.0, 0, 2, 0], [0, 3, 0, 0], [4, 0, 5, 6]]))
        exec(change)
        try:
            Problem(c, np.ones(c._shape[0]), 2)
            print(name, "- accepted", flush=True)
        except Exception as error:
            if type(error) is not ValueError or not str(error).startswith("A: "):
                print(name, "-", repr(error), flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print(name, "- died of signal", status & 127, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("form", "cases"), [("lil", LISTS), ("dia", DIAGONALS)], ids=["lil", "dia"])
def test_corrupt_lists_and_diagonals(form, cases):
    command = [sys.executable, "-c", SCRIPT.format(form=form, cases=cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""


DICTS = {"negative": (-1, 0), "row too large": (3, 0), "column too large": (0, 4), "huge": (2**62, 0)}


@pytest.mark.parametrize("kind", DICTS)
def test_corrupt_dok(kind):
    array: Any = sp.dok_array(LIKE)
    array._dict[DICTS[kind]] = 1.0
    refuse(lambda: Problem(array, np.ones(3), 2), ValueError, "A: ")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_sparse_values(form):
    """The values of a sparse matrix are held to the same rules as those of a dense one."""
    for bad, word in ((NAN, "finite"), (INF, "finite")):
        array = LIKE.copy().asformat(form)
        array.data = array.data.copy()
        array.data.flat[0] = bad
        refuse(lambda array=array: Problem(array, np.ones(3), 2), ValueError, "A: ", word)
    refuse(lambda: Problem(LIKE.astype(complex).asformat(form), np.ones(3), 2), TypeError, "A: ", "complex128")
    refuse(lambda: Problem((LIKE.astype(np.int64) * 2**54).asformat(form), np.ones(3), 2), ValueError, "A: ", "2**53")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_sparse_is_left_alone(form):
    array = LIKE.copy().asformat(form)
    copy = array.copy()
    result = l0quad.minimize(array, np.ones(3), 2, ridge=0.1)
    assert (array != copy).nnz == 0
    assert array.format == form
    np.testing.assert_allclose(
        result.objective, reference.brute_force(LIKE.toarray(), np.ones(3), 2, 0.1)[0], rtol=1e-9
    )


def test_sparse_with_spare_room():
    """Arrays longer than what indptr speaks of are sound; what lies beyond is not looked at."""
    array = LIKE.copy()
    array.data, array.indices = np.append(array.data, NAN), np.append(array.indices, 99).astype(np.int32)
    assert Problem(array, np.ones(3), 2).objective(np.ones(4)) == reference.objective(
        LIKE.toarray(), np.ones(3), np.ones(4)
    )


def test_not_scipy_but_alike():
    refuse(lambda: Problem(SimpleNamespace(shape=(3, 4), format="csr"), np.ones(3), 2), TypeError, "A: ", "object")
