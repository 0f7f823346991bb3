"""The warnings and errors of the package; wrong input raises plain ValueError and TypeError."""


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be kept on disk, so that every process compiles them anew (some seconds)."""


class Unsuited(ValueError):
    """The chosen method cannot work on this problem; the message names what it needs and which methods can.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> try:
    ...     l0quad.minimize(A, A[:, 2], k=2, method="rounding")
    ... except l0quad.Unsuited as error:
    ...     print(str(error).split(";")[0])
    method: 'rounding' needs a ridge that is not lost beside A
    """


class BadFile(ValueError):
    """A file that A is read from holds what it must not, or is no longer what it was; the message names it."""


class Stopped(Exception):
    """A limit has come between two slices of long work; whoever set the limit catches it."""
