"""The scaled problem that the nodes of a tree share.

With d > 0 such that H - diag(d) is proven to be positive semidefinite and v = d^(1/2) w, the objective is, about a
point c, ``1/2 (v - c)'M(v - c) + 1/2 ||v||^2 - y'v`` and a constant, M positive semidefinite: what the perspective
takes is 1/2 ||v||^2. M, y and c are floating-point numbers, and as such exact: what rounding has done on the way to
them is taken from M's diagonal and from the constant, so that the objective is never below what a frame says.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l0quad.bounds.diagonal import scaled_diagonal
from l0quad.linalg.cholesky import cholesky
from l0quad.linalg.rounding import SLACK, gamma
from l0quad.linalg.semidefinite import is_semidefinite
from l0quad.problem.constraints.base import Parts
from l0quad.solvers.exact.quadratic import Quadratic
from l0quad.types import BoolArray, FloatArray, IntArray

# What is taken from a diagonal until its proof runs through.
_BACK = (1e-5, 1e-3, 1e-1)
# Bounds on the share of the diagonal that makes up for the rounding of the slope.
_LEAST_SHARE, _LARGEST_SHARE = 2.0**-30, 2.0**-10


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The problem over some columns, the others held at zero.

    For every w that is zero elsewhere and v = scale w, the objective is at least
    ``1/2 (v - c)'M(v - c) + 1/2 ||v||^2 - y'v + constant``.

    Attributes
    ----------
    columns, units : ndarray of int
        The problem's columns and units, in the order of the parts.
    scale : ndarray
    M, y, c, root, curve, starts, first, budgets :
        As in `l0quad.kernels.relaxed`.
    part, home : ndarray of int
        The part of each unit, and the unit of each column.
    constant, lost : float
        ``lost`` is by how much rounding has lowered the constant.
    pull : ndarray
        y + Mc.
    at_zero, size, least : float
        About the value of v = 0, how far it is above that of the best v, and that one; the constant apart.
    """

    columns: IntArray
    units: IntArray
    scale: FloatArray
    M: FloatArray
    y: FloatArray
    c: FloatArray
    pull: FloatArray
    root: FloatArray
    curve: FloatArray
    starts: IntArray
    first: IntArray
    budgets: IntArray
    part: IntArray
    home: IntArray
    constant: float
    lost: float
    at_zero: float
    size: float
    least: float

    @classmethod
    def build(
        cls, quadratic: Quadratic, parts: Parts, mu: float, columns: IntArray, units: BoolArray
    ) -> "Frame | None":
        """Return the frame over these columns, and the units that they are in; None where no diagonal is proven."""
        chosen = np.flatnonzero(units)
        chosen = chosen[np.argsort(parts.part[chosen], kind="stable")]
        place = np.zeros(parts.part.size, dtype=np.int64)
        place[chosen] = np.arange(chosen.size)
        columns = columns[np.argsort(place[parts.unit[columns]], kind="stable")]
        scaled = _scaled(quadratic, columns, mu)
        if scaled is None:
            return None
        scale, M, share = scaled
        p, c = columns.size, quadratic.centre[columns] * scale
        y = quadratic.q[columns] / scale + c
        root = SLACK * np.sqrt(M.diagonal())
        # c itself is rounded, so that the slope there is off by as much as M + I takes the difference for.
        moved = gamma(1) * float(root @ np.abs(c)) * (root + 1) + gamma(4) * (np.abs(y) + 2 * np.abs(c))
        slope = SLACK * (quadratic.slope[columns] / scale + moved)
        # With x = v - c, |e_j x_j| <= e_j^2 / (2 share) + share x_j^2 / 2, whose second half is in M.
        off = SLACK * float(slope @ slope) / (2 * share)
        off += gamma(p + 16) * float(np.abs(c) @ (np.abs(y) + np.abs(c)))
        pull = y + M @ c
        starts = np.searchsorted(place[parts.unit[columns]], np.arange(chosen.size + 1))
        part = parts.part[chosen]
        solve = cholesky(M, 1.0) if p else None
        size = 0.0 if solve is None else 0.5 * float(pull @ solve(pull))
        at_zero = 0.5 * float(c @ (pull - y))
        constant = quadratic.constant - off + float(c @ (y - 0.5 * c))
        return cls(
            columns=columns,
            units=chosen,
            scale=scale,
            M=M,
            y=y,
            c=c,
            pull=pull,
            root=root,
            curve=_curves(M, starts),
            starts=starts,
            first=np.searchsorted(part, np.arange(parts.budgets.size + 1)),
            budgets=parts.budgets,
            part=part,
            home=np.repeat(np.arange(chosen.size), np.diff(starts)),
            constant=constant,
            lost=quadratic.lost + off,
            at_zero=at_zero,
            size=size,
            least=at_zero - size,
        )


def _scaled(quadratic: Quadratic, columns: IntArray, mu: float) -> tuple[FloatArray, FloatArray, float] | None:
    """Return the scale, M and the share of the diagonal that the slope's rounding has."""
    H = quadratic.H[np.ix_(columns, columns)]
    H = np.tril(H) + np.tril(H, -1).T
    p = columns.size
    for d in _diagonals(H, mu, quadratic.rank):
        scale = np.sqrt(d)
        M = H / scale
        M /= scale[:, None]
        M = np.tril(M) + np.tril(M, -1).T
        size = M.diagonal().copy()
        slope = quadratic.slope[columns] / scale
        length = float(np.linalg.norm(quadratic.centre[columns] * scale))
        share = float(np.linalg.norm(slope)) / length if length > 0 else _LARGEST_SHARE
        share = min(max(share, _LEAST_SHARE), _LARGEST_SHARE)
        # Each entry of the scaled H is off by at most gamma(3) of sqrt(H_ii H_jj).
        error = SLACK * (quadratic.error[columns] / d + share + (p * gamma(4) + gamma(8)) * size)
        # The second error is for the subtraction.
        if is_semidefinite(M, SLACK * (1 + 2 * error)):
            np.fill_diagonal(M, size - (1 + error))
            return scale, M, share
    return None


def _diagonals(H: FloatArray, mu: float, rank: int) -> Iterator[FloatArray]:
    """Yield what may be subtracted from H, the largest first."""
    if H.size == 0:
        yield np.empty(0)
        return
    # Beyond the rank of A nothing but the ridge can be subtracted.
    d = scaled_diagonal(H) if H.shape[0] <= rank else None
    if d is not None and np.all(d > 0) and d.mean() > mu:
        for back in _BACK:
            yield (1 - back) * d
    if mu > 0:
        for back in _BACK:
            yield np.full(H.shape[0], (1 - back) * mu)


def _curves(M: FloatArray, starts: IntArray) -> FloatArray:
    """Return the largest eigenvalue of each unit's block, hardly ever less."""
    sizes = np.diff(starts)
    curves = np.zeros(sizes.size)
    single = np.flatnonzero(sizes == 1)
    curves[single] = M.diagonal()[starts[single]]
    for g in np.flatnonzero(sizes > 1):
        block = M[starts[g] : starts[g + 1], starts[g] : starts[g + 1]]
        curves[g] = (1 + 1e-12) * float(np.linalg.eigvalsh(block)[-1])
    return np.maximum(curves, 0.0)
