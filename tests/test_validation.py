"""The door: what is refused names the argument, the rule and the value; what is accepted means what it says."""

import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import reference
import scipy.sparse as sp

import l0quad
from l0quad import IHT, ActiveSet, Backsolve, BlockBacksolve, Cardinality, CoordinateDescent, NofM, PerBlock, Problem

A = np.arange(12.0).reshape(4, 3) % 5
B = np.arange(4.0)
NAN, INF = float("nan"), float("inf")
HUGE = 10**400
LONGDOUBLE = np.longdouble if np.dtype(np.longdouble).itemsize > 8 else np.clongdouble


def refuse(call, error, *words):
    """The call raises this error, and its message has these words in this order."""
    pattern = ".*".join(re.escape(word) for word in words)
    with pytest.raises(error, match=f"(?s)^{pattern}") as caught:
        call()
    assert type(caught.value) is error


def masked(array):
    return np.ma.masked_array(array, np.zeros(np.shape(array), dtype=bool))


# What has no value that float64 can hold, wherever an array is expected.
NOT_NUMBERS = {
    "complex": (lambda a: a.astype(complex), "complex128"),
    "object": (lambda a: a.astype(object), "object"),
    "strings": (lambda a: a.astype("U5"), "<U5"),
    "bytes": (lambda a: a.astype("S5"), "|S5"),
    "wider floats": (lambda a: a.astype(LONGDOUBLE), np.dtype(LONGDOUBLE).name),
    "dates": (lambda a: a.astype("M8[s]"), "datetime64[s]"),
    "durations": (lambda a: a.astype("m8[s]"), "timedelta64[s]"),
    "records": (lambda a: np.zeros(a.shape, dtype="f8,f8"), "f0"),
    "None": (lambda a: None if a.ndim == 2 else np.full(a.shape, None), "object"),
    "masked": (masked, "masked"),
}
VECTORS = {
    "b": lambda value: Problem(A, value, 2),
    "w0": lambda value: Problem(A, B, 2, 1.0, value),
    "linear": lambda value: Problem(A, B, 2, 1.0, None, value),
    "g": lambda value: Problem.from_gram(np.eye(3), value, 2),
    "w": lambda value: Problem(A, B, 2).objective(value),
}
LENGTHS = {"b": 4, "w0": 3, "linear": 3, "g": 3, "w": 3}


@pytest.mark.parametrize("kind", NOT_NUMBERS)
@pytest.mark.parametrize("name", ["A", "H"])
def test_matrix_of_what_is_no_number(name, kind):
    make, shown = NOT_NUMBERS[kind]
    value = make(A) if name == "A" else make(np.eye(3))
    call = (lambda: Problem(value, B, 2)) if name == "A" else (lambda: Problem.from_gram(value, np.ones(3), 2))
    refuse(call, TypeError, f"{name}: ", "masked" if kind == "masked" else "real numbers", shown)


@pytest.mark.parametrize("kind", NOT_NUMBERS)
@pytest.mark.parametrize("name", VECTORS)
def test_vector_of_what_is_no_number(name, kind):
    make, shown = NOT_NUMBERS[kind]
    value = make(np.ones(LENGTHS[name]))
    refuse(lambda: VECTORS[name](value), TypeError, f"{name}: ", "" if kind == "masked" else "real numbers", shown)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name):
    call, length = VECTORS[name], LENGTHS[name]
    one = np.ones(length)
    rule = f"{name}: must have shape ({length},)"
    refuse(lambda: call(np.ones(length + 1)), ValueError, rule, f"got shape ({length + 1},)")
    refuse(lambda: call(np.ones((length, 1))), ValueError, rule, f"got shape ({length}, 1)")
    refuse(lambda: call(np.ones((1, length))), ValueError, rule, f"got shape (1, {length})")
    refuse(lambda: call(1.0), ValueError, rule, "got shape ()")
    refuse(lambda: call([]), ValueError, rule, "got shape (0,)")
    for bad in (NAN, INF, -INF):
        value = one.copy()
        value[-1] = bad
        refuse(
            lambda value=value: call(value), ValueError, f"{name}: all values must be finite", "got 1 NaN or infinite"
        )
    refuse(lambda: call([[1], [2, 3]]), TypeError, f"{name}: must be an array of real numbers")
    refuse(lambda: call(sp.csc_array(one[:, None])), TypeError, f"{name}: must be dense")
    refuse(lambda: call(np.full(length, 2**53 + 2)), ValueError, f"{name}: integers must lie within +-2**53")


def test_vector_finite_only_as_float64():
    """A number that float64 cannot hold is refused, whatever holds it."""
    refuse(lambda: Problem(A, np.array([HUGE, 1, 2, 3], dtype=object), 2), TypeError, "b: ", "real numbers", "object")


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (np.ones(3), ValueError, ["must be a 2-D array", "1 dimension"]),
        (1.0, ValueError, ["must be a 2-D array", "0 dimension"]),
        (np.ones((2, 2, 2)), ValueError, ["must be a 2-D array", "3 dimension"]),
        (np.ones((0, 3)), ValueError, ["must have at least one row and one column", "(0, 3)"]),
        (np.ones((4, 0)), ValueError, ["must have at least one row and one column", "(4, 0)"]),
        ([], ValueError, ["must be a 2-D array", "1 dimension"]),
        ([[1, 2], [3]], TypeError, ["must be an array of real numbers"]),
        ([["1", "2"]], TypeError, ["must hold real numbers", "<U1"]),
        ("abc", TypeError, ["must hold real numbers", "<U3"]),
        (object(), TypeError, ["must hold real numbers", "object"]),
        ({1, 2}, TypeError, ["must hold real numbers", "object"]),
        (np.array([[1.0, NAN]]), ValueError, ["all values must be finite", "got 1 NaN or infinite"]),
        (np.array([[INF, -INF]], dtype=np.float32), ValueError, ["all values must be finite", "got 2 NaN"]),
        (np.array([[INF]], dtype=np.float16), ValueError, ["all values must be finite"]),
        (np.array([[2**53 + 2, 0]]), ValueError, ["integers must lie within +-2**53"]),
        (np.array([[-(2**53) - 2, 0]]), ValueError, ["integers must lie within +-2**53"]),
        (np.array([[2**63, 0]], dtype=np.uint64), ValueError, ["integers must lie within +-2**53"]),
        (np.array([[np.iinfo(np.int64).min, 0]]), ValueError, ["integers must lie within +-2**53"]),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value)[:20],
)
def test_matrix(value, error, words):
    refuse(lambda: Problem(value, np.ones(1), 1), error, "A: " + words[0], *words[1:])


@pytest.mark.parametrize("order", ["C", "F"])
def test_nan_beyond_the_first_chunk(order, monkeypatch):
    monkeypatch.setattr("l0quad.validation._CHUNK", 8)
    for index in ((0, 0), (8, 4), (29, 6)):
        bad = np.ones((30, 7), order=order)
        bad[index] = NAN
        refuse(lambda bad=bad: Problem(bad, np.ones(30), 1), ValueError, "A: all values must be finite")
        refuse(lambda bad=bad: Problem(np.ones((210, 1)), bad.ravel(), 1), ValueError, "b: all values must be finite")


@pytest.mark.parametrize(
    ("k", "error", "words"),
    [
        (-1, ValueError, ["k: must be at least 0, got -1"]),
        (2.0, TypeError, ["k: must be an integer, got 2.0 (float)"]),
        (True, TypeError, ["k: must be an integer, got True (bool)"]),
        (np.bool_(True), TypeError, ["k: must be an integer"]),
        (NAN, TypeError, ["k: must be an integer, got nan (float)"]),
        ("2", TypeError, ["k: must be an integer, got '2' (str)"]),
        (None, TypeError, ["k: must be an integer, got None (NoneType)"]),
        (np.array([1, 2]), TypeError, ["k: must be an integer, got array([1, 2]) (ndarray)"]),
        (np.float64(2), TypeError, ["k: must be an integer"]),
        (PerBlock([0, 1], [1, 1]), ValueError, ["k: PerBlock labels 2 columns, but A has 3"]),
        (Cardinality, TypeError, ["k: must be an integer"]),
        ("x" * 1000, TypeError, ["k: must be an integer, got 'xxx", "... (str)"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_k(k, error, words):
    refuse(lambda: Problem(A, B, k), error, *words)


@pytest.mark.parametrize("k", [0, 2, 3, np.int64(2), np.uint8(2), 10**30, NofM(1, 2), NofM(5, 10**30)], ids=repr)
def test_allowed_k(k):
    assert 0 <= Problem(A, B, k).constraint.total <= 3


NOT_AMOUNTS = [
    (-1e-9, ValueError, "must be finite and at least 0, got -1e-09"),
    (NAN, ValueError, "must be finite and at least 0, got nan"),
    (INF, ValueError, "must be finite and at least 0, got inf"),
    (HUGE, ValueError, "must be finite and at least 0"),
    (True, TypeError, "must be a real number, got True (bool)"),
    ("1", TypeError, "must be a real number, got '1' (str)"),
    (1j, TypeError, "must be a real number, got 1j (complex)"),
    ([1.0], TypeError, "must be a real number, got [1.0] (list)"),
    (np.ones(1), TypeError, "must be a real number, got array([1.]) (ndarray)"),
]


@pytest.mark.parametrize(("value", "error", "words"), NOT_AMOUNTS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("name", ["ridge", "time_limit", "tol", "extra"])
def test_amounts(name, value, error, words):
    call = {
        "ridge": lambda: Problem(A, B, 2, value),
        "time_limit": lambda: l0quad.minimize(A, B, 2, time_limit=value),
        "tol": lambda: IHT(tol=value),
        "extra": lambda: ActiveSet(extra=value),
    }[name]
    refuse(call, error, f"{name}: {words}")


@pytest.mark.parametrize("ridge", [0, 1, np.float32(0.5), np.array(0.5), np.int8(1), Fraction(1, 2), -0.0])
def test_allowed_ridge(ridge):
    assert Problem(A, B, 2, ridge).objective(np.ones(3)) == pytest.approx(
        reference.objective(A, B, np.ones(3), float(ridge)), rel=1e-14
    )


def test_none_for_ridge():
    refuse(lambda: Problem(A, B, 2, None), TypeError, "ridge: must be a real number, got None")


def test_linear_needs_ridge():
    refuse(lambda: Problem(A, B, 2, 0.0, None, np.ones(3)), ValueError, "linear: needs ridge > 0", "ridge=0")
    refuse(lambda: Problem(A, B, 2, 1e-300, None, 1e10 * np.ones(3)), ValueError, "linear: ", "overflows", "1e-300")


def test_objective_that_overflows():
    refuse(lambda: Problem(A, 1e200 * B, 2), ValueError, "b: the objective at w = 0 overflows float64")


def test_problem_is_immutable():
    problem = Problem(A, B, 2)
    refuse(lambda: setattr(problem, "mu", 1.0), AttributeError, "Problem is immutable, cannot set mu")
    refuse(lambda: setattr(problem, "anything", 1.0), AttributeError, "Problem is immutable, cannot set anything")
    for array in (problem.b, problem.w0):
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("H", "g", "options", "words"),
    [
        (np.ones((2, 3)), np.ones(3), {}, ["H: must be square, got shape (2, 3)"]),
        (np.array([[1.0, 0.5], [0.4, 1.0]]), np.ones(2), {}, ["H: must be symmetric", "differ by 0.1"]),
        (np.diag([1.0, -1.0]), np.ones(2), {}, ["H: must be positive semidefinite", "eigenvalue -1"]),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), np.ones(2), {}, ["H: must be positive semidefinite", "-1"]),
        (np.array([[1.0, NAN], [NAN, 1.0]]), np.ones(2), {}, ["H: all values must be finite"]),
        (np.diag([1.0, 0.0]), np.ones(2), {}, ["g: leaves the range of the singular H", "ridge > 0"]),
        (np.eye(2), np.ones(2), {"const": NAN}, ["const: must be finite"]),
        (np.eye(2), np.ones(2), {"const": -INF}, ["const: must be finite"]),
        (np.eye(2), np.ones(2), {"ridge": -1.0}, ["ridge: must be finite and at least 0, got -1"]),
        (np.diag([1.0, 0.0]), np.ones(2), {"ridge": NAN}, ["ridge: must be finite and at least 0, got nan"]),
        (np.eye(2), np.ones(2), {"w0": np.ones(3)}, ["w0: must have shape (2,)", "got shape (3,)"]),
    ],
    ids=lambda value: None,
)
def test_from_gram(H, g, options, words):
    refuse(lambda: Problem.from_gram(H, g, 1, **options), ValueError, *words)


@pytest.mark.parametrize("const", [0, -3.5, np.float32(2)])
@pytest.mark.parametrize("rank", [2, 4])
def test_from_gram_is_the_quadratic(const, rank):
    rng = np.random.default_rng(rank)
    R, w0, w = rng.standard_normal((rank, 4)), rng.standard_normal(4), rng.standard_normal(4)
    H, g = R.T @ R, rng.standard_normal(4)
    before = H.tobytes(), g.tobytes(), w0.tobytes()
    problem = Problem.from_gram(H, g, 2, const, ridge=0.5, w0=w0)
    expected = 0.5 * w @ H @ w - g @ w + float(const) + 0.5 * np.sum((w - w0) ** 2)
    assert problem.objective(w) == pytest.approx(expected, rel=1e-11)
    np.testing.assert_allclose(problem.gradient(w), H @ w - g + (w - w0), rtol=1e-10, atol=1e-10)
    assert (H.tobytes(), g.tobytes(), w0.tobytes()) == before


INTEGERS = {
    "max_iter": [lambda v: IHT(max_iter=v), lambda v: CoordinateDescent(max_iter=v), lambda v: ActiveSet(max_iter=v)],
    "steps": [lambda v: Backsolve(steps=v)],
    "block_size": [lambda v: BlockBacksolve(block_size=v)],
    "n": [lambda v: NofM(v, 4)],
    "m": [lambda v: NofM(1, v)],
    "k": [Cardinality],
    "seed": [lambda v: l0quad.minimize(A, B, 2, seed=v)],
    "verbose": [lambda v: l0quad.minimize(A, B, 2, verbose=v)],
    "n_threads": [lambda v: l0quad.minimize(A, B, 2, n_threads=v)],
}
LEAST = {"block_size": 1, "m": 1, "n_threads": 1}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name):
    least = LEAST.get(name, 0)
    for call in INTEGERS[name]:
        refuse(lambda call=call: call(least - 1), ValueError, f"{name}: must be at least {least}, got {least - 1}")
        for bad in (1.0, "1", True, [1], 1j, NAN):
            refuse(lambda call=call, bad=bad: call(bad), TypeError, f"{name}: must be an integer, got {bad!r}")
        call(np.int64(least))


def test_options():
    refuse(lambda: ActiveSet(extra=1.5), ValueError, "extra: must be at most 1, got 1.5")
    refuse(lambda: ActiveSet(inner="iht"), TypeError, "inner: must be IHT options, got 'iht'")
    refuse(lambda: IHT(refit=1), TypeError, "refit: must be True or False, got 1")
    refuse(lambda: CoordinateDescent(tol=-1), ValueError, "tol: must be finite and at least 0, got -1")
    for each in l0quad.METHODS.values():
        with pytest.raises(TypeError, match="no_such_option"):
            each.options(no_such_option=1)
    refuse(lambda: setattr(IHT(), "max_iter", 3), FrozenInstanceError, "cannot assign to field 'max_iter'")


@pytest.mark.parametrize(
    ("labels", "budgets", "error", "words"),
    [
        ([], [1], TypeError, ["labels: must be a 1-D array of integers", "shape (0,)"]),
        ([[0, 1]], [1, 1], TypeError, ["labels: must be a 1-D array of integers", "shape (1, 2)"]),
        ([0.0, 1.0], [1, 1], TypeError, ["labels: must be a 1-D array of integers", "float64"]),
        ([True, False], [1, 1], TypeError, ["labels: must be a 1-D array of integers", "bool"]),
        (["a"], [1], TypeError, ["labels: must be a 1-D array of integers", "<U1"]),
        (None, [1], TypeError, ["labels: must be a 1-D array of integers", "object"]),
        ([[0], [1, 2]], [1], TypeError, ["labels: "]),
        ([-1, 0], [1], ValueError, ["labels: must not be negative, got -1"]),
        ([0, 2], [1, 1], ValueError, ["labels: must be below the number of budgets (2), got 2"]),
        ([0, 0], [], TypeError, ["budgets: must be a 1-D array of integers", "shape (0,)"]),
        ([0, 0], [1.5], TypeError, ["budgets: must be a 1-D array of integers", "float64"]),
        ([0, 0], 1, TypeError, ["budgets: must be a 1-D array of integers", "shape ()"]),
        ([0, 1], [1, -2], ValueError, ["budgets: must not be negative, got -2"]),
        (masked(np.array([0, 0])), [1], TypeError, ["labels: "]),
    ],
    ids=lambda value: None,
)
def test_per_block(labels, budgets, error, words):
    refuse(lambda: PerBlock(labels, budgets), error, *words)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "lasso"}, ValueError, ["method: must be one of 'auto'", "got 'lasso'"]),
        ({"method": None}, TypeError, ["method: must be a name or an options object", "got None"]),
        ({"method": IHT}, TypeError, ["method: must be a name or an options object", "IHT"]),
        ({"bound": "best"}, ValueError, ["bound: must be one of 'none', 'fast', 'tight', got 'best'"]),
        ({"bound": None}, ValueError, ["bound: must be one of", "got None"]),
        ({"bound": True}, ValueError, ["bound: must be one of", "got True"]),
        ({"callback": 3}, TypeError, ["callback: must be callable, got 3"]),
        ({"start": [0.5, NAN, 0]}, ValueError, ["start: all values must be finite"]),
        ({"start": np.ones(4)}, ValueError, ["start: must have shape (3,)", "got shape (4,)"]),
        ({"start": np.ones((3, 1))}, ValueError, ["start: must have shape (3,)", "got shape (3, 1)"]),
        ({"start": np.ones(3, dtype=LONGDOUBLE)}, TypeError, ["start: "]),
        ({"start": [0, 3]}, ValueError, ["start: indices must lie in [0, 3), got 0 to 3"]),
        ({"start": [-1, 0]}, ValueError, ["start: indices must lie in [0, 3), got -1 to 0"]),
        ({"start": [1, 1]}, ValueError, ["start: indices must be unique, got 1 repeated"]),
        ({"start": [0, 1, 2]}, ValueError, ["start: must be a support that k allows, got 3 columns for 2"]),
        ({"start": np.array([True, False])}, ValueError, ["start: a mask must have shape (3,), got shape (2,)"]),
        ({"start": np.ones((1, 3), dtype=bool)}, ValueError, ["start: a mask must have shape (3,), got shape (1, 3)"]),
        ({"start": np.array([True, True, True])}, ValueError, ["start: must be a support that k allows"]),
        ({"start": [[0, 1]]}, TypeError, ["start: must be a 1-D array of integers"]),
        ({"start": "abc"}, TypeError, ["start: "]),
        ({"start": np.ones(3, dtype=complex)}, TypeError, ["start: "]),
        ({"start": [[0], [1, 2]]}, TypeError, ["start: "]),
        ({"start": masked(np.ones(3))}, TypeError, ["start: masked"]),
        ({"start": sp.csc_array(np.ones((3, 1)))}, TypeError, ["start: "]),
        ({"start": np.array([2**63], dtype=np.uint64)}, ValueError, ["start: indices must lie in [0, 3)"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_solve(options, error, words):
    called = []
    options = {"callback": called.append} | options
    refuse(lambda: l0quad.minimize(A, B, 2, **options), error, *words)
    assert not called


def test_solve_needs_a_problem():
    refuse(lambda: l0quad.solve(A), TypeError, "problem: must be a Problem, got ndarray; minimize() takes A and b")
    with pytest.raises(TypeError, match="no_such_option"):
        l0quad.minimize(A, B, 2, no_such_option=1)
    with pytest.raises(AttributeError, match="no_such_name"):
        l0quad.no_such_name  # noqa: B018


@pytest.mark.parametrize("start", [[], [1], np.array([False, True, True]), [0.0, 2.0, 0.0], np.float32([1, 2, 3])])
def test_allowed_start(start):
    assert l0quad.minimize(A, B, 2, start=start, method="magnitude").support.size <= 2


# Accepted, and what it means.


def _readonly(array):
    array.flags.writeable = False
    return array


def _unaligned(array):
    raw = np.zeros(array.nbytes + 1, dtype=np.uint8)[1:].view(np.float64).reshape(array.shape)
    raw[...] = array
    return raw


CONVERTED = {
    "big-endian f8": (lambda a: a.astype(">f8"), np.float64),
    "big-endian f4": (lambda a: a.astype(">f4"), np.float32),
    "big-endian i4": (lambda a: a.astype(">i4"), np.float64),
    "float16": (lambda a: a.astype(np.float16), np.float64),
    "float32": (lambda a: a.astype(np.float32), np.float32),
    "int8": (lambda a: a.astype(np.int8), np.float64),
    "uint64": (lambda a: a.astype(np.uint64), np.float64),
    "bool": (lambda a: a > 1, np.float64),
    "list": (lambda a: a.tolist(), np.float64),
    "list of ints": (lambda a: a.astype(int).tolist(), np.float64),
    "tuple": (lambda a: tuple(map(tuple, a)) if a.ndim == 2 else tuple(a), np.float64),
    "readonly": (lambda a: _readonly(a.copy()), np.float64),
    "reversed": (lambda a: a[::-1].copy()[::-1], np.float64),
    "broadcast": (lambda a: np.broadcast_to(a[:1], a.shape), np.float64),
    "unaligned": (_unaligned, np.float64),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_what_is_accepted(kind):
    """A, b, w0, linear and w of any of these kinds give the same numbers as float64 arrays; none is changed."""
    make, dtype = CONVERTED[kind]
    given = [make(each) for each in (A, B, np.arange(3.0), 2 * np.arange(3.0), np.array([3.0, 0, 1]))]
    plain = [np.array(each, dtype=np.float64) for each in given]
    before = [each.tobytes() for each in given if isinstance(each, np.ndarray)]
    flags = [each.flags.writeable for each in given if isinstance(each, np.ndarray)]
    problem = Problem(given[0], given[1], 2, 0.5, given[2], given[3])
    assert problem.dtype == dtype
    assert problem.objective(given[4]) == pytest.approx(
        reference.objective(plain[0], plain[1], plain[4], 0.5, *plain[2:4]), rel=1e-13
    )
    np.testing.assert_allclose(
        problem.gradient(given[4]), reference.gradient(plain[0], plain[1], plain[4], 0.5, *plain[2:4]), atol=1e-12
    )
    l0quad.solve(problem, bound="none")
    assert [each.tobytes() for each in given if isinstance(each, np.ndarray)] == before
    assert [each.flags.writeable for each in given if isinstance(each, np.ndarray)] == flags


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrix_subclass():
    problem = Problem(np.matrix(A), B, 2)
    assert problem.objective(np.ones(3)) == reference.objective(A, B, np.ones(3))
    refuse(lambda: Problem(A, np.matrix(B), 2), ValueError, "b: must have shape (4,)", "got shape (1, 4)")


def test_exact_integers():
    """2**53 is the last that float64 holds with all before it."""
    assert Problem([[2**53]], [0], 1, 0.0).matrix.take_dense(np.array([0]))[0, 0] == 2.0**53
    assert Problem([[1]], [-(2**53)], 1).b[0] == -(2.0**53)


def test_later_changes_by_the_caller_do_not_reach_vectors():
    b, w0, linear = B.copy(), np.ones(3), np.ones(3)
    problem = Problem(A, b, 2, 1.0, w0, linear)
    before = problem.objective(np.ones(3))
    for each in (b, w0, linear):
        each[:] = 100
    assert problem.objective(np.ones(3)) == before


# Sparse matrices whose parts do not fit together. SciPy would read or write outside of them.

LIKE = sp.csr_array(np.array([[1.0, 0, 2, 0], [0, 3, 0, 0], [4, 0, 5, 6]]))


def compressed(form, matrix=False, **changes):
    kind = getattr(sp, f"{form}_matrix" if matrix else f"{form}_array")
    array = kind(LIKE)
    for name, change in changes.items():
        # Set past SciPy's own properties.
        array.__dict__[name] = change(getattr(array, name).copy())
    return array


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


HUGE_INDEX = 2**31 - 1
COMPRESSED = {
    "negative index": {"indices": put(0, -1)},
    "very negative index": {"indices": put(2, -(2**31))},
    "index one too large": {"indices": put(-1, 4)},
    "huge index": {"indices": put(1, HUGE_INDEX)},
    "indptr falls": {"indptr": put(1, 5)},
    "indptr negative": {"indptr": put(1, -1)},
    "indptr starts beyond 0": {"indptr": put(0, 1)},
    "indptr starts below 0": {"indptr": put(0, -1)},
    "indptr ends beyond the data": {"indptr": put(-1, 7)},
    "indptr ends far beyond": {"indptr": put(-1, HUGE_INDEX)},
    "indptr ends below 0": {"indptr": put(-1, -1)},
    "indptr too short": {"indptr": lambda a: a[:-1]},
    "indptr too long": {"indptr": lambda a: np.append(a, a[-1])},
    "indptr empty": {"indptr": lambda a: a[:0]},
    "indptr of floats": {"indptr": lambda a: a.astype(float)},
    "indptr 2-D": {"indptr": lambda a: a[None]},
    "indptr no array": {"indptr": lambda a: a.tolist()},
    "indices of floats": {"indices": lambda a: a.astype(float)},
    "indices NaN": {"indices": lambda a: np.full(a.shape, NAN)},
    "indices too short": {"indices": lambda a: a[:3]},
    "indices 2-D": {"indices": lambda a: a[:, None]},
    "indices no array": {"indices": lambda a: a.tolist()},
    "indices objects": {"indices": lambda a: a.astype(object)},
    "data too short": {"data": lambda a: a[:3]},
    "data empty": {"data": lambda a: a[:0]},
    "data 2-D": {"data": lambda a: a[:, None]},
    "data a row": {"data": lambda a: a[None]},
    "data no array": {"data": lambda a: a.tolist()},
    "data None": {"data": lambda a: None},
}
SHAPES = {"one row": (1, 4), "one column": (3, 1), "many rows": (1000, 4), "1-D": (12,), "no rows": (0, 4)}


@pytest.mark.parametrize("matrix", [False, True], ids=["array", "matrix"])
@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_corrupt_compressed(form, kind, matrix):
    changes = COMPRESSED[kind]
    if form == "csc" and kind == "index one too large":
        changes = {"indices": put(-1, 3)}
    array = compressed(form, matrix, **changes)
    refuse(lambda: Problem(array, np.ones(3), 2), ValueError, "A: ")


def test_the_compressed_cases_are_sound_without_the_change():
    for form in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok"):
        Problem(LIKE.asformat(form), np.ones(3), 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_wrong_shape(form, shape):
    array = LIKE.copy().asformat(form)
    array._shape = SHAPES[shape]
    # Where rows are only numbered, more of them are no corruption.
    if form in ("coo", "csc") and shape == "many rows":
        Problem(array, np.ones(1000), 2)
    else:
        refuse(lambda: Problem(array, np.ones(SHAPES[shape][0]), 2), ValueError, "A: ")


COORDINATES = {
    "negative row": lambda c: c.row.__setitem__(0, -1),
    "negative column": lambda c: c.col.__setitem__(0, -1),
    "row too large": lambda c: c.row.__setitem__(0, 3),
    "column too large": lambda c: c.col.__setitem__(0, 4),
    "huge row": lambda c: c.row.__setitem__(0, HUGE_INDEX),
    "float rows": lambda c: setattr(c, "coords", (c.row + 0.5, c.col)),
    "short rows": lambda c: setattr(c, "coords", (c.row[:2], c.col)),
    "short columns": lambda c: setattr(c, "coords", (c.row, c.col[:2])),
    "2-D rows": lambda c: setattr(c, "coords", (c.row[:, None], c.col)),
    "one coordinate": lambda c: setattr(c, "coords", (c.row,)),
    "short data": lambda c: setattr(c, "data", c.data[:2]),
    "2-D data": lambda c: setattr(c, "data", c.data[:, None]),
    "no data": lambda c: setattr(c, "data", None),
}


@pytest.mark.parametrize("kind", COORDINATES)
def test_corrupt_coo(kind):
    array = sp.coo_array(LIKE)
    array.coords = tuple(each.copy() for each in array.coords)
    COORDINATES[kind](array)
    refuse(lambda: Problem(array, np.ones(3), 2), ValueError, "A: ")


def blocks():
    return sp.bsr_array(sp.bsr_array(np.ones((4, 8))), blocksize=(2, 4))


BLOCKS = {
    "negative index": lambda c: c.indices.__setitem__(0, -1),
    "index too large": lambda c: c.indices.__setitem__(0, 2),
    "index that wraps around": lambda c: c.indices.__setitem__(0, 2**30),
    "indptr falls": lambda c: c.indptr.__setitem__(1, 9),
    "indptr beyond": lambda c: c.indptr.__setitem__(-1, 9),
    "indptr starts beyond 0": lambda c: c.indptr.__setitem__(0, 1),
    "indptr short": lambda c: setattr(c, "indptr", c.indptr[:-1]),
    "indptr floats": lambda c: setattr(c, "indptr", c.indptr + 0.5),
    "indices short": lambda c: setattr(c, "indices", c.indices[:1]),
    "indices floats": lambda c: setattr(c, "indices", c.indices + 0.5),
    "data short": lambda c: setattr(c, "data", c.data[:1]),
    "data 2-D": lambda c: setattr(c, "data", c.data[0]),
    "data 1-D": lambda c: setattr(c, "data", c.data.ravel()),
    "data None": lambda c: setattr(c, "data", None),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_corrupt_bsr(kind):
    array = blocks()
    BLOCKS[kind](array)
    refuse(lambda: Problem(array, np.ones(4), 2), ValueError, "A: ")


# Each runs in a process of its own, because SciPy itself may write outside of its arrays, and then crash or hang.
DIAGONALS = {
    "short offsets": "c.offsets = c.offsets[:1]",
    "long offsets": "c.offsets = np.arange(5)",
    "very long offsets": "c.offsets = np.tile(np.arange(3), 400000)",
    "float offsets": "c.offsets = c.offsets + 0.5",
    "2-D offsets": "c.offsets = c.offsets[:, None]",
    "offsets None": "c.offsets = None",
    "data 1-D": "c.data = c.data[0]",
    "data 3-D": "c.data = c.data[None]",
    "data None": "c.data = None",
}
LISTS = {
    "negative index": "c.rows[0][0] = -1",
    "index too large": "c.rows[0][0] = 4",
    "huge index": "c.rows[0][0] = 2**31 - 1",
    "beyond any integer": "c.rows[0][0] = 2**80",
    "float index": "c.rows[0][0] = 0.5",
    "string index": "c.rows[0][0] = 'a'",
    "fewer values": "c.data[0] = c.data[0][:1]",
    "more values": "c.data[0] = c.data[0] * 100000",
    "more indices": "c.rows[0] = [0] * 100000",
    "a row less": "c.rows = c.rows[:2]",
    "a row more": "c.rows = np.append(c.rows, c.rows)",
    "data of a row less": "c.data = c.data[:2]",
    "row is no list": "c.rows[0] = 5",
    "data is no list": "c.data[0] = None",
    "rows None": "c.rows = None",
    "string value": "c.data[0][0] = 'a'",
    "fewer rows in the shape": "c._shape = (1, 4)",
    "more rows in the shape": "c._shape = (1000, 4)",
    "fewer columns in the shape": "c._shape = (3, 1)",
}
SCRIPT = """
import os, signal
import numpy as np, scipy.sparse as sp
from l0quad import Problem
for name, change in {cases!r}.items():
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        c = sp.{form}_array(np.array([[1.0, 0, 2, 0], [0, 3, 0, 0], [4, 0, 5, 6]]))
        exec(change)
        try:
            Problem(c, np.ones(c._shape[0]), 2)
            print(name, "- accepted", flush=True)
        except Exception as error:
            if type(error) is not ValueError or not str(error).startswith("A: "):
                print(name, "-", repr(error), flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print(name, "- died of signal", status & 127, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("form", "cases"), [("lil", LISTS), ("dia", DIAGONALS)], ids=["lil", "dia"])
def test_corrupt_lists_and_diagonals(form, cases):
    command = [sys.executable, "-c", SCRIPT.format(form=form, cases=cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == ""


DICTS = {"negative": (-1, 0), "row too large": (3, 0), "column too large": (0, 4), "huge": (2**62, 0)}


@pytest.mark.parametrize("kind", DICTS)
def test_corrupt_dok(kind):
    array = sp.dok_array(LIKE)
    array._dict[DICTS[kind]] = 1.0
    refuse(lambda: Problem(array, np.ones(3), 2), ValueError, "A: ")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_sparse_values(form):
    """The values of a sparse matrix are held to the same rules as those of a dense one."""
    for bad, word in ((NAN, "finite"), (INF, "finite")):
        array = LIKE.copy().asformat(form)
        array.data = array.data.copy()
        array.data.flat[0] = bad
        refuse(lambda array=array: Problem(array, np.ones(3), 2), ValueError, "A: ", word)
    refuse(lambda: Problem(LIKE.astype(complex).asformat(form), np.ones(3), 2), TypeError, "A: ", "complex128")
    refuse(lambda: Problem((LIKE.astype(np.int64) * 2**54).asformat(form), np.ones(3), 2), ValueError, "A: ", "2**53")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_sparse_is_left_alone(form):
    array = LIKE.copy().asformat(form)
    copy = array.copy()
    result = l0quad.minimize(array, np.ones(3), 2, ridge=0.1)
    assert (array != copy).nnz == 0
    assert array.format == form
    np.testing.assert_allclose(
        result.objective, reference.brute_force(LIKE.toarray(), np.ones(3), 2, 0.1)[0], rtol=1e-9
    )


def test_sparse_with_spare_room():
    """Arrays longer than what indptr speaks of are sound; what lies beyond is not looked at."""
    array = LIKE.copy()
    array.data, array.indices = np.append(array.data, NAN), np.append(array.indices, 99).astype(np.int32)
    assert Problem(array, np.ones(3), 2).objective(np.ones(4)) == reference.objective(
        LIKE.toarray(), np.ones(3), np.ones(4)
    )


def test_not_scipy_but_alike():
    refuse(lambda: Problem(SimpleNamespace(shape=(3, 4), format="csr"), np.ones(3), 2), TypeError, "A: ", "object")
