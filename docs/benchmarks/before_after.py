"""Two checkouts of l0quad on the same instances, solve by solve in turn: ratio of median times, and the objectives.

    python docs/benchmarks/before_after.py OTHER_CHECKOUT

Each checkout runs in a process of its own on one thread and solves when it is told to.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
REPEATS = {"P1": 25, "P2": 9, "P3": 9, "P4": 9, "MLPNet": 9}
WORKER = """
import sys, time
import l0quad
from instances import make, mlpnet
print(l0quad.__file__, flush=True)
problems = {}
for line in sys.stdin:
    name, mode = line.split()
    if name not in problems:
        A, b, k, ridge, w0 = mlpnet(0.9, 1e-2) if name == "MLPNet" else make(name, 0)
        problems[name] = A, b, k, ridge, w0
    A, b, k, ridge, w0 = problems[name]
    begin = time.process_time()
    result = l0quad.solve(l0quad.Problem(A, b, k, ridge, w0), bound=mode, n_threads=1)
    print(time.process_time() - begin, result.objective.hex(), result.lower_bound.hex(), flush=True)
"""


class Checkout:
    """A process that solves with one checkout's package."""

    def __init__(self, root: Path) -> None:
        one = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        env = os.environ | one | {"PYTHONPATH": f"{root}{os.pathsep}{HERE.parent}"}
        # Python looks into the current folder first, whatever its path is.
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER], env=env, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        found = Path(self._process.stdout.readline().strip())
        assert found.is_relative_to(root), f"{found} is not the checkout {root}"

    def solve(self, name: str, mode: str) -> tuple[float, float, float]:
        """Return CPU seconds, objective and lower bound."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(name, mode, file=self._process.stdin, flush=True)
        seconds, objective, bound = self._process.stdout.readline().split()
        return float(seconds), float.fromhex(objective), float.fromhex(bound)


def main() -> None:
    """Print and keep the table."""
    sys.path.insert(0, str(HERE.parents[2]))
    from measure import machine, report, table

    before, after = Checkout(Path(sys.argv[1]).resolve()), Checkout(HERE.parents[2])
    names = [name for name in REPEATS if name != "MLPNet" or os.environ.get("L0QUAD_DATA")]
    rows = [compare(before, after, name, mode) for name in names for mode in ("none", "fast")]
    header = ["instance", "bound", "before, CPU s", "after", "ratio of medians", "objective before"]
    header += ["after / before - 1", "lower bound before", "after"]
    report("before-after", "Before and after, in turn", machine(1), table(header, rows))


def compare(before: Checkout, after: Checkout, name: str, mode: str) -> list[str]:
    """Return a row: both solve in turn, after a round that compiles and warms up."""
    old, new = [], []
    for round_ in range(REPEATS[name] + 1):
        seconds, was, lower = before.solve(name, mode)
        other, now, higher = after.solve(name, mode)
        if round_:
            old.append(seconds)
            new.append(other)
    then, today = statistics.median(old), statistics.median(new)
    row = [name, mode, f"{then:.4f}", f"{today:.4f}", f"{today / then:.3f}", f"{was:.10g}", f"{now / was - 1:.1e}"]
    return [*row, f"{lower:.6g}", f"{higher:.6g}"]


if __name__ == "__main__":
    main()
