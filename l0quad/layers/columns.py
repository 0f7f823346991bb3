"""One output of a layer: its exact exchanges, on all inputs or on a list of the likeliest."""

from typing import NamedTuple

import numpy as np

from l0quad.layers.quadratic import refit_one, solver
from l0quad.types import BoolArray, FloatArray, IntArray

# A support of k of d inputs whose table T would have more entries is improved on lists of candidates.
_LARGEST_TABLE = 1 << 19
# A list has so many inputs of the support and so many others; at most so many lists follow one another.
_LIST = 128
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
    settled : bool
        Whether no exchange at all gains more.
    """

    chosen: BoolArray
    w: FloatArray
    leaving: int
    cost: float
    joining: int
    gain: float
    settled: bool


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
    return _improved(Q, g, chosen, places, at_zero)[0]


def _improved(Q: FloatArray, g: FloatArray, chosen: BoolArray, places: Places, at_zero: float) -> tuple[Improved, bool]:
    """Exchange among all inputs of a quadratic; also return whether anything has changed."""
    state = _state(Q, g, np.flatnonzero(chosen), places)
    made = _descend(Q, g, state, places, at_zero)
    T, S, w, r, s = state
    new = np.zeros(chosen.size, dtype=np.bool_)
    costs, gains = np.full(chosen.size, np.inf), r * r / (2 * s)
    new[S], costs[S] = True, w * w / (2 * T[np.arange(S.size), S])
    costs[~places.movable] = np.inf
    leaving, joining = int(costs.argmin()), int(gains.argmax())
    cost, gain = float(costs[leaving]), float(gains[joining])
    # Solved anew: every exchange has left its rounding in w.
    ends = (leaving if cost < np.inf else -1, cost, joining if gain > 0 else -1, gain, made < _MOST_EXCHANGES)
    return Improved(new, refit_one(Q, g, new), *ends), made > 0


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
    found = Improved(chosen, refit_one(Q, g, chosen), -1, np.inf, -1, 0.0, False)
    for _ in range(_MOST_LISTS):
        C = _candidates(Q, g, found.chosen, found.w, places)
        if not C.size:
            break
        found, changed = _one_list(Q, g, found.chosen, places, C, at_zero)
        if not changed:
            break
    return found


def _one_list(
    Q: FloatArray, g: FloatArray, chosen: BoolArray, places: Places, C: IntArray, at_zero: float
) -> tuple[Improved, bool]:
    """Exchange within the list C, of which alone an input may be the cheapest or the best to add."""
    B = np.setdiff1d(np.flatnonzero(chosen), C, assume_unique=True)
    cross = Q[np.ix_(B, C)]
    solved = solver(Q, B)(np.column_stack([cross, g[B]]))
    inner = np.ascontiguousarray(Q[np.ix_(C, C)] - cross.T @ solved[:, :-1])
    own = Places(places.movable[C], places.enterable[C], places.group if places.group < chosen.size else C.size)
    rest = at_zero - 0.5 * float(g[B] @ solved[:, -1])
    found, changed = _improved(inner, g[C] - cross.T @ solved[:, -1], chosen[C], own, rest)
    new, w = chosen.copy(), np.zeros(g.size)
    new[C], w[C] = found.chosen, found.w
    w[B] = solved[:, -1] - solved[:, :-1] @ found.w
    leaving, joining = (int(C[each]) if each >= 0 else -1 for each in (found.leaving, found.joining))
    return Improved(new, w, leaving, found.cost, joining, found.gain, False), changed


def _candidates(Q: FloatArray, g: FloatArray, chosen: BoolArray, w: FloatArray, places: Places) -> IntArray:
    """Return the inputs of a list, sorted: the cheapest to give up and the best to add, or the likeliest groups.

    Giving up i costs at most w_i^2 Q_ii / 2, adding n gains at least r_n^2 / (2 Q_nn).
    """
    r = g - w @ Q
    costs, gains = 0.5 * w * w * Q.diagonal(), r * r / (2 * Q.diagonal())
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
