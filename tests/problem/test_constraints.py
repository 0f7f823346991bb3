"""Constraints against sorting and against every support."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from l0quad import Cardinality, NofM, PerBlock
from l0quad.problem.constraints.partition import Constraint, top_k


@st.composite
def constraints(draw, p):
    """A Cardinality, a PerBlock with unsorted labels and perhaps empty parts, or an NofM with a short last group."""
    kind = draw(st.sampled_from(["cardinality", "blocks", "nofm"]))
    if kind == "cardinality":
        return Cardinality(draw(st.integers(0, p + 2)))
    if kind == "nofm":
        return NofM(draw(st.integers(0, 4)), draw(st.integers(1, p + 2)))
    parts = draw(st.integers(1, 4))
    labels = draw(st.lists(st.integers(0, parts - 1), min_size=p, max_size=p))
    return PerBlock(np.array(labels), np.array(draw(st.lists(st.integers(0, 4), min_size=parts, max_size=parts))))


# Few values, neighbours among them, so that ties are the rule and near-ties are seen apart.
SCORES = st.sampled_from([0.0, 5e-324, 1.0, 1.0000000000000002, 2.0, 1e300])


@st.composite
def cases(draw, largest=8):
    p = draw(st.integers(1, largest))
    return draw(constraints(p)), np.array(draw(st.lists(SCORES, min_size=p, max_size=p)))


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
    assert scores[found].sum() == pytest.approx(best, rel=1e-14)
    assert np.all(bound.room(found) == 0)
    assert found.size == bound.total


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


@pytest.mark.parametrize("k", [Cardinality(3), PerBlock([1, 0, 1, 0, 1, 0], [2, 1]), NofM(2, 4)], ids=repr)
def test_fixing_out_all_columns_leaves_none(k):
    assert k.bind(6).select(np.ones(6), fixed_out=np.arange(6)).size == 0


@given(cases())
def test_room(case):
    k, scores = case
    p, bound = scores.size, k.bind(scores.size)
    full = bound.select(scores)
    for support in (full, full[1:], full[:-1], full[::2]):
        room = bound.room(support)
        used = [np.isin(support, columns).sum() for columns, _ in reference.parts(k, p)]
        sizes = [min(budget, columns.size) for columns, budget in reference.parts(k, p)]
        np.testing.assert_array_equal(room, np.subtract(sizes, used))
        assert bound.allows(support)


@given(cases(), st.data())
def test_restrict(case, data):
    k, scores = case
    columns = np.array(sorted(data.draw(st.sets(st.integers(0, scores.size - 1), min_size=1))))
    within = k.bind(scores.size).restrict(columns)
    assert within.n_columns == columns.size
    outside = np.setdiff1d(np.arange(scores.size), columns)
    np.testing.assert_array_equal(columns[within.select(scores[columns])], reference.select(scores, k, (), outside))


@given(cases(), st.sampled_from([0.0, 0.25, 5.0]))
def test_thresholds_solve_their_equation(case, beta):
    k, magnitudes = case
    # Denormal numbers have no digits left for an equation; `test_perspective` asks of them that nothing breaks.
    magnitudes[magnitudes == 5e-324] = 1e-250
    p = magnitudes.size
    c = k.bind(p).thresholds(magnitudes, beta)
    assert c.shape == (p,)
    for columns, budget in reference.parts(k, p):
        part, own = magnitudes[columns], c[columns]
        if columns.size == 0:
            continue
        assert np.all(own == own[0])
        if min(budget, columns.size) == 0:
            assert own[0] == np.inf
        elif np.count_nonzero(part) <= budget:
            assert own[0] == 0
        else:
            assert np.clip(part / own[0] - beta, 0, 1).sum() == pytest.approx(budget, rel=1e-12)


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
    assert bound.room(np.arange(0)).sum() == total


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
    built = Constraint.build(np.zeros(5, dtype=np.int64), np.array([2]), 5)
    assert built.part is None
    assert built.select(np.arange(5.0)).tolist() == [3, 4]
