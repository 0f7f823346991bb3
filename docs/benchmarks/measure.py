"""Timing, memory and tables for the benchmarks."""

import gc
import math
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numba
import numpy as np
import scipy

import l0quad
from l0quad.run import threads

RESULTS = Path(__file__).parent / "results"


def medians(candidates: dict[str, Callable[[], object]], repeats: int = 9) -> dict[str, float]:
    """Return the median seconds of each candidate, run in turn after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(repeats + 1):
        for name, candidate in candidates.items():
            gc.collect()
            begin = time.perf_counter()
            candidate()
            if round_:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


class PeakMemory:
    """The peak of this process's anonymous (private) memory over what it was at entry, in bytes; Linux only."""

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        self.before = self.peak = anonymous_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.001):
            self.peak = max(self.peak, anonymous_bytes())

    @property
    def extra(self) -> int:
        return self.peak - self.before


def anonymous_bytes() -> int:
    """Return the process's resident memory that no file stands behind."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def machine(n_threads: int | None = None) -> str:
    """Return one line that says what the figures were measured with: hardware, versions and commit."""
    torch = f"PyTorch {sys.modules['torch'].__version__}, " if "torch" in sys.modules else ""
    return (
        f"{threads.available() if n_threads is None else n_threads} thread(s), {processor()}, "
        f"{os.cpu_count()} cores, {memory_gib():.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, "
        f"numba {numba.__version__}, {torch}l0quad {l0quad.__version__}{commit()}"
    )


def machines(told: Iterable[str | None]) -> str:
    """Return what figures that were kept run by run were measured with, each machine once."""
    return "Measured with: " + "; ".join(
        dict.fromkeys("an earlier commit, whose machine was not kept" if each is None else each for each in told)
    )


def processor() -> str:
    """Return the processor's own name, or what the system says of it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor())} ({platform.machine()})"


def memory_gib() -> float:
    """Return the machine's memory; nan where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError):
        return math.nan


def commit() -> str:
    """Return which commit of a checkout is measured, and whether it was changed; nothing elsewhere."""

    def git(*arguments: str) -> str:
        command = ("git", "-C", str(Path(l0quad.__file__).parent), *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        changed = " with changes" if git("status", "--porcelain", "--", ".") else ""
        return f" at commit {git('rev-parse', '--short', 'HEAD')}{changed}"
    except (OSError, subprocess.CalledProcessError):
        return ""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def report(name: str, title: str, *parts: str) -> None:
    """Print a result and keep it as results/NAME.md."""
    text = "\n\n".join([f"# {title}", *parts]) + "\n"
    print(text, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
