"""Settings and fixtures that all tests share."""

import signal

import pytest
from hypothesis import settings

from l0quad.solvers import registry
from l0quad.solvers.registry import Method

settings.register_profile("l0quad", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("l0quad")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder of a test, in a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def interrupting(monkeypatch):
    """The name of a method that a Ctrl-C ends after its first iterate."""

    def run(problem, start, options, monitor):
        monitor.record(start)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the interrupt did not come")

    monkeypatch.setitem(registry.METHODS, "interrupting", Method(registry.METHODS["magnitude"].options, run))
    return "interrupting"
