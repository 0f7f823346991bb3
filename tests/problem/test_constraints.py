"""Constraints against sorting and against every support."""

import re

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import constraints

from l0quad import Cardinality, Groups, NofM, PerBlock
from l0quad.problem.constraints.partition import Partition
from l0quad.problem.constraints.ranking import top_k

# Few values, neighbours among them, so that ties are the rule and near-ties are seen apart.
SCORES = st.sampled_from([0.0, 5e-324, 1.0, 1.0000000000000002, 2.0, 1e300])


@st.composite
def cases(draw, largest=8):
    p = draw(st.integers(1, largest))
    k = draw(constraints(p))
    return Cardinality(k) if isinstance(k, int) else k, np.array(draw(st.lists(SCORES, min_size=p, max_size=p)))


@given(cases())
def test_select_matches_sorting(case):
    k, scores = case
    before = scores.copy()
    found = k.bind(scores.size).select(scores)
    np.testing.assert_array_equal(found, reference.select(scores, k))
    np.testing.assert_array_equal(scores, before)


@given(cases(largest=7))
def test_select_is_the_best_of_all_supports(case):
    k, scores = case
    bound = k.bind(scores.size)
    found = bound.select(scores)
    best = max(scores[support].sum() for support in reference.largest_supports(k, scores.size))
    assert scores[found].sum() == pytest.approx(best, rel=1e-15)
    assert bound.allows(found)
    assert bound.largest_sum(scores) == pytest.approx(best, rel=1e-15)


@given(cases(), st.data())
def test_select_with_fixed_columns(case, data):
    k, scores = case
    bound, p = k.bind(scores.size), scores.size
    fixed_in = np.array(sorted(data.draw(st.sets(st.sampled_from(reference.select(np.ones(p), k).tolist() or [0])))))
    fixed_in = fixed_in[: bound.total].astype(np.int64)
    rest = [j for j in range(p) if j not in fixed_in]
    fixed_out = np.array(sorted(data.draw(st.sets(st.sampled_from(rest)))) if rest else [], dtype=np.int64)
    before = scores.copy()
    np.testing.assert_array_equal(
        bound.select(scores, fixed_in, fixed_out), reference.select(scores, k, fixed_in, fixed_out)
    )
    np.testing.assert_array_equal(bound.select(scores, fixed_in=fixed_in), reference.select(scores, k, fixed_in))
    np.testing.assert_array_equal(bound.select(scores, None, fixed_out), reference.select(scores, k, (), fixed_out))
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize(
    "k", [Cardinality(3, must=[1]), PerBlock([1, 0, 1, 0, 1, 0], [2, 1]), NofM(2, 4, never=[0])], ids=repr
)
def test_fixing_out_all_columns_leaves_none(k):
    assert k.bind(6).select(np.ones(6), fixed_out=np.arange(6)).size == 0


@given(cases(), st.data())
def test_moves(case, data):
    """What is allowed, what may be added, what may be taken out, and which column may replace which."""
    k, scores = case
    p, bound = scores.size, k.bind(scores.size)
    support = np.array(sorted(data.draw(st.sets(st.integers(0, p - 1)))), dtype=np.int64)
    assert bound.allows(support) == reference.allowed(support, k, p)
    assert bound.total == max(each.size for each in reference.largest_supports(k, p))
    support = bound.select(scores)
    support = bound.closed(support[data.draw(st.lists(st.booleans(), min_size=support.size, max_size=support.size))])
    np.testing.assert_array_equal(support, reference.closed(support, k))
    addable, removable = bound.addable(support), bound.removable(support)
    added = {int(j) for j, _ in reference.additions(support, k, p)}
    assert {j for j in range(p) if addable[j] and j not in support} >= added
    for unit in reference.units(k, p):
        if unit[0] not in support:
            assert addable[unit[0]] == (unit[0] in added)
    must = reference.closed([], k)
    np.testing.assert_array_equal(support[removable], np.setdiff1d(support, must))
    if bound.units is None:
        leaving, home, part, room = bound.exchanges(support)
        np.testing.assert_array_equal(leaving, removable)
        allowed = {(int(i), int(j)) for i, j, _ in reference.swaps(support, k, p)}
        for slot in leaving:
            for j in np.setdiff1d(bound.usable, support):
                fits = part.size == 0 or part[j] == home[slot] or room[part[j]] > 0
                assert fits == ((support[slot], j) in allowed)


@given(cases(), st.data())
def test_restrict(case, data):
    k, scores = case
    columns = np.array(sorted(data.draw(st.sets(st.integers(0, scores.size - 1), min_size=1))))
    within = k.bind(scores.size).restrict(columns)
    assert within.n_columns == columns.size
    outside = np.setdiff1d(np.arange(scores.size), columns)
    np.testing.assert_array_equal(columns[within.select(scores[columns])], reference.select(scores, k, (), outside))


@given(cases(), st.sampled_from([0.0, 0.25, 5.0]))
def test_the_relaxed_support_is_optimal(case, beta):
    k, magnitudes = case
    # Denormal numbers have no digits left for an equation; `test_perspective` asks of them that nothing breaks.
    magnitudes[magnitudes == 5e-324] = 1e-250
    p = magnitudes.size
    bound = k.bind(p)
    z = bound.relaxed(magnitudes * (-1.0) ** np.arange(p), beta)
    assert np.all((z >= 0) & (z <= 1))
    # No mean of allowed supports does better, and z is one: so is every step from it towards a support.
    supports = [np.isin(np.arange(p), each).astype(float) for each in reference.largest_supports(k, p)]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(magnitudes > 0, (magnitudes / magnitudes.max(initial=0) / (z + beta)) ** 2, 0.0)
    if np.all(np.isfinite(slope)):
        assert max(slope @ each for each in supports) <= (slope @ z) * (1 + 1e-9)
    assert z.sum() <= bound.total + 1e-9
    assert np.all(z[[*reference.fixed(k)[0]]] == 1)
    assert np.all(z[[*reference.fixed(k)[1]]] == 0)


@pytest.mark.parametrize(
    ("k", "p", "total"),
    [
        (Cardinality(0), 3, 0),
        (Cardinality(10**30), 3, 3),
        (NofM(2, 4), 10, 6),
        (NofM(3, 4), 9, 7),
        (NofM(5, 4), 10, 10),
        (NofM(0, 4), 10, 0),
        (NofM(1, 100), 10, 1),
        (NofM(10**30, 4), 10, 10),
        (NofM(2, 10**30), 10, 2),
        (PerBlock([0, 2, 0, 2], [1, 5, 9]), 4, 3),
        (PerBlock([0, 0], [0]), 2, 0),
    ],
    ids=repr,
)
def test_total(k, p, total):
    bound = k.bind(p)
    assert bound.total == total
    assert bound.select(np.ones(p)).size == total


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64])
def test_per_block_of_any_integers(dtype):
    largest = np.iinfo(dtype).max
    k = PerBlock(np.array([0, 1, 1], dtype=dtype), np.array([1, largest], dtype=dtype))
    assert k.bind(3).total == 3
    assert k.bind(3).select(np.ones(3)).tolist() == [0, 1, 2]


def test_labels_may_be_in_any_order():
    k = PerBlock([2, 0, 1, 0, 2, 1, 0], [1, 1, 2])
    scores = np.array([1.0, 3, 2, 3, 5, 4, 9])
    # Part 0 holds columns 1, 3, 6: the best is 6. Part 1 holds 2, 5: the best is 5. Part 2 holds 0, 4: both.
    assert k.bind(7).select(scores).tolist() == [0, 4, 5, 6]


def test_per_block_copies_what_it_is_given():
    labels, budgets = np.array([0, 1]), np.array([1, 1])
    k = PerBlock(labels, budgets)
    labels[0], budgets[0] = 1, 0
    assert k.labels.tolist() == [0, 1]
    assert k.budgets.tolist() == [1, 1]
    assert not k.labels.flags.writeable
    assert not k.budgets.flags.writeable


@given(st.lists(SCORES, min_size=1, max_size=12), st.integers(0, 14))
def test_top_k(scores, k):
    scores = np.array(scores)
    expected = sorted(sorted(range(scores.size), key=lambda j: (-scores[j], j))[:k])
    assert top_k(scores, k).tolist() == expected


def test_one_part_is_a_cardinality():
    built = Partition.build(np.zeros(5, dtype=np.int64), np.array([2]), 5)
    assert built.part is None
    assert built.select(np.arange(5.0)).tolist() == [3, 4]


INFEASIBLE = {
    "must: has 3 column(s), more than k=2": lambda: Cardinality(2, must=[1, 2, 5]),
    "must: column 3 is also in never": lambda: NofM(2, 4, must=[1, 3], never=[3]),
    "must: has 2 column(s) in part 1, where the budget is 1": lambda: PerBlock([0, 1, 1], [3, 1], must=[1, 2]).bind(3),
    "must: has 3 column(s) in part 1, where the budget is 2": lambda: NofM(2, 4, must=[4, 6, 7]).bind(10),
    "must: indices must lie in [0, 6), got 6": lambda: Cardinality(3, must=[6]).bind(6),
    "never: indices must lie in [0, 6), got 0 to 9": lambda: Cardinality(3, never=[0, 9]).bind(6),
    "must: columns must not be negative, got -1": lambda: Cardinality(3, must=[-1]),
    "never: columns must be different, got 1 repeated": lambda: Cardinality(3, never=[2, 2]),
    "order: must hold each of 0 to 3 once": lambda: NofM(1, 2, order=[0, 1, 1, 3]),
    "order: has 4 columns, but A has 5": lambda: NofM(1, 2, order=[0, 1, 2, 3]).bind(5),
}


@pytest.mark.parametrize("message", INFEASIBLE)
def test_infeasible_requests_name_the_reason(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        INFEASIBLE[message]()


@pytest.mark.parametrize("value", [[0.5], [True, False], [[1]], "a", 3, [10**30]], ids=repr)
@pytest.mark.parametrize("name", ["must", "never"])
def test_what_is_not_a_list_of_columns_is_a_type_error(name, value):
    with pytest.raises(TypeError, match=f"^{name}: "):
        Cardinality(2, **{name: value})


def test_kinds_are_equal_where_their_arguments_are():
    assert Cardinality(2, must=np.array([3, 1])) == Cardinality(2, must=(1, 3))
    assert Cardinality(2) != Cardinality(2, never=[0])
    assert NofM(1, 2) == NofM(1, 2) != NofM(1, 2, order=[0, 1])
    assert NofM(1, 2, order=[1, 0]) == NofM(1, 2, order=np.array([1, 0])) != NofM(1, 2, order=[0, 1])
    assert NofM(1, 2) != 3
    assert hash(NofM(1, 2, must=[0])) == hash(NofM(1, 2, must=[0]))


def test_n_of_m_along_another_order():
    """Down the columns of a 4 x 3 matrix whose entries are numbered row by row."""
    down = np.arange(12).reshape(4, 3).T
    scores = np.random.default_rng(0).random(12)
    found = NofM(1, 4, order=down.ravel()).bind(12).select(scores)
    assert found.tolist() == sorted(int(column[np.argmax(scores[column])]) for column in down)


def test_a_kind_shows_what_it_was_given():
    assert repr(NofM(2, 4)) == "NofM(n=2, m=4)"
    assert repr(Cardinality(3, must=["age"])) == "Cardinality(k=3, must=[age])"
    assert repr(Groups(np.arange(20), 3, never=[2])) == "Groups(labels=[0, 1, 2, 3, 4, 5, ... 14 more], k=3, never=[2])"
