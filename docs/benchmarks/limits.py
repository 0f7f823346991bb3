"""How far a time limit is overrun, and the memory beside A, where factorizations and tables are large."""

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import scipy.sparse as sp
from measure import machine, report, table

import l0quad

LIMIT = 0.05
METHODS = ("auto", "swap", "iht", "admm", "magnitude")


def instance(name: str) -> l0quad.Problem:
    """Return a problem by name: n x p, budget, ridge, and what is special about it."""
    rng = np.random.default_rng(0)
    n, p, k, ridge = {
        "square": (2500, 2500, 50, 0.1),
        "centred, no ridge": (400, 8000, 20, 0.0),
        "large table": (600, 8000, 2000, 0.1),
        "large order": (2500, 5000, 2400, 0.1),
        "repeated row, no ridge": (600, 20_000, 50, 0.0),
        "sparse": (10_000, 50_000, 50, 0.1),
    }[name]
    if name == "sparse":
        few = sp.random(n, p, density=1e6 / (n * p), random_state=0, format="csc")
        return l0quad.Problem(few, few @ np.eye(1, p)[0] + rng.standard_normal(n), k, ridge=ridge)
    A = rng.standard_normal((n, p))
    if name == "centred, no ridge":
        A -= A.mean(axis=0)
    if name == "repeated row, no ridge":
        A[-1] = A[0]
    return l0quad.Problem(A, A[:, :20].sum(axis=1) + rng.standard_normal(n), k, ridge=ridge)


def warm_up(method: str) -> None:
    A = np.random.default_rng(0).standard_normal((64, 200))
    l0quad.minimize(A, A[:, 0], 5, ridge=0.1, method=method)


def child(kind: str, name: str, method: str) -> None:
    """Print the seconds over the limit, or the peak beside A and A's own size in bytes."""
    warm_up(method)
    problem = instance(name)
    try:
        if kind == "time":
            began = time.perf_counter()
            l0quad.solve(problem, method, time_limit=LIMIT)
            print(time.perf_counter() - began - LIMIT)
        else:
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            l0quad.solve(problem, method, time_limit=60.0)
            print(tracemalloc.get_traced_memory()[1] - before, problem.matrix.nbytes, *problem.shape)
    except l0quad.Unsuited:
        print("unsuited")


def run(*arguments: str) -> list[str]:
    return subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True
    ).stdout.split()


def main() -> None:
    late: list[list[object]] = []
    for name in ("centred, no ridge", "large table", "large order", "square"):
        found = [run("time", name, method)[0] for method in METHODS]
        late.append([name, *(each if each == "unsuited" else f"{float(each):.2f}" for each in found)])
    held: list[list[object]] = []
    for name in ("square", "repeated row, no ridge", "large table", "sparse"):
        cells = []
        for method in METHODS:
            found = run("memory", name, method)
            if found[0] == "unsuited":
                cells.append("unsuited")
                continue
            peak, A, n, p = map(float, found)
            cells.append(f"{peak / 1e6:.0f}")
        problem = instance(name)
        n, p = problem.shape
        allowed = 0.1 * A + 24 * min(n, p) ** 2 + 8 * n * problem.constraint.total
        held.append([name, f"{A / 1e6:.0f}", f"{allowed / 1e6:.0f}", *cells])
    report(
        "limits",
        "Limits",
        machine(1),
        f"Above: seconds beyond a time limit of {LIMIT} s, the bound included. Below: the peak beside A in MB, with "
        "the default bound, and A_S + .1 A + 3 min(n, p)^2 doubles, which is asked; A_S is what the budget takes, not "
        "all columns, which the default start is solved on. A pass over A works in blocks of 8 MB, of which three may "
        "be there at once, and `swap` keeps a table of k (p + 2k) doubles and a factor of k^2 more: neither is in what "
        "is asked.",
        table(["", *METHODS], late) + "\n\n" + table(["", "A", "asked", *METHODS], held),
    )


if __name__ == "__main__":
    child(*sys.argv[1:]) if len(sys.argv) > 1 else main()
