"""The warnings and errors of the package; wrong input raises plain ValueError and TypeError."""


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be kept on disk, so that every process compiles them anew (some seconds).

    Set the variable NUMBA_CACHE_DIR to a folder that can be written to, or leave the warning out.

    Examples
    --------
    >>> import warnings, l0quad
    >>> warnings.filterwarnings("ignore", category=l0quad.KernelCacheWarning)
    """


class CheckpointWarning(UserWarning):
    """The file of a checkpoint cannot be written, on a full disk say; the solve goes on, and the older file is whole.

    Examples
    --------
    To end the solve there:

    >>> import warnings, l0quad
    >>> warnings.filterwarnings("error", category=l0quad.CheckpointWarning)
    """


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
    """A file that A, or a checkpoint, is read from holds what it must not, or something else than it did.

    The message names the file.

    Examples
    --------
    Values are looked at as they are first read, in the solve:

    >>> import os, tempfile, numpy as np, l0quad
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "A.npy")
    ...     np.save(path, np.full((4, 6), np.nan, order="F"))
    ...     try:
    ...         l0quad.minimize(l0quad.open_columns(path), np.ones(4), k=2, ridge=0.1)
    ...     except l0quad.BadFile as error:
    ...         print(str(error).split(", ")[1])
    got nan in row 0
    """


class Stopped(Exception):
    """A limit has come between two slices of long work; whoever set the limit catches it."""
