"""The one place that knows numba's options.

``kernel`` compiles a function on its first call for the types it is called with (float32 or float64 data), keeps the
machine code in numba's cache and releases the interpreter lock while it runs. A cache that cannot be written or read
costs compile time and one warning, nothing else. ``inlined`` marks the small helpers that kernels call.
"""

import functools
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core.event import Listener, register
from numba.extending import register_jitable

from l0quad.errors import KernelCacheWarning

# Division by zero gives inf or NaN as in NumPy. No fastmath: it would turn off the handling of NaN.
_OPTIONS = {"nogil": True, "error_model": "numpy"}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inlined(function: _Function) -> _Function:
    """Mark a helper that is compiled into the kernels that call it, and cannot be called otherwise once compiled."""
    return cast(_Function, register_jitable(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function))


def kernel(function: _Function) -> _Function:
    """Compile ``function`` when it is first called."""
    return cast(_Function, functools.update_wrapper(_Kernel(function), function))


@functools.cache
def _warn_once() -> None:
    warnings.warn(
        "compiled kernels cannot be kept on disk, so every process compiles them anew; "
        "set NUMBA_CACHE_DIR to a folder that can be written",
        KernelCacheWarning,
        stacklevel=2,
    )


class _Compilation(Listener):  # type: ignore[misc] # numba has no types
    """What happens while numba compiles: a word on a terminal, and a Ctrl-C waits for its end.

    numba turns an interrupt within into other exceptions, or loses it; `_Kernel` raises it after.
    """

    def __init__(self) -> None:
        self.silent = sys.stderr is None or not sys.stderr.isatty()
        self.depth = 0
        self.handler: Any = None
        self.interrupted = False

    def on_start(self, event: Any) -> None:
        if not self.silent and event.data["dispatcher"].py_func.__module__.startswith("l0quad."):
            self.silent = True
            print("l0quad: compiling kernels, once on this machine (some seconds)", file=sys.stderr, flush=True)
        if threading.current_thread() is threading.main_thread():
            self.depth += 1
            if self.depth == 1 and callable(signal.getsignal(signal.SIGINT)):
                self.handler = signal.signal(signal.SIGINT, self._hold)

    def on_end(self, event: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self.depth -= 1
            if self.depth == 0 and self.handler is not None:
                signal.signal(signal.SIGINT, self.handler)
                self.handler = None

    def _hold(self, *_: Any) -> None:
        self.interrupted = True

    def release(self) -> None:
        """Send the interrupt that has been held back, if there is one."""
        if self.interrupted and threading.current_thread() is threading.main_thread():
            self.interrupted = False
            signal.raise_signal(signal.SIGINT)


@functools.cache
def _compilation() -> _Compilation:
    """Return the one listener of this process; compilations from the cache are no event."""
    listener = _Compilation()
    register("numba:compile", listener)
    return listener


class _Kernel:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._cached = True

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        try:
            return cast("Callable[..., Any]", numba.njit(cache=True, **_OPTIONS)(self.function))
        except RuntimeError:
            _warn_once()
            return self._without_cache()

    def _without_cache(self) -> Callable[..., Any]:
        self._cached = False
        return cast("Callable[..., Any]", numba.njit(**_OPTIONS)(self.function))

    def __call__(self, *args: Any) -> Any:
        compilation = _compilation()
        result = self._call(*args)
        if compilation.interrupted:
            compilation.release()
        return result

    def _call(self, *args: Any) -> Any:
        if not self._cached:
            return self._compiled(*args)
        try:
            return self._compiled(*args)
        except Exception:
            # A damaged cache fails before the first instruction runs, so that the call can be made again.
            self._compiled = self._without_cache()
            result = self._compiled(*args)
            _warn_once()
            return result
