"""What holds for every input: feasible, finite, a true bound, and no error but one that names an argument."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import Instance, suited
from reference import brute_force
from strategies import AWKWARD, bounds, instances, methods, vectors

from l0quad import METHODS, Status, solve

pytestmark = pytest.mark.fresh
ARGUMENTS = ("A:", "b:", "k:", "ridge:", "w0:", "linear:", "start:", "labels:", "budgets:", "must:", "never:")
AWKWARD_RIDGES = st.sampled_from([0.0, 5e-324, 1e-300, 1e-30, 1e-12, 1.0, 1e12, 1e30, 1e150, 1e300])


def promised(instance: Instance, result) -> None:
    assert np.all(np.isfinite(result.w))
    assert np.isfinite([result.objective, result.lower_bound, result.gap, result.relative_gap]).all()
    assert instance.allows(result.support)
    np.testing.assert_array_equal(result.support, np.flatnonzero(result.w))
    assert result.lower_bound <= result.objective
    assert result.gap >= 0
    assert result.status in (Status.OPTIMAL, Status.SWAP_OPTIMAL, Status.CONVERGED, Status.ITERATION_LIMIT)


@given(instances(), methods, bounds)
@settings(max_examples=300)
def test_ordinary_numbers(instance, method, bound):
    assume(suited(method, instance))
    result = solve(instance.problem(), method, bound=bound)
    promised(instance, result)
    optimum, best = brute_force(instance.dense, instance.b, instance.k, instance.ridge, instance.w0, instance.linear)
    # The naive refit is off by an eps of its distance to the centre.
    rounding = 1e-11 * max(instance.size(best), instance.size(result.w)) + 1e-30 * instance.size(instance.centre)
    assert abs(result.objective - instance.objective(result.w)) <= rounding
    assert result.lower_bound <= optimum + rounding
    assert result.objective >= optimum - rounding
    if result.status is Status.OPTIMAL:
        assert result.objective - optimum <= 2e-6 * abs(result.objective) + rounding


@given(instances(AWKWARD, AWKWARD_RIDGES, least_linear=0.0), methods, bounds)
@settings(max_examples=300)
def test_awkward_numbers(instance, method, bound):
    try:
        problem = instance.problem()
    except ValueError as error:
        assert str(error).startswith(ARGUMENTS)  # noqa: PT017
        return
    if METHODS[method].needs.lacking(problem.core) is None:
        try:
            result = solve(problem, method, bound=bound)
        except ValueError as error:
            assert str(error) == "A: the solution overflows float64; scale A up or b down"  # noqa: PT017
            return
        promised(instance, result)


@given(instances(), methods, st.data())
@settings(max_examples=100)
def test_starts(instance, method, data):
    assume(suited(method, instance))
    problem = instance.problem()
    p = instance.p
    start = data.draw(
        st.one_of(
            vectors(p, st.floats(-1e6, 1e6)),
            st.lists(st.booleans(), min_size=p, max_size=p),
            st.lists(st.integers(0, p - 1), unique=True, max_size=p),
        )
    )
    try:
        result = solve(problem, method, start=start)
    except ValueError as error:
        assert str(error).startswith("start:")  # noqa: PT017
        return
    promised(instance, result)
    again = solve(problem, method, start=result)
    assert again.objective <= result.objective + 1e-9 * instance.size(result.w) or method == "block_backsolve"


@given(instances(), st.integers(-60, 60), st.integers(-60, 60))
@settings(max_examples=60)
def test_powers_of_two_keep_the_answer(instance, a, f):
    scaled = instance.but(
        A=instance.A.astype(np.float64) * 2.0**a,
        b=instance.b * 2.0**f,
        ridge=instance.ridge * 4.0**a,
        w0=None if instance.w0 is None else instance.w0 * 2.0 ** (f - a),
        linear=None if instance.linear is None else instance.linear * 2.0 ** (a + f),
    )
    plain, result = (solve(each.problem()) for each in (instance.but(A=instance.A.astype(np.float64)), scaled))
    size = instance.size(plain.w)
    assert result.objective * 4.0**-f == pytest.approx(plain.objective, abs=1e-12 * size)
    assert result.lower_bound * 4.0**-f == pytest.approx(plain.lower_bound, abs=1e-12 * size)
    np.testing.assert_allclose(result.w * 2.0 ** (a - f), plain.w, rtol=1e-9, atol=1e-12 * (1 + np.abs(plain.w).max()))


@given(instances(), vectors(8, st.floats(-100, 100)))
@settings(max_examples=100)
def test_objective_and_gradient(instance, w):
    w, problem = w[: instance.p], instance.problem()
    size = instance.size(w)
    assert problem.objective(w) == pytest.approx(instance.objective(w), abs=1e-12 * size)
    terms = np.abs(instance.dense).T @ (np.abs(instance.dense) @ np.abs(w) + np.abs(instance.b))
    terms += 2 * instance.ridge * (np.abs(w) + np.abs(instance.centre)) + np.abs(instance.cost)
    assert np.all(np.abs(problem.gradient(w) - instance.gradient(w)) <= 1e-12 * (terms + 1e-300))
