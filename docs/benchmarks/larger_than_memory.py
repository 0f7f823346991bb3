"""Column files larger than memory: reads, memory and time of solves on a file of float32, deleted after.

``python larger_than_memory.py [P] [N] [METHOD ...]``, ``methods [P] [N]`` for the memory of every method, ``scale [N]
[P ...]`` for how CPU seconds grow with p. Before each run the file's pages are dropped from the cache; the bytes are
those that the operating system counts for the process (/proc/self/io: rchar, what it was given).
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from measure import RESULTS, PeakMemory, machine, machines, report, table

import l0quad

MB = 1e6
SHARE = 0.1
# Of noise in b where it is to be far from A w0, over the size of an entry of A w0.
FAR = 30.0
FIGURES = {
    "backsolve": l0quad.Backsolve(steps=0),
    "block_backsolve": l0quad.BlockBacksolve(),
    "rounding, 12 steps": l0quad.Rounding(max_iter=12),
    "two plain reads": None,
}
# Methods whose number of sweeps has no small limit do a few iterations.
ALL = {name: each.options() for name, each in l0quad.METHODS.items()} | {
    "iht": l0quad.IHT(max_iter=3),
    "iht, refit": l0quad.IHT(max_iter=3, refit=True),
    "coordinate_descent": l0quad.CoordinateDescent(max_iter=3),
    "active_set": l0quad.ActiveSet(max_iter=2),
    "admm": l0quad.ADMM(max_iter=5),
    "rounding": l0quad.Rounding(max_iter=3),
}
RUNS = ALL | FIGURES


def make(path: Path, n: int, p: int, order: str = "F") -> None:
    """Write A, by columns or by rows, and b = A w0 beside it."""
    rng, b = np.random.default_rng(0), np.zeros(n)
    w0 = np.random.default_rng(1).standard_normal(p)
    A = np.lib.format.open_memmap(path, "w+", np.float32, (n, p), fortran_order=order == "F")
    for first in range(0, p, 10_000):
        here = slice(first, min(first + 10_000, p))
        block = rng.standard_normal((here.stop - first, n), dtype=np.float32)
        b += block.T.astype(np.float64) @ w0[here]
        A.T[here] = block
    A.flush()
    np.save(path.with_suffix(".b.npy"), b)


def drop(path: Path) -> None:
    """Drop the file's pages from the cache."""
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def read_bytes() -> int:
    """Return the bytes that this process has read."""
    return int(Path("/proc/self/io").read_text(encoding="utf-8").split()[1])


def child(path: Path, name: str, share: float, far: bool) -> None:
    """Run one method and print its row; with b far from A w0, or near."""
    drop(path)
    method = RUNS[name]
    if method is None:
        begin, buffer = time.perf_counter(), bytearray(1 << 24)
        for _ in range(2):
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
        print("row", 2.0, "-", round(time.perf_counter() - begin, 1), "-", "-", sep="|")
        return
    small = np.random.default_rng(0).standard_normal((50, 200))
    l0quad.solve(l0quad.Problem(small, small[:, 0], 100, ridge=1.0, w0=np.ones(200)), method, time_limit=2.0)
    A, b = l0quad.open_columns(path), np.load(path.with_suffix(".b.npy"))
    had = read_bytes()
    begin, cpu = time.perf_counter(), time.process_time()
    with PeakMemory() as peak:
        p = A.shape[1]
        w0 = np.random.default_rng(1).standard_normal(p)
        if far:
            b = b + FAR * p**0.5 * np.random.default_rng(2).standard_normal(b.size)
        result = l0quad.solve(l0quad.Problem(A, b, int(share * p), ridge=1.0, w0=w0), method)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    reads = (read_bytes() - had) / A.nbytes
    print(
        "row",
        f"{reads:.3f}",
        round(peak.extra / MB),
        round(wall, 1),
        round(cpu, 1),
        f"{100 * result.relative_gap:.3g} %",
        sep="|",
    )


def measured(
    n: int, p: int, names: Iterable[str], order: str = "F", cases: Iterable[tuple[float, bool]] = ((SHARE, False),)
) -> Iterator[tuple[str, float, bool, list[str]]]:
    """Make the file and run each method in a process of its own for each case; yield what it says.

    A case is the share of the columns that is kept, and whether b is far from A w0.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "A.npy"
        make(path, n, p, order)
        for (share, far), name in itertools.product(cases, names):
            command = [sys.executable, __file__, "run", str(path), name, str(share), "far" if far else "near"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = [line for line in done.stdout.splitlines() if line.startswith("row|")]
            failed = "Unsuited" if "Unsuited" in done.stderr else done.stderr[-300:]
            cells = found[0].split("|")[1:] if found else [failed, "", "", "", ""]
            print(n, p, order, share, far, name, *cells, file=sys.stderr, flush=True)
            yield name, share, far, cells


def methods(p: int = 4_000_000, n: int = 50, *shares: float) -> None:
    """Report the memory and the sweeps of every method that works there."""
    names = [name for name, method in ALL.items() if not method.needs.in_memory]
    cases = list(itertools.product(shares or (0.1, 0.5, 0.9), (False, True)))
    rows = [
        [name, share, "far" if far else "near", *cells] for name, share, far, cells in measured(n, p, names, "F", cases)
    ]
    report(
        "larger-than-memory-methods",
        "Larger than memory: every method",
        f"A of {n} x {p}, float32, by columns ({4 * n * p / 1e9:.3g} GB); ridge 1; few iterations of what has no end; "
        f"b is A w0, or far from it (with noise of {FAR:g} times its size). "
        f"Private memory over what the process had before, the caller's w0 included; a p-vector: {8 * p / MB:.0f} MB. "
        f"Asked for: at most 10 p-vectors + 128 MB + 5 n^2 doubles = {rule(n, p)} MB. {machine()}.",
        table(["method", "kept", "b", "reads", "private MB", "wall s", "CPU s", "gap"], rows),
    )


def scale(n: int = 200, *sizes: int) -> None:
    """Report CPU seconds at several p, and the exponent that fits them."""
    sizes, rows = sizes or (100_000, 650_000, 4_200_000), []
    names = [name for name, method in ALL.items() if not method.needs.in_memory and name != "auto"]
    for order in "FC":
        found = [{name: cells for name, _, _, cells in measured(n, p, names, order)} for p in sizes]
        for name in names:
            seconds = [float(each[name][3]) for each in found]
            exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
            rows.append([name, order, *seconds, f"{exponent:.2f}", found[-1][name][0]])
    report(
        "larger-than-memory-scale",
        "Larger than memory: CPU seconds as p grows",
        f"A of {n} rows, float32; 10 % of the columns kept, ridge 1; by columns (F) and by rows (C). Asked for: an "
        f"exponent of at most 1.1. {machine()}.",
        table(["method", "order", *(f"p = {p}" for p in sizes), "exponent", "reads"], rows),
    )


def main(p: int, n: int, *names: str) -> None:
    """Make the file and run the figures' methods, or those that are named; keep their rows and report all kept."""
    kept = RESULTS / "larger-than-memory.jsonl"
    for name, _, _, cells in measured(n, p, names or FIGURES):
        with kept.open("a", encoding="utf-8") as file:
            print(json.dumps([n, p, name, *cells, machine()]), file=file)
    rows = {tuple(row[:3]): row for row in map(json.loads, kept.read_text(encoding="utf-8").splitlines())}
    report(
        "larger-than-memory",
        "Larger than memory",
        "A in float32, by columns; 10 % of the columns kept, ridge 1. Asked for: at most 2.05 reads (rounding: 30), "
        "and 10 p-vectors + 128 MB + 5 n^2 doubles. "
        f"{machines(row[8] if len(row) > 8 else None for row in rows.values())}. Rows of 1000 rows "
        "were measured with nothing else running, the others beside much other work: their wall times are upper "
        "bounds.",
        table(
            ["rows", "columns", "GB", "method", "reads", "private MB", "allowed", "wall s", "CPU s", "gap"],
            [
                [n, p, f"{4 * n * p / 1e9:.3g}", name, *cells[:2], rule(n, p), *cells[2:5]]
                for n, p, name, *cells in rows.values()
            ],
        ),
    )


def rule(n: int, p: int) -> int:
    """Return the megabytes that a method may hold: 10 p-vectors, 128 MB, and 5 n x n matrices."""
    return round((10 * 8 * p + 128e6 + 5 * 8 * n * n) / MB)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        child(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), sys.argv[5] == "far")
    elif sys.argv[1:2] == ["methods"]:
        methods(*(int(float(each)) for each in sys.argv[2:4]), *map(float, sys.argv[4:]))
    elif sys.argv[1:2] == ["scale"]:
        scale(*(int(float(each)) for each in sys.argv[2:]))
    else:
        sizes = [int(float(each)) for each in sys.argv[1:3]]
        p, n = [*sizes, *(4_200_000, 1000)[len(sizes) :]]
        main(p, n, *sys.argv[3:])
