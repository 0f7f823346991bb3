"""The warnings and errors of the package; wrong input raises plain ValueError and TypeError."""


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be kept on disk, so that every process compiles them anew (some seconds)."""


class Unsuited(ValueError):
    """The chosen method cannot work on this problem; the message names what it needs and which methods can."""


class BadFile(ValueError):
    """A file that A is read from holds what it must not, or is no longer what it was; the message names it."""


class Stopped(Exception):
    """A limit has come between two slices of long work; whoever set the limit catches it."""
