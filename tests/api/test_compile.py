"""Kernels compiled ahead are all that solves need."""

import os
import subprocess
import sys

SCRIPT = """
import importlib
import numpy as np
import scipy.sparse as sp
import l0quad
from numba.core import event

class Compiled(event.Listener):
    def on_start(self, each):
        function = each.data["dispatcher"].py_func
        if function.__module__.startswith("l0quad."):
            print(function.__name__)
    def on_end(self, each):
        pass

assert l0quad.compile() > 0
event.register("numba:compile", Compiled())
A = np.random.default_rng(1).standard_normal((9, 30))
for dtype in (np.float64, np.float32):
    B = A.astype(dtype)
    for array in (B, np.asfortranarray(B), sp.csc_array(B), B.T):
        n, p = array.shape
        for method in l0quad.METHODS:
            for k in (2, min(n, p) + 3, l0quad.NofM(1, 3), l0quad.NofM(9, 18), l0quad.Groups(np.arange(p) // 4, 2)):
                problem = l0quad.Problem(array, np.ones(n), k, ridge=0.1)
                if l0quad.METHODS[method].needs.lacking(problem.core) is None:
                    l0quad.solve(problem, method, bound="tight")
for name in ("blocks", "descent", "groups", "perspective", "products", "selection", "tableau"):
    module = importlib.import_module(f"l0quad.kernels.{name}")
    for each in vars(module).values():
        if type(each).__name__ == "_Kernel" and not each._compiled.signatures:
            print(f"{name}: {each.__name__} was never compiled")
"""


def test_nothing_is_left_to_compile():
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, env=env)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
