"""Wrong options fail when they are written, wrong arguments before any work; both name the argument."""

import dataclasses

import numpy as np
import pytest
from problems import PROBLEMS

from l0quad import IHT, METHODS, ActiveSet, Backsolve, BlockBacksolve, CoordinateDescent, Problem, Unsuited, solve


@pytest.mark.parametrize("options", [METHODS[name].options for name in METHODS])
def test_a_wrong_option_name_fails_when_written(options):
    with pytest.raises(TypeError, match="wrong_name"):
        options(wrong_name=1)
    assert options() == options()
    for field in dataclasses.fields(options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options(), field.name, 3)


@pytest.mark.parametrize(
    ("options", "arguments", "error"),
    [
        (IHT, {"max_iter": -1}, ValueError),
        (IHT, {"max_iter": 1.5}, TypeError),
        (IHT, {"tol": float("nan")}, ValueError),
        (IHT, {"refit": 1}, TypeError),
        (ActiveSet, {"extra": 1.5}, ValueError),
        (ActiveSet, {"inner": "iht"}, TypeError),
        (ActiveSet, {"max_iter": True}, TypeError),
        (Backsolve, {"steps": -1}, ValueError),
        (BlockBacksolve, {"block_size": 0}, ValueError),
        (CoordinateDescent, {"tol": -1.0}, ValueError),
    ],
)
def test_a_wrong_option_value_fails_when_written(options, arguments, error):
    with pytest.raises(error, match=next(iter(arguments))):
        options(**arguments)


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("bound", "best", ValueError),
        ("bound", None, ValueError),
        ("time_limit", -1.0, ValueError),
        ("time_limit", float("nan"), ValueError),
        ("time_limit", "1", TypeError),
        ("n_threads", 0, ValueError),
        ("n_threads", 1.0, TypeError),
        ("seed", -1, ValueError),
        ("seed", None, TypeError),
        ("verbose", "yes", TypeError),
        ("callback", 3, TypeError),
        ("method", "best", ValueError),
        ("method", None, TypeError),
        ("method", IHT, TypeError),
        ("start", [0.0], ValueError),
        ("start", [99], ValueError),
        ("start", [-1], ValueError),
        ("start", [1, 1], ValueError),
        ("start", [0, 1, 2, 3, 4], ValueError),
        ("start", [True], ValueError),
        ("start", np.full(12, np.nan), ValueError),
        ("start", "start", TypeError),
        ("start", [[1, 2]], TypeError),
    ],
)
def test_wrong_arguments_are_named(argument, value, error):
    with pytest.raises(error, match=argument):
        solve(PROBLEMS["gaussian"].problem(), **{argument: value})


def test_solve_wants_a_problem():
    with pytest.raises(TypeError, match="problem"):
        solve(np.eye(3))  # type: ignore[arg-type]


def test_forward_does_not_begin_a_table_of_gigabytes():
    A = np.random.default_rng(0).standard_normal((2, 20_000))
    problem = Problem(A, A[:, 0], 20_000, ridge=1.0)
    with pytest.raises(Unsuited, match="a table k x p of at most"):
        solve(problem, "forward")
    assert solve(problem.with_(k=5), "forward").support.size == 5
