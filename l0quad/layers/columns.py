"""One output of a layer: its exact exchanges, on all inputs or on a list of the likeliest."""

from typing import NamedTuple

import numpy as np

from l0quad.layers.quadratic import exchange, inverse
from l0quad.types import BoolArray, FloatArray, IntArray

# A support of k of d inputs whose table T would have more entries is improved on lists of candidates.
_LARGEST_TABLE = 1 << 19
# A list has so many inputs of the support and so many others; at most so many lists follow one another.
_LIST = 128
_MOST_LISTS = 2
_MOST_EXCHANGES = 1000
# An inverse is brought up to date where less than one in so many of its slots has changed.
_FEW = 4
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


class _Fit(NamedTuple):
    """The best weights on a support.

    Attributes
    ----------
    S : ndarray of int, shape (k,)
        The support, in any order.
    inverse : ndarray of shape (k, k)
        ``Q[S, S]^-1``.
    w : ndarray of shape (k,)
    r : ndarray of shape (d,)
        ``g - Q[:, S] w``.
    """

    S: IntArray
    inverse: FloatArray
    w: FloatArray
    r: FloatArray


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
    S = np.flatnonzero(chosen)
    fit = _fitted(Q, g, S, inverse(Q, S))
    whole = S.size * g.size <= _LARGEST_TABLE
    gains, settled = np.zeros(g.size), False
    for _ in range(1 if whole else _MOST_LISTS):
        C = np.arange(g.size) if whole else _candidates(Q, fit, places)
        if not C.size:
            break
        inner, state, own = _restricted(Q, fit, places, C)
        made = _descend(inner, state, own, least_gain(at_zero, at_zero - 0.5 * float(fit.w @ g[fit.S])))
        gains = np.zeros(g.size)
        gains[C] = state.r * state.r / (2 * state.s)
        settled = whole and made < _MOST_EXCHANGES
        if not made:
            break
        before, slots = fit.w @ g[fit.S], fit.S
        fit = _moved(Q, g, fit, C, C[state.S])
        if fit.w @ g[fit.S] < before:
            # What nearly dependent inputs seemed to gain was rounding.
            fit, gains, settled = _fitted(Q, g, slots, inverse(Q, slots)), np.zeros(g.size), False
            break
    return _improved(fit, gains, places, settled)


def _fitted(Q: FloatArray, g: FloatArray, S: IntArray, inverse: FloatArray) -> _Fit:
    from l0quad.kernels.products import combine_rows

    w, product = inverse @ g[S], np.empty(g.size)
    combine_rows(Q, S, w, product)
    return _Fit(S, inverse, w, g - product)


def _restricted(Q: FloatArray, fit: _Fit, places: Places, C: IntArray) -> tuple[FloatArray, _State, Places]:
    """Return the problem on the inputs C, all others staying as they are: its quadratic, state and places.

    With B what is kept outside C, the quadratic is ``Q_CC - Q_CB Q_BB^-1 Q_BC``. On what is kept of C that is the
    inverse of its part of ``Q_SS^-1``, and T, w, r and s are those of the whole.
    """
    d, slot = fit.r.size, np.full(fit.r.size, -1)
    slot[fit.S] = np.arange(fit.S.size)
    slots = slot[C]
    inside = slots >= 0
    A, N = slots[inside], C[~inside]
    cross = Q[np.ix_(fit.S, N)]
    Y, own = fit.inverse @ cross, fit.inverse[np.ix_(A, A)]
    T, r, s = np.empty((A.size, C.size)), fit.r[C], np.full(C.size, np.inf)
    T[:, inside], T[:, ~inside], r[inside] = own, Y[A], 0.0
    s[~inside] = Q.diagonal()[N] - np.einsum("ij,ij->j", cross, Y)
    s[~places.enterable[C]] = np.inf
    inner = Q
    if C.size < d:
        inner, block = np.empty((C.size, C.size)), np.linalg.inv(own)
        mixed = block @ Y[A]
        inner[np.ix_(inside, inside)], inner[np.ix_(inside, ~inside)] = block, mixed
        inner[np.ix_(~inside, inside)] = mixed.T
        inner[np.ix_(~inside, ~inside)] = Q[np.ix_(N, N)] - cross.T @ Y + Y[A].T @ mixed
    group = places.group if places.group < d else C.size
    state = _State(T, np.flatnonzero(inside), fit.w[A], r, s)
    return inner, state, Places(places.movable[C], places.enterable[C], group)


def _moved(Q: FloatArray, g: FloatArray, fit: _Fit, C: IntArray, kept: IntArray) -> _Fit:
    """Return the fit with ``kept`` in place of what it keeps of C."""
    leaving = np.flatnonzero(np.isin(fit.S, C) & ~np.isin(fit.S, kept))
    joining = np.setdiff1d(kept, fit.S, assume_unique=True)
    S = fit.S.copy()
    if leaving.size * _FEW > S.size:
        S[leaving] = joining
        return _fitted(Q, g, S, inverse(Q, S))
    exchange(Q, S, fit.inverse, leaving, joining)
    return _fitted(Q, g, S, fit.inverse)


def _improved(fit: _Fit, gains: FloatArray, places: Places, settled: bool) -> Improved:
    d, S = gains.size, fit.S
    chosen, w, costs = np.zeros(d, dtype=np.bool_), np.zeros(d), np.full(d, np.inf)
    # Refined once: an inverse that was brought up to date carries the rounding of each time.
    chosen[S], w[S] = True, fit.w + fit.inverse @ fit.r[S]
    costs[S] = fit.w * fit.w / (2 * fit.inverse.diagonal())
    costs[~places.movable] = np.inf
    leaving, joining = int(costs.argmin()), int(gains.argmax())
    cost, gain = float(costs[leaving]), float(gains[joining])
    return Improved(chosen, w, leaving if cost < np.inf else -1, cost, joining if gain > 0 else -1, gain, settled)


def least_gain(at_zero: float, objective: float) -> float:
    """Return the least gain for which an exchange is made: below, it could be rounding."""
    return max(_LEAST_GAIN * objective, _NOISE * at_zero, 0.0)


def _descend(Q: FloatArray, state: _State, places: Places, least: float) -> int:
    from l0quad.kernels.exchanges import descend

    d = Q.shape[0]
    first = np.arange(d) // places.group * places.group
    last = np.minimum(first + places.group, d)
    return int(descend(Q, *state, places.movable, first, last, _MOST_EXCHANGES, least))


def _candidates(Q: FloatArray, fit: _Fit, places: Places) -> IntArray:
    """Return the inputs of a list, sorted: the cheapest to give up and the best to add, or the likeliest groups.

    Adding n gains at least ``r_n^2 / (2 Q_nn)``.
    """
    d, group = fit.r.size, places.group
    out, into = np.full(d, np.inf), np.where(places.enterable, fit.r * fit.r / (2 * Q.diagonal()), -1.0)
    out[fit.S], into[fit.S] = fit.w * fit.w / (2 * fit.inverse.diagonal()), -1.0
    out[~places.movable] = np.inf
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
