"""What every method promises on every problem."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from narrowed import a
from problems import PROBLEMS, Instance, gaussian, memory_mapped, suited
from reference import brute_force, swaps

import l0quad
from l0quad import METHODS, BlockBacksolve, Result, Status, Unsuited, solve
from l0quad.linalg import pieces
from l0quad.problem import core

# These cover every kernel and run in seconds without compilation.
NO_JIT = {"gaussian", "float32", "float32_fortran", "csr", "n_of_m", "pruning", "repeated_columns", "k_zero", "A_zero"}
GLOBAL = [name for name, method in METHODS.items() if method.needs.final_solve]
TIE_FREE = ["gaussian", "no_ridge", "correlated", "tall", "wide", "pruning"]
EQUIVARIANT = ["auto", "magnitude", "iht", "active_set", "backsolve"]


def over(methods=METHODS, names=PROBLEMS):
    """Run over the pairs of methods and problems that go together."""
    pairs = [
        pytest.param(method, name, marks=[pytest.mark.no_jit] if name in NO_JIT else [])
        for name in names
        for method in methods
        if suited(method, PROBLEMS[name])
    ]
    return pytest.mark.parametrize(("method", "name"), pairs)


def bound_for(name: str) -> str:
    return "tight" if name in TIE_FREE else "fast"


@functools.cache
def solved(method: str, name: str) -> Result:
    return solve(PROBLEMS[name].problem(), method, bound=bound_for(name))


@functools.cache
def optimum(name: str) -> tuple[float, float]:
    """The optimum by brute force, and what rounding may take it for."""
    instance = PROBLEMS[name]
    value, w = brute_force(instance.dense, instance.b, instance.k, instance.ridge, instance.w0, instance.linear)
    return value, 1e-13 * instance.size(w)


@over()
def test_promises(method, name):
    """The answer is feasible and consistent, its claims are true to their words, and it can be had again."""
    instance, result = PROBLEMS[name], solved(method, name)
    is_consistent(instance, result)
    is_well_reported(instance, result, method)
    if instance.p <= 12 and not instance.gram:
        lies_on_the_right_side_of_the_optimum(name, result)
    is_swap_optimal_where_it_says_so(instance, result)
    if method in GLOBAL:
        is_stationary(instance, result)
    comes_again(instance, result, method, name)


def is_consistent(instance, result):
    w = result.w
    assert w.shape == (instance.p,)
    assert w.dtype == (np.float32 if instance.A.dtype == np.float32 and not instance.gram else np.float64)
    assert np.all(np.isfinite(w))
    assert result.support.dtype == np.int64
    np.testing.assert_array_equal(result.support, np.flatnonzero(w))
    assert instance.allows(result.support)
    assert abs(result.objective - instance.objective(w)) <= 1e-10 * instance.size(w)
    assert result.objective == pytest.approx(instance.problem().objective(w), rel=1e-12, abs=1e-12 * instance.size(w))


def is_well_reported(instance, result, method):
    assert -math.inf < result.lower_bound <= result.objective
    assert result.gap == result.objective - result.lower_bound
    tiny = np.finfo(np.float64).tiny
    share = result.gap / max(abs(result.objective), tiny)
    share = min(share, 1e-6) if result.status is Status.OPTIMAL else share
    assert result.relative_gap == pytest.approx(share, rel=1e-12)
    assert result.status in (Status.OPTIMAL, Status.SWAP_OPTIMAL, Status.CONVERGED, Status.ITERATION_LIMIT)
    assert result.success == (result.status is not Status.ITERATION_LIMIT)
    assert result.message.startswith(result.status.value)
    assert result.method == method
    assert result.n_iter == len(result.history)
    assert [state.n_iter for state in result.history] == list(range(1, result.n_iter + 1))
    assert result.n_iter > 0 or result.support.size == 0
    tolerance = 1e-6 * instance.size(result.w)
    if method in GLOBAL and result.history:
        assert result.objective <= result.history[-1].best_objective + tolerance
    best = [state.best_objective for state in result.history]
    assert best == sorted(best, reverse=True)
    lower = [state.lower_bound for state in result.history]
    assert lower == sorted(lower)
    assert not lower or lower[-1] <= result.lower_bound + tolerance
    seconds = [0.0, *(state.seconds for state in result.history), result.solve_time]
    assert seconds == sorted(seconds)
    assert 0 <= result.bound_time <= result.solve_time


def lies_on_the_right_side_of_the_optimum(name, result):
    """The bound is a bound, the point is no better than the optimum, and "optimal" is true (to 1e-6)."""
    value, rounding = optimum(name)
    assert result.lower_bound <= value + rounding
    assert result.objective >= value - rounding
    if result.status is Status.OPTIMAL:
        assert result.objective - value <= 1.01e-6 * abs(result.objective) + rounding


def is_swap_optimal_where_it_says_so(instance, result):
    if result.status is Status.SWAP_OPTIMAL:
        others = (
            instance.objective(instance.refit(other)) for *_, other in swaps(result.support, instance.k, instance.p)
        )
        assert min(others, default=np.inf) >= result.objective - 1e-8 * instance.size(result.w)


def is_stationary(instance, result):
    w, S = np.asarray(result.w, dtype=np.float64), result.support
    eps = np.finfo(result.w.dtype).eps
    terms = np.abs(instance.dense) @ np.abs(w) + np.abs(instance.b)
    size = np.abs(instance.dense).T @ terms + 2 * instance.ridge * np.abs(w - instance.centre) + np.abs(instance.cost)
    assert np.all(np.abs(instance.gradient(w)[S]) <= 1e3 * eps * size[S])


def comes_again(instance, result, method, name):
    """The same bytes from the same input, which is untouched, and a check that finds nothing."""
    before, problem = contents(instance), instance.problem()
    again = solve(problem, method, bound=bound_for(name))
    assert contents(instance) == before
    assert again.w.tobytes() == result.w.tobytes()
    assert (again.objective, again.lower_bound) == (result.objective, result.lower_bound)
    assert (again.status, again.message, again.n_iter) == (result.status, result.message, result.n_iter)
    check = result.check(problem)
    assert check.ok, check.message


def contents(instance: Instance) -> list[bytes]:
    A = instance.A
    parts = [getattr(A, part) for part in ("data", "indices", "indptr", "row", "col") if hasattr(A, part)]
    arrays = parts if sp.issparse(A) else [A]
    arrays += [each for each in (instance.b, instance.w0, instance.linear) if each is not None]
    return [np.asarray(each).tobytes() for each in arrays]


@pytest.mark.parametrize("name", PROBLEMS)
def test_unsuited_methods_say_so(name):
    """And name what they need and methods that can, before any work."""
    problem = PROBLEMS[name].problem()
    for method, each in METHODS.items():
        lacking = each.needs.lacking(problem.core)
        if lacking is not None:
            with pytest.raises(Unsuited, match=f"'{method}' needs {lacking}; .*'auto'"):
                solve(problem, method, callback=lambda _: pytest.fail("work was done"))


ALTERED = {
    "objective": lambda result: result.objective * (1 - 1e-9),
    "lower_bound": lambda result: result.lower_bound + 1e-9 * result.gap,
    "gap": lambda result: result.gap * (1 - 1e-12),
    "relative_gap": lambda result: result.relative_gap * 0.5,
    "w": lambda result: result.w[::-1].copy(),
    "support": lambda result: result.support[1:],
    "certificate": lambda result: l0quad.Dual(np.full(20, 3.0)),
    "a large diagonal": lambda result: l0quad.Separable(result.certificate.w, 2 * result.certificate.d),
    "a point elsewhere": lambda result: l0quad.Separable(result.certificate.w + 1, result.certificate.d),
    "status": lambda result: Status.OPTIMAL,
}


@pytest.mark.parametrize("field", ALTERED)
def test_an_altered_result_is_not_ok(field):
    rng = np.random.default_rng(5)
    A = rng.standard_normal((20, 12)) + rng.standard_normal((20, 1))
    instance = Instance(A, rng.standard_normal(20), 4, 0.1)
    problem = instance.problem()
    result = solve(problem, "swap")
    assert result.relative_gap > 1e-3
    assert isinstance(result.certificate, l0quad.Separable)
    assert result.check(problem).ok
    altered = replace(
        result,
        **{
            field
            if field in ("objective", "lower_bound", "gap", "relative_gap", "w", "support", "status")
            else "certificate": ALTERED[field](result)
        },
    )
    assert not altered.check(problem).ok
    if field in ("objective", "lower_bound"):
        # Nor where all that follows from it is altered too.
        gap = altered.objective - altered.lower_bound
        assert not replace(altered, gap=gap, relative_gap=gap / altered.objective).check(problem).ok
    if field == "status":
        assert not replace(altered, relative_gap=1e-6).check(problem).ok
    assert not result.check(instance.but(k=3).problem()).ok


def test_an_altered_tree_is_not_ok():
    """Its root is computed anew, and nothing above what the tree has proven may be claimed."""
    instance = gaussian(20, 12, 4, seed=4, rho=0.9, ridge=0.01)
    problem = instance.problem()
    result = solve(problem, "exact")
    tree = result.certificate
    assert isinstance(tree, l0quad.Tree)
    root = a(l0quad.Separable, tree.root)
    check = result.check(problem)
    assert check.ok
    assert f"the root of its tree of {tree.n_nodes} nodes" in check.message
    for certificate in (
        replace(tree, root_bound=tree.root_bound + 1e-6 * abs(tree.root_bound)),
        replace(tree, root=l0quad.Separable(root.w, 2 * root.d)),
        replace(tree, lower_bound=tree.lower_bound - 1e-9 * abs(tree.lower_bound)),
    ):
        assert not replace(result, certificate=certificate).check(problem).ok
    assert not result.check(instance.but(b=0.5 * instance.b).problem()).ok


def test_forged_claims_about_a_small_objective():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 5))
    problem = l0quad.Problem(A, A[:, :3] @ np.ones(3) + 1e-5 * rng.standard_normal(20), 3)
    result = solve(problem, bound="none")
    assert result.check(problem).ok
    proven = replace(result, lower_bound=result.objective, gap=0.0, relative_gap=0.0, status=Status.OPTIMAL)
    assert not proven.check(problem).ok
    exact = replace(proven, objective=0.0, lower_bound=0.0)
    assert not exact.check(problem).ok


def test_a_check_on_another_problem_answers():
    for name, kind in (("gaussian", l0quad.Separable), ("wide", l0quad.Dual)):
        instance = PROBLEMS[name]
        result = solve(instance.problem(), "swap", bound="tight")
        assert isinstance(result.certificate, kind)
        for other in (instance.but(ridge=0.0), instance.but(A=instance.A[:9], b=instance.b[:9])):
            check = result.check(other.problem())
            assert not check.ok
            assert name != "wide" or "dual point, but of another problem" in check.message
    with pytest.raises(ValueError, match="problem: must have 25 columns, as w has, got 12"):
        result.check(PROBLEMS["gaussian"].problem())


@over(GLOBAL)
def test_not_worse_than_the_refit_of_its_start(method, name):
    instance = PROBLEMS[name]
    problem = instance.problem()
    start = problem.constraint.select(np.random.default_rng(4).random(instance.p))
    result = solve(problem, method, start=start, bound="none")
    refitted = instance.refit(start)
    tolerance = 1e-6 * np.finfo(result.w.dtype).eps ** 0.5
    assert result.objective <= instance.objective(refitted) + tolerance * instance.size(refitted)


@pytest.mark.parametrize("name", PROBLEMS)
def test_block_backsolve_minimises_its_model(name):
    instance = PROBLEMS[name]
    problem = instance.problem()
    support = problem.constraint.select(np.random.default_rng(4).random(instance.p))
    centre = instance.centre
    if instance.ridge:
        centre = centre - instance.cost / (2 * instance.ridge)
    for block_size in (1, 5, 500):
        w = solve(problem, BlockBacksolve(block_size), start=support, bound="none").w.astype(np.float64)
        block = np.arange(instance.p) // block_size
        H = np.where(block[:, None] == block, instance.dense.T @ instance.dense, 0.0)
        H += 2 * instance.ridge * np.eye(instance.p)
        gradient = instance.gradient(centre) + H @ (w - centre)
        size = np.abs(instance.gradient(centre)) + np.abs(H) @ (np.abs(w) + np.abs(centre)) + 1e-300
        tolerance = 1e-4 if problem.dtype == np.float32 else 1e-9
        assert np.all(np.abs(gradient[support]) <= tolerance * size[support]), block_size
        assert np.all(np.isin(np.flatnonzero(w), support)), block_size


@over(names=[*TIE_FREE, "linear_w0", "n_of_m"])
def test_layouts_agree(method, name):
    instance = PROBLEMS[name]
    expected = solved(method, name)
    for convert in (
        np.asfortranarray,
        sp.csc_array,
        sp.csr_array,
        memory_mapped,
        lambda A: np.flip(A).copy()[::-1, ::-1],
    ):
        agrees(instance, solve(instance.but(A=convert(instance.A)).problem(), method), expected)
    if instance.linear is None and method != "block_backsolve":
        # The Gram matrix squares the condition.
        agrees(instance, solve(instance.but(gram=True).problem(), method), expected)


def agrees(instance, result, expected):
    assert result.objective == pytest.approx(expected.objective, rel=1e-6, abs=1e-9 * instance.size(expected.w))
    np.testing.assert_array_equal(result.support, expected.support)


@over(names=TIE_FREE)
def test_float32_is_near_float64(method, name):
    instance = PROBLEMS[name].but(A=PROBLEMS[name].A.astype(np.float32))
    narrow = solve(instance.problem(), method, bound="tight")
    wide = solve(instance.but(A=instance.dense).problem(), method, bound="tight")
    tolerance = 1e-5 * instance.size(wide.w)
    assert narrow.objective == pytest.approx(wide.objective, abs=tolerance)
    assert narrow.lower_bound == pytest.approx(wide.lower_bound, abs=tolerance)
    np.testing.assert_array_equal(narrow.support, wide.support)


@pytest.mark.parametrize("name", TIE_FREE)
@pytest.mark.parametrize("method", EQUIVARIANT)
def test_column_order_and_signs_do_not_matter(method, name):
    instance, expected = PROBLEMS[name], solved(method, name)
    rng = np.random.default_rng(6)
    order, signs = rng.permutation(instance.p), rng.choice([-1.0, 1.0], instance.p)
    w0 = None if instance.w0 is None else (signs * instance.w0)[order]
    result = solve(instance.but(A=(instance.A * signs)[:, order], w0=w0).problem(), method)
    back = np.empty(instance.p)
    back[order] = result.w
    np.testing.assert_allclose(signs * back, expected.w, rtol=1e-6, atol=1e-9)
    flipped = instance.but(b=-instance.b, w0=None if instance.w0 is None else -instance.w0)
    np.testing.assert_allclose(-solve(flipped.problem(), method).w, expected.w, rtol=1e-9, atol=1e-12)


@over(names=["gaussian", "pruning", "per_block", "float32"])
def test_every_kind_of_start(method, name):
    instance = PROBLEMS[name]
    problem = instance.problem()
    support = problem.constraint.select(np.random.default_rng(9).random(instance.p))
    mask = np.zeros(instance.p, dtype=bool)
    mask[support] = True
    by_support = solve(problem, method, start=support[::-1])
    assert solve(problem, method, start=mask).w.tobytes() == by_support.w.tobytes()
    assert solve(problem, method, start=list(map(int, support))).w.tobytes() == by_support.w.tobytes()
    point = instance.refit(support)
    by_point = solve(problem, method, start=point)
    if method in GLOBAL:
        assert by_point.objective <= instance.objective(point) + 1e-9 * instance.size(point)
        assert solve(problem, method, start=by_point).objective <= by_point.objective + 1e-9 * instance.size(point)
    by_result = solve(problem, method, start=by_point)
    assert by_result.w.tobytes() == solve(problem, method, start=by_point.w).w.tobytes()
    crowded = solve(problem, method, start=np.linspace(1, 2, instance.p))
    assert instance.allows(crowded.support)


@over(names=["no_ridge", "correlated", "wide", "float32", "csc"])
def test_thread_counts_agree(method, name):
    problem, expected = PROBLEMS[name].problem(), solved(method, name)
    for n_threads in (1, 2):
        result = solve(problem, method, n_threads=n_threads)
        np.testing.assert_array_equal(result.support, expected.support)
        assert result.objective == pytest.approx(expected.objective, rel=1e-9)


@over(names=["gaussian", "n_of_m", "pruning", "linear_w0", "groups"])
def test_supports_are_sorted_and_long_vectors_go_in_pieces(monkeypatch, method, name):
    """Every point is evaluated on sorted columns; with pieces of three columns the objective is the same."""
    monkeypatch.setattr(pieces, "_PIECE", 3)
    whole = core.squared_distance

    def checked(support, w, w0):
        assert np.all(support[1:] > support[:-1])
        pull = w0.copy()
        pull[support] -= w
        found = whole(support, w, w0)
        assert found == pytest.approx(pull @ pull, rel=1e-13)
        return found

    monkeypatch.setattr(core, "squared_distance", checked)
    instance = PROBLEMS[name]
    result = solve(instance.problem(), method, bound="none")
    assert abs(result.objective - instance.objective(result.w)) <= 1e-10 * instance.size(result.w)


@pytest.mark.parametrize("seed", range(3))
def test_active_set_ends_where_it_would_not_go_on(seed):
    problem = gaussian(60, 300, 15, seed=seed, rho=0.7, ridge=0.1).problem()
    result = solve(problem, "active_set", start=np.arange(15) * 20, bound="none")
    assert result.success
    again = solve(problem, "active_set", start=result, bound="none")
    assert again.objective >= result.objective * (1 - 1e-5)


@pytest.mark.no_jit
@pytest.mark.parametrize("method", METHODS)
def test_minimize_is_problem_and_solve(method):
    instance = PROBLEMS["linear_w0"]
    arguments = {"ridge": instance.ridge, "w0": instance.w0, "linear": instance.linear}
    result = l0quad.minimize(instance.A, instance.b, instance.k, method=method, **arguments)
    assert result.w.tobytes() == solve(instance.problem(), method).w.tobytes()
