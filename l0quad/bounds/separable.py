"""L, the bound of a separable diagonal: a lower bound for every w.

Where d > 0 and H - diag(d) is positive semidefinite (`l0quad.bounds.diagonal`), F is convex enough in every column by
itself: with q = -grad F(w), for all x and w,

    F(x) >= F(w) - q'(x - w) + 1/2 sum_j d_j (x_j - w_j)^2.

At its least, a column j that x uses adds -q_j^2 / (2 d_j), and one that it does not use q_j w_j + d_j w_j^2 / 2. Hence

    L(w) = F(w) - sum_{j in S} q_j^2 / (2 d_j) + sum_{j not in S} (q_j w_j + d_j w_j^2 / 2)  <=  F*,

S the allowed support on which the difference of the two, (q_j + d_j w_j)^2 / (2 d_j), has the largest sum. The largest
L is the value of the perspective relaxation with d_j in place of mu (`l0quad.bounds.reweighting`). Source: Dong, Chen
and Linderoth, "Regularization vs. relaxation", 2015; Zheng, Sun and Li, "Improving the performance of MIQP solvers for
quadratic programs with cardinality and minimum threshold constraints", INFORMS J. Comput. 26 (2014).
"""

import math
from typing import NamedTuple

import numpy as np

from l0quad.bounds.diagonal import curvature
from l0quad.certificates import Bound, Separable
from l0quad.linalg.rounding import SLACK, down, gamma, norm_above
from l0quad.linalg.semidefinite import is_semidefinite
from l0quad.problem.core import CoreProblem, GramCore
from l0quad.types import FloatArray, IntArray

_BASIS = "the bound is the separable relaxation's"
# A sum in pairs, as that of what other columns held at zero cost, has fewer roundings than this.
_PAIRS = 64


class Expansion(NamedTuple):
    """F(w) and q = -grad F(w), and by how much each is off at most."""

    value: float
    q: FloatArray
    value_error: float
    q_error: FloatArray


def separable_bound(problem: CoreProblem, w: FloatArray, d: FloatArray, expanded: Expansion | None = None) -> Bound:
    """Return L(w), lowered by a bound on its rounding error; two passes over A, none where `expansion` is known.

    Parameters
    ----------
    w : ndarray of shape (p,)
    d : ndarray of shape (p,)
        Of which it is proven that H - diag(d) is semidefinite on the columns with d > 0 (`proven`, `is_proven`). Where
        d = 0, w = 0, and the column is in ``never`` or adds nothing to F.
    """
    F, q, F_error, q_error = expansion(problem, w) if expanded is None else expanded
    p, constraint = w.size, problem.constraint
    # Beside the root of d, so that nothing underflows where columns' sizes are far apart.
    root = np.divide(1.0, np.sqrt(d), out=np.zeros(p), where=d > 0)
    size, product, beside, off = np.abs(q), d * np.abs(w), q * root, q_error * root
    inside = np.zeros(p, dtype=np.bool_)
    scores = ((q + d * w) * root) ** 2
    inside[constraint.select(scores)] = True
    terms = np.where(inside, -0.5 * beside * beside, w * (q + 0.5 * d * w))
    # What q's error, the choice of S by rounded scores and the terms' own rounding may change.
    wrong = constraint.largest_sum((np.abs(beside) + 0.5 * off) * off) + float(np.abs(w) @ q_error)
    chosen = constraint.largest_sum(gamma(16) * ((size + product) * root) ** 2)
    chosen += gamma(p + 8) * float(scores[inside].sum())
    own = gamma(p + 16) * (float(np.abs(terms).sum()) + abs(F)) + gamma(8) * float(np.abs(w) @ (size + product))
    allowance = SLACK * (F_error + wrong + chosen + own)
    if not math.isfinite(allowance):
        return Bound(-math.inf, Separable(w, d), _BASIS, math.inf)
    return Bound(down(F + float(terms.sum()) - allowance), Separable(w, d), _BASIS, allowance)


def ridge_bound(problem: CoreProblem) -> Bound:
    """Return L at the minimiser over all columns, d = mu: about the least F over all w, or more.

    That A'A is semidefinite needs no proof.
    """
    w, d = np.zeros((2, problem.shape[1]))
    usable = problem.constraint.usable
    point = problem.restricted(usable)
    w[point.support], d[usable] = point.w, problem.mu
    return separable_bound(problem, w, d)


def is_proven(problem: CoreProblem, w: FloatArray, d: FloatArray) -> bool:
    """Return whether w and d are what `separable_bound` asks for; some n p^2 flops."""
    if w.shape != (problem.shape[1],) or d.shape != w.shape or not np.all(np.isfinite(w)) or not np.all(d >= 0):
        return False
    kept = np.flatnonzero(d > 0)
    rest = np.setdiff1d(np.flatnonzero(d == 0), problem.constraint.never, assume_unique=True)
    if np.any(w[d == 0]) or not adds_nothing(problem, rest):
        return False
    if np.all(d <= problem.mu) and not isinstance(problem, GramCore):
        # A'A is semidefinite.
        return True
    shape = curvature(problem)
    return is_semidefinite(shape.H[np.ix_(kept, kept)], SLACK * (d[kept] + shape.error[kept]))


def adds_nothing(problem: CoreProblem, columns: IntArray) -> bool:
    """Return whether F does not depend on these columns: they are zero, and there is no ridge."""
    if columns.size == 0:
        return True
    if problem.mu > 0 or problem.slack > 0:
        return False
    if isinstance(problem, GramCore):
        return not (np.any(problem.matrix.cross(columns)) or np.any(problem.g[columns]))
    return not np.any(problem.matrix.take(columns))


def expansion(problem: CoreProblem, w: FloatArray) -> Expansion:
    """Return F(w) and q = -grad F(w), with bounds on what rounding has done to them."""
    mu, p, pull = problem.mu, w.size, w - problem.w0
    length = norm_above(w) + norm_above(problem.w0)
    ridge = 0.5 * mu * float(pull @ pull)
    pull_error = gamma(8) * mu * (np.abs(w) + np.abs(problem.w0))
    # Where rounding moved w0, F has a further term e'(w - w0), ||e|| <= slack.
    slack = problem.slack
    rest_error = gamma(p + 8) * (ridge + 2 * mu * length * length) + 2 * slack * length
    if isinstance(problem, GramCore):
        H = problem.matrix.inner()
        H = 0.5 * (H + H.T)
        Hw, sizes = H @ w, np.abs(H) @ np.abs(w)
        inner, g = float(problem.g @ w), np.abs(problem.g)
        value = 0.5 * float(w @ Hw) - inner + ridge + problem.const
        data_error = gamma(2 * p + 16) * float(np.abs(w) @ (sizes + g)) + gamma(2 * p + _PAIRS) * abs(problem.const)
        q_error = gamma(p + 16) * (sizes + g) + pull_error + slack
        return Expansion(value, problem.g - Hw - mu * pull, SLACK * (data_error + rest_error), SLACK * q_error)
    support = np.flatnonzero(w)
    r = problem.residual(support, w[support])
    size, n, norms = norm_above(r), r.size, problem.rounding_norms * (1 + gamma(r.size + 8))
    wrong = gamma(support.size + 8) * (float(norms @ np.abs(w)) + norm_above(problem.b))
    data_error = size * wrong + 0.5 * wrong * wrong + gamma(n + 8) * size * size
    data_error += gamma(n + _PAIRS) * abs(problem.constant)
    q_error = norms * (gamma(n + 16) * size + wrong) + pull_error + slack
    value = 0.5 * float(r @ r) + ridge + problem.constant
    q = -problem.matrix.rmatvec(r) - mu * pull
    return Expansion(value, q, SLACK * (data_error + rest_error), SLACK * q_error)
