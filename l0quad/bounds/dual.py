"""D, the dual of the perspective relaxation: a lower bound for every nu.

For every nu in R^n, with mu = 2 ridge, v = w0 - A'nu/mu and T(s) the largest sum of s over an allowed support,

    D(nu) = -1/2 ||nu||^2 - b'nu + mu/2 (||w0||^2 - T(v^2))  <=  F*.

D is concave; its maximum is the value of the perspective relaxation (`l0quad.bounds.relaxation`). nu = A w - b is a
good choice already where w is a good point. Source: Pilanci, Wainwright and El Ghaoui, "Sparse learning via Boolean
relaxations", Math. Program. 2015; Bertsimas and Van Parys, "Sparse high-dimensional regression", Ann. Stat. 2020.
"""

import math
from dataclasses import replace

import numpy as np

from l0quad.certificates import Bound, Dual
from l0quad.linalg.pieces import pieces
from l0quad.linalg.rounding import down
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.counted import Refit
from l0quad.types import FloatArray, IntArray

_EPS = float(np.finfo(np.float64).eps)
_BASIS = "the bound is the perspective relaxation's"


def dual_value(
    problem: CoreProblem,
    nu: FloatArray,
    Atnu: FloatArray,
    fixed_in: IntArray | None = None,
    fixed_out: IntArray | None = None,
) -> float:
    """Return D(nu), lowered by a bound on its rounding error.

    With ``fixed_in`` and ``fixed_out`` it bounds the optimum over the supports that contain the former and none of the
    latter.
    """
    return _lowered(problem, nu, Atnu, fixed_in, fixed_out)[0]


def _lowered(
    problem: CoreProblem,
    nu: FloatArray,
    Atnu: FloatArray,
    fixed_in: IntArray | None = None,
    fixed_out: IntArray | None = None,
    reach: float = 0.0,
    overwrite: bool = False,
) -> tuple[float, float]:
    """Return D(nu), lowered by a bound on its rounding error, and that bound.

    A'nu in float64 is off by at most (n + 4) eps ||a_j|| ||nu|| in entry j, and the sums by eps times their length
    times the sum of their terms' sizes. Where ``Atnu`` was added up, ``reach`` is the sum of the sizes of what it was
    added up from, which take the place of ``||nu||``. ``overwrite`` lets ``Atnu`` serve as memory.
    """
    proof = problem.proof
    if proof is None:
        return -math.inf, math.inf
    mu, w0 = proof.mu, problem.w0
    # No vectors as long as w0 beside this one: where many columns are kept they are what memory goes to.
    squares = np.divide(Atnu, -mu, out=Atnu if overwrite else None)
    squares += w0
    squares *= squares
    marked, inside = problem.constraint.marked(squares, fixed_in, fixed_out), 0.0
    for here in pieces(squares.size):
        # The values themselves: the root of a rounded square is the number that was squared.
        kept = np.sqrt(squares[here][marked[here]])
        inside += float(kept @ kept)
    square, product, ridge = float(nu @ nu), float(problem.b @ nu), float(w0 @ w0)
    value = -0.5 * square - product + 0.5 * mu * (ridge - inside)
    off = (nu.size + 4) * _EPS * problem.largest_rounding**0.5 * max(square**0.5, reach) / mu + 2 * _EPS * (
        inside**0.5 + ridge**0.5
    )
    sizes = 0.5 * square + float(np.abs(problem.b) @ np.abs(nu)) + 0.5 * mu * (ridge + inside)
    rounding = 2 * (nu.size + w0.size + 8) * _EPS * sizes + 0.5 * mu * (2 * inside**0.5 * off + off * off)
    allowance = rounding + proof.loss + 4 * _EPS * (sizes + abs(proof.constant))
    if allowance == 0:
        # All terms are zero.
        return 0.0, 0.0
    return down(value - allowance + proof.constant), allowance


def dual_bound(
    problem: CoreProblem,
    nu: FloatArray,
    Atnu: FloatArray | None = None,
    *,
    reach: float = 0.0,
    overwrite: bool = False,
) -> Bound:
    """Return the bound that nu proves; ``Atnu`` is A'nu, where it is known, with ``overwrite`` to be written to."""
    overwrite = overwrite or Atnu is None
    Atnu = problem.matrix.rmatvec(nu) if Atnu is None else Atnu
    value, allowance = _lowered(problem, nu, Atnu, reach=reach, overwrite=overwrite)
    return Bound(value, Dual(nu), _BASIS, allowance)


def dual_bound_at(problem: CoreProblem, point: Point) -> Bound:
    """Return the bound of the residual of a point: one product with A, none after a refit whose sweeps are counted."""
    refit = point.refit
    if refit is None:
        return dual_bound(problem, problem.residual(point.support, point.w))
    return dual_bound(problem, refit.nu, refit.Atnu) if refit.bound is None else refit.bound


def with_bound(problem: CoreProblem, point: Point, overwrite: bool = True) -> Point:
    """Return a point with what its refit proves in place of A'nu, as `proven` does."""
    refit = point.refit
    return point if refit is None else replace(point, refit=proven(problem, refit, overwrite))


def proven(problem: CoreProblem, refit: Refit, overwrite: bool = True) -> Refit:
    """Return a refit with what it proves in place of A'nu, which takes as much memory as w0.

    That is overwritten, unless it is still needed.
    """
    if refit.Atnu is None or problem.ridge_is_lost:
        return refit
    return refit._replace(Atnu=None, bound=dual_bound(problem, refit.nu, refit.Atnu, overwrite=overwrite))
