"""Many solves on one A: `Problem.with_` against a `Problem` for each (P2, ten k), and twenty ridges on one support."""

import numpy as np
from instances import data_folder, make, mlpnet
from measure import machine, medians, report, table

import l0quad
from l0quad.run import threads

KS = range(5, 51, 5)
RIDGES = np.geomspace(1e-2, 1e2, 20)


def several_k() -> list[list[str]]:
    """Return rows: k = 5, 10, ... 50 on P2."""
    A, b, _, ridge, _ = make("P2", 0)

    def apart() -> None:
        for k in KS:
            l0quad.solve(l0quad.Problem(A, b, k, ridge), bound="none", n_threads=1)

    def together() -> None:
        problem = l0quad.Problem(A, b, KS[0], ridge)
        for k in KS:
            l0quad.solve(problem.with_(k=k), bound="none", n_threads=1)

    times = medians({"apart": apart, "together": together}, 5)
    ratio = times["together"] / times["apart"]
    return [["P2, k = 5, 10 ... 50: ten problems", f"{times['apart']:.2f}", ""],
            ["the same by `with_`", f"{times['together']:.2f}", f"{ratio:.2f} of ten problems (asked .7)"]]  # fmt: skip


def several_ridges() -> list[list[str]]:
    """Return rows: twenty ridges on the support of the largest weights of MLPNet, 90 %."""
    data_folder()
    A, b, k, ridge, w0 = mlpnet(0.9, 1e-2)
    problem = l0quad.Problem(A, b, k, ridge, w0)
    support, exact = problem.constraint.select(np.abs(w0)), l0quad.Backsolve(steps=0)

    def solve(problem: l0quad.Problem) -> None:
        l0quad.solve(problem, exact, start=support, bound="none", n_threads=1)

    def one() -> None:
        solve(l0quad.Problem(A, b, k, ridge, w0))

    def twenty() -> None:
        start = l0quad.Problem(A, b, k, ridge, w0)
        for factor in RIDGES:
            solve(start.with_(ridge=ridge * factor))

    times = medians({"one": one, "twenty": twenty}, 7)
    ratio = times["twenty"] / times["one"]
    one_row = ["MLPNet 90 %, one solve on a given support", f"{times['one']:.3f}", ""]
    return [one_row, ["twenty ridges on it by `with_`", f"{times['twenty']:.3f}", f"{ratio:.1f} times one (asked 6)"]]


if __name__ == "__main__":
    # The door's checks are outside of a solve, and one thread for all means one.
    with threads.limited(1):
        rows = several_k() + several_ridges()
    report("many-solves", "Many solves on one A", machine(1), table(["what", "seconds", "ratio"], rows))
