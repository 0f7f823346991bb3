"""A sweep brings what the products bring one by one, from every kind of matrix, whole or in parts."""

import itertools

import numpy as np
import pytest
from matrices import KINDS, SHAPES, column_files, values

from l0quad.matrix import as_matrix
from l0quad.matrix.columns import ScaledColumns
from l0quad.matrix.sweeps import Columns, Follow, Outer, Swept, Wanted, sweep_blocks

over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def everything(A, dtype=np.float64):
    """All that can be asked for, and what NumPy says of it."""
    n, p = A.shape
    rng = np.random.default_rng(p)
    r, q = rng.standard_normal((2, n))
    few = np.sort(rng.permutation(p)[: max(1, p // 3)])
    many = np.arange(p)
    w, start = rng.standard_normal(p), rng.standard_normal(few.size)
    wanted = Wanted(
        (r, q),
        (Columns(many, w), Columns(few, w[few])),
        Follow(few, start, np.dtype(dtype)),
        (Outer(few), Outer(many), Outer(few, many[1::2])),
        few,
        True,
    )
    v = (start + A[:, few].T @ r).astype(dtype).astype(np.float64)
    expected = (
        (A.T @ r, A.T @ q),
        (A @ w, A[:, few] @ w[few]),
        v,
        A[:, few] @ v,
        (A[:, few] @ A[:, few].T, A @ A.T, A[:, few] @ A[:, few].T - A[:, 1::2] @ A[:, 1::2].T),
        A[:, few],
        (A**2).sum(axis=0),
    )
    return wanted, expected


def agree(swept, expected):
    for found, right in zip(swept, expected, strict=True):
        several = (each if isinstance(each, tuple) else (each,) for each in (found, right))
        for one, other in zip(*several, strict=True):
            assert one.dtype == np.float64
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * other.size)


@over_shapes
@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_brings_what_is_wanted(kind, shape, tmp_path):
    A = values(shape, np.float64)
    M = as_matrix(KINDS[kind](A.copy(), tmp_path))
    agree(M.swept(everything(A)[0]), everything(A)[1])
    half = np.arange(0, shape[1], 2)
    agree(M.subset(half).swept(everything(A[:, half])[0]), everything(A[:, half])[1])
    agree(M.scaled(-3).swept(everything(A / 8)[0]), everything(A / 8)[1])
    exponents = np.arange(shape[1]) % 3
    scaled = A * 2.0**exponents
    agree(ScaledColumns(M, exponents).swept(everything(scaled)[0]), everything(scaled)[1])


def marked(columns, values, p):
    """A set of columns as a mask, and values on it as a dense vector; those of other columns play no part."""
    mask, dense = np.zeros(p, dtype=np.bool_), np.full(p, np.nan)
    mask[columns] = True
    dense[columns] = values
    return mask, dense


def as_masks(wanted, p):
    mask, start = marked(wanted.follow.support, wanted.follow.start, p)
    return wanted._replace(
        weights=tuple(Columns(*marked(each.support, each.values, p)) for each in wanted.weights),
        follow=Follow(mask, start, wanted.follow.dtype),
        outers=tuple(Outer(*(marked(each, 0.0, p)[0] for each in outer[:2])) for outer in wanted.outers),
    )


@over_shapes
@pytest.mark.parametrize("kind", ["C", "C files", "F files", "sparse"])
def test_masks_bring_the_bytes_that_numbers_bring(kind, shape, tmp_path):
    A = values(shape, np.float64)
    M, p = as_matrix(KINDS[kind](A.copy(), tmp_path)), shape[1]
    wanted = everything(A)[0]
    for only in (wanted, wanted._replace(rows=(), follow=None, norms=False)):
        masks = as_masks(only, p) if only.follow else only._replace(outers=as_masks(wanted, p).outers)
        for found, right in zip(M.swept(masks), M.swept(only), strict=True):
            several = (each if isinstance(each, tuple) else (each,) for each in (found, right))
            assert all(one.tobytes() == other.tobytes() for one, other in zip(*several, strict=True))


def test_only_what_is_needed_is_read(tmp_path, monkeypatch):
    from l0quad.matrix import column_file

    # Columns 3 and 4 are read at once, column 21 by itself, where 16 columns between are too many.
    monkeypatch.setattr(column_file, "_GAP_BYTES", 16 * 17 * 8)
    A = values((17, 40), np.float64)
    M = column_files(A, "F", tmp_path, 1 << 16)
    support = np.array([3, 4, 21])
    swept = M.swept(Wanted(weights=(Columns(support, np.ones(3)),), outers=(Outer(support[:1]),)))
    np.testing.assert_allclose(swept.products[0], A[:, support].sum(axis=1), atol=1e-14)
    np.testing.assert_allclose(swept.outers[0], np.outer(A[:, 3], A[:, 3]), atol=1e-14)
    assert M.bytes_read == 3 * 17 * 8
    M.swept(Wanted(norms=True))
    assert M.bytes_read == M.nbytes + 3 * 17 * 8


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("edges", [[0, 40], [0, 1, 17, 40], [0, 20, 20, 40]])
def test_ranges_of_columns_swept_apart_are_joined(edges, masks):
    A = values((5, 40), np.float64)
    wanted, expected = everything(A)
    wanted = as_masks(wanted, 40) if masks else wanted
    parts = []
    for first, last in itertools.pairwise(edges):
        blocks = ((j, A[:, first + j : min(first + j + 7, last)]) for j in range(0, last - first, 7))
        parts.append(sweep_blocks(blocks, (5, last - first), wanted.part(first, last)))
    agree(Swept.joined(parts, wanted, (5, 40)), expected)


@pytest.mark.parametrize("apart", [False, True])
def test_sums_are_put_onto_what_is_there(apart):
    A = values((17, 40), np.float64)
    known = A[:, :20] @ A[:, :20].T
    wanted = Wanted(outers=(Outer(np.arange(10, 25), np.arange(5), known), Outer(np.arange(3))))
    blocks = [(first, A[:, first : first + 8]) for first in range(0, 40, 8)]
    if apart:
        parts = [sweep_blocks([(0, block)], block.shape, wanted.part(first, first + 8)) for first, block in blocks]
        swept = Swept.joined(parts, wanted, A.shape)
    else:
        swept = sweep_blocks(blocks, A.shape, wanted)
    assert swept.outers[0] is known
    expected = A[:, :20] @ A[:, :20].T + A[:, 10:25] @ A[:, 10:25].T - A[:, :5] @ A[:, :5].T
    np.testing.assert_allclose(known, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(known, known.T)
    np.testing.assert_allclose(swept.outers[1], A[:, :3] @ A[:, :3].T, rtol=0, atol=1e-13)


def test_weights_that_follow_are_rounded(tmp_path):
    A = values((17, 40), np.float32)
    wanted, expected = everything(A.astype(np.float64), np.float32)
    swept = as_matrix(KINDS["F files"](A, tmp_path)).swept(wanted)
    assert np.array_equal(swept.follow, swept.follow.astype(np.float32))
    np.testing.assert_allclose(swept.follow, expected[2], rtol=1e-6)
    np.testing.assert_allclose(swept.follow_product, A[:, wanted.follow.support] @ swept.follow, atol=1e-12)


def test_many_columns_go_into_an_outer_product_in_pieces(monkeypatch):
    from l0quad.matrix import sweeps

    monkeypatch.setattr(sweeps, "_GATHER_BYTES", 0)
    A = values((5, 1000), np.float64)
    swept = as_matrix(A).swept(Wanted(outers=(Outer(np.arange(1000), np.arange(0, 1000, 3)),)))
    np.testing.assert_allclose(swept.outers[0], A @ A.T - A[:, ::3] @ A[:, ::3].T, atol=1e-11)


def test_a_pause_comes_between_blocks():
    called = []
    as_matrix(values((5, 40), np.float64)).swept(Wanted(norms=True), lambda: called.append(1))
    assert called
