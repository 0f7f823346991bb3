"""Ends at a proven gap, bounds by themselves, certificates, and many solves on one A."""

from typing import Any

import numpy as np
import pytest
from problems import PROBLEMS, gaussian, pruning, suited
from reference import brute_force
from refusals import refuse

import l0quad
from l0quad import METHODS, AllSupports, Dual, Problem, Separable, Status, Trivial, as_matrix, solve


@pytest.mark.parametrize("method", METHODS)
def test_any_method_ends_once_its_gap_is_proven(method):
    instance = pruning(30, 120, 60, seed=3, ridge=30.0)
    problem = instance.problem()
    if method == "exact":
        # No tree closes the gap of a pruning problem.
        method = l0quad.Exact(node_limit=50)
    free = solve(problem, method, bound="tight")
    asked = max(1.2 * free.relative_gap, 1e-3)
    for tol, tol_abs in ((asked, None), (None, asked * free.objective)):
        result = solve(problem, method, bound="tight", gap_tol=tol, gap_tol_abs=tol_abs)
        assert result.relative_gap <= asked * (1 + 1e-6)
        assert f"relative gap {result.relative_gap:.3g}" in result.message
        assert result.n_iter <= free.n_iter
    everything = solve(problem, method, gap_tol=1e9)
    assert everything.status is Status.CONVERGED
    assert everything.n_iter <= 2


def test_a_gap_ends_long_work_early():
    problem = pruning(30, 120, 60, seed=3, ridge=1.0).problem()
    slow = l0quad.CoordinateDescent(max_iter=10**5, tol=0.0)
    result = solve(problem, slow, gap_tol=0.5)
    assert result.status is Status.CONVERGED
    assert result.n_iter < 1000
    assert result.relative_gap <= 0.5


@pytest.mark.parametrize("name", ["gaussian", "no_ridge", "linear_w0", "gram", "n_of_m", "pruning", "wide_no_ridge"])
def test_a_bound_for_any_point(name):
    instance = PROBLEMS[name]
    problem = instance.problem()
    answer = solve(problem, "swap")
    slack = 1e-9 * instance.size(answer.w)
    poor = problem.constraint.select(np.random.default_rng(2).random(instance.p))
    values = {}
    for label, start in (("default", None), ("poor", poor), ("answer", answer)):
        for mode in ("fast", "tight"):
            found = l0quad.bound(problem, start, mode)
            assert found.value <= answer.objective
            assert found.seconds >= 0
            values[label, mode] = found.value
        assert values[label, "fast"] <= values[label, "tight"] + 1e-4 * abs(answer.objective) + slack
    assert values["answer", "fast"] >= answer.lower_bound - slack


def test_bound_refuses_by_name():
    problem = PROBLEMS["gaussian"].problem()
    refuse(lambda: l0quad.bound(3), TypeError, "problem: must be a Problem")  # type: ignore[arg-type]
    refuse(lambda: l0quad.bound(problem, mode="none"), ValueError, "mode: must be one of 'tight', 'fast'")
    refuse(lambda: solve(problem, gap_tol=-1), ValueError, "gap_tol: must be finite and at least 0")
    refuse(lambda: solve(problem, gap_tol_abs="a"), TypeError, "gap_tol_abs: must be a real number")  # type: ignore[arg-type]
    refuse(lambda: solve(problem).check(3), TypeError, "problem: must be a Problem")  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_certificates_are_in_the_users_units(scale):
    instance = gaussian(20, 30, 3, seed=4, ridge=0.1)
    result = solve(Problem(instance.A, scale * instance.b, 3, 0.1), "swap", bound="tight")
    assert isinstance(result.certificate, Dual)
    nu = result.certificate.nu / scale
    v = -instance.A.T @ nu / 0.2
    value = -0.5 * nu @ nu - instance.b @ nu - 0.1 * np.sort(v**2)[-3:].sum()
    assert result.lower_bound == pytest.approx(value * scale**2, rel=1e-9)
    assert isinstance(solve(PROBLEMS["gaussian"].problem(), "magnitude", bound="none").certificate, Trivial)


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_separable_certificates_are_in_the_users_units(scale):
    rng = np.random.default_rng(1)
    A, b = rng.standard_normal((20, 6)) + rng.standard_normal((20, 1)), rng.standard_normal(20)
    problem = Problem(scale * A, b, 2)
    result = solve(problem, "swap", bound="tight")
    assert isinstance(result.certificate, Separable)
    w, d = result.certificate.w * scale, result.certificate.d / scale**2
    r = A @ w - b
    q = -A.T @ r
    used, unused = -0.5 * q * q / d, w * (q + 0.5 * d * w)
    value = 0.5 * r @ r + unused.sum() + np.sort(used - unused)[:2].sum()
    assert result.relative_gap > 1e-4
    assert result.lower_bound == pytest.approx(value, rel=1e-9)
    assert result.check(problem).ok


def test_a_dual_point_bounds_what_is_fixed_in_and_out():
    from l0quad.bounds.dual import dual_value

    for seed in range(20):
        instance = gaussian(12, 7, 3, seed=seed, ridge=0.2)
        core = instance.core()
        rng = np.random.default_rng(seed)
        inside, outside = np.split(rng.permutation(7)[:3], [1])
        optimum = min(
            instance.objective(instance.refit(np.array(sorted({*inside.tolist(), *more}))))
            for more in ([], *[[j] for j in range(7)], *[[i, j] for i in range(7) for j in range(i)])
            if not set(more) & set(outside.tolist()) and len({*inside.tolist(), *more}) <= 3
        )
        for _ in range(20):
            nu = rng.standard_normal(12) * rng.choice([0.1, 1.0])
            assert dual_value(core, nu, instance.A.T @ nu, inside, outside) <= optimum
        free = dual_value(core, nu, instance.A.T @ nu)
        assert free <= dual_value(core, nu, instance.A.T @ nu, inside, outside) + 1e-12 * abs(free)


CHANGES: dict[str, dict[str, Any]] = {
    "k": {"k": 2},
    "ridge": {"ridge": 3.0},
    "no ridge": {"ridge": 0.0},
    "b": {"b": np.linspace(-1, 1, 20)},
    "w0": {"w0": np.linspace(1, 2, 12)},
    "linear": {"linear": np.linspace(-1, 1, 12)},
    "all": {"k": 3, "ridge": 1e-200, "b": np.full(20, 1e140), "w0": np.ones(12)},
}


@pytest.mark.parametrize("method", ["auto", "swap", "iht", "backsolve"])
@pytest.mark.parametrize("change", CHANGES)
def test_with_is_a_problem_of_its_own(change, method):
    instance = PROBLEMS["gaussian"]
    first = instance.problem()
    solve(first, method)
    fresh = instance.but(**CHANGES[change])
    if not suited(method, fresh):
        return
    other = first.with_(**CHANGES[change])
    assert other.matrix is first.matrix
    found, expected = solve(other, method), solve(fresh.problem(), method)
    np.testing.assert_array_equal(found.support, expected.support)
    np.testing.assert_allclose(found.w, expected.w, rtol=1e-9)
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    back = solve(first, method)
    assert back.objective == pytest.approx(solve(instance.problem(), method).objective, rel=1e-12)


def test_with_takes_terms_out_and_refuses_by_name():
    problem = PROBLEMS["linear_w0"].problem()
    plain = problem.with_(w0=None, linear=None)
    assert plain.linear is None
    assert not plain.w0.any()
    refuse(lambda: problem.with_(k=-1), ValueError, "k: must be at least 0")
    refuse(lambda: problem.with_(ridge=0.0), ValueError, "linear: needs ridge > 0")
    refuse(lambda: problem.with_(b=[1.0]), ValueError, "b: must have shape")
    gram = PROBLEMS["gram"].problem()
    assert gram.with_(k=2, ridge=1.0).constraint.total == 2
    singular = Problem.from_gram(np.ones((2, 2)), [1.0, 0.0], 1, ridge=0.5)
    refuse(lambda: singular.with_(ridge=0), ValueError, "g: leaves the range of the singular H")
    refuse(lambda: gram.with_(b=np.ones(12)), ValueError, "b, linear: a problem from from_gram has g instead")


def test_problems_on_one_matrix_share_it():
    instance = PROBLEMS["gaussian"]
    matrix = as_matrix(instance.A)
    one, other = (Problem(matrix, instance.b, k, 0.1) for k in (2, 3))
    assert one.matrix is other.matrix is matrix
    assert one.core.column_sq_norms is other.core.column_sq_norms


def test_gram_objectives_come_from_H():
    """Of a nearly singular H the factor has lost half the digits; the objective has not."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 6))
    A[:, 5] = A[:, 4] + 1e-7 * rng.standard_normal(30)
    H, g = A.T @ A, A.T @ rng.standard_normal(30)
    problem = Problem.from_gram(H, g, 3, const=5.0, ridge=1e-3)
    w = solve(problem).w
    assert problem.objective(w) == pytest.approx(0.5 * w @ H @ w - g @ w + 5.0 + 1e-3 * w @ w, rel=1e-14)
    assert problem.with_(k=2).matrix is problem.matrix


def test_brute_force_through_with():
    instance = gaussian(15, 8, 4, seed=5, ridge=0.05)
    problem = instance.problem()
    for k in range(9):
        optimum, _ = brute_force(instance.A, instance.b, k, 0.05, None, None)
        result = solve(problem.with_(k=k), l0quad.Auto("thorough"))
        assert result.objective == pytest.approx(optimum, rel=1e-9)
        assert result.lower_bound <= optimum * (1 + 1e-13)
        assert isinstance(result.certificate, AllSupports | Dual | Trivial)


@pytest.mark.parametrize(
    "limit", [{"gap_tol": 0.01}, {"callback": lambda state: state.n_iter >= 2}], ids=["gap", "callback"]
)
def test_what_is_stopped_returns_the_best_that_was_recorded(limit):
    A = np.random.default_rng(0).standard_normal((200, 40))
    result = solve(Problem(A, A[:, :3] @ np.ones(3), 3, ridge=1e-3), **limit)
    assert result.support.tolist() == [0, 1, 2]
    assert result.objective == pytest.approx(result.history[-1].best_objective, rel=1e-9)


def test_a_gap_in_units_far_from_those_of_the_problem():
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal((30, 10)), 1e-150 * rng.standard_normal(30), 3, 0.1)
    result = solve(problem, gap_tol_abs=1e10)
    assert result.status is Status.CONVERGED
    assert result.n_iter <= 2
