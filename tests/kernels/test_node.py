"""The relaxation of a node against naive twins and enumeration."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rational import is_semidefinite

from l0quad.kernels.lift import lifted
from l0quad.kernels.node import LEAF, OPEN, PRUNED, ascend
from l0quad.kernels.relaxed import FREE, IN, OUT

pytestmark = pytest.mark.no_jit


class Made:
    """A small problem in a frame's variables: units of one to three columns, parts of a few units."""

    def __init__(self, seed: int, singular: bool) -> None:
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 4, rng.integers(1, 7)) if rng.random() < 0.4 else np.ones(rng.integers(1, 8), dtype=int)
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        p, units = int(self.starts[-1]), sizes.size
        G = rng.standard_normal((p // 2 + 1 if singular else p + 2, p))
        self.M = G.T @ G * 10.0 ** rng.integers(-2, 3)
        self.y = rng.standard_normal(p) * 3
        self.c = np.where(rng.random(p) < 0.3, rng.standard_normal(p), 0.0)
        self.root = np.sqrt(self.M.diagonal()) * (1 + 1e-15)
        blocks = [self.M[a:b, a:b] for a, b in itertools.pairwise(self.starts)]
        self.curve = np.array([np.linalg.eigvalsh(block)[-1] for block in blocks]) * (1 + 1e-12)
        parts = int(rng.integers(1, min(3, units) + 1))
        self.part = np.sort(np.concatenate([np.arange(parts), rng.integers(0, parts, units - parts)]))
        self.first = np.searchsorted(self.part, np.arange(parts + 1))
        self.budgets = np.array([rng.integers(0, n + 1) for n in np.diff(self.first)])
        self.state = rng.choice([FREE, FREE, FREE, IN, OUT], units).astype(np.int8)
        for q in range(parts):
            held = np.flatnonzero((self.part == q) & (self.state == IN))
            self.state[held[self.budgets[q] :]] = FREE

    @property
    def pull(self):
        return self.y + self.M @ self.c

    def columns(self, units):
        return np.concatenate(
            [np.arange(self.starts[g], self.starts[g + 1]) for g in [*units]] or [np.empty(0)]
        ).astype(int)

    def supports(self, state):
        """The sets of units that a node allows."""
        inside, free = np.flatnonzero(state == IN), np.flatnonzero(state == FREE)
        for size in range(free.size + 1):
            for more in itertools.combinations(free.tolist(), size):
                units = np.sort(np.concatenate([inside, more])).astype(int)
                if np.all(np.bincount(self.part[units], minlength=self.budgets.size) <= self.budgets):
                    yield units

    def least(self, units):
        """The least value over the columns of some units."""
        S, at_zero = self.columns(units), 0.5 * self.c @ self.M @ self.c
        if S.size == 0:
            return at_zero
        return at_zero - 0.5 * self.pull[S] @ np.linalg.solve(self.M[np.ix_(S, S)] + np.eye(S.size), self.pull[S])

    def optimum(self, state):
        return min((self.least(units) for units in self.supports(state)), default=np.inf)

    def bound(self, state, v):
        """L(v), as its definition says."""
        u = self.y - self.M @ (v - self.c)
        squares = np.add.reduceat(u * u, self.starts[:-1])
        counted = [squares[[*units]].sum() for units in self.supports(state)]
        return -0.5 * (v + self.c) @ (self.y - u) - 0.5 * max(counted)

    def lifted(self, state):
        """The shares that the free units can give up, and their Schur complement."""
        shares = np.ones(3)
        lifted(self.M, self.starts, state, shares)
        return shares

    def ascend(self, target, rounds=60, shares=None):
        state, v, theta = self.state.copy(), np.zeros(self.y.size), np.full(self.budgets.size, 0.1)
        chosen = np.zeros(state.size, dtype=np.bool_)
        return self.ascend_from(state, v, theta, target, rounds, shares, chosen), state, v, chosen

    def ascend_from(self, state, v, theta, target, rounds=60, shares=None, chosen=None):
        shares = np.ones(3) if shares is None else shares
        chosen = np.zeros(state.size, dtype=np.bool_) if chosen is None else chosen
        return ascend(
            self.M, self.y, self.c, self.pull, self.root, self.curve, self.starts, self.first, self.budgets, self.part,
            shares, state, v, theta, target, 1.0 + abs(self.least(range(state.size))), rounds, chosen,
        )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_bounds_are_below_the_optimum_and_near_it(seed, singular):
    made = Made(seed, singular)
    optimum = made.optimum(made.state)
    size = 1 + abs(optimum) + 0.5 * made.c @ made.M @ made.c + made.y @ made.y
    (kind, bound, lost, branch, screened, used), state, v, _ = made.ascend(np.inf)
    assert kind in (OPEN, LEAF)
    assert used >= 1
    assert not screened
    if kind == LEAF:
        return
    assert state[branch] == FREE
    assert 0 <= lost <= 1e-9 * size
    assert bound <= optimum
    reached = made.bound(state, v)
    assert reached - 3 * lost - 1e-12 * (size + abs(reached)) <= bound


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.floats(-0.3, 0.3))
def test_nothing_better_than_the_target_is_screened(seed, singular, above):
    """Nor pruned: of all supports below the target, each is still allowed."""
    made = Made(seed, singular)
    optimum = made.optimum(made.state)
    target = optimum + above * (1 + abs(optimum))
    (kind, *_), state, _, chosen = made.ascend(target)
    below = [units for units in made.supports(made.state) if made.least(units) < target - 1e-9 * (1 + abs(target))]
    left = {tuple(units) for units in made.supports(state)}
    assert kind != PRUNED or not below
    assert kind == PRUNED or all(any(set(units) <= set(other) for other in left) for units in below)
    assert kind == PRUNED or np.all(np.bincount(made.part[chosen], minlength=made.budgets.size) <= made.budgets)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_raised_shares_are_what_the_schur_complement_gives_and_are_proven(seed, singular):
    made = Made(seed, singular)
    shares = made.lifted(made.state)
    inside, free = (made.columns(np.flatnonzero(made.state == which)) for which in (IN, FREE))
    if free.size == 0 or shares[FREE] == 1.0:
        assert np.array_equal(shares, np.ones(3))
        return
    H = made.M + np.eye(made.y.size)
    solved = np.linalg.solve(H[np.ix_(inside, inside)], H[np.ix_(inside, free)])
    most = np.linalg.eigvalsh(H[np.ix_(free, free)] - H[np.ix_(free, inside)] @ solved)[0]
    assert 1 < shares[FREE] <= most * (1 + 1e-9)
    assert shares[OUT] == 1
    kept = np.concatenate([inside, free])
    given_up = np.repeat(shares[[IN, FREE]], [inside.size, free.size])
    exact = [[Fraction(float(x)) for x in row] for row in made.M[np.ix_(kept, kept)]]
    for i in range(kept.size):
        exact[i][i] += 1 - Fraction(float(given_up[i]))
        for j in range(i):
            exact[i][j] = exact[j][i]
    assert is_semidefinite(exact)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_bounds_with_raised_shares_are_below_the_optimum_and_cut_nothing_off(seed, singular):
    made = Made(seed, singular)
    optimum, shares = made.optimum(made.state), made.lifted(made.state)
    (_, bound, lost, *_), _, _, _ = made.ascend(np.inf, shares=shares)
    assert bound <= optimum or bound == np.inf == optimum
    assert 0 <= lost <= 1e-9 * (1 + abs(optimum) + made.c @ made.M @ made.c + made.y @ made.y)
    target = optimum + 0.1 * (1 + abs(optimum))
    (kind, *_), state, _, _ = made.ascend(target, shares=shares)
    below = [units for units in made.supports(made.state) if made.least(units) < target - 1e-9 * (1 + abs(target))]
    left = {tuple(units) for units in made.supports(state)}
    assert kind != PRUNED or not below
    assert kind == PRUNED or all(any(set(units) <= set(other) for other in left) for units in below)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_bound_at_a_leaf_is_its_definition(seed):
    made = Made(seed, False)
    state = np.where(made.state == FREE, OUT, made.state).astype(np.int8)
    v = np.zeros(made.y.size)
    S = made.columns(np.flatnonzero(state == IN))
    v[S] = np.random.default_rng(seed).standard_normal(S.size)
    kind, value, lost, branch, *_ = made.ascend_from(state, v, np.zeros(made.budgets.size), np.inf)
    assert kind == LEAF
    assert branch == -1
    expected = made.bound(state, v)
    assert value <= expected <= value + 2 * lost + 1e-12 * (1 + abs(expected))


def test_ascent_goes_on_where_it_was_cut():
    made = Made(1199, False)
    whole, *_ = made.ascend(np.inf)
    cut, *_ = made.ascend(np.inf, rounds=1)
    assert -np.inf < cut[1] <= whole[1] + 1e-9 * abs(whole[1])
