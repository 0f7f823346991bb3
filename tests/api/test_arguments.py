"""What options, solve(), minimize() and the constraints refuse as an argument, and what they accept."""

import inspect
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from refusals import HUGE, INF, LONGDOUBLE, NAN, A, B, masked, refuse

import l0quad
from l0quad import IHT, ActiveSet, Backsolve, BlockBacksolve, Cardinality, CoordinateDescent, NofM, PerBlock, Problem

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


INTEGERS: dict[str, list[Callable[[Any], object]]] = {
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
        for bad in (1.0, "1", [1], 1j, NAN, *([True] if name != "verbose" else [])):
            refuse(lambda call=call, bad=bad: call(bad), TypeError, f"{name}: must be an integer, got {bad!r}")
        call(np.int64(least))


def test_options():
    refuse(lambda: ActiveSet(extra=1.5), ValueError, "extra: must be at most 1, got 1.5")
    refuse(lambda: ActiveSet(inner="iht"), TypeError, "inner: must be IHT options, got 'iht'")  # type: ignore[arg-type]
    refuse(lambda: IHT(refit=1), TypeError, "refit: must be True or False, got 1")  # type: ignore[arg-type]
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
    refuse(lambda: l0quad.solve(A), TypeError, "problem: must be a Problem, got ndarray; minimize() takes A and b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"minimize\(\) .*'no_such_option'"):
        l0quad.minimize(A, B, 2, no_such_option=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="no_such_name"):
        l0quad.no_such_name  # noqa: B018


@pytest.mark.parametrize("start", [[], [1], np.arange(3) > 0, [0.0, 2.0, 0.0], np.array([1, 2, 3], np.float32)])
def test_allowed_start(start):
    assert l0quad.minimize(A, B, 2, start=start, method="magnitude").support.size <= 2


def test_minimize_has_every_argument_of_problem_and_solve():
    """With their defaults, so that completion shows them."""
    of = [inspect.signature(each).parameters for each in (l0quad.minimize, Problem, l0quad.solve)]
    of_minimize, of_problem, of_solve = map(dict, of)
    del of_solve["problem"]
    together = of_problem | of_solve
    assert set(of_minimize) == set(together)
    assert {name: each.default for name, each in of_minimize.items()} == {
        name: each.default for name, each in together.items()
    }
