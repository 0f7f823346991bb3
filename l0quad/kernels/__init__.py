"""Compiled kernels: pure functions of arrays and scalars. numba is imported nowhere else."""
