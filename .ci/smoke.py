"""Whether an installed l0quad works at all: import, command line, every contract problem, a path, a layer.

Needs nothing but l0quad itself; the problems are those of the tests.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import scipy

import l0quad

warnings.simplefilter("error")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from problems import PROBLEMS, suited  # noqa: E402

for name in l0quad.__all__:
    getattr(l0quad, name)

for name, instance in PROBLEMS.items():
    methods = [method for method in l0quad.METHODS if suited(method, instance)]
    for method in ("auto", methods[sum(map(ord, name)) % len(methods)]):
        problem = instance.problem()
        result = l0quad.solve(problem, method)
        assert instance.allows(result.support), (name, method)
        assert result.check(problem).ok, (name, method)

A = np.random.default_rng(0).standard_normal((60, 12))
b = A[:, 3] - 2 * A[:, 8]
assert list(l0quad.path(A, b, range(1, 4), cv=3).best("1se").result.support) == [3, 8]
Y = np.column_stack([b, -b])
layer = l0quad.Layer.from_targets(A.T @ A, A.T @ Y, 0.5 * (Y**2).sum(axis=0), k=l0quad.SharedSupport(2))
assert list(np.flatnonzero(layer.solve().mask.any(axis=1))) == [3, 8]
turned, back = l0quad.stack_complex(A * 1j, b * (2 - 1j), k=2)
assert list(np.flatnonzero(back(l0quad.solve(turned)).round(9))) == [3, 8]

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "problem.npz"
    np.savez(file, A=A, b=b)
    for arguments in (["--version"], ["demo", "--no-picture"], ["solve", str(file), "-k", "2", "--ridge", "0.01"]):
        subprocess.run([sys.executable, "-m", "l0quad", *arguments], check=True, stdout=subprocess.DEVNULL)

print(f"{len(PROBLEMS)} problems, Python {sys.version.split()[0]}, NumPy {np.__version__}, SciPy {scipy.__version__}")
