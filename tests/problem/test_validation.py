"""The door: what is refused names the argument, the rule and the value; what is accepted means what it says."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from refusals import HUGE, INF, LONGDOUBLE, NAN, A, B, masked, refuse

import l0quad
from l0quad import Cardinality, NofM, PerBlock, Problem

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
VECTORS: dict[str, Callable[..., Any]] = {
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
    if name == "b":
        assert call(np.ones((length, 1))).b.shape == (length,)
    else:
        refuse(lambda: call(np.ones((length, 1))), ValueError, rule, f"got shape ({length}, 1)")
    refuse(lambda: call(np.ones((1, length))), ValueError, rule, f"got shape (1, {length})")
    refuse(lambda: call(1.0), ValueError, rule, "got shape ()")
    refuse(lambda: call([]), ValueError, rule, "got shape (0,)")
    for bad in (NAN, INF, -INF):
        value = one.copy()
        value[-1] = bad
        refuse(
            lambda value=value: call(value),
            ValueError,
            f"{name}: all values must be finite",
            f"got {bad} in place {length - 1}",
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
        (np.array([[1.0, NAN]]), ValueError, ["all values must be finite", "got nan in row 0, column 1"]),
        (
            np.array([[INF, -INF]], dtype=np.float32),
            ValueError,
            ["all values must be finite", "got inf in row 0, column 0, and at least 1 more"],
        ),
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
        rule = "all values must be finite, got nan in"
        place = f"row {index[0]}, column {index[1]}"
        refuse(lambda bad=bad: Problem(bad, np.ones(30), 1), ValueError, f"A: {rule} {place}")
        flat = f"b: {rule} place {7 * index[0] + index[1]}"
        refuse(lambda bad=bad: Problem(np.ones((210, 1)), bad.ravel(), 1), ValueError, flat)


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


@pytest.mark.parametrize("ridge", [0, 1, np.float32(0.5), np.array(0.5), np.int8(1), Fraction(1, 2), -0.0])
def test_allowed_ridge(ridge):
    assert Problem(A, B, 2, ridge).objective(np.ones(3)) == pytest.approx(
        reference.objective(A, B, np.ones(3), float(ridge)), rel=1e-14
    )


def test_none_for_ridge():
    refuse(lambda: Problem(A, B, 2, None), TypeError, "ridge: must be a real number, got None")  # type: ignore[arg-type]


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
    assert Problem([[2**53]], [0], 1, 0.0).matrix.take(np.array([0]))[0, 0] == 2.0**53
    assert Problem([[1]], [-(2**53)], 1).b[0] == -(2.0**53)


def test_later_changes_by_the_caller_do_not_reach_vectors():
    b, w0, linear = B.copy(), np.ones(3), np.ones(3)
    problem = Problem(A, b, 2, 1.0, w0, linear)
    before = problem.objective(np.ones(3))
    for each in (b, w0, linear):
        each[:] = 100
    assert problem.objective(np.ones(3)) == before


def test_what_only_looks_like_a_matrix_says_what_to_do():
    from scipy.sparse.linalg import aslinearoperator

    words = ["A: is a linear operator", "subclass l0quad.Matrix", "A @ np.eye(A.shape[1])"]
    refuse(lambda: Problem(aslinearoperator(A), B, 2), TypeError, *words)  # type: ignore[arg-type]

    class Tensor:
        requires_grad = True

    refuse(lambda: Problem(Tensor(), B, 2), TypeError, "A: is a tensor that requires a gradient", "A.detach()")  # type: ignore[arg-type]
    refuse(lambda: Problem(A, Tensor(), 2), TypeError, "b: is a tensor that requires a gradient", "b.detach()")  # type: ignore[arg-type]


def test_a_stored_entry_of_a_sparse_matrix_is_named_by_its_place():
    bad = sp.csc_array(A)
    bad.data[bad.indptr[2] + 1] = NAN
    row = bad.indices[bad.indptr[2] + 1]
    for each in (bad, bad.tocsr(), bad.tocoo()):
        refuse(lambda each=each: Problem(each, B, 2), ValueError, "A: ", f"got nan in row {row}, column 2")
