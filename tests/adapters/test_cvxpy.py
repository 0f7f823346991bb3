"""Problems in cvxpy: the relaxation beside the bound, mixed-integer optima beside brute force and `exact`."""

import numpy as np
import pytest
from refusals import refuse

import l0quad
from l0quad import Cardinality, Groups, NofM, PerBlock, Problem, Separable, Tree, solve

cp = pytest.importorskip("cvxpy")
from l0quad_adapters.cvxpy import to_cvxpy

RNG = np.random.default_rng(3)
N, P = 30, 10
A = RNG.standard_normal((N, P)) @ (np.eye(P) + 0.25)
A /= np.linalg.norm(A, axis=0)
B = A[:, :4] @ [1.0, -1.0, 0.7, 0.5] + 0.15 * RNG.standard_normal(N)
W0, LINEAR = RNG.standard_normal(P), 0.1 * RNG.standard_normal(P)
WIDE = RNG.standard_normal((8, 12))
PROBLEMS = {
    "plain": Problem(A, B, 3),
    "ridge": Problem(A, B, 3, 0.1),
    "w0 and linear": Problem(A, B, 3, 0.1, W0, LINEAR),
    "must and never": Problem(A, B, Cardinality(3, must=[7], never=[0, 5]), 0.05),
    "parts": Problem(A, B, PerBlock([0, 1] * 5, [1, 2]), 0.05),
    "2 of 4": Problem(A, B, NofM(2, 4, never=[1]), 0.05),
    "groups": Problem(A, B, Groups(np.arange(P) // 2, 2), 0.05),
    "gram": Problem.from_gram(A.T @ A, A.T @ B, 3, 2.0, ridge=0.05),
    "wide": Problem(WIDE, WIDE[:, 0] - WIDE[:, 5] + 0.1, 3, 0.5),
    "float32": Problem(A.astype(np.float32), B, 3, 0.1),
}


def separable(problem):
    """Return a tight bound and its separable certificate."""
    found = l0quad.bound(problem, start=solve(problem), mode="tight")
    certificate = found.certificate.root if isinstance(found.certificate, Tree) else found.certificate
    return found.value, certificate


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_objective_is_the_problems(name):
    problem = PROBLEMS[name]
    w = RNG.standard_normal(problem.shape[1])
    w[problem.constraint.never] = 0
    for form in ("perspective", "bigm", "relaxation"):
        model = to_cvxpy(problem, form)
        model.w.value = w
        for variable in model.problem.variables():
            if variable.name() == "t":
                variable.value = w**2
        assert model.problem.objective.value == pytest.approx(problem.objective(w), rel=1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_relaxation_is_the_tight_bound(name):
    problem = PROBLEMS[name]
    value, certificate = separable(problem)
    d = certificate.d if isinstance(certificate, Separable) else None
    relaxed = to_cvxpy(problem, "relaxation", diagonal=d).problem.solve(solver="CLARABEL")
    optimum = solve(problem, "exact").objective
    precision = 1e-7 * (1 + abs(optimum))
    assert value <= relaxed + precision
    # The relaxation is solved to a share of the gap.
    assert relaxed - value <= 0.02 * (optimum - value) + precision
    assert relaxed <= optimum + precision


@pytest.mark.parametrize("form", ["perspective", "bigm"])
@pytest.mark.parametrize("name", ["plain", "ridge", "w0 and linear", "must and never", "parts", "groups", "gram"])
def test_the_mixed_integer_optimum_is_that_of_exact(name, form):
    if "SCIP" not in cp.installed_solvers():
        pytest.skip("SCIP is not installed")
    problem = PROBLEMS[name]
    d = None
    if form == "perspective" and name == "plain":
        d = separable(problem)[1].d
    model = to_cvxpy(problem, form, diagonal=d)
    model.problem.solve(solver="SCIP")
    # A cone that holds to 1e-6 leaves coefficients of 1e-3 where z is 0.
    units = problem.constraint.units or problem.constraint.usable[:, None]
    chosen = np.sort(np.concatenate([units[i] for i in np.flatnonzero(model.z.value > 0.5)]))
    exact = solve(problem, "exact")
    assert problem.constraint.allows(chosen)
    refit = solve(problem, "magnitude", start=chosen, bound="none")
    assert refit.objective == pytest.approx(exact.objective, rel=1e-5)
    assert model.problem.value == pytest.approx(exact.objective, rel=1e-3)


def test_constraints_of_ones_own():
    model = to_cvxpy(PROBLEMS["ridge"], "relaxation")
    free = model.problem.solve(solver="CLARABEL")
    held = cp.Problem(model.problem.objective, [*model.problem.constraints, model.w >= 0]).solve(solver="CLARABEL")
    assert held > free + 1e-6
    assert model.w.value.min() > -1e-6


def test_wrong_arguments():
    problem = PROBLEMS["plain"]
    refuse(lambda: to_cvxpy(A), TypeError, "problem: must be a Problem, got ndarray")  # type: ignore[arg-type]
    refuse(lambda: to_cvxpy(problem, "cone"), ValueError, "form: must be one of 'perspective', 'bigm', 'relaxation'")
    refuse(lambda: to_cvxpy(problem, "bigm", diagonal=np.ones(P)), ValueError, "diagonal: is not used")
    refuse(lambda: to_cvxpy(problem, big_m=1.0), ValueError, "big_m: is used by form='bigm' alone")
    refuse(lambda: to_cvxpy(problem, diagonal=np.ones(3)), ValueError, "diagonal: must have shape (10,), got (3,)")
    refuse(
        lambda: to_cvxpy(problem, diagonal=-np.ones(P)), ValueError, "diagonal: must be finite and at least 0, got -1"
    )
    refuse(lambda: to_cvxpy(problem, diagonal=9 * np.ones(P)), ValueError, "diagonal: ", "negative eigenvalue")
    wide = Problem(WIDE, WIDE[:, 0], 2)
    refuse(lambda: to_cvxpy(wide, "bigm"), ValueError, "big_m: must be given")
    assert to_cvxpy(wide, "bigm", big_m=10.0).w.shape == (12,)
