"""The context goes along to greenthreads, native threads and pools, and does not stay behind there.

A greenthread or thread begins with an empty context. Whatever a request starts gets the request's;
what it hands to a pool gets it for as long as that piece of work runs. A pool's own workers, which
outlive the request that happened to start them, get none.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_cinder.core.patching import PatchSet, complain

SEAM: Final = "concurrency"

_INFRASTRUCTURE: Final = (
    "amqp.",
    "kombu.",
    "opentelemetry.",
    "oslo_messaging.",
    "oslo_privsep.",
    "otel_cinder.",
)
"""Modules whose threads serve all requests, although one of them starts them: a connection's
heartbeat, the thread that waits for RPC replies, or for the privileged daemon's."""

_EMPTY: Final = Context()


def patch(patches: PatchSet) -> None:
    """Carry the context wherever Cinder and its libraries hand work to."""
    patches.wrap(SEAM, "eventlet.greenthread:GreenThread.__init__", _green_thread)
    patches.wrap(SEAM, "eventlet.greenthread:_spawn_n", _spawn_n)
    patches.wrap(SEAM, "eventlet.tpool:execute", _submit)
    patches.wrap(SEAM, "futurist._futures:ThreadPoolExecutor.submit", _submit)
    patches.wrap(SEAM, "futurist._futures:GreenThreadPoolExecutor.submit", _submit)
    patches.wrap(SEAM, "concurrent.futures.thread:ThreadPoolExecutor.submit", _submit)
    patches.wrap(SEAM, "threading:Thread.start", _start)


def _green_thread(
    wrapped: Callable[..., Any], green: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    wrapped(*args, **kwargs)
    _give(green)


def _spawn_n(
    wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    timer_and_greenlet = wrapped(*args, **kwargs)
    _give(timer_and_greenlet[1])
    return timer_and_greenlet


def _give(green: Any) -> None:
    """Let a greenlet that has not run yet begin in the current context.

    It gets a ``contextvars`` context with nothing but OpenTelemetry's variable: other libraries'
    variables begin empty in a greenthread, as they always did.
    """
    try:
        context = otel_context.get_current()
        if context:
            begin = contextvars.Context()
            begin.run(otel_context.attach, context)
            green.gr_context = begin
    except Exception as error:
        complain(SEAM, error)


def _submit(
    wrapped: Callable[..., Any], _pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``pool.submit(function, ...)``: a worker thread that this starts gets no context."""
    context = otel_context.get_current()
    if not context or not args:
        return wrapped(*args, **kwargs)
    token = otel_context.attach(_EMPTY)
    try:
        return wrapped(functools.partial(_run_in, context, args[0]), *args[1:], **kwargs)
    finally:
        otel_context.detach(token)


def _start(
    wrapped: Callable[..., Any], thread: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    context = otel_context.get_current()
    if not context:
        return wrapped(*args, **kwargs)
    carries = _carries(thread)
    if carries:
        # On the instance, so that a subclass's own run() is covered; gone when it begins.
        thread.run = functools.partial(_run_thread, context, thread)
    # Under eventlet a thread is a greenthread, and would get the context as one of those.
    token = otel_context.attach(_EMPTY)
    try:
        return wrapped(*args, **kwargs)
    except BaseException:
        if carries:
            thread.__dict__.pop("run", None)
        raise
    finally:
        otel_context.detach(token)


def _carries(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", None) or type(thread).__module__
    return "run" not in vars(thread) and not module.startswith(_INFRASTRUCTURE)


def _run_thread(context: Context, thread: threading.Thread) -> None:
    thread.__dict__.pop("run", None)
    _run_in(context, thread.run)


def _run_in(context: Context, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run ``function`` in ``context`` and leave the thread's own behind."""
    token = otel_context.attach(context)
    try:
        return function(*args, **kwargs)
    finally:
        otel_context.detach(token)
