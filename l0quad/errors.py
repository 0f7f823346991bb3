"""The one warning of the package; wrong input raises plain ValueError and TypeError."""


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be kept on disk, so that every process compiles them anew (some seconds)."""
