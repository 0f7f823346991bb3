"""One thread for torch and BLAS: the tests' networks are tiny, and threads that wait for each other take longer."""

import os
from contextlib import contextmanager

import scipy.linalg  # noqa: F401 - its BLAS must be there to be limited
import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread():
    """Limit them until the end, unless the environment says how many there are to be."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
