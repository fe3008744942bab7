"""Finds the frames of the thread or greenthread that works for an open span, from a native thread.

Only file, line and function of its frames are taken, never a value. Nothing of eventlet's is called:
a greenthread that waits shows its frame (``gr_frame``), one that runs is what its native thread does.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_cinder.export.native_thread import threads_are_green, unpatched
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.spans.open import OpenSpan

FRAMES_LIMIT: Final = 32
"""The number of recorded frames of a stack, the innermost ones."""

_DEEPEST: Final = 256
"""Frames that are looked at to find these."""

_WORKERS: Final = "_otel_cinder_workers"
"""Attribute of a span: the other threads that work for it, by a number."""

_BETWEEN: Final = tuple(
    f"{os.sep}{package}{os.sep}"
    for package in ("otel_cinder", "wrapt", "taskflow", "automaton", "futurist")
)
"""Packages whose frames are left out, because they only pass calls on."""

_EMBEDDING: Final = frozenset({"uwsgi", "mod_wsgi"})
"""Servers that run Python inside: CPython 3.11's look at all threads may follow thread states that they
have left behind, and crash."""

_WAITING: Final = tuple(f"{os.sep}{package}{os.sep}" for package in ("eventlet", "greenlet"))
_INSTALLED: Final = ("site-packages", "dist-packages")
_STDLIB: Final = str(Path(os.__file__).parent)


class _Worker(NamedTuple):
    """A thread or greenthread that was given a piece of work."""

    thread: int
    greenlet: ref[Any] | None


def take_up(context: Context) -> Any:
    """Note that this thread works for the current span of ``context``; for `lay_down`.

    Never raises.
    """
    try:
        span: Any = context.get(_SPAN_KEY)
        if not isinstance(span, Span) or not span.is_recording():
            return None  # none, or another SDK's
        workers: dict[int, _Worker] = vars(span).setdefault(_WORKERS, {})
        green = sys.modules["greenlet"].getcurrent() if threads_are_green() else None
        worker = _Worker(unpatched("_thread").get_ident(), None if green is None else ref(green))
        workers[id(worker)] = worker
        return workers, worker
    except Exception as error:
        log_internal_error("concurrency", error)
        return None


def lay_down(taken: Any) -> None:
    """Note that this thread no longer works for the span. Never raises."""
    try:
        if taken is not None:
            workers, worker = taken
            workers.pop(id(worker), None)
    except Exception as error:
        log_internal_error("concurrency", error)


def worker_of(found: OpenSpan) -> OpenSpan:
    """The thread that works for a span: the last one that it was handed to, else the one that started it."""
    workers = list(getattr(found.span, _WORKERS, {}).values())
    if not workers:
        return found
    thread, green = workers[-1]
    return OpenSpan(found.span, thread, None if green is None else green())


def stack_of(worker: OpenSpan) -> list[str]:
    """Its frames, the innermost first: ``/…/rbd.py:812 in RBDDriver.create_volume``; or none.

    What only waits (eventlet, the standard library) is left out at the inner end, and what we, wrapt
    and TaskFlow stand between the host's functions everywhere.
    """
    frames: list[tuple[str, int | None, str]] = []
    frame = _frame_of(worker)
    while frame is not None and len(frames) < _DEEPEST:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        frames.append((code.co_filename, frame.f_lineno, name))
        frame = frame.f_back
    shown = [each for each in frames if not _is_between(each[0])]
    begin = next((i for i, each in enumerate(shown) if not _only_waits(each[0])), 0)
    return [f"{file}:{line} in {name}" for file, line, name in shown[begin : begin + FRAMES_LIMIT]]


def is_running(worker: OpenSpan) -> bool:
    """True if it is a greenthread that runs just now, so that its thread's hub waits."""
    green = worker.greenlet
    return green is not None and green.gr_frame is None and not green.dead


def hub_readings(worker: OpenSpan) -> Any:
    """A value that changes as soon as the hub of a running greenthread has run again.

    The hub reads its clock at each turn. None if the hub's frame is unknown.
    """
    hub = worker.greenlet.parent
    frame = None if hub is None else hub.gr_frame
    if frame is None:
        return None
    readings: list[Any] = [id(worker.greenlet)]
    while frame is not None:
        numbers = [value for value in frame.f_locals.values() if type(value) is float]
        readings.append((id(frame.f_code), frame.f_lasti, *numbers))
        frame = frame.f_back
    return readings


def _frame_of(worker: OpenSpan) -> FrameType | None:
    green = worker.greenlet
    if green is not None:
        if green.dead:
            return None
        if green.gr_frame is not None:
            frame: FrameType = green.gr_frame
            return frame
    if not _EMBEDDING.isdisjoint(sys.modules):
        return None
    return sys._current_frames().get(worker.thread)


@functools.lru_cache(maxsize=4096)
def _is_between(file: str) -> bool:
    return any(package in file for package in _BETWEEN)


@functools.lru_cache(maxsize=4096)
def _only_waits(file: str) -> bool:
    """True if a file is Python's own or eventlet's."""
    if file.startswith("<frozen") or any(package in file for package in _WAITING):
        return True
    return file.startswith(_STDLIB) and not any(folder in file for folder in _INSTALLED)
