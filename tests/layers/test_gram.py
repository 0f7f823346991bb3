"""The Gram accumulator: any chunks, any dtype, files."""

import numpy as np
import pytest
from narrowed import some

import l0quad


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((101, 7))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.bool_])
def test_chunks_add_up(X, dtype):
    X = (10 * X).astype(dtype)
    first, second = l0quad.GramAccumulator(), l0quad.GramAccumulator()
    first.update(X[:30].reshape(5, 6, 7))
    second.update(X[30:31])
    second.update(X[31:])
    first.merge(second)
    exact = X.astype(np.float64).T @ X.astype(np.float64)
    np.testing.assert_allclose(some(first.H), exact, rtol=1e-12, atol=1e-10)
    assert first.count == 101


def test_merging_shares_no_array(X):
    first, second = l0quad.GramAccumulator(), l0quad.GramAccumulator()
    second.update(X)
    first.merge(second)
    first.update(X)
    np.testing.assert_allclose(some(first.H), 2 * some(second.H))


def test_files(X, tmp_path):
    accumulator, empty = l0quad.GramAccumulator(), l0quad.GramAccumulator()
    accumulator.update(X)
    for each in (accumulator, empty):
        each.save(tmp_path / "gram.npz")
        loaded = l0quad.GramAccumulator.load(tmp_path / "gram.npz")
        assert loaded.count == each.count
        assert (loaded.H is None) == (each.H is None)
    empty.merge(accumulator)
    np.testing.assert_array_equal(empty.H, accumulator.H)


def test_a_loaded_sum_goes_on(X, tmp_path):
    accumulator = l0quad.GramAccumulator()
    accumulator.update(X[:50])
    accumulator.save(tmp_path / "gram.npz")
    loaded = l0quad.GramAccumulator.load(tmp_path / "gram.npz")
    loaded.update(X[50:])
    np.testing.assert_allclose(some(loaded.H), X.T @ X, rtol=1e-12, atol=1e-12)


def test_refusals_leave_the_sum_alone(X, tmp_path):
    accumulator = l0quad.GramAccumulator()
    accumulator.update(X)
    before = some(accumulator.H).copy()
    spoiled = X.copy()
    spoiled[3, 2] = np.nan
    for chunk, words in ((spoiled, "finite"), (X[:, :5], "columns as before"), (X[0], "shape")):
        with pytest.raises(ValueError, match=words):
            accumulator.update(chunk)
    with pytest.raises(ValueError, match="npz"):
        accumulator.save(tmp_path / "gram.txt")
    (tmp_path / "bad.npz").write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.npz"):
        l0quad.GramAccumulator.load(tmp_path / "bad.npz")
    np.testing.assert_array_equal(accumulator.H, before)
