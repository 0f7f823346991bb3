"""One output of a layer: its exact exchanges, on all inputs or on a list of the likeliest."""

from typing import NamedTuple

import numpy as np

from l0quad.layers.quadratic import refit_one, solver
from l0quad.types import BoolArray, FloatArray, IntArray

# A support of k of d inputs whose table T would have more entries is improved on lists of candidates.
_LARGEST_TABLE = 1 << 19
# A list has so many inputs of the support and so many others; at most so many lists follow one another.
_LIST = 64
_MOST_LISTS = 4
_MOST_EXCHANGES = 1000
# The least gain of an exchange, beside the objective, and beside the objective at zero.
_LEAST_GAIN = 1e-6
_NOISE = 1e-13


class Places(NamedTuple):
    """Where the inputs of one output may go.

    Attributes
    ----------
    movable, enterable : ndarray of bool, shape (d,)
        The inputs that may be given up, and that may come in.
    group : int
        An input is exchanged for one of the same group of so many.
    """

    movable: BoolArray
    enterable: BoolArray
    group: int


class Improved(NamedTuple):
    """An output after its exchanges.

    Attributes
    ----------
    chosen : ndarray of bool, shape (d,)
    w : ndarray of shape (d,)
        The refit.
    leaving, cost : int, float
        The input that is cheapest to give up, and by how much that raises the objective; (-1, inf) where there is none.
    joining, gain : int, float
        The input that is best to add, and by how much that lowers it; (-1, 0) where there is none.
    """

    chosen: BoolArray
    w: FloatArray
    leaving: int
    cost: float
    joining: int
    gain: float


class _State(NamedTuple):
    """The arrays of `l0quad.kernels.exchanges`."""

    T: FloatArray
    S: IntArray
    w: FloatArray
    r: FloatArray
    s: FloatArray


def improve(Q: FloatArray, g: FloatArray, chosen: BoolArray, places: Places, at_zero: float) -> Improved:
    """Exchange inputs until no exchange with refit gains more than a millionth of the objective.

    Parameters
    ----------
    Q : ndarray of shape (d, d)
        Regular.
    g : ndarray of shape (d,)
    chosen : ndarray of bool, shape (d,)
        The support to begin from.
    at_zero : float
        The objective at w = 0.
    """
    if int(chosen.sum()) * chosen.size > _LARGEST_TABLE:
        return _by_lists(Q, g, chosen, places, at_zero)
    state = _state(Q, g, np.flatnonzero(chosen), places)
    _descend(Q, g, state, places, at_zero)
    T, S, w, r, s = state
    new, costs = np.zeros(chosen.size, dtype=np.bool_), np.full(chosen.size, np.inf)
    new[S], costs[S] = True, w * w / (2 * T[np.arange(S.size), S])
    # Solved anew: every exchange has left its rounding in w.
    return _ends(new, refit_one(Q, g, new), costs, r * r / (2 * s), places)


def _ends(chosen: BoolArray, w: FloatArray, costs: FloatArray, gains: FloatArray, places: Places) -> Improved:
    costs = np.where(chosen & places.movable, costs, np.inf)
    gains = np.where(chosen | ~places.enterable, 0.0, gains)
    leaving, joining = int(costs.argmin()), int(gains.argmax())
    cost, gain = float(costs[leaving]), float(gains[joining])
    return Improved(chosen, w, leaving if cost < np.inf else -1, cost, joining if gain > 0 else -1, gain)


def _state(Q: FloatArray, g: FloatArray, S: IntArray, places: Places) -> _State:
    solve, rows = solver(Q, S), Q[S]
    rhs = rows.copy()
    rhs[:, S] = np.eye(S.size)
    T = np.ascontiguousarray(solve(rhs))
    w = solve(g[S])
    s = Q.diagonal() - np.einsum("ij,ij->j", rows, T)
    s[S], s[~places.enterable] = np.inf, np.inf
    return _State(T, S.astype(np.int64), w, g - w @ rows, s)


def least_gain(at_zero: float, objective: float) -> float:
    """Return the least gain for which an exchange is made: below, it could be rounding."""
    return max(_LEAST_GAIN * objective, _NOISE * at_zero, 0.0)


def _descend(Q: FloatArray, g: FloatArray, state: _State, places: Places, at_zero: float) -> int:
    from l0quad.kernels.exchanges import descend

    d, least = Q.shape[0], least_gain(at_zero, at_zero - 0.5 * float(state.w @ g[state.S]))
    first = np.arange(d) // places.group * places.group
    last = np.minimum(first + places.group, d)
    return int(descend(Q, *state, places.movable, first, last, _MOST_EXCHANGES, least))


def _by_lists(Q: FloatArray, g: FloatArray, chosen: BoolArray, places: Places, at_zero: float) -> Improved:
    """Exchange among the likeliest inputs alone, the others fixed; new lists follow until one brings nothing.

    With B what is kept and not on the list C, the problem on C is that of ``Q_CC - Q_CB Q_BB^-1 Q_BC``.
    """
    chosen = chosen.copy()
    for turn in range(_MOST_LISTS + 1):
        w = refit_one(Q, g, chosen)
        r = g - w @ Q
        # Giving up i costs at most w_i^2 Q_ii / 2, adding n gains at least r_n^2 / (2 Q_nn).
        costs, gains = 0.5 * w * w * Q.diagonal(), r * r / (2 * Q.diagonal())
        if turn == _MOST_LISTS or not _one_list(
            Q, g, chosen, places, _candidates(chosen, places, costs, gains), at_zero
        ):
            break
    return _ends(chosen, w, costs, gains, places)


def _one_list(Q: FloatArray, g: FloatArray, chosen: BoolArray, places: Places, C: IntArray, at_zero: float) -> bool:
    """Improve ``chosen`` in place on the list C; return whether anything has changed."""
    B = np.setdiff1d(np.flatnonzero(chosen), C, assume_unique=True)
    cross = Q[np.ix_(B, C)]
    solved = solver(Q, B)(np.column_stack([cross, g[B]]))
    inner = np.ascontiguousarray(Q[np.ix_(C, C)] - cross.T @ solved[:, :-1])
    rhs = g[C] - cross.T @ solved[:, -1]
    own = Places(places.movable[C], places.enterable[C], places.group if places.group < chosen.size else C.size)
    state = _state(inner, rhs, np.flatnonzero(chosen[C]), own)
    made = _descend(inner, rhs, state, own, at_zero - 0.5 * float(g[B] @ solved[:, -1]))
    chosen[C] = False
    chosen[C[state.S]] = True
    return made > 0


def _candidates(chosen: BoolArray, places: Places, costs: FloatArray, gains: FloatArray) -> IntArray:
    """Return the inputs of a list, sorted: the cheapest to give up and the best to add, or the likeliest groups."""
    d, group = chosen.size, places.group
    out = np.where(chosen & places.movable, costs, np.inf)
    into = np.where(chosen | ~places.enterable, -1.0, gains)
    if group == d:
        leaving = np.argsort(out, kind="stable")[: min(_LIST, np.isfinite(out).sum())]
        joining = np.argsort(-into, kind="stable")[: min(_LIST, (into >= 0).sum())]
        return np.sort(np.concatenate([leaving, joining]))
    count = -(-d // group)
    padded = np.full((2, count * group), [[np.inf], [-1.0]])
    padded[0, :d], padded[1, :d] = out, into
    likely = padded[1].reshape(count, group).max(axis=1) - padded[0].reshape(count, group).min(axis=1)
    # Whole groups, so that their places stand together; the last one, if it is shorter, comes last again.
    groups = np.sort(np.argsort(-likely, kind="stable")[: max(2 * _LIST // group, 1)])
    inputs = (groups[:, None] * group + np.arange(group)).ravel()
    return inputs[inputs < d]
