"""How sparsity rises over the stages."""

from collections.abc import Callable

# The sparsity after the share t of the stages.
SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "poly": lambda first, final, t: final - (final - first) * (1 - t) ** 3,
    "geometric": lambda first, final, t: 1 - (1 - first) * ((1 - final) / (1 - first)) ** t,
    "linear": lambda first, final, t: first + (final - first) * t,
    "constant": lambda first, final, t: final,
}


def sparsities(schedule: str, initial: float, final: float, stages: int) -> list[float]:
    """Return the sparsity of each stage, the last one exactly ``final``.

    ``poly`` is the cubic rise of Zhu and Gupta ("To prune, or not to prune", 2017) that CHITA++ uses, ``geometric``
    multiplies the density by the same factor at each stage, ``linear`` adds the same sparsity, ``constant`` is
    ``final`` from the first stage on.

    Parameters
    ----------
    initial : float
        In [0, 1]. Where it is not below ``final``, every stage is at ``final``.
    final : float
        In [0, 1).
    """
    first = min(initial, final)
    # Rounding must not lead past the end.
    before = [min(final, SCHEDULES[schedule](first, final, stage / stages)) for stage in range(1, stages)]
    return [*before, final]
