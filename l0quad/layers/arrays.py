"""The array namespace of the dense part: NumPy, or torch, whose arrays may be on a GPU.

A budget chooses by thresholds. For NumPy that is `Pattern` with its kernels. For another namespace a threshold is found
by bisection, each step a count of all entries, so that within an iteration no array leaves the device.
"""

from typing import Any

import numpy as np

from l0quad.layers.budgets import Pattern

# Halvings, in the logarithm, of an interval whose lower end is nothing beside the largest entry.
_HALVINGS = 36
_NOTHING = 1e-12


def host(array: Any) -> np.ndarray:
    """Return an array of any namespace as NumPy's, from its device where it has one."""
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


def budget(pattern: Pattern, xp: Any) -> Any:
    """Return what has `select`, `relaxed` and `largest_sums` of a pattern on the arrays of a namespace."""
    return pattern if xp is np else Thresholds(pattern, xp)


class Thresholds:
    """A pattern on the arrays of a namespace with NumPy's elementwise functions and sums.

    Of entries that are equal, or nearly nothing beside the largest, it chooses fewer than a pattern does.
    """

    def __init__(self, pattern: Pattern, xp: Any) -> None:
        self.pattern, self.xp = pattern, xp
        movable = pattern.movable()
        self.must, self.free = xp.asarray(~movable), xp.asarray(movable & pattern.enterable())
        # What entries that must stay leave of each part's budget.
        self.left = xp.asarray(pattern.partition.free.astype(np.float32)[:, None])

    def select(self, scores: Any) -> Any:
        """Return the mask (m x d) with the largest sum of scores."""
        scores = scores.sum(axis=0, keepdims=True) if self.pattern.shared else scores
        parts = self._parts(scores * self.free)
        top = self.xp.amax(parts, axis=1, keepdims=True)
        threshold = self._least(_NOTHING * top, top, lambda t: (parts > t).sum(axis=1, keepdims=True))
        return self._broadcast(self._whole(parts > threshold) | self.must)

    def relaxed(self, Y: Any, beta: float) -> Any:
        """Return the z (m x d, or 1 x d) that minimises ``sum Y^2 / (z + beta)``, z a mean of allowed masks."""
        xp = self.xp
        x = xp.sqrt((Y * Y).sum(axis=0, keepdims=True)) if self.pattern.shared else abs(Y)
        parts = self._parts(x * self.free)

        def z(c: Any) -> Any:
            return xp.clip(parts / xp.where(c > 0, c, 1.0) - beta, 0.0, 1.0)

        top = xp.amax(parts, axis=1, keepdims=True)
        c = self._least(_NOTHING * top, top / beta, lambda c: z(c).sum(axis=1, keepdims=True))
        return self._whole(z(c)) * self.free + self.must * 1.0

    def largest_sums(self, scores: Any) -> Any:
        """Return sums of scores over an allowed mask that add up to the largest one."""
        return (scores * self.select(scores)).sum(axis=1)

    def _least(self, low: Any, high: Any, count: Any) -> Any:
        """Return each part's least t at which a falling count is within what is left of the budget."""
        for _ in range(_HALVINGS):
            middle = (low * high) ** 0.5
            over = count(middle) > self.left
            low, high = self.xp.where(over, middle, low), self.xp.where(over, high, middle)
        return high

    def _parts(self, x: Any) -> Any:
        """Return the entries with a row for each part of the budget, a short last group filled up with zeros."""
        (_, d), group = self.pattern.shape, self.pattern.group
        if not self.pattern.separate:
            return x.reshape(1, -1)
        if d % group:
            wider = self.xp.zeros((x.shape[0], d + group - d % group), dtype=x.dtype)
            wider[:, :d] = x
            x = wider
        return x.reshape(-1, group)

    def _whole(self, parts: Any) -> Any:
        d = self.pattern.shape[1]
        return parts.reshape(1 if self.pattern.shared else self.pattern.shape[0], -1)[:, :d]

    def _broadcast(self, mask: Any) -> Any:
        return self.xp.broadcast_to(mask, self.pattern.shape)
