"""The commands of the page on several machines, each in a process of its own, as in terminals."""

import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "several-machines.md").read_text(encoding="utf-8")
COMMANDS = [command.strip() for command in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]
SNIPPETS = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
FILES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
SCHEDULER, WORKER, SCHEDULER_BY_FILE, WORKER_BY_FILE, ONE, TWO = COMMANDS


def words(command, port=8786):
    """The command with programs of this Python's, and another port."""
    program, *rest = command.replace("8786", str(port)).split()
    own = {
        "dask": [str(Path(sys.executable).with_name("dask"))],
        "python": [sys.executable],
        "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    }
    return [*own[program], *rest]


@contextmanager
def terminal(command, folder):
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("by", ["address", "file"])
def test_two_terminals_and_a_solve(by, folder):
    pytest.importorskip("distributed")
    port = free_port()
    scheduler, worker = (SCHEDULER, WORKER) if by == "address" else (SCHEDULER_BY_FILE, WORKER_BY_FILE)
    solve = SNIPPETS[0].replace("8786", str(port))
    if by == "file":
        scheduler += f" --port {port}"
        assert 'Client(scheduler_file="scheduler.json")' in PAGE
        solve = solve.replace(f'"tcp://localhost:{port}"', 'scheduler_file="scheduler.json"')
    script = folder / "solve.py"
    imports = "import l0quad\nfrom distributed import Client\nfrom l0quad_adapters.dask import sharded\n"
    script.write_text(FILES + imports + solve + "print(result.n_sweeps)\n", encoding="utf-8")
    with terminal(words(scheduler, port), folder), terminal(words(worker, port), folder):
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=folder)
    assert done.stdout == "2.0\n", done.stderr


def test_gradients_of_two_processes_are_those_of_one(folder):
    pytest.importorskip("torch")
    (folder / "gradients.py").write_text(SNIPPETS[1], encoding="utf-8")
    found = []
    for command in (ONE, TWO):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(words(command), capture_output=True, text=True, check=False, cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr
        paths = sorted((folder / "gradients").glob("*.npy"))
        found.append([path.read_bytes() for path in paths])
        assert np.load(paths[0]).shape == (50, 240)
        (folder / "gradients").rename(folder / f"gradients{len(found)}")
    assert len(found[0]) == 3
    assert found[0] == found[1]
