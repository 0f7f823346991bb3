"""The picture of a path."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from l0quad.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# So many coefficients are named; more would hide each other.
_NAMED = 12


def figure(
    ks: Sequence[int],
    objective: Sequence[float],
    bound: Sequence[float],
    coefs: FloatArray,
    errors: Sequence[tuple[float, float]] | None,
    names: Sequence[str] | None = None,
) -> "Figure":
    """Return a matplotlib figure: the objective with its certified band, the supports, the coefficients.

    Parameters
    ----------
    coefs : ndarray of shape (number of ks, p)
    errors : sequence of (mean, standard error), optional
        Of cross-validation, drawn where they are known.
    """
    # Not pyplot, which would choose a backend for the whole process.
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 9 if errors is None else 11), layout="constrained")
    axes = drawn.subplots(3 if errors is None else 4, sharex=True)
    _band(axes[0], ks, objective, bound)
    used = np.flatnonzero(coefs.any(axis=0))
    # Columns in the order in which they come to stay.
    order = used[np.argsort(np.argmax(coefs[:, used] != 0, axis=0), kind="stable")]
    labels = [str(j) if names is None else names[j] for j in order.tolist()]
    row, place = np.nonzero(coefs[:, order])
    axes[1].scatter(np.asarray(ks)[row], place, marker="s", s=14, color="tab:blue")
    axes[1].invert_yaxis()
    if order.size <= 3 * _NAMED:
        axes[1].set_yticks(range(order.size), labels, fontsize=7)
    axes[1].set(ylabel="column", title="supports")
    largest = np.argsort(-np.abs(coefs[:, order]).max(axis=0), kind="stable")[:_NAMED]
    for i, j in enumerate(order.tolist()):
        named = i in largest
        axes[2].plot(ks, coefs[:, j], lw=1.2, label=labels[i] if named else None, color=None if named else "0.8")
    axes[2].set(ylabel="coefficient", title="coefficients")
    if order.size:
        axes[2].legend(frameon=False, fontsize=7, ncols=3)
    if errors is not None:
        means, deviations = zip(*errors, strict=True)
        axes[3].errorbar(ks, means, yerr=deviations, fmt="o-", color="tab:orange", capsize=2)
        axes[3].set(ylabel="mean squared error", title="cross-validation, with one standard error")
    axes[-1].set_xlabel("k, number of columns")
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return drawn


def _band(axes: Any, ks: Sequence[int], objective: Sequence[float], bound: Sequence[float]) -> None:
    axes.fill_between(ks, bound, objective, color="tab:blue", alpha=0.15, linewidth=0, label="where the optimum lies")
    axes.plot(ks, objective, "o-", color="tab:blue", label="objective found")
    axes.plot(ks, bound, "--", color="0.35", label="lower bound")
    axes.set(ylabel="objective", title="objective and proof")
    axes.legend(frameon=False)
