"""The dense part on the arrays of another namespace, beside NumPy's kernels and factorizations."""

import numpy as np
import pytest

import l0quad
from l0quad import NofM, PerColumn, SharedSupport
from l0quad.errors import Stopped
from l0quad.layers import conjugate
from l0quad.layers.arrays import Thresholds, host
from l0quad.layers.budgets import pattern
from l0quad.layers.quadratic import refit

M, D = 6, 22
BUDGETS = [0, 30, M * D, PerColumn(5), PerColumn([1, 2, 3, 0, 5, 30]), NofM(2, 4), NofM(2, 40), SharedSupport(5)]


@pytest.fixture(params=["numpy", "torch"])
def xp(request):
    return pytest.importorskip(request.param)


@pytest.mark.parametrize("fixed", [False, True], ids=["free", "must and never"])
@pytest.mark.parametrize("k", BUDGETS, ids=str)
def test_thresholds_choose_as_kernels_do(xp, k, fixed):
    must, never = np.zeros((2, M, D), dtype=bool)
    if fixed and k != 0:
        must[0, 3] = must[4, 7] = never[2, 5] = True
        never[:, 0] = True
    own = pattern(k, (M, D), must, never)
    scores = np.random.default_rng(0).random((M, D)).astype(np.float32)
    exact = scores.astype(np.float64)
    theirs = Thresholds(own, xp)
    mask = host(theirs.select(xp.asarray(scores)))
    assert mask.shape == (M, D)
    np.testing.assert_array_equal(mask, own.select(exact))
    for beta in (0.01, 1.0, 50.0):
        np.testing.assert_allclose(
            host(theirs.relaxed(xp.asarray(scores), beta)), own.relaxed(exact, beta), rtol=1e-4, atol=1e-4 * (1 + beta)
        )
    total = float(theirs.largest_sums(xp.asarray(scores)).sum())
    assert total == pytest.approx(float(own.largest_sums(exact).sum()), rel=1e-5)


@pytest.fixture
def layer():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, D)) * np.geomspace(1, 30, D) @ np.linalg.qr(rng.standard_normal((D, D)))[0]
    return l0quad.Layer(rng.standard_normal((D, M)), X=X, k=PerColumn(8), damping=0.01)


def test_conjugate_gradients_refit_as_factorizations_do(xp, layer, monkeypatch):
    quadratic = layer.quadratic
    mask = np.random.default_rng(1).random((M, D)) < 0.4
    mask[2] = False
    expected = refit(quadratic.regular, quadratic.targets, mask)
    for most in (1000, 3):  # after three, what is left is factored
        monkeypatch.setattr(conjugate, "_MOST_ITERATIONS", most)
        W = conjugate.refit(quadratic.regular, quadratic.targets, mask, xp=xp)
        assert not W[~mask].any()
        np.testing.assert_allclose(W, expected, rtol=1e-6, atol=1e-7)


def test_conjugate_gradients_can_be_stopped(layer):
    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        conjugate.refit(layer.quadratic.regular, layer.quadratic.targets, np.ones((M, D), dtype=bool), stop)


@pytest.mark.parametrize("k", [50, PerColumn(8), NofM(2, 4), SharedSupport(8)], ids=str)
def test_torch_computes_the_dense_part(k):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    layer = l0quad.Layer(rng.standard_normal((D, M)), X=rng.standard_normal((60, D)), k=k, damping=0.05)
    for method in ("admm", "auto"):
        ours, theirs = layer.solve(method), layer.solve(method, xp=torch)
        assert theirs.objective == pytest.approx(ours.objective, rel=0.05)
        assert theirs.lower_bound == pytest.approx(ours.lower_bound, rel=1e-3)
        assert layer.quadratic.pattern.allows(theirs.mask.T)
        assert theirs.check(layer).ok
