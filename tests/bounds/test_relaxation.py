"""The perspective relaxation and the dual bound: optimality conditions, brute force, exact arithmetic, cvxpy."""

from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

import l0quad
from l0quad import Cardinality, Groups, NofM, PerBlock, Problem
from l0quad.bounds.dual import dual_value as dual_bound
from l0quad.bounds.relaxation import Relaxation
from l0quad.bounds.trivial import trivial_bound

P = 10
CONSTRAINTS = {
    "Cardinality": Cardinality(3),
    "PerBlock": PerBlock([1, 0, 2, 0, 1, 2, 2, 0, 1, 1], [2, 1, 2]),
    "NofM": NofM(1, 4, order=[3, 1, 4, 0, 5, 9, 2, 6, 8, 7]),
    "Groups": Groups([0, 1, 1, 2, 0, 3, 3, 3, 4, 2], 2),
    "Cardinality must never": Cardinality(4, must=[2, 5], never=[0, 9]),
    "PerBlock must never": PerBlock([1, 0, 2, 0, 1, 2, 2, 0, 1, 1], [2, 2, 2], must=[3, 4], never=[5]),
    "Groups must never": Groups([0, 1, 1, 2, 0, 3, 3, 3, 4, 2], 3, must=[1], never=[5, 8, 9]),
}


def instance(seed=0, n=7, p=P, with_w0=True):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p)) + rng.standard_normal((n, 1))
    w0 = rng.standard_normal(p) if with_w0 else np.zeros(p)
    return A, A @ w0 + rng.standard_normal(n), w0


@pytest.fixture(params=CONSTRAINTS)
def k(request):
    return CONSTRAINTS[request.param]


@pytest.fixture(params=[False, True], ids=["w0=0", "w0"])
def with_w0(request):
    return request.param


def relaxation(A, b, k, ridge, w0, seed=0):
    problem = Problem(A, b, k, ridge, w0).core
    point = problem.restricted(problem.constraint.select(np.random.default_rng(seed).random(A.shape[1])))
    return problem, Relaxation(problem, point)


def test_reference_perspective_is_the_least_over_z(k):
    """The twin itself: no allowed z does better, and at a feasible w it is the plain square."""
    rng = np.random.default_rng(0)
    supports = np.array([np.isin(np.arange(P), each) for each in reference.largest_supports(k, P)], dtype=float)
    for _ in range(20):
        w = rng.standard_normal(P) * (rng.random(P) < 0.8) * supports.any(axis=0)
        least = reference.perspective(w, k)
        for _ in range(20):
            # A mean of allowed supports.
            z = rng.dirichlet(np.full(len(supports), 0.3)) @ supports
            with np.errstate(divide="ignore", invalid="ignore"):
                assert least <= np.sum(np.where(w == 0, 0.0, w**2 / z)) * (1 + 1e-12)
        feasible = np.where(np.isin(np.arange(P), reference.select(np.abs(w), k)), w, 0)
        assert reference.perspective(feasible, k) == pytest.approx(feasible @ feasible, rel=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 40.0])
@pytest.mark.parametrize("ridge", [0.05, 2.0])
def test_prox_is_the_minimiser(k, with_w0, ridge, sigma):
    """G(w) = h(w) + nu'A w + ||w - w_t||^2 / (2 sigma) grows from its minimiser as a strongly convex function must."""
    A, b, w0 = instance(1, with_w0=with_w0)
    _, relaxed = relaxation(A, b, k, ridge, w0)
    rng = np.random.default_rng(2)
    relaxed.sigma, relaxed.centre = sigma, rng.standard_normal(P)
    Atnu = A.T @ rng.standard_normal(7)
    found = relaxed._prox(Atnu)
    prox = found.w
    most = found.x(slice(None)) @ prox / sigma - ridge * reference.perspective(prox, k) - prox @ prox / (2 * sigma)
    assert relaxed._conjugate(found) == pytest.approx(most, rel=1e-8, abs=1e-12)

    def G(w):
        h = ridge * (reference.perspective(w, k) - 2 * w0 @ w + w0 @ w0)
        return h + Atnu @ w + np.sum((w - relaxed.centre) ** 2) / (2 * sigma)

    least = G(prox)
    for size in (1e-3, 0.03, 1.0):
        for _ in range(30):
            step = size * rng.standard_normal(P) * (rng.random(P) < 0.5)
            step[reference.fixed(k)[1]] = 0.0
            assert G(prox + step) >= least + (step @ step) / (2 * sigma) - 1e-11 * (1 + abs(least))
    # Towards the plain answers: 0, the centre and each coordinate left out.
    centre = np.where(np.isin(np.arange(P), reference.fixed(k)[1]), 0.0, relaxed.centre)
    for other in (np.zeros(P), centre, *(prox * (np.arange(P) != i) for i in range(P))):
        step = other - prox
        assert G(other) >= least + (step @ step) / (2 * sigma) - 1e-11 * (1 + abs(least))


def test_primal_value(k, with_w0):
    A, b, w0 = instance(3, with_w0=with_w0)
    _, relaxed = relaxation(A, b, k, 0.3, w0)
    rng = np.random.default_rng(4)
    for _ in range(10):
        w = rng.standard_normal(P) * (rng.random(P) < 0.7)
        w[np.setdiff1d(np.arange(P), np.concatenate(list(reference.largest_supports(k, P))))] = 0.0
        expected = reference.relaxed_objective(A, b, w, k, 0.3, w0)
        assert relaxed._value(A @ w, relaxed._penalty(w)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("ridge", [0.01, 0.3, 10.0])
def test_steps_close_the_gap_and_never_cross(k, with_w0, ridge):
    A, b, w0 = instance(5, with_w0=with_w0)
    problem, relaxed = relaxation(A, b, k, ridge, w0)
    best, primal = dual_bound(problem, relaxed.nu, relaxed.Atnu), relaxed.primal
    for _ in range(60):
        relaxed.step(best)
        dual = dual_bound(problem, relaxed.nu, relaxed.Atnu)
        assert dual == pytest.approx(reference.dual_bound(A, b, k, relaxed.nu, ridge, w0), rel=1e-9, abs=1e-9)
        best = max(best, dual)
        assert relaxed.primal <= primal
        primal = relaxed.primal
        assert primal >= best
    assert primal - best <= 1e-7 * abs(primal)
    # The primal side is the relaxation's value at a point, so nothing that is reported as solved is below it.
    rng = np.random.default_rng(6)
    for _ in range(50):
        w = relaxed.centre + 0.1 * rng.standard_normal(P)
        assert reference.relaxed_objective(A, b, w, k, ridge, w0) >= best


def test_conjugate_gradients_give_the_same_optimum(k, monkeypatch):
    A, b, w0 = instance(7)
    monkeypatch.setattr("l0quad.bounds.relaxation.DENSE_ROWS", 3)
    by_cg = l0quad.minimize(A, b, k, ridge=0.3, w0=w0, bound="tight").lower_bound
    monkeypatch.undo()
    assert by_cg == pytest.approx(l0quad.minimize(A, b, k, ridge=0.3, w0=w0, bound="tight").lower_bound, rel=3e-5)


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["random", "residual", "optimal", "relaxed"]),
    size=st.sampled_from([1e-12, 1e-3, 1.0, 1e3, 1e12]),
    ridge=st.sampled_from([1e-9, 1e-3, 0.3, 10.0, 1e6]),
    which=st.integers(0, 5),
    single=st.booleans(),
)
def test_dual_bound_is_never_above_the_optimum(seed, kind, size, ridge, which, single):
    k = [
        Cardinality(2),
        PerBlock([1, 0, 0, 1, 0, 1], [1, 2]),
        NofM(1, 4),
        Groups([0, 1, 0, 2, 2, 1], 2),
        Cardinality(2, must=[1], never=[5]),
        Groups([0, 1, 0, 2, 2, 1], 2, must=[3], never=[0]),
    ][which]
    A, b, w0 = instance(seed, n=5, p=6)
    if single:
        A = A.astype(np.float32)
    optimum, w = reference.brute_force(A, b, k, ridge, w0)
    problem, relaxed = relaxation(A, b, k, ridge, w0, seed)
    A = A.astype(np.float64)
    nu = size * np.random.default_rng(seed).standard_normal(5)
    if kind == "residual":
        nu = relaxed.nu + 1e-3 * nu
    elif kind == "optimal":
        nu = A @ w - b
    elif kind == "relaxed":
        for _ in range(20):
            relaxed.step(dual_bound(problem, relaxed.nu, relaxed.Atnu))
        nu = relaxed.nu
    # The optimum is itself rounded.
    assert dual_bound(problem, nu, problem.matrix.rmatvec(nu)) <= optimum + 1e-13 * (optimum + b @ b + ridge * w0 @ w0)


@given(
    diagonal=st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    b=st.lists(st.integers(-99, 99), min_size=3, max_size=3),
    w0=st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    power=st.integers(-12, 6),
    k=st.integers(0, 3),
    error=st.sampled_from([0.0, 1e-16, 1e-13]),
)
def test_dual_bound_in_exact_arithmetic(diagonal, b, w0, power, k, error):
    """Where the best support also is that of D's inner minimum, D is the optimum: the last digit decides."""
    ridge = Fraction(2) ** power
    gains, total, best = [], Fraction(0), []
    for a, y, v in zip(map(Fraction, diagonal), b, w0, strict=True):
        zero = y * y / Fraction(2) + ridge * v * v
        w = (a * y + 2 * ridge * v) / (a * a + 2 * ridge)
        gains.append(zero - (a * w - y) ** 2 / Fraction(2) - ridge * (w - v) ** 2)
        total, best = total + zero, [*best, w]
    optimum = total - sum(sorted(gains, reverse=True)[:k])
    chosen = sorted(range(3), key=lambda j: -gains[j])[:k]
    A = np.diag(np.array(diagonal, dtype=float))
    problem = Problem(A, b, k, float(ridge), w0).core
    w = np.array([float(best[j]) if j in chosen else 0.0 for j in range(3)])
    nu = (A @ w - np.array(b)) * (1 + error)
    found = dual_bound(problem, nu, A.T @ nu)
    assert Fraction(found) <= optimum
    inner = problem.constraint.select((np.array(w0) - A.T @ nu / problem.mu) ** 2)
    if not error and set(chosen) == set(inner.tolist()):
        # Lowered by rounding only.
        assert found >= float(optimum) - 1e-12 * float(total)


@given(
    st.lists(st.sampled_from([0.0, -0.7]) | st.floats(1e-3, 1e3), min_size=1, max_size=6),
    st.integers(0, 3),
    st.floats(1e-3, 1e3),
)
def test_trivial_bound_in_exact_arithmetic(w0, k, ridge):
    """With A = 0 it is the optimum itself, but for rounding."""
    problem = Problem(np.zeros((2, len(w0))), np.zeros(2), k, ridge, w0).core
    lost = sorted(Fraction(each) ** 2 for each in w0)[: max(len(w0) - k, 0)]
    optimum = Fraction(ridge) * sum(lost)
    found = trivial_bound(problem).value
    assert Fraction(found) <= optimum
    assert found >= float(optimum) * (1 - 1e-13)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bound", ["fast", "tight"])
def test_bound_optimum_objective(k, with_w0, seed, bound):
    A, b, w0 = instance(10 + seed, with_w0=with_w0)
    optimum, _ = reference.brute_force(A, b, k, 0.2, w0)
    result = l0quad.minimize(A, b, k, ridge=0.2, w0=w0, bound=bound)
    assert result.lower_bound <= optimum * (1 + 1e-13) <= result.objective * (1 + 2e-13)


def dense(jacobian):
    columns, diagonal, terms = jacobian
    V = np.eye(columns.size) if diagonal is None else np.diag(diagonal)
    for values, home, weights in terms:
        spread = np.zeros((columns.size, weights.size))
        spread[np.arange(columns.size), home] = values
        V = V + spread @ np.diag(weights) @ spread.T
    return V


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_jacobian_is_the_slope_of_the_prox(k, beta):
    """Against central differences of x z / (z + beta); the columns with z = 0 or 1 do not take part."""
    bound, rng, between = k.bind(P), np.random.default_rng(7), 0
    for _ in range(20):
        x = rng.standard_normal(P)
        z = bound.relaxed(x, beta)
        jacobian = bound.jacobian(x.__getitem__, z, beta)
        columns, V = jacobian.columns, dense(jacobian)
        assert np.all((z[columns] > 0) & (z[columns] < 1))
        between += columns.size
        for place, j in enumerate(columns):
            step = 1e-6 * (np.arange(P) == j)
            moved = [each * (s := bound.relaxed(each, beta)) / (s + beta) for each in (x + step, x - step)]
            slope = (moved[0] - moved[1])[columns] / 2e-6
            np.testing.assert_allclose(V[:, place], slope, rtol=1e-5, atol=1e-7)
    assert between


@pytest.mark.parametrize("rows", [0, 4096], ids=["conjugate gradients", "factorization"])
def test_newton_directions_solve_their_system(monkeypatch, k, rows):
    monkeypatch.setattr("l0quad.bounds.relaxation.DENSE_ROWS", rows)
    A, b, w0 = instance(8, n=12)
    problem, relaxed = relaxation(A, b, k, 0.3, w0)
    for _ in range(6):
        prox, beta = relaxed._prox(relaxed.Atnu), relaxed.sigma * problem.mu
        gradient = A @ prox.w - b - relaxed.nu
        jacobian = k.bind(P).jacobian(prox.x, prox.z, beta)
        V = np.diag(np.where(prox.z == 1, 1 / (1 + beta), 0.0))
        V[np.ix_(jacobian.columns, jacobian.columns)] = dense(jacobian)
        direction = relaxed._newton_direction(gradient, *relaxed._active(prox), beta)
        rest = direction + relaxed.sigma * A @ V @ A.T @ direction - gradient
        assert np.linalg.norm(rest) <= (1e-9 if rows else 2e-3) * np.linalg.norm(gradient)
        relaxed.step(dual_bound(problem, relaxed.nu, relaxed.Atnu))


def test_bounds_with_columns_fixed_in_and_out(k):
    """D bounds the optimum over the supports that have the former and none of the latter."""
    A, b, w0 = instance(9)
    problem, relaxed = relaxation(A, b, k, 0.2, w0)
    rng = np.random.default_rng(3)
    for _ in range(15):
        supports = list(reference.largest_supports(k, P))
        fixed_in = rng.choice(supports[rng.integers(len(supports))], 2, replace=False)
        fixed_out = np.setdiff1d(rng.choice(P, 2, replace=False), fixed_in)
        within = [np.setdiff1d(each, fixed_out) for each in supports if np.isin(fixed_in, each).all()]
        optimum = min(reference.value(A, b, each, 0.2, w0) for each in within)
        relaxed.step(0.0)
        for nu in (relaxed.nu, rng.standard_normal(7)):
            found = dual_bound(problem, nu, A.T @ nu, fixed_in, fixed_out)
            assert found <= optimum * (1 + 1e-12)
            assert found >= dual_bound(problem, nu, A.T @ nu) - 1e-12 * optimum


def perspective_by_cvxpy(A, b, k, ridge, w0):
    cp = pytest.importorskip("cvxpy")
    w, t, z = cp.Variable(P), cp.Variable(P), cp.Variable(P)
    # t_i z_i >= w_i^2.
    rules = [cp.SOC(t + z, cp.vstack([2 * w, t - z]), axis=0), z >= 0, z <= 1]
    supports = np.array([np.isin(np.arange(P), each) for each in reference.largest_supports(k, P)], dtype=float)
    share = cp.Variable(len(supports), nonneg=True)
    rules += [z == supports.T @ share, cp.sum(share) == 1]
    value = 0.5 * cp.sum_squares(A @ w - b) + ridge * (cp.sum(t) - 2 * w0 @ w + w0 @ w0)
    return cp.Problem(cp.Minimize(value), rules).solve(solver="CLARABEL")


@pytest.mark.parametrize("ridge", [0.05, 1.0])
def test_tight_bound_is_the_perspective_relaxation(k, with_w0, ridge):
    A, b, w0 = instance(20, with_w0=with_w0)
    expected = perspective_by_cvxpy(A, b, k, ridge, w0)
    found = l0quad.minimize(A, b, k, ridge=ridge, w0=w0, bound="tight", method="swap")
    assert found.lower_bound <= expected * (1 + 1e-6)
    # Solved to a relative gap of 1e-5.
    assert found.lower_bound == pytest.approx(expected, rel=3e-5)
    assert found.objective >= expected * (1 - 1e-6)
    # Neither trivial nor the optimum itself, so that the comparison says something.
    assert expected < found.objective * (1 - 1e-5) or not with_w0


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1e-200])
@pytest.mark.parametrize("ridge", [0.1, 1.0, 10.0])
def test_columns_of_next_to_nothing(value, ridge):
    A, b, _ = instance(30, n=6, p=8)
    A[:, 4:] = 0
    A[0, 4:] = value
    b[0] = 1
    k = PerBlock(np.repeat([0, 1], 4), [2, 1])
    result = l0quad.minimize(A, b, k, ridge=ridge, bound="tight")
    optimum, _ = reference.brute_force(A, b, k, ridge)
    assert result.lower_bound <= optimum * (1 + 1e-13) <= result.objective * (1 + 2e-13)


def test_bound_without_ridge_on_bad_conditioning():
    """The all-columns bound needs the true least residual: one that is a little too large is no bound."""
    rng = np.random.default_rng(5)
    U, V = np.linalg.qr(rng.standard_normal((20, 8)))[0], np.linalg.qr(rng.standard_normal((8, 8)))[0]
    for smallest in (1e-7, 1e-8, 3e-9, 1e-9, 1e-12):
        A = U * np.geomspace(1, smallest, 8) @ V.T
        b = A @ (V @ rng.standard_normal(8)) + 0.1 * rng.standard_normal(20)
        optimum = reference.objective(A, b, np.linalg.lstsq(A, b, rcond=1e-15)[0])
        assert l0quad.minimize(A, b, 8).lower_bound <= optimum * (1 + 1e-9), smallest
