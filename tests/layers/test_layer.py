"""Whole layers: brute force for every kind of budget, claims, and what the door refuses."""

import signal

import numpy as np
import pytest
from narrowed import a, some
from rational import Exact
from small_layers import BUDGETS, D, M, brute_force, gram, least_of_support, supports, weights

import l0quad
from l0quad import NofM, PerColumn, SharedSupport
from l0quad.run.debug import BoundAboveOptimum, known_optimum
from l0quad.run.outcome import Status


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_by_brute_force(name, seed):
    H, W0, k = gram(seed=seed), weights(seed=seed + 10), BUDGETS[name]
    layer = l0quad.Layer(W0, H=H, k=k, ridge=0.01)
    optimum = brute_force(H + 0.02 * np.eye(D), W0, k)
    result = layer.solve()
    assert layer.quadratic.pattern.allows(result.mask.T)
    assert optimum * (1 - 1e-9) <= result.objective <= 1.1 * optimum
    assert 0.5 * optimum <= result.lower_bound <= optimum * (1 + 1e-12)
    assert result.check(layer).ok
    if result.column_bounds is not None:
        assert result.column_bounds.sum() == pytest.approx(result.lower_bound, rel=1e-12)
        assert np.all(result.column_bounds <= result.column_objectives)


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_the_debug_mode_watches_layers(method):
    H, W0, k = gram(), weights(), PerColumn(2)
    layer = l0quad.Layer(W0, H=H, k=k, ridge=0.01)
    optimum = brute_force(H + 0.02 * np.eye(D), W0, k) * (1 + 1e-9)
    with known_optimum(optimum):
        layer.solve(method)
    with known_optimum(lambda problem: 0.4 * optimum if problem is layer else None), pytest.raises(BoundAboveOptimum):
        layer.solve(method)


@pytest.mark.parametrize("method", ["auto", "admm", "magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("name", BUDGETS)
def test_every_method_stays_within_the_budget(method, name):
    k = BUDGETS[name]
    must, never = np.zeros((2, D, M), dtype=bool)
    must[5, 0] = True
    never[0 if isinstance(k, SharedSupport) else (0, 1), :] = True
    layer = l0quad.Layer(weights(), H=gram(), k=k, damping=0.05, must=must, never=never)
    result = layer.solve(method)
    assert layer.quadratic.pattern.allows((result.mask | must).T)
    assert not result.W[never].any()
    assert result.W[5, 0] != 0
    assert result.check(layer).ok
    assert result.lower_bound <= layer.solve("auto").objective


@pytest.mark.parametrize("k", [300, PerColumn(10), NofM(2, 4), SharedSupport(10)])
def test_no_exchange_within_a_column_is_better(k):
    d, m = 20, 30
    H, W0 = gram(d, seed=3, n=80), weights(d, m)
    Q = H + 0.02 * np.eye(d)
    result = l0quad.Layer(W0, H=H, k=k, ridge=0.01).solve()
    assert result.status is Status.SWAP_OPTIMAL
    at_most = 1 + 1e-6
    shared = isinstance(k, SharedSupport)
    for j in [0] if shared else range(m):
        S = np.flatnonzero(result.mask[:, j])
        columns = range(m) if shared else [j]
        value = sum(least_of_support(Q, W0[:, c], S) for c in columns)
        for i in S:
            for n in np.setdiff1d(np.arange(d), S):
                if isinstance(k, NofM) and i // 4 != n // 4:
                    continue
                other = np.append(np.setdiff1d(S, i), n)
                assert value <= at_most * sum(least_of_support(Q, W0[:, c], other) for c in columns)


def test_the_last_exchange_of_a_shared_support_counts(monkeypatch):
    """At the limit of exchanges the answer is the best exchange of the start, and so on."""
    from l0quad.layers import shared_swaps

    d, m, S = 12, 5, frozenset(range(4))
    H, W0 = gram(d, n=40), weights(d, m)
    layer = l0quad.Layer(W0, H=H, k=SharedSupport(4), ridge=0.01)
    for limit in (1, 2):
        others = [S - {i} | {n} for i in S for n in set(range(d)) - S]
        values = [
            sum(least_of_support(layer.quadratic.Q, W0[:, c], np.array(sorted(T))) for c in range(m)) for T in others
        ]
        S = others[int(np.argmin(values))]
        monkeypatch.setattr(shared_swaps, "_MOST_EXCHANGES", limit)
        start = np.zeros((d, m), dtype=np.bool_)
        start[:4] = True
        result = layer.solve(start=start, bound="none")
        assert set(np.flatnonzero(result.mask.any(axis=1))) == S
        assert result.objective == pytest.approx(min(values), rel=1e-9)
        assert result.status is Status.CONVERGED


@pytest.mark.parametrize("k", [PerColumn(16), 300, NofM(2, 4)])
def test_lists_of_candidates_lead_to_the_same_kind_of_answer(monkeypatch, k):
    """With a list of all inputs nothing is passed over; with a short one, little is lost."""
    from l0quad.layers import columns

    d, m = 32, 20
    layer = l0quad.Layer(weights(d, m), H=gram(d, n=100), k=k, damping=0.01)
    whole, split = layer.solve(bound="none"), layer.solve("admm", bound="none")
    monkeypatch.setattr(columns, "_LARGEST_TABLE", 0)
    for size, worse in ((d, 1 + 1e-3), (6, 1.02)):
        monkeypatch.setattr(columns, "_LIST", size)
        lists = layer.solve(bound="none")
        assert layer.quadratic.pattern.allows(lists.mask.T)
        assert lists.objective <= min(worse * whole.objective, split.objective)
        assert lists.check(layer).ok
        assert lists.status is Status.CONVERGED


def test_exchanges_that_only_rounding_likes_are_not_kept(monkeypatch):
    from l0quad.layers import columns

    layer = l0quad.Layer(weights(24, 6), H=gram(24, n=100), k=PerColumn(8), damping=0.01)
    split = layer.solve("admm", bound="none")
    assert layer.solve(bound="none").objective < split.objective
    monkeypatch.setattr(columns, "_moved", lambda Q, g, fit, C, kept: fit._replace(w=0 * fit.w))
    kept = layer.solve(bound="none")
    np.testing.assert_array_equal(kept.mask, split.mask)
    assert kept.status is Status.CONVERGED


def test_methods_in_their_order():
    """Exchanges are no worse than ADMM, a refit than none, and each than the bound."""
    d, m = 48, 40
    layer = l0quad.Layer(weights(d, m), H=gram(d, n=200), k=d * m // 3, damping=0.01)
    auto, split = layer.solve(), layer.solve("admm", bound="none")
    rules = [layer.solve(name, bound="none").objective for name in ("magnitude", "wanda", "sparsegpt")]
    assert auto.lower_bound <= auto.objective <= split.objective < min(rules)
    assert auto.relative_gap < 0.5


@pytest.mark.parametrize("method", ["auto", "admm"])
@pytest.mark.parametrize("k", [300, SharedSupport(10)])
def test_the_scale_of_the_inputs_plays_no_part(method, k):
    X, W0 = np.random.default_rng(0).standard_normal((60, 48)), weights(48, 20)
    plain = l0quad.Layer(W0, X=X, k=k, damping=0.01).solve(method)
    for exponent in (-80, 80):
        scaled = l0quad.Layer(W0, X=np.ldexp(X, exponent), k=k, damping=0.01).solve(method)
        np.testing.assert_array_equal(scaled.mask, plain.mask)
        assert scaled.relative_gap == pytest.approx(plain.relative_gap, rel=1e-6)


@pytest.mark.parametrize("k", [3, PerColumn([0, 2, 1]), SharedSupport(0)])
def test_outputs_that_keep_nothing(k, capfd):
    result = l0quad.Layer(weights() * [1e-3, 1, 1], H=gram(), k=k, damping=0.01).solve()
    assert not result.mask[:, 0].any()
    assert capfd.readouterr() == ("", "")


def test_targets_on_one_design_are_least_squares():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((50, D)), rng.standard_normal((50, M))
    layer = l0quad.Layer.from_targets(X.T @ X, X.T @ Y, 0.5 * (Y * Y).sum(axis=0), k=PerColumn(2))
    result = layer.solve()
    assert result.objective == pytest.approx(0.5 * np.sum((Y - X @ result.W) ** 2), rel=1e-10)
    assert result.relative_error == pytest.approx(np.sum((Y - X @ result.W) ** 2) / np.sum(Y**2), rel=1e-10)
    for j in range(M):
        exact = l0quad.minimize(X, Y[:, j], 2)
        assert some(result.column_bounds)[j] <= exact.objective * (1 + 1e-12)
        assert result.column_objectives[j] >= exact.objective * (1 - 1e-9)
    assert result.check(layer).ok


def test_bounds_of_targets_with_an_offset_hold_exactly():
    """Beside rational arithmetic: objectives here are a millionth of the terms that they are the difference of."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, D)) + 1000
    X[:, 0] = 1
    Y = X @ rng.standard_normal((D, M)) + rng.standard_normal((30, M)) + 1e6
    H, G, half = X.T @ X, X.T @ Y, 0.5 * (Y * Y).sum(axis=0)
    for k in (1, 3, D):
        result = l0quad.Layer.from_targets(H, G, half, k=PerColumn(k)).solve(bound="tight")
        for j in range(M):
            exact = Exact.of_gram(H, G[:, j], k, half[j], 0.0, np.zeros(D))
            least = min(
                exact.objective(np.linalg.lstsq(X * np.isin(np.arange(D), S), Y[:, j], rcond=None)[0])
                for S in supports(D, k)
            )
            assert some(result.column_bounds)[j] <= least


def test_the_callers_arrays_stay_theirs():
    H, W0 = gram(), np.asfortranarray(weights())
    layer = l0quad.Layer(W0, H=H, k=8, damping=0.01)
    before = layer.solve()
    H[:], W0[:] = 7.0, 7.0
    after = layer.solve()
    np.testing.assert_array_equal(before.W, after.W)
    assert before.check(layer).ok


def test_a_dead_input_and_a_singular_h():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4, 8))
    X[:, 2] = 0
    W0 = rng.standard_normal((8, 5))
    for k in (16, PerColumn(3), NofM(2, 4), SharedSupport(3)):
        layer = l0quad.Layer(W0, X=X, k=k)
        for method in ("auto", "sparsegpt", "admm"):
            result = layer.solve(method)
            assert not result.W[2].any()
            assert result.objective == pytest.approx(0.5 * np.sum((X @ (result.W - W0)) ** 2), rel=1e-8, abs=1e-12)
            assert result.lower_bound == 0
            assert result.check(layer).ok
    with pytest.raises(ValueError, match="leaves the range"):
        l0quad.Layer.from_targets(X[:, 3:].T @ X[:, 3:], rng.standard_normal((5, 2)), 0, k=2)


def test_targets_under_a_singular_h_prove_nothing_and_say_so():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((5, 8)), rng.standard_normal((5, 3))
    layer = l0quad.Layer.from_targets(X.T @ X, X.T @ Y, 0.5 * (Y**2).sum(axis=0), k=9)
    result = layer.solve("admm")
    assert np.isfinite([result.lower_bound, result.gap, result.relative_gap]).all()
    assert result.message.endswith("; no lower bound is proven")
    assert "no lower bound, nonzeros=" in repr(result)
    assert "e+30" not in f"{result!r} {result.message}"
    assert result.check(layer).ok


def test_everything_may_stay_and_nothing_need():
    H, W0 = gram(), weights()
    whole = l0quad.Layer(W0, H=H, k=D * M).solve()
    assert whole.status is Status.OPTIMAL
    assert whole.relative_gap <= 1e-6
    np.testing.assert_allclose(whole.W, W0, rtol=1e-9)
    for k in (0, PerColumn(0), NofM(0, 4), SharedSupport(0)):
        none = l0quad.Layer(W0, H=H, k=k).solve()
        assert none.status is Status.OPTIMAL
        assert 0 <= none.gap <= 1e-10 * none.objective
        assert none.relative_error == 1
        assert not none.mask.any()


def test_the_same_answer_for_every_number_of_threads():
    d, m = 32, 64
    layer = l0quad.Layer(weights(d, m), H=gram(d, n=100), k=d * m // 4, damping=0.01)
    one, three = layer.solve(n_threads=1), layer.solve(n_threads=3)
    np.testing.assert_array_equal(one.W, three.W)
    assert one.lower_bound == three.lower_bound


def test_single_precision_weights_stay_so():
    W0 = weights().astype(np.float32)
    layer = l0quad.Layer(W0, H=gram(), k=8, damping=0.01)
    result = layer.solve()
    assert result.W.dtype == np.float32
    assert result.check(layer).ok


def test_a_start_is_never_left_for_worse():
    d, m = 24, 10
    layer = l0quad.Layer(weights(d, m), H=gram(d, n=100), k=PerColumn(8), damping=0.01)
    rule = layer.solve("sparsegpt")
    for start in (rule, rule.W, rule.mask):
        assert layer.solve(start=start).objective <= rule.objective
    again = layer.solve()
    assert layer.solve(start=again).objective <= again.objective * (1 + 1e-12)


def test_limits_and_a_gap(ticking):
    d, m = 24, 40
    layer = l0quad.Layer(weights(d, m), H=gram(d, n=100), k=200, damping=0.01)
    ticking["tick"] = 0.0
    free = layer.solve()
    easy = layer.solve(gap_tol=0.9)
    assert easy.status is Status.CONVERGED
    assert easy.relative_gap <= 0.9
    assert easy.lower_bound <= free.objective <= easy.objective
    ticking["tick"] = 1.0
    values = []
    for limit in (0.5, 20.5, 70.5, 100.5, 130.5):
        ticking["seconds"] = 0.0
        cut = layer.solve(time_limit=limit, n_threads=1)
        values.append(cut.objective)
        assert cut.status is Status.TIME_LIMIT
        assert layer.quadratic.pattern.allows(cut.mask.T)
        assert cut.check(layer).ok
        assert cut.objective < layer.quadratic.at_zero.sum()
    # Of a round, the outputs that were done count, and no other is begun.
    assert values[1] > values[2] > values[3] > values[4] > free.objective


def test_a_callback_and_ctrl_c_return_the_best_point():
    layer = l0quad.Layer(weights(24, 40), H=gram(24, n=100), k=200, damping=0.01)
    seen = []
    stopped = layer.solve(callback=lambda state: seen.append(state) or len(seen) == 5)
    assert stopped.status is Status.INTERRUPTED
    assert len(seen) == stopped.n_iter == 5
    assert stopped.objective <= min(state.best_objective for state in seen) * (1 + 1e-12)

    def interrupt(state):
        if state.n_iter == 3:
            signal.raise_signal(signal.SIGINT)

    broken = layer.solve(callback=interrupt)
    assert broken.status is Status.INTERRUPTED
    assert layer.quadratic.pattern.allows(broken.mask.T)
    assert broken.check(layer).ok


def test_check_finds_what_is_wrong():
    import dataclasses

    layer = l0quad.Layer(weights(), H=gram(), k=8, damping=0.01)
    result = layer.solve()
    certificate = a(l0quad.Separable, result.certificate)
    for change, words in (
        ({"objective": result.objective * 1.01}, "the objective at W"),
        ({"lower_bound": result.lower_bound * 1.01}, "the certificate proves"),
        ({"mask": ~result.mask}, "mask"),
        ({"certificate": l0quad.Separable(certificate.w, 10 * certificate.d)}, "the certificate proves"),
    ):
        check = dataclasses.replace(result, **change).check(layer)
        assert not check.ok
        assert words in check.message


REFUSED = [
    ({"H": gram(), "X": np.ones((3, D))}, "exactly one of them"),
    ({}, "exactly one of them"),
    ({"H": -gram()}, "H: must be positive semidefinite"),
    ({"H": np.ones((3, 3))}, "W0: must have a row for each of 3 inputs"),
    ({"H": gram(), "ridge": 1.0, "damping": 1.0}, "only one of them"),
    ({"H": gram(), "ridge": -1.0}, "ridge: must be finite and at least 0"),
    ({"H": gram(), "must": np.ones((M, D), dtype=bool)}, "must: must be bool of shape"),
    ({"H": gram(), "must": np.eye(D, M, dtype=bool), "never": np.eye(D, M, dtype=bool)}, "also in never"),
    ({"H": gram(), "k": PerColumn([1, 2])}, "k: must be one integer"),
    ({"H": gram(), "k": NofM(2, 4, never=[1])}, "runs along the inputs"),
    ({"H": gram(), "k": -1}, "k: must be at least 0"),
    ({"gram": l0quad.GramAccumulator()}, "gram: has seen no rows"),
    ({"H": np.diag([np.nan] * D)}, "H: all values must be finite"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_the_door_refuses(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        l0quad.Layer(weights(), **({"k": 4} | arguments))


def test_solve_refuses():
    layer = l0quad.Layer(weights(), H=gram(), k=4)
    for arguments, words in (
        ({"method": "swap"}, "method"),
        ({"start": np.ones((M, D))}, "start"),
        ({"method": "wanda", "start": np.ones((D, M))}, "start"),
        ({"bound": "loose"}, "bound"),
        ({"callback": 3}, "callback"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            layer.solve(**arguments)
