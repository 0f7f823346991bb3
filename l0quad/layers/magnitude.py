"""The largest weights, as they are: the baseline."""

from l0quad.layers.quadratic import Quadratic
from l0quad.types import FloatArray


def magnitude(layer: Quadratic) -> FloatArray:
    """Return W0 (m x d) on the mask that keeps most of its squares."""
    return layer.W0 * layer.pattern.select(layer.W0**2)
