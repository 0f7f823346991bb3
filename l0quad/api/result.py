"""What a solve returns: the answer, how good it is, and what proves it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from l0quad import validation
from l0quad.api.claims import OPTIMAL, is_optimal, rounding_error
from l0quad.bounds.bound import certified
from l0quad.certificates import Bound, Certificate, Dual, Separable, Tree, Trivial
from l0quad.problem.core import Point
from l0quad.problem.problem import Problem
from l0quad.problem.units import Units
from l0quad.run.outcome import State, Status
from l0quad.shown import few, html_table, proves
from l0quad.types import IntArray

# So many nonzeros are listed in a notebook.
SHOWN = 20
_TINY = float(np.finfo(np.float64).tiny)
_LARGEST = float(np.finfo(np.float64).max)
_EPS = float(np.finfo(np.float64).eps)


def relative(gap: float, objective: float, status: Status) -> float:
    """Return the relative gap of a `Result`."""
    share = min(gap / max(abs(objective), _TINY), _LARGEST)
    return min(share, OPTIMAL) if status is Status.OPTIMAL else share


def as_rounded(problem: Problem, point: Point, w: np.ndarray) -> Point:
    """Return the point that w is, the point itself where rounding to A's dtype has changed nothing."""
    support = np.flatnonzero(w)
    own = problem.units.own_w(w[support].astype(np.float64))
    if np.array_equal(support, point.support) and np.array_equal(own, point.w):
        return point
    return problem.core.evaluate(support, own)


def public_certificate(certificate: Certificate, units: Units) -> Certificate:
    """Return a certificate in own units in the user's."""
    match certificate:
        case Dual(nu):
            return Dual(units.b(nu))
        case Separable(w, d):
            return Separable(units.dense(w), units.diagonal(d))
        case Tree(root, root_bound, lower_bound, n_nodes):
            root = public_certificate(root, units)
            return Tree(root, units.lower(root_bound), units.lower(lower_bound), n_nodes)
        case _:
            return certificate


def own_certificate(certificate: Certificate, units: Units) -> Certificate:
    """Return a certificate in the user's units in own ones; of a tree, that of its root."""
    match certificate:
        case Dual(nu):
            return Dual(units.own_b(nu))
        case Separable(w, d):
            return Separable(units.own_w(w), units.own_diagonal(d))
        case Tree(root):
            return own_certificate(root, units)
        case _:
            return certificate


@dataclass(frozen=True, slots=True)
class Check:
    """What `Result.check` computed anew.

    Attributes
    ----------
    objective : float
        At ``w``.
    feasible : bool
        Whether the support of ``w`` is ``support`` and within the budget.
    lower_bound : float
        From the certificate alone; of a tree, whose root alone is computed anew, what it says.
    ok : bool
        Whether all of it bears out what the result says.
    message : str
        What does not, or that all does.

    Examples
    --------
    A result of another problem does not hold:

    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> problem = l0quad.Problem(A, A[:, 2] - 2 * A[:, 5], k=2)
    >>> check = l0quad.solve(problem).check(problem.with_(k=1))
    >>> check.feasible, check.ok
    (False, False)
    """

    objective: float
    feasible: bool
    lower_bound: float
    ok: bool
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The answer and how good it is. Every field is always there.

    Attributes
    ----------
    w : ndarray of shape (p,)
        The solution, with at most k nonzeros, in A's dtype (float64 where float32 could not hold its values).
    support : ndarray of int
        The sorted indices of the nonzeros of ``w``.
    objective : float
        The objective at ``w`` as returned (after rounding to its dtype), accumulated in float64.
    lower_bound : float
        No feasible point has a smaller objective. With ``bound="none"``, after an interrupt and after a time limit it
        may be the trivial bound.
    gap, relative_gap : float
        ``objective - lower_bound`` (at least 0), and the same over ``max(|objective|, tiny)``; beside
        `Status.OPTIMAL`, which is not decided by the size of the objective, at most 1e-6. Both are finite:
        where nothing is proven (a singular H that was given, without a ridge), ``lower_bound`` is the least float.
    certificate : Trivial, AllColumns, AllSupports, Dual, Separable or Tree
        What proves ``lower_bound``; `check` computes it from nothing else, of a tree the bound of its root.
    status : Status
        How the solve ended.
    message : str
        The same in words, what the bound rests on, and the relative gap: clauses, with semicolons between.
    n_iter : int
        Iterations of the method.
    history : tuple of State
        One record an iteration: objectives, lower bound, number of nonzeros, seconds since the start.
    solve_time, bound_time : float
        Seconds: all together, and the part of the lower bound after the method had ended.
    method : str
        The name of the method.
    names : tuple of str, or None
        The names of the support's columns, in its order, where A's columns have names.
    n_sweeps, bytes_read : float, int
        How much of A was read from its files (`open_columns`): bytes, and the same over the bytes that hold A. 0 where
        A is in memory.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> problem = l0quad.Problem(A, A[:, 2] - 2 * A[:, 5], k=2, ridge=0.1)
    >>> result = l0quad.solve(problem)
    >>> result.support, result.relative_gap < 1e-6, result.check(problem).ok
    (array([2, 5]), True, True)
    """

    w: np.ndarray
    support: IntArray
    objective: float
    lower_bound: float
    gap: float
    relative_gap: float
    certificate: Certificate = field(repr=False)
    status: Status
    message: str
    n_iter: int
    history: tuple[State, ...] = field(repr=False)
    solve_time: float
    bound_time: float
    method: str
    names: tuple[str, ...] | None = None
    n_sweeps: float = 0.0
    bytes_read: int = 0

    @property
    def success(self) -> bool:
        """Whether the method ran to its own end (optimal, swap-optimal or converged)."""
        return self.status.success

    def check(self, problem: Problem) -> Check:
        """Compute objective, budget and lower bound anew and compare: the bound from the certificate alone.

        Differences up to the rounding of both computations are none. That a claim of optimality follows from bound and
        objective is looked at too; that of swap-optimality is not.

        Parameters
        ----------
        problem : Problem
            The one that was solved, or the same one built again. On another one with as many columns the answer is
            whether the result would hold there.

        Raises
        ------
        ValueError, TypeError
            Not a problem with as many columns.

        Examples
        --------
        >>> import l0quad
        >>> problem = l0quad.Problem([[1.0, 0.2], [0.3, 1.0]], [1.0, 0.5], k=1, ridge=0.1)
        >>> l0quad.solve(problem).check(problem).ok
        True
        """
        if not isinstance(problem, Problem):
            raise TypeError(f"problem: must be a Problem, got {type(problem).__name__}")
        if self.w.shape != (problem.shape[1],):
            raise ValueError(f"problem: must have {self.w.size} columns, as w has, got {problem.shape[1]}")
        with np.errstate(all="ignore"):
            return self._checked(problem)

    def _checked(self, problem: Problem) -> Check:
        problem = problem.in_memory()
        core, units, faults = problem.core, problem.units, []
        own = units.own_w(validation.vector(self.w, "w", problem.shape[1], "one value for each column of A"))
        support = np.flatnonzero(own)
        point = core.evaluate(support, own[support])
        objective = units.value(core, point)
        # Both objectives are off by at most this.
        error = 2 * units.size(rounding_error(problem, point)) + 8 * _EPS * abs(objective) + _TINY
        if not abs(objective - self.objective) <= error:
            faults.append(f"the objective at w is {objective:.10g}, not {self.objective:.10g}")
        feasible = np.array_equal(np.flatnonzero(self.w), self.support) and problem.constraint.allows(self.support)
        if not feasible:
            faults.append("w does not have the support that the result names, or not one within the budget")
        certificate = own_certificate(self.certificate, units)
        if isinstance(certificate, Dual) and (core.mu == 0 or certificate.nu.shape != core.b.shape):
            faults.append("the certificate is a dual point, but of another problem")
            certificate = Trivial()
        bound = certified(core, certificate)
        lower_bound = units.lower(bound.value)
        # What is proven exactly lies at most two allowances above what was computed, and so does any proof of it.
        bound = bound._replace(value=bound.value + 2 * bound.allowance)
        most = units.lower(bound.value) + 2 * units.size(units.fold_error + units.moved)
        tree = self.certificate if isinstance(self.certificate, Tree) else None
        claimed = self.lower_bound if tree is None else tree.root_bound
        if not claimed <= most + 8 * _EPS * abs(most) + _TINY:
            faults.append(f"the certificate proves {lower_bound:.10g}, not {claimed:.10g}")
        if tree is not None:
            lower_bound = tree.lower_bound
            # Beside a large constant the user's units have lost digits.
            nearby = lower_bound + 4 * _EPS * abs(lower_bound)
            bound = Bound(units.own_lower(nearby), tree, bound.basis, math.inf)
            if not self.lower_bound <= lower_bound:
                faults.append(f"the tree has proven {lower_bound:.10g}, not {self.lower_bound:.10g}")
        if self.gap != min(self.objective - self.lower_bound, _LARGEST) or self.gap < 0:
            faults.append(f"the gap is {self.objective - self.lower_bound:.10g}, not {self.gap:.10g}")
        expected = relative(self.gap, self.objective, self.status)
        if self.relative_gap != expected:
            faults.append(f"the relative gap is {expected:.10g}, not {self.relative_gap:.10g}")
        if self.status is Status.OPTIMAL and not is_optimal(problem, point, bound, lambda *_: True):
            faults.append("the certificate does not prove it optimal")
        message = "objective, budget and lower bound are as the result says"
        if tree is not None:
            message += f", of the bound only what the root of its tree of {tree.n_nodes} nodes proves"
        message = "; ".join(faults) or message
        return Check(objective, feasible, lower_bound, not faults, message)

    def __repr__(self) -> str:
        proof = f"lower_bound={self.lower_bound:.6g}, relative_gap={self.relative_gap:.2g}"
        if not proves(self.lower_bound):
            proof = "no lower bound"
        return (
            f"Result({self.status.name.lower()}, method={self.method!r}, objective={self.objective:.6g}, {proof}, "
            f"support={few(self._chosen)} of {self.w.size}, solve_time={self.solve_time:.3g}s)"
        )

    def _repr_html_(self) -> str:
        first, *clauses = self.message.removeprefix(f"{self.status.value}; ").split("; ")
        rows: list[tuple[str, object]] = [
            ("status", self.status.value),
            ("proof", first),
            *(("", each) for each in clauses),
            ("objective", f"{self.objective:.6g}"),
            ("lower bound", f"{self.lower_bound:.6g}" if proves(self.lower_bound) else "none"),
            ("nonzeros", f"{self.support.size} of {self.w.size}"),
            ("time", f"{self.solve_time:.3g} s, method {self.method}"),
        ]
        shown = zip(self._chosen[:SHOWN], self.support[:SHOWN], strict=True)
        rows += [(f"w: {name}", f"{self.w[j]:.5g}") for name, j in shown]
        if self.support.size > SHOWN:
            rows.append(("...", f"{self.support.size - SHOWN} more"))
        return html_table("l0quad.Result", rows)

    @property
    def _chosen(self) -> Sequence[object]:
        """What the support's columns are called."""
        return self.support.tolist() if self.names is None else self.names
