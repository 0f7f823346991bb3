"""Forward selection and the search over swaps: what they promise, then naive twins and brute force."""

import itertools

import numpy as np
import pytest
import reference
from local_search import KEPT, SMALL, arguments, over_kept, over_small, random_support, value
from narrowed import some
from problems import monitor_of, pruning

import l0quad.solvers.forward
import l0quad.solvers.swap
from l0quad import Auto, Forward, Problem, Status, Swap, Unsuited, solve
from l0quad.run.monitor import Limits, SolveMonitor
from l0quad.solvers.swap import descend, exact_scores, saliency, swap
from l0quad.solvers.tableau import Tableau


def is_swap_optimal(instance, found):
    """Whether no exchange and no addition, refitted, is better than a Result or a Point."""
    size = instance.size(np.zeros(instance.p))
    tolerance = 1e-6 * size if instance.A.dtype == np.float32 else 2e-9 * found.objective + 1e-11 * size
    neighbour = reference.best_neighbour(
        instance.dense, instance.b, instance.k, found.support, instance.ridge, instance.w0
    )
    return neighbour >= found.objective - tolerance


# forward


@over_small
@pytest.mark.parametrize("width", [1, 2, 5])
def test_forward_is_stepwise_refitting(name, width):
    instance = SMALL[name]
    path, support = reference.stepwise(*(*arguments(instance), width))
    result = solve(instance.problem(), Forward(width), bound="none")
    np.testing.assert_array_equal(result.support, support)
    assert [state.objective for state in result.history] == pytest.approx(path, rel=1e-9)
    assert result.objective == pytest.approx(path[-1], rel=1e-6 if result.w.dtype == np.float32 else 1e-9)


def test_a_wider_beam_is_not_worse():
    better = 0
    for name, instance in SMALL.items():
        objectives = [solve(instance.problem(), Forward(width), bound="none").objective for width in (1, 8)]
        assert objectives[1] <= objectives[0] * (1 + 1e-6), name
        better += objectives[1] < objectives[0] * (1 - 1e-3)
    assert better


@over_small
def test_a_beam_keeps_different_supports(monkeypatch, name):
    found, sizes = l0quad.solvers.forward._best_children, []
    begin = reference.closed([], SMALL[name].k).size

    def spied(beam, width):
        children = found(beam, width)
        supports = [frozenset([*state.support.tolist(), j]) for state, j, _ in children]
        assert len(set(supports)) == len(supports) <= width
        assert {len(each) for each in supports} <= {begin + len(sizes) + 1}
        sizes.append(len(supports))
        return children

    monkeypatch.setattr(l0quad.solvers.forward, "_best_children", spied)
    solve(SMALL[name].problem(), Forward(4), bound="none")
    assert max(sizes) == 4


def test_forward_adds_to_its_start():
    instance = SMALL["ridge"]
    result = solve(instance.problem(), "forward", start=[13, 2], bound="none")
    assert result.support.size == 5
    assert {13, 2} <= set(result.support.tolist())


# swap


@over_small
def test_swap_ends_swap_optimal(name):
    instance = SMALL[name]
    problem = instance.problem()
    for seed in range(6):
        start = random_support(problem, seed)
        result = solve(problem, "swap", start=start[: start.size - seed % 3], bound="none")
        assert result.status is Status.SWAP_OPTIMAL
        assert instance.allows(result.support)
        assert is_swap_optimal(instance, result)


@over_small
def test_each_swap_is_the_best_one(name):
    instance = SMALL[name]
    problem = instance.problem()
    support = random_support(problem, 1)
    result = solve(problem, Swap(max_iter=1), start=support, bound="none")
    best = min(value(instance, other) for *_, other in reference.swaps(support, instance.k, instance.p))
    assert result.objective == pytest.approx(min(best, value(instance, support)), rel=1e-6)


def test_swap_optimal_is_said_only_when_true():
    seen = set()
    for (name, instance), seed, max_iter in itertools.product(SMALL.items(), range(3), (0, 1, 2, 3, 1000)):
        problem = instance.problem()
        for options in (Swap(max_iter), Swap(max_iter, kicks=2)):
            result = solve(problem, options, start=random_support(problem, seed), seed=seed, bound="none")
            assert result.status in (Status.SWAP_OPTIMAL, Status.ITERATION_LIMIT)
            seen.add((result.status, max_iter))
            assert result.status is Status.ITERATION_LIMIT or is_swap_optimal(instance, result), (name, seed, options)
    assert {(Status.ITERATION_LIMIT, 0), (Status.ITERATION_LIMIT, 1), (Status.SWAP_OPTIMAL, 3)} <= seen


@over_small
@pytest.mark.parametrize("kicks", [0, 3])
@pytest.mark.parametrize("method", [Swap, lambda kicks: Auto()], ids=["swap", "auto"])
def test_a_stopped_search_claims_nothing(method, kicks, name):
    instance = SMALL[name]
    problem = instance.problem()
    start = random_support(problem, 2)
    for count in range(1, 8):
        states = []
        stop = lambda state, states=states, count=count: states.append(state) or len(states) == count  # noqa: E731
        result = solve(problem, method(kicks=kicks), start=start, callback=stop, bound="none")
        assert len(states) <= count
        if len(states) == count:
            assert result.status is Status.INTERRUPTED
        assert instance.allows(result.support)
        assert result.objective <= value(instance, start) * (1 + 1e-6)
    result = solve(problem, method(kicks=kicks), start=start, time_limit=0.0, bound="none")
    assert result.status is Status.TIME_LIMIT
    assert instance.allows(result.support)


def test_a_table_without_digits_proves_nothing():
    """Where no swap seems to gain anything only because the table has drifted, it is made anew."""
    instance = SMALL["ridge"]
    problem = instance.core()
    tableau = Tableau(problem, random_support(problem, 3))
    assert tableau.best_swap()[2] < -1e-3 * tableau.objective
    tableau._w *= 1 + 1e-3
    tableau.r[:] = 0.0
    assert tableau.best_swap()[0] == -1
    assert descend(tableau, 1000, monitor_of(problem)) is Status.CONVERGED
    assert is_swap_optimal(instance, tableau.point())


class Ticking(SolveMonitor):
    """Its time is counted in questions."""

    def seconds(self):
        self.ticks = getattr(self, "ticks", 0) + 1
        return float(self.ticks)


@pytest.mark.parametrize("name", ["ridge", "n_of_m"])
def test_a_claim_made_while_the_time_runs_out_is_true(name):
    instance = SMALL[name]
    problem = instance.core()
    start = problem.restricted(random_support(problem, 2))
    statuses = set()
    for limit in range(1, 40):
        monitor = monitor_of(problem, Ticking, limits=Limits(float(limit)))
        point, status, _ = swap(problem, start, Swap(kicks=3), monitor)
        statuses.add(status)
        assert point.objective <= start.objective * (1 + 1e-12)
        if status is Status.SWAP_OPTIMAL:
            assert is_swap_optimal(instance, point)
    assert statuses == {Status.CONVERGED, Status.SWAP_OPTIMAL}


def test_kicks():
    better, different = 0, 0
    for name, instance in SMALL.items():
        problem = instance.problem()
        start = random_support(problem, 1)
        plain = solve(problem, "swap", start=start, bound="none")
        histories = set()
        for seed in range(4):
            kicked, again = (solve(problem, Swap(kicks=4), start=start, seed=seed, bound="none") for _ in range(2))
            assert kicked.w.tobytes() == again.w.tobytes()
            assert [s.objective for s in kicked.history] == [s.objective for s in again.history]
            assert kicked.objective <= plain.objective * (1 + 1e-9), name
            assert instance.allows(kicked.support)
            better += kicked.objective < plain.objective * (1 - 1e-6)
            histories.add(tuple(state.objective for state in kicked.history))
        different += len(histories) > 1
    assert better
    assert different


def test_noiseless_data_ends_soon():
    """At an objective of rounding errors every swap seems to gain something."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 40))
    truth = rng.choice(40, 5, replace=False)
    b = A[:, truth].sum(axis=1)
    for ridge in (0.0, 1e-12):
        result = solve(Problem(A, b, 5, ridge), Swap(kicks=3), start=[0, 1, 2, 3, 4], bound="none")
        np.testing.assert_array_equal(result.support, np.sort(truth))
        assert result.success
        assert result.n_iter < 50


@pytest.mark.parametrize("ridge", [0.1, 1e-3, 1e-4, 1e-6])
@pytest.mark.parametrize(
    ("options", "seeds"), [(Swap(), 6), (Swap(kicks=20), 6), (Auto(), 3), (Auto("thorough"), 1)], ids=str
)
def test_a_small_ridge_and_more_kept_columns_than_rows(options, seeds, ridge):
    """H_SS is nearly singular: what rank-one updates lose must not be taken for a gain."""
    for seed in range(seeds):
        instance = pruning(15, 80, 30, seed=seed, ridge=ridge)
        problem = instance.problem()
        start = random_support(problem, seed)
        result = solve(problem, options, start=start, bound="none")
        assert result.objective <= value(instance, start)
        assert result.support.size == 30
        if isinstance(options, Swap):
            assert result.objective <= solve(problem, Swap(), start=start, bound="none").objective * (1 + 1e-6)
        if seed < 2 and result.status is Status.SWAP_OPTIMAL:
            A, b, k, *_ = arguments(instance)
            neighbour = reference.best_neighbour(A, b, k, result.support, ridge, instance.w0)
            assert neighbour >= result.objective * (1 - 1e-6)


# scores and batches


@over_kept
def test_exact_scores_are_what_a_refit_changes(name):
    instance = KEPT[name]
    problem = instance.core()
    for share in (1.0, 0.2):
        support = random_support(problem, 1)
        support = support[:: round(1 / share)]
        point = problem.restricted(support)
        before, scores = value(instance, support), some(exact_scores(problem, point))
        after = [
            value(instance, np.setdiff1d(support, j) if j in support else np.append(support, j))
            for j in range(instance.p)
        ]
        np.testing.assert_allclose(scores, np.abs(np.array(after) - before), rtol=1e-6, atol=1e-10 * before)
        np.testing.assert_allclose(some(saliency(problem, point)), scores[support], rtol=1e-9)


@over_kept
def test_batches_are_feasible_and_not_worse(monkeypatch, name):
    monkeypatch.setattr(l0quad.solvers.swap, "_TABLE_ENTRIES", 0)
    instance = KEPT[name]
    problem = instance.problem()
    better = 0
    for seed, max_iter in itertools.product(range(5), (0, 1, 1000)):
        support = random_support(problem, seed)
        result = solve(problem, Swap(max_iter), start=support, bound="none")
        assert result.status in (Status.CONVERGED, Status.ITERATION_LIMIT)
        assert instance.allows(result.support)
        assert result.objective <= value(instance, support) * (1 + 1e-6)
        objectives = [state.objective for state in result.history]
        assert objectives == sorted(objectives, reverse=True)
        assert len(objectives) <= max_iter + 1
        better += result.objective < 0.9 * value(instance, support)
        if max_iter == 1000:
            assert result.objective < 0.9 * value(instance, support)
    assert better >= 5


def test_batches_without_ridge_are_refused(monkeypatch):
    monkeypatch.setattr(l0quad.solvers.swap, "_TABLE_ENTRIES", 0)
    instance = KEPT["plain"].but(ridge=0.0)
    with pytest.raises(Unsuited, match="'swap' needs a ridge"):
        solve(instance.problem(), "swap", bound="none")
