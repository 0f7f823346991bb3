"""Mixed-integer solvers through cvxpy against brute force, so that the oracle itself has an oracle."""

import numpy as np
import pytest
from problems import gaussian
from reference import brute_force

from l0quad import Problem, Status, solve

cp = pytest.importorskip("cvxpy")

SEEDS = range(4)


def instance(seed: int):
    """Normalised data: the solvers are wrong on badly scaled ones."""
    made = gaussian(15, 9, 3, seed=seed, rho=0.7, ridge=0.05)
    return made.but(A=made.A / np.linalg.norm(made.A, axis=0), b=made.b / np.linalg.norm(made.b))


def needs(solver: str) -> None:
    if solver not in cp.installed_solvers():
        pytest.skip(f"{solver} is not installed")


def check(made, support: np.ndarray) -> None:
    """The support is refitted, because the solvers' own tolerances are loose."""
    optimum, w = brute_force(made.A, made.b, made.k, made.ridge)
    assert made.objective(made.refit(support)) == pytest.approx(optimum, rel=1e-5)
    result = solve(Problem(made.A, made.b, made.k, made.ridge), bound="tight", start=np.flatnonzero(w))
    assert result.lower_bound <= optimum <= result.objective * (1 + 1e-12)
    assert result.status is not Status.OPTIMAL or result.objective == pytest.approx(optimum, rel=2e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_big_m_by_scip(seed):
    needs("SCIP")
    made = instance(seed)
    w, z = cp.Variable(made.p), cp.Variable(made.p, boolean=True)
    # ||w|| <= ||b|| / sqrt(2 ridge) bounds every optimum.
    M = np.linalg.norm(made.b) / np.sqrt(2 * made.ridge)
    loss = 0.5 * cp.sum_squares(made.A @ w - made.b) + made.ridge * cp.sum_squares(w)
    cp.Problem(cp.Minimize(loss), [cp.sum(z) <= made.k, w <= M * z, w >= -M * z]).solve(solver="SCIP")
    check(made, np.flatnonzero(z.value > 0.5))


@pytest.mark.parametrize("seed", SEEDS)
def test_cutting_planes_by_highs(seed):
    # f(z) = min_w of the perspective is convex in z and exact at 0-1 points (Bertsimas and Van Parys 2020), so that
    # tangents at the points found so far end, after finitely many, in the optimum.
    needs("HIGHS")
    made = instance(seed)
    mu, n = 2 * made.ridge, made.b.size

    def value_and_gradient(z):
        alpha = np.linalg.solve(np.eye(n) + (made.A * z) @ made.A.T / mu, made.b)
        return 0.5 * made.b @ alpha, -((made.A.T @ alpha) ** 2) / (2 * mu)

    z, t = cp.Variable(made.p, boolean=True), cp.Variable()
    cuts, best, chosen = [cp.sum(z) <= made.k, t >= 0], np.inf, np.zeros(made.p)
    at = np.arange(made.p) < made.k
    for _ in range(200):
        value, gradient = value_and_gradient(at.astype(float))
        if value < best:
            best, chosen = value, at
        cuts.append(t >= value + gradient @ (z - at.astype(float)))
        problem = cp.Problem(cp.Minimize(t), cuts)
        problem.solve(solver="HIGHS")
        at = z.value > 0.5
        if problem.value >= best - 1e-6 * best:
            break
    assert problem.value >= best - 1e-6 * best
    check(made, np.flatnonzero(chosen))
