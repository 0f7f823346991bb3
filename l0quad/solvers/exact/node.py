"""A node of the tree: which units are in or out, and where its relaxation ended."""

from typing import NamedTuple

import numpy as np

from l0quad.kernels.relaxed import FREE, IN, OUT
from l0quad.solvers.exact.frame import Frame
from l0quad.types import FloatArray, IntArray

StateArray = np.ndarray


class Parent(NamedTuple):
    """What two sibling nodes have in common: some ``n_units + 12 (nonzeros of v)`` bytes.

    Attributes
    ----------
    frame : Frame
    state : ndarray of int8
        FREE, IN or OUT for each unit of the frame.
    columns, values : ndarray
        The nonzeros of v.
    theta : ndarray
        The prices of the parts.
    shares : ndarray of shape (3,)
        What the perspective takes of the diagonal, as in `l0quad.kernels.lift`.
    tried : int
        How many units were free when these were last raised, or could not be.
    """

    frame: Frame
    state: StateArray
    columns: IntArray
    values: FloatArray
    theta: FloatArray
    shares: FloatArray
    tried: int


class Node(NamedTuple):
    """A parent's supports in which one more unit is fixed; ``unit`` is -1 where none is.

    ``bound`` is below the objective of all of them.
    """

    bound: float
    parent: Parent
    unit: int = -1
    fixed: int = FREE

    def unpacked(self) -> tuple[StateArray, FloatArray, FloatArray, FloatArray]:
        """Return state, v, theta and shares to go on from."""
        frame, state, columns, values, theta, shares, _ = self.parent
        state, v = state.copy(), np.zeros(frame.y.size)
        v[columns] = values
        if self.unit >= 0:
            state[self.unit] = self.fixed
        return state, v, theta.copy(), shares.copy()


def packed(frame: Frame, state: StateArray, v: FloatArray, theta: FloatArray, shares: FloatArray, tried: int) -> Parent:
    """Return what children need of a node."""
    columns = np.flatnonzero(v)
    return Parent(frame, state, columns.astype(np.int32), v[columns], theta, shares, tried)


def children(bound: float, parent: Parent, unit: int) -> tuple[Node, Node]:
    """Return the two nodes with a unit in and out."""
    return Node(bound, parent, unit, IN), Node(bound, parent, unit, OUT)
