"""The search: nodes looked at one after the other until the gap is closed or a limit comes."""

import math
from dataclasses import replace

import numpy as np

from l0quad.bounds.separable import separable_bound
from l0quad.certificates import Bound, Tree, Trivial
from l0quad.kernels.lift import lifted
from l0quad.kernels.node import LEAF, OPEN, UNFINISHED, ascend
from l0quad.kernels.relaxed import FREE, IN, OUT
from l0quad.linalg.rounding import down, gamma
from l0quad.problem.core import CoreProblem, Point
from l0quad.run.checkpoint import Saved
from l0quad.run.monitor import Monitor
from l0quad.solvers.exact.branching import Undecided
from l0quad.solvers.exact.frame import Frame
from l0quad.solvers.exact.node import Node, StateArray, children, packed
from l0quad.solvers.exact.quadratic import Quadratic
from l0quad.solvers.exact.queue import Queue
from l0quad.types import BoolArray, FloatArray, IntArray, go_on

# A node is done with once its bound is this close to the best objective, as a share of what that is above the least
# value over all w. It is a part of what is called optimal.
_CLOSED = 2e-7
_MOST_ROUNDS = 60
# What a look at a node costs beside its rounds, 50 us at 10 GFLOP/s; a flop of a round takes several times as long as
# one of a matrix product.
NODE_FLOPS = 5e5
_SLOWER = 2.5
# One call of the kernel does about this many flops, some 50 ms; between two reports of progress lie about so many.
_SLICE_FLOPS = 5e7
_REPORT_FLOPS = 2e8
# The open nodes may take this many bytes. Of so many supports it is remembered that they were tried.
_QUEUE_BYTES = 1 << 30
_MOST_SEEN = 1 << 20
# The shares of the diagonal are raised where this share of the free units is left.
_FEWER = 0.7
# A first price, as a share of the largest entry that a column by itself would have.
_FIRST_PRICE = 0.1
# Where nothing can be proven, so many nodes are looked at for a better point.
_MOST_HOPELESS = 1000
_NOTHING = Bound(-math.inf, Trivial(), "")
_STATE = ("best", "closed", "lost", "nodes", "flops", "_least", "_due")


class Search:
    """A tree over the supports of a problem.

    Parameters
    ----------
    problem : CoreProblem
        The whole problem, in which points are.
    columns : ndarray of int
        Those of its columns that the tree is over.
    best : Point
        The best point so far.
    monitor : Monitor
    root : Bound, optional
        A bound over all supports that is known already.
    excluded : float
        A lower bound over the supports that have other columns too.

    Raises
    ------
    Stopped
        Where a limit comes before there is a tree.
    """

    def __init__(
        self,
        problem: CoreProblem,
        columns: IntArray,
        best: Point,
        monitor: Monitor,
        root: Bound = _NOTHING,
        excluded: float = math.inf,
    ) -> None:
        self._begun, self._excluded = best, excluded
        # A point is a small solve, and is not cut short.
        self.problem = replace(problem, pause=go_on)
        self.names, self.best, self.monitor, self.root = columns, best, monitor, root
        self._own = problem if columns.size == problem.shape[1] else problem.restrict(columns)
        parts = self._own.constraint.parts()
        assert parts is not None
        self._parts = parts
        centre = np.zeros(problem.shape[1])
        centre[best.support] = best.w
        self._quadratic = Quadratic.of(self._own, centre[columns], problem.pause)
        # The least bound over what has been looked at, and the largest rounding error of a bound.
        self.closed, self.lost = excluded, self._quadratic.lost
        self.nodes, self.flops = 0, 0.0
        self.queue = Queue(0)
        self.undecided = [Undecided.root(parts)]
        self._decided: Undecided | None = None
        self._least = best.objective
        n, p = problem.shape
        size = 0.5 * float(problem.b @ problem.b) + 0.5 * problem.mu * float(problem.w0 @ problem.w0)
        # As much of the rounding as counts as no gap (`l0quad.api.claims`).
        self._most_lost = 8 * gamma(n + p + 8) * size
        self._seen: set[bytes] = set()
        self._rounds, self._due = 1, 1.0

    @classmethod
    def restored(cls, problem: CoreProblem, monitor: Monitor, saved: Saved) -> "Search":
        """Return the search that has saved this state."""
        root = _NOTHING if saved["root"] is None else saved["root"]
        search = cls(problem, saved["columns"], saved["begun"], monitor, root, saved["excluded"])
        for name in _STATE:
            setattr(search, name, saved[name])
        search.undecided = [Undecided(state) for state in saved["undecided"]]
        if saved["queue"] is not None:
            search._decided = Undecided(saved["decided"])
            frame = search._decided.frame(search._own, search._quadratic, search._parts)
            assert frame is not None
            search._open(frame)
            search.queue.restore(saved["queue"], frame)
        return search

    def _state(self) -> Saved:
        """Return all that the rest of the search depends on."""
        return {name: getattr(self, name) for name in _STATE} | {
            "columns": self.names,
            "begun": self._begun,
            "excluded": self._excluded,
            "root": None if self.root is _NOTHING else self.root,
            "undecided": [each.state for each in self.undecided],
            "decided": None if self._decided is None else self._decided.state,
            "queue": self.queue.state() if self.queue else None,
        }

    def run(self, node_limit: float, most_flops: float = math.inf) -> bool:
        """Look at nodes until the gap is closed, or a limit comes; return whether it is closed."""
        while self.queue or self.undecided:
            hopeless = self.closed == -math.inf and self.nodes >= _MOST_HOPELESS
            if hopeless or self.nodes >= node_limit or self.flops > most_flops or self.monitor.expired():
                return False
            if self.monitor.due():
                self.monitor.save(**self._state())
            if not self.queue:
                self._decide(self.undecided.pop())
                continue
            node = self.queue.pop()
            if node.bound >= self._done():
                self.closed = min(self.closed, node.bound)
                continue
            self._look(node)
            if self._report():
                return False
        return True

    def bound(self) -> Bound:
        """Return what the tree has proven so far."""
        still_open = -math.inf if self.undecided else self.queue.least(math.inf)
        lower = min(max(min(self.closed, still_open), self.root.value), self.best.objective)
        basis = f"the bound is that of a tree of {self.nodes} node{'s' if self.nodes != 1 else ''}"
        certificate = Tree(self.root.certificate, self.root.value, lower, self.nodes)
        return Bound(lower, certificate, basis, self.lost)

    def _done(self) -> float:
        """Return the bound at which a node is done with.

        ``_least``, the least value over all w of the columns looked at, is only an estimate: it decides no claim.
        """
        best = self.best.objective
        return best - max(_CLOSED * (best - self._least), min(self.lost, self._most_lost))

    def _decide(self, undecided: Undecided) -> None:
        """Make the frame of some columns, and its root; where they depend on each other, fix one more unit."""
        self.nodes += 1
        frame = undecided.frame(self._own, self._quadratic, self._parts)
        if frame is None:
            both = undecided.split(self._quadratic, self._parts)
            # Nothing is proven of columns that are in and depend on each other.
            self.closed = -math.inf if both is None else self.closed
            self.undecided += both or []
            return
        self._decided = undecided
        self._least = min(self._least, frame.constant + frame.least)
        self.lost = max(self.lost, frame.lost)
        state = undecided.state[frame.units].copy()
        alone = np.abs(frame.pull) / np.sqrt(frame.M.diagonal() + 1)
        theta = np.full(frame.budgets.size, _FIRST_PRICE * float(np.max(alone, initial=0.0)))
        self._open(frame)
        root = packed(frame, state, np.zeros(frame.y.size), theta, np.ones(3), state.size)
        self.queue.push(Node(-math.inf, root))

    def _open(self, frame: Frame) -> None:
        """Make room for the nodes of a frame."""
        self.queue = Queue(int(_QUEUE_BYTES / (800 + frame.units.size / 2 + 4 * frame.budgets.size)))
        self._rounds = max(1, min(_MOST_ROUNDS, int(_SLICE_FLOPS / self._round_flops(frame))))

    def _round_flops(self, frame: Frame) -> float:
        return 1.0 + frame.y.size * (8.0 * min(float(frame.budgets.sum()), frame.y.size) + 64)

    def _look(self, node: Node) -> None:
        """Ascend a node's relaxation; put its children, or itself where a limit comes, into the queue."""
        frame = node.parent.frame
        state, v, theta, shares = node.unpacked()
        tried = self._lift(node, state, shares)
        chosen = np.zeros(state.size, dtype=np.bool_)
        done = self._done()
        target = done - frame.constant
        kind, bound, rounds = UNFINISHED, node.bound, 0
        while kind == UNFINISHED:
            kind, value, lost, branch, screened = self._ascend(frame, state, v, theta, shares, target, chosen)
            bound = max(bound, down(value + frame.constant))
            if screened:
                self.closed = min(self.closed, done)
            rounds += self._rounds
            if kind == UNFINISHED and self.monitor.expired():
                self.queue.push(Node(bound, packed(frame, state, v, theta, shares, tried)))
                return
            if kind == UNFINISHED and rounds >= _MOST_ROUNDS and branch >= 0:
                kind = OPEN
        self.nodes += 1
        self.lost = max(self.lost, frame.lost + lost)
        if node.bound == -math.inf:
            self._prove_root(frame, v, bound)
        if kind == LEAF:
            bound = max(bound, self._leaf(frame, state))
        elif kind == OPEN:
            self._candidate(frame, chosen)
            if bound < self._done():
                for child in children(bound, packed(frame, state, v, theta, shares, tried), branch):
                    self.queue.push(child)
                return
        self.closed = min(self.closed, bound)

    def _ascend(
        self,
        frame: Frame,
        state: StateArray,
        v: FloatArray,
        theta: FloatArray,
        shares: FloatArray,
        target: float,
        chosen: BoolArray,
    ) -> tuple[int, float, float, int, bool]:
        """Ascend for a slice of rounds, or take the bound at v where no unit is free."""
        kind, value, lost, branch, screened, used = ascend(
            frame.M, frame.y, frame.c, frame.pull, frame.root, frame.curve, frame.starts, frame.first,
            frame.budgets, frame.part, shares, state, v, theta, target, frame.size, self._rounds, chosen,
        )  # fmt: skip
        active = float(np.count_nonzero(v))
        self.flops += NODE_FLOPS + _SLOWER * used * (20 * frame.y.size * active + active**3)
        return kind, value, lost, branch, screened

    def _lift(self, node: Node, state: StateArray, shares: FloatArray) -> int:
        """Raise the shares where many more units are fixed than when that was last tried; return that number anew."""
        frame, free = node.parent.frame, int(np.count_nonzero(state == FREE))
        if free > _FEWER * node.parent.tried or np.count_nonzero(state[frame.home] < OUT) ** 3 > _SLICE_FLOPS:
            return node.parent.tried
        lifted(frame.M, frame.starts, state, shares)
        return free

    def _prove_root(self, frame: Frame, v: FloatArray, bound: float) -> None:
        """Keep what proves the bound of all supports, where the frame is over all of them."""
        if self.undecided or frame.columns.size != self.names.size or self.root is not _NOTHING:
            return
        w, d = np.zeros((2, self.problem.shape[1]))
        names = self.names[frame.columns]
        w[names] = v / frame.scale
        d[names] = frame.scale**2 * (1 - gamma(4))
        self.root = separable_bound(self.problem, w, d)

    def _leaf(self, frame: Frame, state: StateArray) -> float:
        """Take the one support that is left; return a bound on its optimum."""
        S, values = self._refit(frame, state == IN)
        v = np.zeros(frame.y.size)
        v[S] = values
        _, value, lost, _, _ = self._ascend(
            frame, state, v, np.zeros(frame.budgets.size), np.ones(3), np.inf, state == IN
        )
        self.lost = max(self.lost, frame.lost + lost)
        return down(value + frame.constant)

    def _candidate(self, frame: Frame, chosen: BoolArray) -> None:
        """Take the best point on some units where it is better, and they are new."""
        key = np.packbits(chosen).tobytes()
        if key in self._seen:
            return
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen.add(key)
        self._refit(frame, chosen)

    def _refit(self, frame: Frame, chosen: BoolArray) -> tuple[IntArray, FloatArray]:
        """Take the best point on some units where it is better; return its columns and values in the frame."""
        S: IntArray = np.flatnonzero(chosen[frame.home])
        C = frame.M[np.ix_(S, S)]
        C[np.arange(S.size), np.arange(S.size)] += 1.0
        values = np.asarray(np.linalg.solve(C, frame.pull[S]), dtype=np.float64)
        if frame.constant + frame.at_zero - 0.5 * float(frame.pull[S] @ values) < self.best.objective:
            point = self.problem.restricted(np.sort(self.names[frame.columns[S]]))
            if point.objective < self.best.objective:
                self.best = point
                self._due = self.nodes
        return S, values

    def _report(self) -> bool:
        """Show how far the search is where that is due; True when it must stop."""
        if self.nodes < self._due:
            return False
        flops = 20.0 * self.names.size * (float(self._parts.budgets.sum()) + 20)
        self._due = self.nodes + min(self.nodes, 1 + _REPORT_FLOPS // flops)
        self.monitor.prove(self.bound())
        return self.monitor.record(self.best, (self.nodes, len(self.queue)))
