"""Settings and fixtures that all tests share."""

import os
import random
import signal
import sys

import kernel_cache
import pytest
from hypothesis import HealthCheck, settings
from optima import attained

# No example is too slow: how long one takes is not what a test is about, and depends on what else the machine does.
settings.register_profile(
    "l0quad",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("l0quad")
# With -m fresh: new examples every time, from a seed that the report names.
settings.register_profile("fresh", settings.get_profile("l0quad"), derandomize=False, database=None, print_blob=True)


def pytest_configure(config):
    """Use no compiled kernel beyond a change of its sources, and let Ctrl-C reach the tests that are about it."""
    if config.option.markexpr == "fresh":
        settings.load_profile("fresh")
        if config.option.hypothesis_seed is None:
            config.option.hypothesis_seed = str(random.randrange(1 << 32))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a shell script has put in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert "numba" not in sys.modules, "numba has read its settings already"
    cached = hasattr(config, "cache")  # not with -p no:cacheprovider
    if getattr(config.option, "numprocesses", None):
        # The workers share the cores; threads of BLAS and PyTorch in each of them would mostly wait for their turn.
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, "1")
    kernel_cache.use(config.cache.mkdir("l0quad") if cached else config.rootpath / ".pytest_cache" / "d" / "l0quad")


def pytest_report_header(config):
    if config.option.markexpr == "fresh":
        return f"properties on new examples: --hypothesis-seed={config.option.hypothesis_seed}"
    return None


@pytest.fixture(autouse=True)
def no_bound_above_a_known_optimum():
    """In every test, each bound of a small problem is compared with what a feasible point attains."""
    from l0quad.run.debug import known_optimum

    with known_optimum(attained):
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder of a test, in a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def interrupting(monkeypatch):
    """The name of a method that a Ctrl-C ends after its first iterate."""
    from l0quad.solvers import registry

    def run(problem, start, options, monitor):
        monitor.record(problem.optimised(start))
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the interrupt did not come")

    monkeypatch.setitem(registry.METHODS, "interrupting", registry.Method(registry.METHODS["iht"].options, run))
    return "interrupting"


@pytest.fixture(scope="module")
def slow():
    """A problem on which coordinate descent, told never to stop, takes minutes."""
    from problems import gaussian

    return gaussian(300, 400, 300, rho=0.99, ridge=1e-6).problem()


@pytest.fixture
def ticking(monkeypatch):
    """Time that is counted in questions, so that no clock can fail a test: each takes this many seconds."""
    from l0quad.run.monitor import SolveMonitor

    clock = {"seconds": 0.0, "tick": 1.0}

    def seconds(monitor):
        clock["seconds"] += clock["tick"]
        return clock["seconds"]

    monkeypatch.setattr(SolveMonitor, "seconds", seconds)
    return clock
