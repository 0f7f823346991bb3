"""Layers by `exact`: proven optima by brute force, limits, what it refuses."""

import itertools
import signal

import numpy as np
import pytest
from small_layers import BUDGETS, D, M, brute_force, gram, weights

import l0quad
from l0quad import PerColumn, SharedSupport
from l0quad.api.layer_exact import _division
from l0quad.errors import Stopped
from l0quad.run.outcome import Status


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("seed", range(2))
def test_exact_proves_the_optimum(name, seed):
    H, W0, k = gram(seed=seed), weights(seed=seed + 10), BUDGETS[name]
    layer = l0quad.Layer(W0, H=H, k=k, ridge=0.01)
    result = layer.solve("exact")
    optimum = brute_force(H + 0.02 * np.eye(D), W0, k)
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(optimum, rel=1e-9)
    assert result.lower_bound == pytest.approx(optimum, rel=1e-5)
    assert result.lower_bound <= optimum * (1 + 1e-12)
    assert result.check(layer).ok


@pytest.mark.parametrize("name", BUDGETS)
def test_exact_with_entries_that_stay_and_zeros_that_stay(name):
    H, W0, k = gram(), weights(), BUDGETS[name]
    must, never = np.zeros((2, D, M), dtype=bool)
    must[5, 0] = True
    never[0 if isinstance(k, SharedSupport) else (0, 1), :] = True
    if name == "each its own":
        k = PerColumn([1, 3, 2])
    layer = l0quad.Layer(W0, H=H, k=k, ridge=0.01, must=must, never=never)
    result = layer.solve("exact")
    optimum = brute_force(H + 0.02 * np.eye(D), W0, k, must, never)
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(optimum, rel=1e-9)
    assert layer.quadratic.pattern.allows((result.mask | must).T)
    assert not result.W[never].any()
    assert result.lower_bound <= optimum * (1 + 1e-12)
    assert result.check(layer).ok
    heuristic = layer.solve()
    assert heuristic.lower_bound <= optimum * (1 + 1e-12)
    assert optimum * (1 - 1e-9) <= heuristic.objective <= 1.2 * optimum


@pytest.mark.parametrize("k", [8, PerColumn(2), SharedSupport(2)], ids=str)
def test_exact_ends_at_a_limit(k, ticking):
    layer = l0quad.Layer(weights(), H=gram(), k=k, damping=0.01)
    ticking["tick"] = 0.0
    optimum, rule = layer.solve("exact").objective, layer.solve("wanda").objective
    ticking["tick"] = 1.0
    for limit in (0.5, 5.5, 20.5, 100.5):
        ticking["seconds"] = 0.0
        cut = layer.solve("exact", time_limit=limit)
        assert layer.quadratic.pattern.allows(cut.mask.T)
        assert cut.lower_bound <= optimum * (1 + 1e-12)
        assert optimum * (1 - 1e-9) <= cut.objective <= rule
        assert cut.check(layer).ok
        assert cut.status in (Status.TIME_LIMIT, Status.OPTIMAL)


@pytest.mark.parametrize("k", [8, PerColumn(2), SharedSupport(2)], ids=str)
def test_a_callback_and_ctrl_c_end_exact_with_the_best_point(k):
    layer = l0quad.Layer(weights(), H=gram(), k=k, damping=0.01)
    optimum, rule = layer.solve("exact").objective, layer.solve("wanda").objective
    for count in (1, 2, 3):
        seen = []

        def stop(state, n=count, seen=seen):
            seen.append(state)
            return len(seen) == n

        stopped = layer.solve("exact", callback=stop)
        assert stopped.status is Status.INTERRUPTED
        # What an output that is cut short has found comes last.
        assert count <= len(seen) == stopped.n_iter <= count + 1

        def interrupt(state, n=count):
            if state.n_iter == n:
                signal.raise_signal(signal.SIGINT)

        for cut in (stopped, layer.solve("exact", callback=interrupt)):
            assert cut.status is Status.INTERRUPTED
            assert layer.quadratic.pattern.allows(cut.mask.T)
            assert optimum * (1 - 1e-9) <= cut.objective <= rule
            assert cut.lower_bound <= optimum * (1 + 1e-12)
            assert cut.check(layer).ok


def test_the_division_is_the_best_and_ends_at_a_limit():
    costs, calls = np.random.default_rng(0).random((4, 4)), []

    def pause():
        calls.append(None)
        if len(calls) == 7:
            raise Stopped

    sizes, least = _division(costs, 6, pause)
    assert sizes.sum() <= 6
    assert costs[np.arange(4), sizes].sum() == pytest.approx(least)
    every = (each for each in itertools.product(range(4), repeat=4) if sum(each) <= 6)
    assert least == pytest.approx(min(costs[np.arange(4), each].sum() for each in every))
    with pytest.raises(Stopped):
        _division(costs, 6, pause)


def test_exact_refuses_what_is_too_large():
    for d, m, k in ((65, 1, PerColumn(2)), (40, 13, SharedSupport(2)), (16, 4096, 40000)):
        with pytest.raises(l0quad.Unsuited, match=r"d times m <= 512.*m times k <= 134217728"):
            l0quad.Layer(weights(d, m), H=np.eye(d), k=k).solve("exact")


def test_exact_needs_a_regular_h():
    with pytest.raises(l0quad.Unsuited, match="singular"):
        l0quad.Layer(weights(), X=np.ones((2, D)), k=PerColumn(2)).solve("exact")
