"""The separable bound: below the exact optimum, near its exact value, tight where the relaxation is solved."""

from fractions import Fraction

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from narrowed import a, some
from rational import Exact, rational

from l0quad import Cardinality, Groups, NofM, PerBlock, Problem, Separable
from l0quad.bounds.diagonal import curvature, proven, scaled_diagonal
from l0quad.bounds.reweighting import reweighted_bound
from l0quad.bounds.separable import is_proven, ridge_bound, separable_bound

P = 6
CONSTRAINTS = {
    "Cardinality": Cardinality(2),
    "PerBlock": PerBlock([1, 0, 1, 0, 1, 2], [1, 2, 0]),
    "NofM": NofM(1, 3, order=[3, 1, 4, 0, 5, 2]),
    "Groups": Groups([0, 1, 1, 2, 0, 3], 2),
    "Cardinality must never": Cardinality(3, must=[2], never=[0]),
    "PerBlock must never": PerBlock([1, 0, 1, 0, 1, 0], [2, 2], must=[3, 4], never=[5]),
    "Groups must never": Groups([0, 1, 1, 2, 0, 3], 2, must=[1], never=[4]),
}


def instance(seed, n=9):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, P)) + rng.standard_normal((n, 1))
    return A, A @ rng.standard_normal(P) + rng.standard_normal(n), rng.standard_normal(P)


def diagonal(problem):
    """A proven diagonal over the columns that may be used."""
    shape = curvature(problem)
    usable = problem.constraint.usable
    d = np.zeros(P)
    part = shape.H[np.ix_(usable, usable)]
    d[usable] = proven(shape._replace(H=part, error=shape.error[usable]), some(scaled_diagonal(part)))
    return d


def exact_value(exact, k, w, d):
    """L(w) of the module's docstring in rational arithmetic, by enumeration."""
    w, d = rational(w), rational(d)
    q = [g - sum(h * v for h, v in zip(row, w, strict=True)) for g, row in zip(exact.g, exact.H, strict=True)]
    lowest = [
        sum(
            (-(q[j] ** 2) / d[j] / 2 if d[j] else Fraction(0)) if j in support else w[j] * (q[j] + d[j] * w[j] / 2)
            for j in range(P)
        )
        for support in (set(each.tolist()) for each in reference.largest_supports(k, P))
    ]
    return exact.objective([float(v) for v in w]) + min(lowest)


@pytest.fixture(params=CONSTRAINTS)
def k(request):
    return CONSTRAINTS[request.param]


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_every_point_gives_a_bound_that_is_nearly_its_value(k, ridge):
    for seed in range(4):
        A, b, w0 = instance(seed)
        exact = Exact.of(A, b, k, ridge, w0)
        problem = Problem(A, b, k, ridge, w0).core
        d, optimum = diagonal(problem), exact.optimum()
        rng = np.random.default_rng(seed)
        for _ in range(4):
            w = np.where(d > 0, rng.standard_normal(P), 0.0) * (rng.random(P) < 0.7)
            bound, value = separable_bound(problem, w, d), exact_value(exact, k, w, d)
            assert Fraction(bound.value) <= value <= optimum
            assert value <= Fraction(bound.value) + 2 * Fraction(bound.allowance)
            assert bound.allowance <= 1e-11 * (float(exact.constant) + abs(bound.value))
        assert is_proven(problem, w, d)
        assert not is_proven(problem, w, 1.01 * d)


@pytest.mark.parametrize("kind", ["linear", "gram", "gram and w0", "sparse", "float32", "float32 and linear"])
def test_every_kind_of_problem(k, kind):
    for seed in range(4):
        A, b, w0 = instance(seed)
        ridge, linear = 0.1 if seed % 2 else 1e-6, None
        if "float32" in kind:
            A = A.astype(np.float32)
        if "gram" in kind:
            w0 = w0 if "w0" in kind else None
            H, g = A.T @ A, A.T @ b
            problem, exact = Problem.from_gram(H, g, k, ridge=ridge, w0=w0), Exact.of_gram(H, g, k, 0.0, ridge, w0)
        else:
            linear = w0[::-1] if "linear" in kind else None
            problem = Problem(sp.csc_array(A) if kind == "sparse" else A, b, k, ridge, w0, linear)
            exact = Exact.of(A, b, k, ridge, w0, linear)
        core = problem.core
        for moves in (0, 3):
            point = core.restricted(core.constraint.select(np.ones(P)))
            bound = some(reweighted_bound(core, point, moves))
            assert Fraction(problem.units.lower(bound.value)) <= exact.optimum()
            assert isinstance(bound.certificate, Separable)
            assert is_proven(core, bound.certificate.w, bound.certificate.d)


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_the_relaxation_is_solved(k, ridge):
    """No w has a lower primal value than the bound, and the best one found has hardly a higher one."""
    A, b, _ = instance(11)
    problem = Problem(A, b, k, ridge).core
    point = problem.restricted(problem.constraint.select(np.ones(P)))
    bound = some(reweighted_bound(problem, point, 0))
    assert isinstance(bound.certificate, Separable)
    w, d = bound.certificate.w, bound.certificate.d
    Q, root = A.T @ A + 2 * ridge * np.eye(P) - np.diag(d), np.sqrt(d)

    def primal(w):
        return 0.5 * w @ Q @ w - b @ A @ w + 0.5 * b @ b + 0.5 * reference.perspective(root * w, k)

    rng = np.random.default_rng(0)
    usable = np.isin(np.arange(P), np.concatenate(list(reference.largest_supports(k, P))))
    best = primal(w)
    for size in np.geomspace(0.1, 1e-4, 250):
        other = w + size * rng.standard_normal(P) * usable
        best, w = min((best, w), (primal(other), other), key=lambda each: each[0])
    assert bound.value <= best
    assert best - bound.value <= 0.02 * (point.objective - bound.value) + 1e-3 * best


def test_moves_raise_the_bound():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((60, 20)) + rng.standard_normal((60, 1))
        problem = Problem(A, A[:, :5] @ np.ones(5) + 3 * rng.standard_normal(60), 4, 0.1 * (seed % 2)).core
        point = problem.restricted(np.arange(4))
        values = [some(reweighted_bound(problem, point, moves)).value for moves in (0, 1, 6)]
        assert values[0] < values[1] <= values[2] <= point.objective
        assert values[2] - values[0] > 0.01 * (point.objective - values[0])


def test_columns_that_play_no_part():
    A, b, _ = instance(3)
    A[:, 4] = 0.0
    problem = Problem(A, b, Cardinality(2, never=[1])).core
    bound = some(reweighted_bound(problem, problem.restricted(np.array([0, 2])), 2))
    certificate = a(Separable, bound.certificate)
    assert np.array_equal(np.flatnonzero(certificate.d == 0), [1, 4])
    assert is_proven(problem, certificate.w, certificate.d)
    assert Fraction(bound.value) <= Exact.of(A, b, Cardinality(2, never=[1])).optimum()
    # Column 0 is not one of them.
    d = certificate.d * (np.arange(P) != 0)
    assert not is_proven(problem, certificate.w * (d > 0), d)
    assert not is_proven(problem, certificate.w[:-1], certificate.d[:-1])
    assert not is_proven(problem, certificate.w, -certificate.d)


def test_there_is_none_without_full_rank():
    A, b, _ = instance(4)
    A[:, 5] = A[:, 0] + A[:, 1]
    problem = Problem(A, b, 2).core
    assert reweighted_bound(problem, problem.restricted(np.array([0, 2])), 2) is None
    zeros = Problem(np.zeros((9, P)), b, 2).core
    assert reweighted_bound(zeros, zeros.zero(), 2) is None


def test_the_ridge_alone(k):
    for seed, n in ((0, 9), (1, 4)):
        A, b, w0 = instance(seed, n)
        problem = Problem(A, b, k, 0.2, w0).core
        bound, exact = ridge_bound(problem), Exact.of(A, b, k, 0.2, w0)
        certificate = a(Separable, bound.certificate)
        assert is_proven(problem, certificate.w, certificate.d)
        assert Fraction(bound.value) <= exact.optimum()
        least = float(exact.least(problem.constraint.usable))
        assert bound.value >= least - 1e-9 * abs(least)


def test_columns_of_sizes_far_apart_lose_nothing_to_underflow():
    """Orthogonal columns, w = 0 and half of H: L is F(0) less the two largest b_j^2, whatever the columns are."""
    sizes, b = np.ldexp(1.0, [190, -40, -180, -120]), np.array([10.0, 8.0, -9.0, 7.0, 1.0])
    A = np.vstack([np.diag(sizes), np.zeros(4)])
    problem = Problem(A, b, 2, w0=np.full(4, 1e4))
    core, units = problem.core, problem.units
    d = 0.5 * units.own_diagonal(sizes**2)
    assert is_proven(core, np.zeros(4), d)
    bound = separable_bound(core, np.zeros(4), d)
    assert units.size(bound.value) <= 0.5 * float(b @ b) - 181.0
    assert units.size(bound.value) == pytest.approx(0.5 * float(b @ b) - 181.0, rel=1e-12)
