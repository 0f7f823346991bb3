"""Wanda's rule: the largest weights beside the norms of their inputs, as they are.

Source: Sun, Liu, Bair and Kolter, "A simple and effective pruning approach for large language models", ICLR 2024,
equation 1.
"""

import numpy as np

from l0quad.layers.quadratic import Quadratic
from l0quad.types import FloatArray


def wanda(layer: Quadratic) -> FloatArray:
    """Return W0 (m x d) on the mask with the largest ``W0_ji^2 H_ii``."""
    return layer.W0 * layer.pattern.select(layer.W0**2 * np.maximum(layer.Q.diagonal() - layer.mu, 0.0))
