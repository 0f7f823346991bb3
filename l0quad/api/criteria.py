"""Information criteria: what a fit costs by its residual and by its number of columns; the least is best."""

import math
from collections.abc import Callable

_TINY = 1e-300


def aic(rss: float, n: int, p: int, size: int) -> float:
    """Return ``n log(rss / n) + 2 s``: prediction. Akaike, IEEE Trans. Automat. Control 1974."""
    return _fit(rss, n) + 2.0 * size


def bic(rss: float, n: int, p: int, size: int) -> float:
    """Return ``n log(rss / n) + s log n``: the true columns, p fixed. Schwarz, Ann. Stat. 1978."""
    return _fit(rss, n) + math.log(n) * size


def ebic(rss: float, n: int, p: int, size: int) -> float:
    """Return ``n log(rss / n) + s log n + 2 log C(p, s)``: the true columns among very many.

    Chen and Chen, "Extended Bayesian information criteria", Biometrika 2008, with gamma = 1.
    """
    choices = math.lgamma(p + 1) - math.lgamma(size + 1) - math.lgamma(p - size + 1)
    return bic(rss, n, p, size) + 2.0 * choices


def gic(rss: float, n: int, p: int, size: int) -> float:
    """Return ``n log(rss / n) + s log p log log n``: the true columns, p growing with n.

    Fan and Tang, JRSSB 2013; with this penalty Zhu et al., "A polynomial algorithm for best-subset selection problem",
    PNAS 2020, section 2.
    """
    return _fit(rss, n) + math.log(p) * math.log(max(math.log(n), 1.0)) * size


def _fit(rss: float, n: int) -> float:
    return n * math.log(max(rss / n, _TINY))


CRITERIA: dict[str, Callable[[float, int, int, int], float]] = {"aic": aic, "bic": bic, "ebic": ebic, "gic": gic}
