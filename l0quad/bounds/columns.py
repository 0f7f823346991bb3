"""The all-columns bound: the least value over all w, dense ones too, without the ridge term.

Of a computed orthogonal basis only what is proven counts. R comes from a QR of row blocks, W = A R^-1 from triangular
solves; how far A - W R is from zero, W'W from the identity, and R from a singular matrix is computed and bounded.
With r = b - A u for any u, and P the projection onto the columns of A,

    ||b - P b|| = ||r - P r||,   ||P r|| <= (||W'r|| + h ||r||) / (least singular value of W - h),

where h = ||A - W R|| / (least singular value of R). Where R is singular up to rounding, nothing is proven but 0: which
direction the dependent columns add, rounding decides, and it may be that of b. Source: Rump, "Verification methods",
Acta Numerica 2010, section 10; Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapters 3, 8 and 19.
"""

import math
from collections.abc import Iterator

import numpy as np
import scipy.linalg

from l0quad.certificates import AllColumns, Bound
from l0quad.linalg.rounding import SLACK, down, gamma, least_singular_value, norm_above
from l0quad.linalg.tall import block_rows, triangle
from l0quad.matrix.gram import GramMatrix
from l0quad.problem.core import CoreProblem, GramCore
from l0quad.types import FloatArray, IntArray, Pause, go_on

_BASIS = "the bound is the all-columns bound"
_DEPENDENT = f"{_BASIS}; it proves little, because columns depend on each other up to rounding"
# Columns whose projections on one vector agree to this share of their size are looked at for being equal.
_ALIKE = 1e-9
_REGULAR = 1e-4


def all_columns_bound(problem: CoreProblem, pause: Pause = go_on) -> Bound:
    """Return a bound on ``min_w 1/2 ||A w - b||^2`` from below, proven in spite of rounding; some 8 n p^2 flops.

    Two passes over blocks of rows; ``pause`` is called between.
    """
    if isinstance(problem, GramCore) and isinstance(problem.matrix, GramMatrix):
        return _by_convexity(problem, problem.matrix)
    proof = problem.proof
    if proof is None:
        return Bound(-math.inf, AllColumns(), _DEPENDENT)
    columns, lost = distinct_columns(problem), 0.0
    if columns.size == 0:
        distance, basis = float(np.linalg.norm(problem.b)) * (1 - gamma(problem.b.size + 8)), _BASIS
    elif columns.size >= problem.shape[0]:
        distance, basis = 0.0, f"{_BASIS}, which is 0, because there are no more rows than columns"
    else:
        distance, lost, basis = _distance(problem, columns, pause)
    plain = 0.5 * distance * distance
    allowance = 4 * gamma(2) * (plain + abs(proof.constant)) + proof.loss
    lowest = proof.constant if plain == 0 == proof.loss else down(plain - allowance + proof.constant)
    return Bound(lowest, AllColumns(), basis, allowance + lost)


def all_columns_flops(problem: CoreProblem) -> float:
    """Return the work of `all_columns_bound`."""
    n, p = problem.shape
    return 8.0 * n * p * min(n, p) if n > p or isinstance(problem, GramCore) else 2.0 * n * p


def distinct_columns(problem: CoreProblem) -> IntArray:
    """Return the columns without the zero ones and without those that are equal to another one, or to its negative.

    Of equal ones, one of ``must`` stays.
    """
    norms = problem.column_sq_norms
    nonzero = np.flatnonzero(norms > 0)
    # Squares may have underflowed.
    for j in np.flatnonzero(norms == 0):
        if np.any(problem.matrix.take(np.array([j]))):
            nonzero = np.append(nonzero, j)
    if nonzero.size < 2:
        return nonzero
    place = np.abs(problem.matrix.rmatvec(np.sin(1.0 + np.arange(problem.shape[0]))))[nonzero]
    order = nonzero[np.argsort(place, kind="stable")]
    place = np.sort(place)
    kept = [int(order[0])]
    for j, here, before in zip(order[1:].tolist(), place[1:], place[:-1], strict=True):
        if here - before <= _ALIKE * norms[j] ** 0.5:
            one, other = problem.matrix.take(np.array([kept[-1], j])).T
            if np.array_equal(one, other) or np.array_equal(one, -other):
                kept[-1] = j if j in problem.constraint.must else kept[-1]
                continue
        kept.append(j)
    return np.sort(np.array(kept, dtype=np.int64))


def _distance(problem: CoreProblem, columns: IntArray, pause: Pause) -> tuple[float, float, str]:
    """Return a bound from below on the distance d of b from the span of these columns.

    With it, by how much rounding has lowered ``d^2 / 2``, and what the bound rests on.
    """
    n, p = problem.shape[0], columns.size
    exponents = -np.frexp(np.maximum(problem.column_sq_norms[columns] ** 0.5, 2.0**-1000))[1]

    def blocks() -> Iterator[tuple[FloatArray, FloatArray]]:
        start = 0
        for block in problem.matrix.row_blocks(block_rows(p)):
            pause()
            yield np.ldexp(block[:, columns], exponents), problem.b[start : start + block.shape[0]]
            start += block.shape[0]

    whole = triangle((np.column_stack(each) for each in blocks()), p + 1)
    R, c = whole[:p, :p], whole[:p, p]
    least = least_singular_value(R)
    if least == 0.0:
        return 0.0, 0.0, _DEPENDENT
    u = scipy.linalg.solve_triangular(R, c, check_finite=False)
    # A product is faster than a triangular solve, and loses more digits where R is nearly singular.
    inverse = scipy.linalg.solve_triangular(R, np.eye(p), check_finite=False) if least > _REGULAR else None
    gram, inner = np.zeros((p, p)), np.zeros(p)
    lost = square = wrong = 0.0
    for block, b in blocks():
        W = block @ inverse if inverse is not None else _right_solve(block, R)
        lost += float(np.linalg.norm(block - W @ R)) ** 2
        r = b - block @ u
        square += float(r @ r)
        wrong += norm_above(gamma(p + 3) * (np.abs(block) @ np.abs(u) + np.abs(b))) ** 2
        gram += W.T @ W
        inner += W.T @ r
    size = float(np.trace(gram)) * (1 + gamma(n + p))
    missed = SLACK * (lost**0.5 * (1 + gamma(n * p)) + gamma(p + 3) * (size * float((R * R).sum())) ** 0.5) / least
    regular = 1.0 - SLACK * (float(np.linalg.norm(gram - np.eye(p))) + gamma(n + 4) * size)
    span = max(regular, 0.0) ** 0.5 / SLACK - missed
    if not span > 0:
        return 0.0, 0.0, _DEPENDENT
    length = square**0.5 * (1 + gamma(n + 8))
    along = SLACK * (norm_above(inner) + (gamma(n + 4) * size**0.5 + missed) * length) / span
    outside = max(square * (1 - gamma(2 * n + 16)) - along * along, 0.0) ** 0.5
    proven = max(outside / SLACK - SLACK * wrong**0.5, 0.0) / SLACK
    return proven, max(0.5 * (square - proven * proven), 0.0), _BASIS


def _right_solve(block: FloatArray, R: FloatArray) -> FloatArray:
    """Return block R^-1."""
    return np.asarray(scipy.linalg.solve_triangular(R, block.T, trans="T", check_finite=False)).T


def _by_convexity(problem: GramCore, matrix: GramMatrix) -> Bound:
    """Return the bound of a problem known by H and g.

    With q(w) = 1/2 w'Hw - g'w and H >= t I it is q(u) - ||grad q(u)||^2 / (2 t), for every u. In
    variables in which H has a diagonal of about 1; t from the factor of H and its error.
    """
    H, R, p = matrix.H, matrix.take(np.arange(problem.shape[1])), problem.shape[1]
    nothing = Bound(-math.inf, AllColumns(), _DEPENDENT)
    diagonal = H.diagonal()
    if problem.slack > 0 or R.shape[0] != p or not matrix.factor.triangular or np.any(diagonal <= 0):
        return nothing
    exponents = -np.frexp(diagonal)[1] // 2
    R = np.ldexp(np.asarray(R, dtype=np.float64), exponents)
    H = np.ldexp(np.ldexp(H, exponents), exponents[:, None])
    g = np.ldexp(problem.g, exponents)
    error = SLACK * (p * float(np.abs(H - H.T).max()) + gamma(p + 2) * norm_above(R.ravel()) ** 2)
    modulus = least_singular_value(R) ** 2 / SLACK - error
    if not modulus > 0:
        return nothing
    u = scipy.linalg.cho_solve((R, False), g, check_finite=False)
    u += scipy.linalg.cho_solve((R, False), g - H @ u, check_finite=False)
    symmetric = 0.5 * (H + H.T)
    gradient = symmetric @ u - g
    rounding = gamma(p + 4) * norm_above(np.abs(symmetric) @ np.abs(u) + np.abs(g))
    slope = SLACK * (norm_above(gradient) + rounding)
    sizes = 0.5 * float(np.abs(u) @ (np.abs(symmetric) @ np.abs(u))) + float(np.abs(g) @ np.abs(u))
    allowance = SLACK * (slope * (slope / (2 * modulus)) + gamma(2 * p + 8) * (sizes + abs(problem.const)))
    value = 0.5 * float(u @ (symmetric @ u)) - float(g @ u)
    return Bound(down(value - allowance + problem.const), AllColumns(), _BASIS, allowance)
