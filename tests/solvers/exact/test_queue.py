"""The order of the open nodes, and how many there are."""

from typing import Any

from l0quad.solvers.exact.node import Node
from l0quad.solvers.exact.queue import Queue

ROOT: Any = None


def popped(queue):
    return [queue.pop().bound for _ in range(len(queue))]


def test_the_least_bound_comes_first_and_the_newest_among_equals():
    queue = Queue(10)
    for bound, unit in ((3.0, 0), (1.0, 1), (2.0, 2), (1.0, 3)):
        queue.push(Node(bound, ROOT, unit))
    assert queue.least(9.0) == 1.0
    assert [queue.pop().unit for _ in range(len(queue))] == [3, 1, 2, 0]
    assert queue.least(9.0) == 9.0


def test_beyond_its_capacity_it_goes_deep():
    queue = Queue(2)
    for bound in (3.0, 1.0, 2.0, 4.0):
        queue.push(Node(bound, ROOT))
    assert queue.least(9.0) == 1.0
    assert popped(queue) == [4.0, 2.0, 1.0, 3.0]
