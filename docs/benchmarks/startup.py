"""Import time and the time to the first answer in a new process, with a warm and with an empty kernel cache."""

import os
import statistics
import subprocess
import sys
import tempfile

from measure import machine, report, table

IMPORT = "import sys, time; t = time.perf_counter(); import l0quad; t = time.perf_counter() - t; " + (
    "print(t, 'numba' in sys.modules, 'numpy' in sys.modules)"
)
FIRST = """
import time
t = time.process_time()
import numpy as np, l0quad
rng = np.random.default_rng(0)
A = rng.standard_normal((100, 300)); b = A[:, :5].sum(axis=1) + rng.standard_normal(100)
l0quad.minimize(A, b, 5, ridge=0.1, method={method!r})
print(time.process_time() - t)
"""
METHODS = ("auto", "backsolve", "iht", "active_set", "coordinate_descent", "block_backsolve")


def seconds(code: str, cache: str | None = None) -> list[str]:
    one = {"OPENBLAS_NUM_THREADS": "1"}
    environment = dict(os.environ, **one, **({"NUMBA_CACHE_DIR": cache} if cache else {}))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


def main() -> None:
    imports = [seconds(IMPORT) for _ in range(9)]
    rows = [["import l0quad", f"{statistics.median(float(each[0]) for each in imports):.4f}", "0.1"]]
    loaded = f"numba loaded by the import: {imports[0][1]}; numpy: {imports[0][2]}"
    for method in METHODS:
        code = FIRST.format(method=method)
        with tempfile.TemporaryDirectory() as cache:
            cold = float(seconds(code, cache)[0])
            warm = statistics.median(float(seconds(code, cache)[0]) for _ in range(5))
        rows.append([f"first solve, {method}, warm cache", f"{warm:.2f}", "1"])
        rows.append([f"first solve, {method}, cold cache", f"{cold:.2f}", "8"])
    report(
        "startup",
        "Start-up",
        "CPU seconds (of the import: seconds) from the first import to the answer (100 x 300, fast bound), one thread, "
        f"new process. {machine(1)}. {loaded}.",
        table(["what", "seconds", "asked: at most"], rows),
    )


if __name__ == "__main__":
    main()
