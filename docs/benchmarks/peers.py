"""`auto` against other packages on P1 to P4 (seed 0): first call, warm time, objective and memory, a process each.

Every competitor is given the data and returns a support; the objective is that of our exact refit on it. How each is
given the ridge and w0 is said in `competitors.py`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from competitors import COMPETITORS, PACKAGES, installed, versions
from instances import BEST_KNOWN, make
from measure import machine, report, table

import l0quad

CAP = 120
REPEATS, WARM_SECONDS = 5, 20.0
NAMES = ("P1", "P2", "P3", "P4")
# A few ten-thousandths of a per cent: objectives this close count as equally good.
EQUAL = 1e-5
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
ONE_THREAD = {**dict.fromkeys(THREADS, "1"), "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}


def resident(field: str) -> int:
    """Return VmRSS or VmHWM of this process, in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/self/status")


def child(competitor: str, name: str) -> None:
    """Print a line of JSON after the first call and one after the warm ones."""
    warnings.simplefilter("ignore")
    instance = make(name, 0)
    call = installed([competitor]).get(competitor)
    if call is None:
        print(json.dumps({"skipped": True}))
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before, begin = resident("VmRSS"), time.perf_counter()
    support = call(instance)
    first, peak = time.perf_counter() - begin, resident("VmHWM") - before
    problem = l0quad.Problem(*instance)
    objective = l0quad.solve(problem, l0quad.Backsolve(steps=0), start=support, bound="none").objective
    found = {"first": first, "memory": peak / 1024, "objective": objective, "size": int(support.size)}
    print(json.dumps(found), flush=True)
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < WARM_SECONDS:
        begin = time.perf_counter()
        call(instance)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({**found, "warm": statistics.median(seconds)}), flush=True)


def measured(competitor: str, name: str) -> dict[str, float]:
    """Return what a new process found within the cap."""
    command = [sys.executable, __file__, "--child", competitor, name]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, timeout=CAP, check=False, env={**os.environ, **ONE_THREAD}
        )
        lines = done.stdout.splitlines()
        return json.loads(lines[-1]) if lines else {"failed": done.returncode}
    except subprocess.TimeoutExpired as stopped:
        lines = (stopped.output or b"").splitlines()
        return json.loads(lines[-1]) if lines else {"capped": True}


def row(name: str, competitor: str, found: dict[str, float]) -> list[object]:
    for what, said in (("failed", "failed"), ("capped", f"> {CAP} s"), ("skipped", "not installed")):
        if what in found:
            return [name, competitor, *["-"] * 5, said]
    best = BEST_KNOWN[name][0]
    above = f"{100 * (found['objective'] / best - 1):+.3f}"
    cells = [f"{found['objective']:.7g}", above, f"{found['first']:.3f}"]
    warm = f"{found['warm']:.3f}" if "warm" in found else "-"
    return [name, competitor, *cells, warm, f"{found['memory']:.0f}", ""]


def verdict(name: str, all_found: dict[str, dict[str, float]]) -> list[object]:
    """Say whether ours is best, and as fast as the fastest peer that is as good."""
    ran = {who: found for who, found in all_found.items() if "objective" in found}
    peers, own = [who for who in ran if who in PACKAGES], [who for who in ran if who not in PACKAGES]
    best_peer = min((ran[who]["objective"] for who in peers), default=np.inf)
    best_own = min((ran[who]["objective"] for who in own), default=np.inf)
    seconds = {who: found.get("warm", found["first"]) for who, found in ran.items()}
    lines = []
    for who in own:
        as_good = [seconds[peer] for peer in peers if ran[peer]["objective"] <= ran[who]["objective"] * (1 + EQUAL)]
        better = ran[who]["objective"] <= best_peer * (1 + EQUAL)
        fast = not as_good or seconds[who] <= min(as_good)
        lines += ["best: " + ("met" if better else "missed"), "not slower: " + ("met" if fast else "missed")]
    return [name, f"{best_own:.7g}", f"{best_peer:.7g}", *lines]


def main(names: list[str]) -> None:
    rows, verdicts = [], []
    for name in names:
        found = {competitor: measured(competitor, name) for competitor in COMPETITORS}
        rows += [row(name, competitor, each) for competitor, each in found.items()]
        verdicts.append(verdict(name, found))
        print(*rows[-len(found) :], sep="\n", flush=True)
    columns = ["instance", "package", "objective", "% above best known", "first call s", "warm s", "memory MiB", ""]
    own = [f"{effort}: {what}" for effort in ("fast", "thorough") for what in ("objective", "time")]
    report(
        "peers",
        "Against other packages",
        f"Seed 0, a process each, killed after {CAP} s; objective after our exact refit on the support found; the "
        "calls include validation and set-up (for l0quad, building the Problem); memory: peak resident above the data, "
        f"packages loaded. {versions()}. {machine(1)}.",
        table(columns, rows),
        "Best objective, and not slower than the fastest package whose objective is as good:",
        table(["instance", "best of l0quad", "best of the others", *own], verdicts),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(NAMES))
    parser.add_argument("--child", action="store_true")
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.names)
    else:
        main(arguments.names)
