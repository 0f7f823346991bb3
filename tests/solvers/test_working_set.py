"""Exchanges with the columns that promise most: against all exchanges one by one, and never worse than the start."""

import numpy as np
import pytest
from problems import Instance, monitor_of

from l0quad import Groups, NofM
from l0quad.solvers.working_set import exchanged


def instance(seed, k=4, n=12, p=20):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p))
    A[:, 1::2] += 2 * A[:, ::2]
    return Instance(A, A @ rng.standard_normal(p), k, ridge=0.1, w0=0.1 * rng.standard_normal(p))


def best_exchange(core, support):
    """The least objective after an exchange of one column."""
    outside = np.setdiff1d(np.arange(core.shape[1]), support)
    return min(
        core.restricted(np.sort(np.append(np.delete(support, slot), j))).objective
        for slot in range(support.size)
        for j in outside
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_exchange_is_left_where_all_columns_take_part(seed):
    core = instance(seed).core()
    start = found = core.restricted(np.arange(4))
    # One call makes as many exchanges as there are columns in the support, at most.
    while True:
        before = found
        found = exchanged(core, before, core.shape[1], np.inf, monitor_of(core))
        if found is before:
            break
        assert found.objective < before.objective
        assert found.objective == pytest.approx(core.restricted(found.support).objective, rel=1e-9)
    assert found.objective < start.objective
    assert found.objective <= best_exchange(core, found.support) * (1 + 1e-9)


def test_a_few_columns_are_those_that_promise_most():
    """With one further column an exchange is only with that of the largest r_j^2 / H_jj."""
    for seed in range(8):
        case = instance(seed)
        core = case.core()
        support = np.array([2, 7, 11, 16])
        point = core.restricted(support)
        found = exchanged(core, point, 1, np.inf, monitor_of(core))
        w = np.zeros(case.p)
        w[support] = point.w
        r = case.A.T @ (case.b - case.A @ w) + 0.2 * (case.centre - w)
        scores = r**2 / (np.einsum("ij,ij->j", case.A, case.A) + 0.2)
        scores[support] = -1
        assert set(found.support) - set(support) <= {int(np.argmax(scores))}
        assert found.objective <= point.objective


def test_too_much_work_leaves_the_point_and_reads_nothing(monkeypatch):
    core = instance(0).core()
    point = core.restricted(np.arange(4))
    monkeypatch.setattr(type(core.matrix), "rmatvec", None)
    assert exchanged(core, point, 4, 1.0, monitor_of(core)) is point


@pytest.mark.parametrize("k", [NofM(1, 4), Groups(np.arange(20) // 2, 2)])
def test_constraints_are_kept(k):
    for seed in range(4):
        case = instance(seed, k)
        core = case.core()
        point = core.restricted(core.constraint.select(np.linspace(1, 2, 20)))
        found = exchanged(core, point, 6, np.inf, monitor_of(core))
        assert case.allows(found.support)
        assert found.objective <= point.objective
