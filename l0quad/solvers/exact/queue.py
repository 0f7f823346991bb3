"""The open nodes: the one with the least bound first, as long as memory allows."""

import heapq

import numpy as np

from l0quad.run.checkpoint import Saved
from l0quad.solvers.exact.frame import Frame
from l0quad.solvers.exact.node import Node, Parent


class Queue:
    """Open nodes by their bounds, the newest first among equals.

    Beyond ``capacity`` nodes the newest comes first, whatever its bound (depth first), so that no more than one path's
    nodes are added.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._heap: list[tuple[float, int, Node]] = []
        self._stack: list[Node] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap) + len(self._stack)

    def push(self, node: Node) -> None:
        """Add a node."""
        if len(self._heap) >= self.capacity:
            self._stack.append(node)
            return
        self._count += 1
        heapq.heappush(self._heap, (node.bound, -self._count, node))

    def pop(self) -> Node:
        """Return the next node to look at, and take it out."""
        return self._stack.pop() if self._stack else heapq.heappop(self._heap)[2]

    def least(self, otherwise: float) -> float:
        """Return the least bound of the open nodes, ``otherwise`` where there are none."""
        bounds = [node.bound for node in self._stack]
        if self._heap:
            bounds.append(self._heap[0][0])
        return min(bounds, default=otherwise)

    def state(self) -> Saved:
        """Return the nodes, and in which order they come."""
        nodes = [node for *_, node in self._heap] + self._stack
        parents = list({id(node.parent): node.parent for node in nodes}.values())
        places = {id(parent): place for place, parent in enumerate(parents)}
        return {
            "order": np.array([order for _, order, _ in self._heap], dtype=np.int64),
            "count": self._count,
            "bounds": np.array([node.bound for node in nodes]),
            "nodes": np.array([(places[id(node.parent)], node.unit, node.fixed) for node in nodes], dtype=np.int64),
            "states": np.array([parent.state for parent in parents]),
            "sizes": np.array([parent.columns.size for parent in parents]),
            "columns": np.concatenate([parent.columns for parent in parents]),
            "values": np.concatenate([parent.values for parent in parents]),
            "theta": np.array([parent.theta for parent in parents]),
            "shares": np.array([parent.shares for parent in parents]),
            "tried": np.array([parent.tried for parent in parents]),
        }

    def restore(self, state: Saved, frame: Frame) -> None:
        """Take over a state that is not empty, whose nodes are of this frame."""
        ends = np.cumsum(state["sizes"])[:-1]
        parts = (np.split(state["columns"], ends), np.split(state["values"], ends))
        of_all = zip(state["states"], *parts, state["theta"], state["shares"], state["tried"].tolist(), strict=True)
        parents = [Parent(frame, *each) for each in of_all]
        nodes = [
            Node(bound, parents[place], unit, fixed)
            for bound, (place, unit, fixed) in zip(state["bounds"].tolist(), state["nodes"].tolist(), strict=True)
        ]
        held = state["order"].size
        self._heap = [(node.bound, order, node) for node, order in zip(nodes, state["order"].tolist(), strict=False)]
        self._stack, self._count = nodes[held:], state["count"]
