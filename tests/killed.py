"""A solve that a signal kills at an iteration, which no program can catch: `python killed.py NAME CHECKPOINT COUNT`."""

import os
import signal
import sys
from typing import Any

from problems import Instance, gaussian, pruning

import l0quad
import l0quad.api.checkpoint

SOLVES: dict[str, tuple[Instance, Any]] = {
    "exact": (gaussian(60, 40, 8, seed=3, rho=0.8, ridge=0.05), "exact"),
    "descent": (pruning(12, 40, 20), l0quad.CoordinateDescent(30)),
}

if __name__ == "__main__":
    name, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    l0quad.api.checkpoint.SECONDS = 0.0
    instance, method = SOLVES[name]

    def kill(state):
        if state.n_iter >= count:
            os.kill(os.getpid(), signal.SIGKILL)

    l0quad.solve(instance.problem(), method, checkpoint=path, callback=kill)
