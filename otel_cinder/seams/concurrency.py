"""The context goes along to greenthreads, native threads and pools, and does not stay behind there.

A greenthread or thread begins with an empty context. What Cinder's code starts for a request gets the
request's; what it hands to a pool gets it for as long as that piece of work runs. A pool's own workers,
which outlive the request that happened to start them, get none. Nor do threads that a library starts
for itself: a pooled SSH connection, the one that waits for RPC replies. Whose code it is says the work,
and where that does not tell, who hands it over.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_cinder.cinder.packages import is_cinders
from otel_cinder.patching import patch_set
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans import at_work
from otel_cinder.spans.calls import attach, detach

SEAM: Final = "concurrency"

_GO_BETWEEN: Final = sys.stdlib_module_names | {
    "debtcollector",
    "eventlet",
    "futurist",
    "oslo_service",
    "taskflow",
    "wrapt",
}
"""Packages that run work for others: on the stack they are between the two."""

_POOLS: Final = frozenset({"concurrent", "futurist", "multiprocessing"})
"""Packages whose threads are workers of a pool."""

_HERE: Final = frozenset({__name__, patch_set.__name__})

_BOOTSTRAP: Final = "_bootstrap_inner"
"""The method that is a thread's whole life, since Python 3.0. Only ``Thread`` uses the name."""

_EMPTY: Final = Context()


def patch(patches: PatchSet) -> None:
    """Carry the context wherever Cinder hands work to."""
    patches.wrap(SEAM, "eventlet.greenthread:GreenThread.__init__", _green_thread)
    patches.wrap(SEAM, "eventlet.greenthread:_spawn_n", _spawn_n)
    patches.wrap(SEAM, "eventlet.tpool:execute", _submit)
    patches.wrap(SEAM, "futurist._futures:ThreadPoolExecutor.submit", _submit)
    patches.wrap(SEAM, "futurist._futures:GreenThreadPoolExecutor.submit", _submit)
    patches.wrap(SEAM, "concurrent.futures.thread:ThreadPoolExecutor.submit", _submit)
    # apply() and the maps that wait come here, too.
    for method in ("apply_async", "_map_async", "imap", "imap_unordered"):
        patches.wrap(SEAM, f"multiprocessing.pool:Pool.{method}", _submit_to_threads)
    patches.wrap(SEAM, "threading:Thread.start", _start)


def _green_thread(
    wrapped: Callable[..., Any], green: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``GreenThread(parent)``."""
    result = wrapped(*args, **kwargs)
    try:
        _give(green)
    except Exception as error:
        log_internal_error(SEAM, error)
    return result


def _spawn_n(
    wrapped: Callable[..., Any],
    _instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``_spawn_n(seconds, function, ...)``: a timer, and a greenlet that is no `GreenThread`."""
    timer_and_greenlet = wrapped(*args, **kwargs)
    try:
        _give(timer_and_greenlet[1])
    except Exception as error:
        log_internal_error(SEAM, error)
    return timer_and_greenlet


def _give(green: Any) -> None:
    """Let a greenlet that has not run yet begin in the current context.

    It gets a ``contextvars`` context with nothing but OpenTelemetry's variable: other libraries'
    variables begin empty in a greenthread, as they always did.
    """
    context = otel_context.get_current()
    if context and is_cinders(_starter()):
        begin = contextvars.Context()
        begin.run(otel_context.attach, context)
        green.gr_context = begin


def _submit_to_threads(
    wrapped: Callable[..., Any], pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``Pool.apply_async(function, ...)`` of a pool of threads; one of processes is left alone."""
    if isinstance(pool, sys.modules["multiprocessing.pool"].ThreadPool):
        return _submit(wrapped, pool, args, kwargs)
    return wrapped(*args, **kwargs)


def _submit(
    wrapped: Callable[..., Any], _pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``pool.submit(function, ...)``: a worker thread that this starts gets no context."""
    token = None
    try:
        context = otel_context.get_current()
        if context:
            token = otel_context.attach(_EMPTY)
            if args and _is_work(args[0]):
                args = (functools.partial(_run_in, context, args[0]), *args[1:])
    except Exception as error:
        log_internal_error(SEAM, error)
    try:
        return wrapped(*args, **kwargs)
    finally:
        detach(SEAM, token)


def _start(
    wrapped: Callable[..., Any],
    thread: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``Thread.start()``."""
    token = None
    try:
        context = otel_context.get_current()
        if context:
            # Under eventlet a thread is a greenthread, and would get the context as one of those.
            token = otel_context.attach(_EMPTY)
            if _carries(thread):
                # On the instance, and not run(), which is the host's; gone when it begins.
                vars(thread)[_BOOTSTRAP] = functools.partial(_bootstrap, context, thread)
    except Exception as error:
        log_internal_error(SEAM, error)
    try:
        return wrapped(*args, **kwargs)
    except BaseException:
        _forget(thread)
        raise
    finally:
        detach(SEAM, token)


def _is_work(function: Any) -> bool:
    """Return whether a piece of work is Cinder's, or was handed over by Cinder."""
    return is_cinders(_starter()) or is_cinders(_package(function))


def _carries(thread: threading.Thread) -> bool:
    """Return whether a thread is Cinder's work. If its code is a library's, it is that library's own."""
    if "run" in vars(thread):
        return False
    target = getattr(thread, "_target", None)
    package = _package(type(thread) if target is None else target)
    if package in _POOLS:
        return False
    if not package or package in _GO_BETWEEN:
        package = _starter()
    return is_cinders(package)


def _package(work: Any) -> str:
    """Top-level name of a function's or class's module; empty if unknown."""
    while type(work) is functools.partial:
        work = work.func
    module = getattr(work, "__module__", None)
    return module.partition(".")[0] if type(module) is str else ""


def _starter() -> str:
    """Return the package that hands work to a go-between right now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if type(module) is str and module not in _HERE:
            package = module.partition(".")[0]
            if package not in _GO_BETWEEN and not module.startswith(
                "opentelemetry.instrumentation."
            ):
                return package
        frame = frame.f_back
    return "__main__"  # nothing but a thread's beginning: the process's own


def _bootstrap(context: Context, thread: threading.Thread) -> None:
    """A thread's life, in ``context``."""
    _forget(thread)
    _run_in(context, getattr(thread, _BOOTSTRAP))


def _forget(thread: threading.Thread) -> None:
    try:
        vars(thread).pop(_BOOTSTRAP, None)
    except Exception as error:  # a class that hides its instances' __dict__
        log_internal_error(SEAM, error)


def _run_in(context: Context, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run ``function`` in ``context`` and leave the thread's own behind."""
    token = attach(SEAM, context)
    taken = at_work.take_up(context)
    try:
        return function(*args, **kwargs)
    finally:
        at_work.lay_down(taken)
        detach(SEAM, token)
