"""cvxpy: the problem for users with a solver, or constraints, of their own.

Needs the extra ``l0quad[cvxpy]``.
"""

from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

import l0quad

__all__ = ["Model", "to_cvxpy"]

FORMS = ("perspective", "bigm", "relaxation")


class Model(NamedTuple):
    """A problem of cvxpy and its variables.

    Attributes
    ----------
    problem : cvxpy.Problem
        Its ``solve`` takes any solver that cvxpy has.
    w : cvxpy.Variable of shape (p,)
        The weights, in the user's units.
    z : cvxpy.Variable
        For each column that may be nonzero (for each group of them, under `l0quad.Groups`) whether it is; boolean, or
        in [0, 1] in a relaxation.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> from l0quad_adapters.cvxpy import to_cvxpy
    >>> A = np.random.default_rng(0).standard_normal((20, 6))
    >>> model = to_cvxpy(l0quad.Problem(A, A[:, 1] - A[:, 4], k=1, ridge=0.1))
    >>> model.w.shape, model.z.shape
    ((6,), (6,))
    """

    problem: cp.Problem
    w: cp.Variable
    z: cp.Variable


def to_cvxpy(
    problem: l0quad.Problem,
    form: str = "perspective",
    *,
    diagonal: ArrayLike | None = None,
    big_m: ArrayLike | None = None,
) -> Model:
    """Return the problem in the language of cvxpy.

    Parameters
    ----------
    problem : Problem
        A is taken as a dense array.
    form : {"perspective", "bigm", "relaxation"}
        "perspective" and "bigm" are mixed-integer: with ``d_j w_j^2 / z_j`` in place of ``d_j w_j^2``, a cone, or with
        ``|w_j| <= M_j z_j``. "relaxation" is the first with z in [0, 1]; its optimum is a lower bound, with the
        diagonal of a certificate the one that ``bound="tight"`` approaches from below.
    diagonal : array_like of shape (p,), optional
        d, with ``A'A + 2 ridge I - diag(d)`` positive semidefinite, as `l0quad.Separable` has it; by default 2 ridge.
        Not for "bigm".
    big_m : float or array_like of shape (p,), optional
        M, for "bigm" alone. By default what the objective of `l0quad.solve` proves, which needs independent columns or
        a ridge.

    Returns
    -------
    Model
        Add constraints with ``cvxpy.Problem(model.problem.objective, model.problem.constraints + [...])``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also of a constraint that is no budget, and of "bigm" without ``big_m`` where nothing
        bounds the weights.

    Examples
    --------
    >>> import numpy as np
    >>> import l0quad
    >>> from l0quad_adapters.cvxpy import to_cvxpy
    >>> A = np.random.default_rng(0).standard_normal((20, 6))
    >>> problem = l0quad.Problem(A, A[:, 1] - A[:, 4], k=1, ridge=0.1)
    >>> relaxed = to_cvxpy(problem, "relaxation").problem.solve(solver="CLARABEL")
    >>> bool(relaxed <= l0quad.solve(problem).objective)
    True
    """
    if not isinstance(problem, l0quad.Problem):
        raise TypeError(f"problem: must be a Problem, got {type(problem).__name__}")
    if form not in FORMS:
        raise ValueError(f"form: must be one of {', '.join(map(repr, FORMS))}, got {form!r}")
    if form == "bigm" and diagonal is not None:
        raise ValueError("diagonal: is not used by form='bigm'")
    if form != "bigm" and big_m is not None:
        raise ValueError("big_m: is used by form='bigm' alone")
    p = problem.shape[1]
    d = np.full(p, 2 * problem.ridge) if diagonal is None else _vector(diagonal, "diagonal", p)
    w, rules, z, chosen = _support(problem, form != "relaxation")
    if form == "bigm":
        M = _big_m(problem) if big_m is None else _vector(big_m, "big_m", p)
        reach = cp.multiply(M, chosen)
        objective, rules = _quadratic(problem, w, np.zeros(p)), [*rules, w <= reach, -w <= reach]
    else:
        t = cp.Variable(p, name="t")
        # w_j^2 <= t_j z_j
        rules = [*rules, cp.SOC(t + chosen, cp.vstack([2 * w, t - chosen]))]
        objective = _quadratic(problem, w, d) + 0.5 * d @ t
    return Model(cp.Problem(cp.Minimize(objective), rules), w, z)


def _support(problem: l0quad.Problem, boolean: bool) -> tuple[Any, list[Any], Any, Any]:
    """Return w, the rules of which columns may be nonzero, z, and z by column."""
    constraint, p = problem.constraint, problem.shape[1]
    usable = constraint.usable
    parts = (constraint.restrict(usable) if constraint.never.size else constraint).parts()
    if parts is None:
        raise ValueError(f"problem: has a constraint that is no budget of columns or groups, {problem.k!r}")
    n_units = parts.part.size
    w = cp.Variable(p, name="w")
    z = cp.Variable(n_units, boolean=True, name="z") if boolean else cp.Variable(n_units, name="z")
    membership = np.zeros((p, n_units))
    membership[usable, parts.unit] = 1.0
    of_part = (parts.part == np.arange(parts.budgets.size)[:, None]).astype(np.float64)
    rules = [of_part @ z <= parts.budgets]
    if not boolean:
        rules += [z >= 0, z <= 1]
    if parts.held.any():
        rules.append(z[np.flatnonzero(parts.held)] == 1)
    if constraint.never.size:
        rules.append(w[constraint.never] == 0)
    return w, rules, z, membership @ z


def _quadratic(problem: l0quad.Problem, w: Any, d: np.ndarray) -> Any:
    """Return the objective less ``1/2 sum_j d_j w_j^2``, where the columns of ``never`` are zero."""
    zero = np.zeros(problem.shape[1])
    return (
        problem.objective(zero)
        + problem.gradient(zero) @ w
        + 0.5 * cp.sum_squares(_root(problem, d) @ w[problem.constraint.usable])
    )


def _root(problem: l0quad.Problem, d: np.ndarray) -> np.ndarray:
    """Return L with ``L'L = A'A + 2 ridge I - diag(d)``, of the columns that may be nonzero."""
    usable = problem.constraint.usable
    A = np.asarray(problem.matrix.take(usable), dtype=np.float64)
    rest, d = 2 * problem.ridge - d[usable], d[usable]
    if np.all(rest >= 0):
        stacked = np.vstack([A, np.diag(np.sqrt(rest))]) if rest.any() else A
        return np.asarray(np.linalg.qr(stacked, mode="r")) if stacked.shape[0] > stacked.shape[1] else stacked
    values, vectors = np.linalg.eigh(A.T @ A + np.diag(rest))
    if values[0] < -1e-9 * max(values[-1], float(d.max())):
        raise ValueError(f"diagonal: A'A + 2 ridge I - diag(d) has the negative eigenvalue {values[0]:g}")
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)


def _big_m(problem: l0quad.Problem) -> np.ndarray:
    """Return how large the coefficients of any point can be that is as good as an answer of `l0quad.solve`.

    F(w) <= U holds in an ellipsoid about the minimiser over all w; along w_j it reaches (2 (U - F_inf) (H^-1)_jj)^1/2.
    """
    zero = np.zeros(problem.shape[1])
    root = _root(problem, zero)
    H = root.T @ root
    if np.linalg.cond(H) > 1e12:
        raise ValueError("big_m: must be given, because A's columns are dependent and there is no ridge that is felt")
    inverse, usable = np.linalg.inv(H), problem.constraint.usable
    centre, M = zero.copy(), zero.copy()
    centre[usable] = -inverse @ problem.gradient(zero)[usable]
    reached = l0quad.solve(problem, bound="none").objective
    depth = max(reached - problem.objective(centre), 0.0) + 1e-9 * abs(reached)
    M[usable] = 1.000001 * (np.abs(centre[usable]) + np.sqrt(2 * depth * np.diag(inverse)))
    return M


def _vector(value: ArrayLike, name: str, length: int) -> np.ndarray:
    try:
        array = np.broadcast_to(np.asarray(value, dtype=np.float64), length)
    except ValueError as error:
        raise ValueError(f"{name}: must have shape ({length},), got {np.shape(value)}") from error
    if not np.all(np.isfinite(array)) or array.min() < 0:
        raise ValueError(f"{name}: must be finite and at least 0, got {array.min():g}")
    return array
