"""What an import loads, and that every public name is what it says, whatever is imported first."""

import subprocess
import sys

import pytest

import l0quad


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_no_heavy_module():
    heavy = ("numpy", "scipy", "numba", "threadpoolctl", "torch", "sklearn", "cvxpy", "matplotlib")
    assert run(f"import sys, l0quad; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_a_problem_needs_no_numba():
    code = "import sys, l0quad; l0quad.Problem([[1.0, 2.0]], [1.0], 1); print('numba' in sys.modules)"
    assert run(code) == "False"


def test_every_public_name_resolves():
    assert set(l0quad.__all__) <= set(dir(l0quad))
    assert len(set(l0quad.__all__)) == len(l0quad.__all__)
    for name in l0quad.__all__:
        value = getattr(l0quad, name)
        assert getattr(value, "__name__", name) == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = l0quad.no_such_name


def test_a_star_import_brings_the_public_names():
    code = "from l0quad import *; print(sorted(n for n in dir() if not n.startswith('__')))"
    assert run(code) == str(sorted(name for name in l0quad.__all__ if not name.startswith("__")))


@pytest.mark.parametrize(
    "first", ["api.solve", "bounds", "solvers", "solvers.registry", "problem", "kernels.blocks", "app.cli"]
)
def test_solve_is_the_function_whatever_is_imported_first(first):
    assert run(f"import l0quad.{first}; import l0quad; print(type(l0quad.solve).__name__)") == "function"


def test_methods_have_their_options_among_the_public_names():
    for name, method in l0quad.METHODS.items():
        assert getattr(l0quad, method.options.__name__) is method.options
        assert method.options().name == name


def test_version():
    assert l0quad.__version__.count(".") >= 1
