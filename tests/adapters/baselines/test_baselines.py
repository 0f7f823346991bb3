"""The published baselines against dense references: an explicit inverse of F, and all supports or all swaps."""

from typing import Any

import numpy as np
import pytest
import reference

torch = pytest.importorskip("torch")

from l0quad_adapters.torch import BASELINES, CBS, MFAC, MagnitudePruning, WoodFisher
from l0quad_adapters.torch.baselines import base
from l0quad_adapters.torch.baselines.registry import pruned

from l0quad import NofM, PerBlock

P, L2 = 12, 0.05
LABELS = np.array([0, 1, 2, 0, 1, 2, 1, 1, 0, 2, 1, 0])
BUDGETS = {"int": 5, "per_block": PerBlock(LABELS, np.array([2, 0, 3])), "n_of_m": NofM(2, 4)}
# Fewer rows than columns and more: F^-1 comes by Woodbury's identity and directly.
ROWS = (5, 30)
over_rows = pytest.mark.parametrize("n", ROWS)
over_budgets = pytest.mark.parametrize("k", BUDGETS.values(), ids=BUDGETS.keys())
over_baselines = pytest.mark.parametrize("name", BASELINES)


def gradients(n, seed=0, p=P):
    """Correlated columns of different sizes, and weights."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p)) @ rng.standard_normal((p, p)) * np.geomspace(0.3, 2, p)
    return A, rng.standard_normal(p)


def fisher(A, l2=L2):
    return A.T @ A / len(A) + l2 * np.eye(A.shape[1])


def surgeon(F, w0, k):
    """The one-shot rule, from the explicit inverse of F."""
    E = np.linalg.inv(F)
    kept = reference.select(w0**2 / (2 * np.diag(E)), k)
    removed = np.setdiff1d(np.arange(w0.size), kept)
    w = w0 - sum(w0[q] / E[q, q] * E[:, q] for q in removed)
    w[removed] = 0
    return w


def cut(F, edges):
    """F with zeros outside of its diagonal blocks."""
    blocks = np.searchsorted(edges, np.arange(len(F)), side="right")
    return np.where(blocks[:, None] == blocks, F, 0)


def impact(F, w0, kept):
    """What removing all others costs where nothing is updated."""
    w = w0.copy()
    w[kept] = 0
    return 0.5 * w @ F @ w


@over_budgets
@over_rows
@pytest.mark.parametrize("block_size", [1, 4, 5, 8])
def test_woodfisher_is_the_one_shot_rule_on_diagonal_blocks(n, k, block_size):
    A, w0 = gradients(n)
    expected = surgeon(cut(fisher(A), range(0, P, block_size)), w0, k)
    np.testing.assert_allclose(pruned(WoodFisher(block_size), A, w0, k, L2), expected, rtol=1e-9, atol=1e-12)


@over_rows
def test_woodfisher_ends_its_blocks_where_layers_end(n):
    A, w0 = gradients(n)
    expected = surgeon(cut(fisher(A), [0, 5, 7, 12]), w0, 5)
    for layers in ([0, 7, 12], np.array([0, 7, 12])):
        np.testing.assert_allclose(pruned(WoodFisher(5), A, w0, 5, L2, layers=layers), expected, rtol=1e-9, atol=1e-12)
    assert np.abs(pruned(WoodFisher(5), A, w0, 5, L2) - expected).max() > 1e-3


@over_budgets
@over_rows
def test_mfac_is_the_one_shot_rule_with_the_whole_matrix(n, k):
    A, w0 = gradients(n)
    w = pruned(MFAC(), A, w0, k, L2)
    np.testing.assert_allclose(w, surgeon(fisher(A), w0, k), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(pruned(WoodFisher(P), A, w0, k, L2), w)
    np.testing.assert_array_equal(pruned(MFAC(), A, w0, k, L2, layers=[0, 3, P]), w)


@over_budgets
def test_magnitude_keeps_the_largest_weights_as_they_are(k):
    A, w0 = gradients(5)
    expected = np.zeros(P)
    kept = reference.select(np.abs(w0), k)
    expected[kept] = w0[kept]
    np.testing.assert_array_equal(pruned(MagnitudePruning(), A, w0, k, L2), expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("l2", [L2, 5.0])
@over_budgets
@over_rows
def test_cbs_chooses_a_support_that_no_swap_improves(n, k, l2, seed):
    A, w0 = gradients(n, seed)
    F = fisher(A, l2)
    kept = np.flatnonzero(pruned(CBS(least_gain=0), A, w0, k, l2))
    value = impact(F, w0, kept)
    assert value <= impact(F, w0, reference.select(np.abs(w0), k)) * (1 + 1e-9)
    assert value <= min(impact(F, w0, other) for _, _, other in reference.swaps(kept, k, P)) * (1 + 1e-9)
    assert value >= min(impact(F, w0, other) for other in reference.largest_supports(k, P)) * (1 - 1e-9)


def test_cbs_finds_removed_weights_that_cancel_one_another():
    # The effects of the first two on every sample cancel; no score of single weights sees that.
    A = np.random.default_rng(3).standard_normal((40, 6))
    w0 = np.array([1.0, 0.3, 0.6, 0.6, 0.6, 0.5])
    A[:, 1] = -A[:, 0] * w0[0] / w0[1]
    np.testing.assert_array_equal(np.flatnonzero(pruned(MagnitudePruning(), A, w0, 4, 1e-6)), [0, 2, 3, 4])
    np.testing.assert_array_equal(np.flatnonzero(pruned(CBS(), A, w0, 4, 1e-6)), [2, 3, 4, 5])


@over_budgets
@over_rows
def test_cbs_solves_for_the_kept_weights(n, k):
    A, w0 = gradients(n)
    w = pruned(CBS(), A, w0, k, L2)
    expected = reference.best_on(A, A @ w0, np.flatnonzero(w), n * L2 / 2, w0)
    np.testing.assert_allclose(w, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("options", [CBS(candidates=1, max_rounds=3), CBS(max_rounds=1, candidates=2), CBS(0.1)])
def test_a_limited_search_ends_between_its_start_and_the_full_one(options):
    A, w0 = gradients(20, seed=1, p=60)
    F = fisher(A)
    values = [impact(F, w0, np.flatnonzero(pruned(each, A, w0, 15, L2))) for each in (CBS(least_gain=0), options)]
    assert values[0] < values[1] < impact(F, w0, reference.select(np.abs(w0), 15))


def test_scaling_the_gradients_changes_nothing():
    A, w0 = gradients(20, seed=1, p=60)
    for name, each in BASELINES.items():
        scaled = pruned(each(), 2.0**-7 * A, w0, 15, 2.0**-14 * L2)
        np.testing.assert_allclose(scaled, pruned(each(), A, w0, 15, L2), rtol=1e-9, atol=1e-12, err_msg=name)


@over_budgets
@over_baselines
@over_rows
def test_pruned_weights_stay_out_as_if_they_had_never_been(n, name, k):
    A, w0 = gradients(n)
    allowed = np.isin(np.arange(P), [0, 2, 3, 6, 9, 11])  # Some budgets find too few of them.
    w = pruned(BASELINES[name](), A, w0, k, L2, allowed)
    others = w0 + np.where(allowed, 0, 1)
    np.testing.assert_allclose(pruned(BASELINES[name](), A, others, k, L2, allowed), w, rtol=1e-12)
    if isinstance(k, int):
        alone = pruned(BASELINES[name](), A[:, allowed], w0[allowed], k, L2)
    elif isinstance(k, PerBlock):
        alone = pruned(BASELINES[name](), A[:, allowed], w0[allowed], PerBlock(LABELS[allowed], k.budgets), L2)
    else:
        labels = np.arange(P) // 4
        alone = pruned(BASELINES[name](), A[:, allowed], w0[allowed], PerBlock(labels[allowed], np.full(3, 2)), L2)
    np.testing.assert_allclose(w[allowed], alone, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(w[~allowed], 0)


@over_budgets
@over_baselines
@over_rows
def test_budgets_are_used_up_and_float32_changes_little(n, name, k):
    A, w0 = gradients(n)
    A = A.astype(np.float32)
    A.flags.writeable = w0.flags.writeable = False
    w = pruned(BASELINES[name](), A, w0, k, L2)
    assert w.dtype == np.float64
    assert w.shape == (P,)
    for columns, budget in reference.parts(k, P):
        assert np.count_nonzero(w[columns]) == budget
    for same in (np.asfortranarray(A), A.astype(np.float64), np.repeat(A, 2, axis=1)[:, ::2]):
        np.testing.assert_allclose(pruned(BASELINES[name](), same, w0.astype(np.float64), k, L2), w, rtol=1e-5)


@over_baselines
@over_rows
def test_the_size_of_the_pieces_does_not_matter(monkeypatch, n, name):
    A, w0 = gradients(n)
    whole = pruned(BASELINES[name](), A, w0, 5, L2)
    monkeypatch.setattr(base, "_PIECE_BYTES", 8 * n * 5)
    np.testing.assert_allclose(pruned(BASELINES[name](), A, w0, 5, L2), whole, rtol=1e-9)
    monkeypatch.setattr(base, "_PIECE_BYTES", 1)
    np.testing.assert_allclose(pruned(BASELINES[name](), A, w0, 5, L2), whole, rtol=1e-9)


@over_budgets
@over_baselines
def test_strong_damping_selects_by_magnitude(name, k):
    A, w0 = gradients(5)
    expected = pruned(MagnitudePruning(), A, w0, k, L2)
    np.testing.assert_allclose(pruned(BASELINES[name](), A, w0, k, 1e9), expected, rtol=1e-6)


@over_baselines
def test_the_ends_of_the_budget(name):
    A, w0 = gradients(5)
    np.testing.assert_array_equal(pruned(BASELINES[name](), A, w0, 0, L2), 0)
    for k in (P, P + 5):
        np.testing.assert_allclose(pruned(BASELINES[name](), A, w0, k, L2), w0, rtol=1e-9)
    np.testing.assert_array_equal(pruned(BASELINES[name](), A, w0, 5, L2, np.zeros(P, dtype=bool)), 0)


@pytest.mark.parametrize("name", ["woodfisher", "mfac"])
def test_a_saliency_lost_to_rounding_still_counts(name):
    # [F^-1]_00 = 1 / (l2 + a^2/n) is the difference of two numbers near 1/l2, which agree in every digit.
    A, w0 = gradients(4)
    A[0], A[:, 0] = 0, 0
    A[0, 0] = 3
    assert pruned(BASELINES[name](), A, w0, 1, 1e-17)[0] == w0[0]


def test_l2_must_be_seen_beside_the_gradients():
    A = np.ones((3, P))  # A A'/n holds fours only: its Cholesky factorization ends at an exact zero.
    with pytest.raises(ValueError, match=r"l2: too small .* got 1e-30"):
        pruned(MFAC(), A, np.ones(P), 5, 1e-30)


def test_registry():
    assert list(BASELINES) == ["magnitude", "woodfisher", "mfac", "cbs"]
    assert all(BASELINES[name].name == name and BASELINES[name]() == BASELINES[name]() for name in BASELINES)


INVALID: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "options": (TypeError, "options: must be one of .*, got 'mfac'", {"options": "mfac"}),
    "type": (TypeError, "A: must be a float32 or float64 array, got list", {"A": [[1.0]]}),
    "dtype": (TypeError, "A: must be .*, got int64", {"A": np.eye(2, dtype=np.int64)}),
    "flat": (ValueError, r"A: must be 2-D .* got shape \(12,\)", {"A": np.ones(P)}),
    "empty": (ValueError, r"A: must be 2-D with rows and columns, got shape \(0, 12\)", {"A": np.empty((0, P))}),
    "nan": (ValueError, "A: all values must be finite", {"A": np.full((5, P), np.nan)}),
    "w0": (ValueError, r"w0: must have shape \(12,\), .*got shape \(3,\)", {"w0": np.ones(3)}),
    "w0_type": (TypeError, "w0: must hold real numbers", {"w0": np.full(P, "1")}),
    "w0_inf": (ValueError, "w0: all values must be finite", {"w0": np.full(P, np.inf)}),
    "k": (ValueError, "k: must be at least 0, got -1", {"k": -1}),
    "l2": (ValueError, "l2: must be positive.*, got 0.0", {"l2": 0.0}),
    "l2_type": (TypeError, "l2: must be a number, got 'auto'", {"l2": "auto"}),
    "l2_nan": (ValueError, r"l2: must lie in \[0, inf\), got nan", {"l2": float("nan")}),
    "allowed": (TypeError, "allowed: must be a bool array, got int64", {"allowed": np.ones(P, dtype=np.int64)}),
    "short": (ValueError, r"allowed: must have shape \(12,\), got \(3,\)", {"allowed": np.ones(3, dtype=bool)}),
    "layers": (ValueError, r"layers: must increase from 0 .*\(12\), got \[0, 5\]", {"layers": [0, 5]}),
    "no_layers": (ValueError, "layers: must increase", {"layers": []}),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_arguments_are_named(case):
    error, message, changes = INVALID[case]
    A, w0 = gradients(5)
    arguments: dict[str, Any] = {"options": WoodFisher(), "A": A, "w0": w0, "k": 5, "l2": L2}
    with pytest.raises(error, match=message):
        pruned(**arguments | changes)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: WoodFisher(0), ValueError, "block_size: must be at least 1, got 0"),
        (lambda: WoodFisher(2.5), TypeError, "block_size: must be an integer, got 2.5"),  # type: ignore[arg-type]
        (lambda: CBS(least_gain=1.0), ValueError, r"least_gain: must lie in \[0, 1\), got 1.0"),
        (lambda: CBS(least_gain="0.1"), TypeError, "least_gain: must be a number, got '0.1'"),  # type: ignore[arg-type]
        (lambda: CBS(max_rounds=0), ValueError, "max_rounds: must be at least 1, got 0"),
        (lambda: CBS(candidates=True), TypeError, "candidates: must be an integer, got True"),
    ],
)
def test_invalid_options_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
