"""method="exact": proven optima against enumeration, and how it ends."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from narrowed import a
from problems import gaussian
from reference import brute_force, largest_supports
from strategies import constraints

import l0quad
from l0quad import Auto, Exact, Problem, Status, Tree, Unsuited, solve
from l0quad.bounds.bound import first_bound
from l0quad.kernels.relaxed import FREE, IN
from l0quad.run.monitor import SolveMonitor
from l0quad.solvers.exact import search as search_module
from l0quad.solvers.exact.exact import columns_that_count
from l0quad.solvers.exact.screening import screened
from l0quad.solvers.exact.search import Search

ROUNDING = 1e-11


def designed(seed, n, p, ridge, rho=0.8, noise=1.0, k=3):
    made = gaussian(n, p, k, seed=seed, rho=rho, ridge=ridge)
    return made.but(b=made.b + noise * np.random.default_rng(seed).standard_normal(n))


@st.composite
def designs(draw):
    seed, p = draw(st.integers(0, 10**6)), draw(st.integers(1, 9))
    ridge = draw(st.sampled_from([0.0, 1e-6, 1e-2, 1.0]))
    rng = np.random.default_rng(seed)
    made = designed(seed, p + int(rng.integers(1, 9)), p, ridge, rho=float(rng.choice([0.0, 0.9])), k=min(3, p))
    w0 = rng.standard_normal(p) if ridge and draw(st.booleans()) else None
    linear = rng.standard_normal(p) if ridge >= 1e-2 and draw(st.booleans()) else None
    return made.but(k=draw(constraints(p)), w0=w0, linear=linear)


@settings(max_examples=60, deadline=None)
@given(designs())
def test_optimal_as_enumeration_says(made):
    value, _ = brute_force(made.A, made.b, made.k, made.ridge, made.w0, made.linear)
    result = solve(made.problem(), "exact")
    tolerance = ROUNDING * made.size(result.w)
    assert result.status is Status.OPTIMAL
    assert result.lower_bound <= value + tolerance
    assert abs(result.objective - value) <= 1e-6 * abs(value) + tolerance
    assert result.check(made.problem()).ok


class Watched(Search):
    """A search in which no bound may cut off a support that is known to be optimal."""

    def watch(self, support, value):
        self.watched = np.zeros(self.problem.shape[1], dtype=np.bool_)
        self.watched[support] = True
        self.value = value

    def holds(self, node):
        frame, state = node.parent.frame, node.parent.state.copy()
        if node.unit >= 0:
            state[node.unit] = node.fixed
        columns = self.watched[self.names[frame.columns]]
        used = np.bincount(frame.home[columns], minlength=state.size) > 0
        outside = self.watched.sum() - columns.sum()
        return outside == 0 and bool(np.all((state == IN) | (state == FREE) | ~used))

    def _look(self, node):
        held = self.holds(node)
        assert not held or node.bound <= self.value
        super()._look(node)
        open_nodes = [entry[2] for entry in self.queue._heap] + self.queue._stack
        assert not held or self.closed <= self.value or any(map(self.holds, open_nodes))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["k", "n_of_m", "groups", "must"])
def test_no_bound_cuts_off_the_optimum(seed, kind):
    p = 12
    made = designed(seed, 16, p, 1e-3 if seed % 2 else 0.0, rho=0.95, noise=2.0)
    kinds: dict[str, Any] = {
        "k": 4,
        "n_of_m": l0quad.NofM(1, 3),
        "groups": l0quad.Groups(np.arange(p) // 2, 3),
        "must": l0quad.Cardinality(4, must=[0, 7], never=[3]),
    }
    k = kinds[kind]
    problem = Problem(made.A, made.b, k, made.ridge)
    value, w = brute_force(made.A, made.b, k, made.ridge)
    core = problem.core
    start = core.restricted(problem.constraint.select(np.zeros(p)))
    monitor = SolveMonitor(core.zero(), first_bound(core), problem.units)
    search = Watched(core, columns_that_count(core), start, monitor)
    search.watch(np.flatnonzero(w), value + ROUNDING * made.size(w))
    assert search.run(np.inf)
    assert search.best.objective == pytest.approx(value, rel=1e-6)


def test_at_a_node_limit_the_least_open_bound_is_reported():
    made = designed(1, 60, 40, 1e-3, rho=0.9, noise=8.0, k=8)
    problem = made.problem()
    whole = solve(problem, "exact")
    assert whole.status is Status.OPTIMAL
    before = -np.inf
    for limit in (8, 32, 128):
        result = solve(problem, Exact(node_limit=limit), bound="none")
        assert result.status is Status.ITERATION_LIMIT
        assert before <= result.lower_bound <= whole.objective <= result.objective * (1 + 1e-12)
        assert isinstance(result.certificate, Tree)
        assert result.certificate.n_nodes >= limit
        assert result.check(problem).ok
        before = result.lower_bound
    assert solve(problem, "exact", gap_tol=0.02).relative_gap <= 0.02


def test_raised_shares_save_nodes(monkeypatch):
    def nodes():
        results = (solve(designed(seed, 60, 40, 1e-3, rho=0.9, noise=8.0, k=8).problem(), "exact") for seed in (1, 2))
        return sum(a(l0quad.Tree, result.certificate).n_nodes for result in results if result.status is Status.OPTIMAL)

    raised = nodes()
    monkeypatch.setattr(search_module, "_FEWER", 0.0)
    assert 0 < 1.3 * raised < nodes()


def test_progress_is_that_of_a_tree():
    made = designed(1, 60, 40, 1e-3, rho=0.9, noise=8.0, k=8)
    states = []
    stopped = solve(made.problem(), "exact", callback=lambda state: states.append(state) or state.nodes >= 16)
    assert stopped.status is Status.INTERRUPTED
    assert states[-1].nodes >= 16
    assert states[-1].open_nodes > 0
    assert stopped.lower_bound >= states[-1].lower_bound > 0
    nodes = [state.nodes for state in states]
    assert nodes == sorted(nodes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "k", [3, l0quad.NofM(1, 4), l0quad.Groups(np.arange(14) // 2, 2), l0quad.Cardinality(3, must=[5])]
)
def test_screening_leaves_the_optimum(seed, k):
    """More columns than rows and a ridge: what the root excludes is not held."""
    made = designed(seed, 8, 14, 1.0, rho=0.3).but(k=k, w0=0.1 * np.random.default_rng(seed).standard_normal(14))
    value, _ = brute_force(made.A, made.b, k, made.ridge, made.w0)
    problem = made.problem()
    monitor = SolveMonitor(problem.core.zero(), first_bound(problem.core), problem.units)
    left = screened(problem.core, columns_that_count(problem.core), problem.core.zero(), monitor)
    assert left.root.value <= value * (1 + ROUNDING)
    assert left.excluded >= value * (1 - ROUNDING)
    result = solve(problem, "exact")
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(value, rel=1e-6)
    assert result.check(problem).ok


def test_few_columns_are_left_of_many():
    made = gaussian(40, 400, 3, seed=1, rho=0.1, ridge=60.0)
    problem = made.problem()
    best = solve(problem, "swap", start=solve(problem, "forward", bound="none"), bound="none")
    point = problem.core.restricted(best.support)
    monitor = SolveMonitor(problem.core.zero(), first_bound(problem.core), problem.units)
    assert screened(problem.core, np.arange(400), point, monitor).columns.size < 100
    assert solve(problem, "exact").status is Status.OPTIMAL


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_orthonormal_columns_are_proven_at_the_root(ridge):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((30, 20)))[0]
    b = rng.standard_normal(30)
    result = l0quad.minimize(Q, b, 6, ridge=ridge, method="exact")
    assert result.status is Status.OPTIMAL
    np.testing.assert_array_equal(result.support, np.sort(np.argsort(-np.abs(Q.T @ b))[:6]))


def test_columns_that_depend_on_each_other_are_branched_on():
    """More columns than rows, no ridge: proven where the columns of every support are independent."""
    rng = np.random.default_rng(2)
    A, b = rng.standard_normal((8, 10)), rng.standard_normal(8)
    result = l0quad.minimize(A, b, 3, method="exact")
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(brute_force(A, b, 3)[0], rel=1e-9)


def test_dependent_columns_that_may_be_together_prove_nothing():
    rng = np.random.default_rng(2)
    A, b = rng.standard_normal((12, 4)), rng.standard_normal(12)
    A = np.column_stack([A, A[:, 0] + A[:, 1]])
    result = l0quad.minimize(A, b, 3, method="exact")
    value, _ = brute_force(A, b, 3)
    assert result.objective == pytest.approx(value, rel=1e-9)
    assert result.lower_bound <= value * (1 + ROUNDING)


def test_a_poor_start_does_not_matter_and_the_same_comes_again():
    made = designed(5, 40, 20, 1e-2, rho=0.9, noise=4.0, k=4)
    problem = made.problem()
    one, other = (solve(problem, "exact", start=start) for start in ([0, 1, 2, 3], [16, 17, 18, 19]))
    assert one.objective == pytest.approx(other.objective, rel=1e-12)
    again = solve(problem, "exact", start=[0, 1, 2, 3])
    assert (again.lower_bound, again.n_iter) == (one.lower_bound, one.n_iter)


def test_what_cannot_be_held_is_unsuited():
    A = np.ones((2, 8193))
    with pytest.raises(Unsuited, match="at most 8192 columns, got 8193"):
        solve(Problem(A, np.ones(2), 2), "exact")


@pytest.mark.parametrize("effort", ["fast", "thorough"])
def test_the_default_proves_small_problems(effort):
    made = designed(3, 50, 25, 1e-2, rho=0.8, k=4)
    result = solve(made.problem(), Auto(effort))
    assert result.status is Status.OPTIMAL
    assert solve(made.problem(), Auto(effort), bound="none").status is not Status.OPTIMAL
    assert len(list(largest_supports(4, 25))) == 12650


def test_a_tree_of_limited_work_ends_with_the_least_open_bound():
    """What is counted grows with the rounds that nodes take, so that hard nodes do not cost more than was allowed."""
    problem = designed(0, 60, 30, 1e-6, rho=0.9, noise=3.0, k=6).problem()
    core = problem.core
    trees = []
    for most in (0.0, 2e6, np.inf):
        monitor = SolveMonitor(core.zero(), first_bound(core), problem.units)
        tree = Search(core, columns_that_count(core), core.restricted(np.arange(6)), monitor)
        assert tree.run(np.inf, most) == (most == np.inf)
        trees.append(tree)
    none, few, all_of_it = trees
    assert none.flops == 0 or none.nodes <= 2
    assert 2e6 < few.flops < all_of_it.flops
    assert none.nodes < few.nodes < all_of_it.nodes
    assert none.bound().value <= few.bound().value <= all_of_it.bound().value
