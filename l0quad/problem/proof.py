"""The objective that lower bounds are computed from: never above the one that is meant, whatever was rounded."""

from typing import NamedTuple

from l0quad.linalg.rounding import SLACK, UNIT


class Proof(NamedTuple):
    """For all w, the objective is at least ``1/2 ||A w - b||^2 + mu/2 ||w - w0||^2 + constant - loss``.

    ``loss`` is the part that rounding on the way to A, b and w0 has taken.
    """

    mu: float
    constant: float
    loss: float

    @classmethod
    def of(
        cls, mu: float, constant: float, reach: float, curvature: float, slope: float, loss: float
    ) -> "Proof | None":
        """Return it for an objective that differs from a problem's by little; None where the ridge cannot make up.

        The difference is ``1/2 w'E w + e'(w - w0)`` with ``||E|| <= curvature`` and ``||e|| <= slope``, beside ``loss``
        where E meets w0. With v = w - w0 it is at least
        ``-curvature (||v||^2 + ||w0||^2) - slope^2/(2t) - t/2 ||v||^2`` for every t > 0, and mu gives
        up ``2 curvature + t``. ``reach`` is what the objective at w = w0 lets ||v|| have.
        """
        if curvature == slope == 0:
            return cls(mu, constant, loss)
        left = mu - SLACK * 2 * curvature
        if left <= mu / 2:
            return None
        t = 0.0
        if slope > 0:
            # The t that costs least at ||v|| = reach.
            t = min(left / 8, slope / reach) if reach > 0 else left / 8
            t = max(t, left * UNIT)
            loss += slope * (slope / (2 * t))
        return cls((left - t) * (1 - 4 * UNIT), constant, SLACK * loss)
