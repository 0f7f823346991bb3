"""What all tests of the adapter share."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def limited_threads():
    pytest.importorskip("torch")
    from one_thread import one_thread

    with one_thread():
        yield
