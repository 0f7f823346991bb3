"""The open nodes: the one with the least bound first, as long as memory allows."""

import heapq

from l0quad.solvers.exact.node import Node


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
