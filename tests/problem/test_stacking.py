"""A complex problem as a real one: the same function, the same supports, and the way back."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from refusals import refuse

from l0quad import Cardinality, Groups, PerBlock, Problem, solve, stack_complex

RNG = np.random.default_rng(0)


def gaussian(*shape):
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


A, B, W0 = gaussian(9, 6), gaussian(9), gaussian(6)


def complex_objective(w, ridge=0.0, w0=0.0):
    return 0.5 * np.linalg.norm(A @ w - B) ** 2 + ridge * np.linalg.norm(w - w0) ** 2


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.csc_matrix], ids=["dense", "csr", "csc"])
def test_the_objective_is_that_of_the_complex_problem(kind):
    problem, back = stack_complex(kind(A), B[:, None], 2, ridge=0.3, w0=W0)
    assert problem.shape == (18, 12)
    w = RNG.standard_normal(12)
    assert problem.objective(w) == pytest.approx(complex_objective(back(w), 0.3, W0), rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_answer_is_the_best_of_all_complex_supports(k):
    problem, back = stack_complex(A, B, k)
    result = solve(problem, "exact")
    w = back(result)
    best = np.inf
    for support in map(list, itertools.combinations(range(6), k)):
        refit = np.zeros(6, dtype=complex)
        refit[support] = np.linalg.lstsq(A[:, support], B)[0]
        best = min(best, complex_objective(refit))
    assert np.count_nonzero(w) <= k
    assert complex_objective(w) == pytest.approx(result.objective, rel=1e-12)
    assert result.objective == pytest.approx(best, rel=1e-6)


def test_must_never_and_groups_are_of_complex_columns():
    problem, back = stack_complex(A, B, Cardinality(2, must=[4], never=[0, 1]))
    support = np.flatnonzero(back(solve(problem)))
    assert 4 in support
    assert not {0, 1} & set(support)
    labels = np.array([0, 0, 1, 1, 2, 2])
    problem, back = stack_complex(A, B, Groups(labels, 1, never=[5]))
    support = np.flatnonzero(back(solve(problem)))
    assert len(set(labels[support])) == 1
    assert 5 not in support


def test_real_parts_alone():
    problem, back = stack_complex(A.real, B, 2)
    np.testing.assert_allclose(back(solve(problem, "exact")).shape, (6,))
    assert problem.objective(np.zeros(12)) == pytest.approx(complex_objective(np.zeros(6)))


def test_the_door_says_how():
    for bad in (A, sp.csc_array(A)):
        refuse(lambda bad=bad: Problem(bad, B.real, 2), TypeError, "A: must hold real numbers", "stack_complex")
    refuse(lambda: Problem(A.real, B, 2), TypeError, "b: must hold real numbers", "complex128", "stack_complex")


def test_wrong_arguments():
    refuse(
        lambda: stack_complex(A, B[1:], 2),
        ValueError,
        "b: must have shape (9,), one value for each row of A, got shape (8,)",
    )
    refuse(lambda: stack_complex(A, B, 2, w0=np.ones(5)), ValueError, "w0: must have shape (6,)")
    refuse(lambda: stack_complex(A, B, 1.5), TypeError, "k: must be an integer")  # type: ignore[arg-type]
    refuse(
        lambda: stack_complex(A, B, PerBlock([0] * 6, [2])),  # type: ignore[arg-type]
        TypeError,
        "k: must be an integer, Cardinality or Groups",
    )
    refuse(lambda: stack_complex(A[0], B, 2), ValueError, "A: must be a 2-D array")
    refuse(lambda: stack_complex(A, B, 2)[1](np.ones(6)), ValueError, "answer: must have shape (12,)")
    broken = A.copy()
    broken[2, 3] = np.nan * 1j
    refuse(lambda: stack_complex(broken, B, 2), ValueError, "A: all values must be finite, got nan in row 2, column 3")
