"""The spans of this process that have not ended, each with the thread or greenthread that began it.

Written wherever a span starts and ends, so it takes no lock: a fork, a greenthread or a signal
could leave it locked. Each change is one operation on a dictionary, which is whole at any moment. Spans
are held weakly: one that is dropped without an end goes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from otel_cinder import conventions
from otel_cinder.export.native_thread import threads_are_green, unpatched
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.spans import clock

LIMIT: Final = 8192
"""Open spans that are known; there are more only where something leaks them."""

_FIRST_SWEEP: Final = 256
"""From this number of entries on, those of dropped spans are removed."""

_STOPPED: Final = "the service stopped while this ran"


class OpenSpan(NamedTuple):
    """A span that has not ended, and the thread and greenthread that started it."""

    span: Span
    thread: int
    """Ident of the native thread."""
    greenlet: Any = None
    """The greenthread, if it was one and still exists."""


class OpenSpans(SpanProcessor):
    """Knows the open spans of a provider, and hands those that end on.

    Args:
        then: gets each span that ends, if given.
        begin: called at the first span. Must not raise.
    """

    def __init__(
        self, then: SpanProcessor | None = None, begin: Callable[[], None] | None = None
    ) -> None:
        self._open: dict[int, tuple[ref[Span], int, Any]] = {}
        """By span id, in the order of their starts."""
        self._then = then
        self._begin = begin
        self._cut_off: set[int] = set()
        """Ids of spans that were handed on before their end."""
        self._room = _FIRST_SWEEP
        self._thread: Callable[[], int] = unpatched("_thread").get_ident
        self._greenlet: Callable[[], Any] | None = (
            sys.modules["greenlet"].getcurrent if threads_are_green() else None
        )
        self.left_out = 0
        """Spans that were not registered because there were too many, so far."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Register a recorded span. Never raises."""
        try:
            if len(self._open) >= self._room and not self._make_room():
                return
            greenlet = self._greenlet
            self._open[span.context.span_id] = (
                ref(span),
                self._thread(),
                None if greenlet is None else ref(greenlet()),
            )
            if self._begin is not None:
                begin, self._begin = self._begin, None
                begin()
        except Exception as error:
            log_internal_error("runtime", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Forget a span, and hand it on, unless that was done before its end."""
        span_id = span.context.span_id
        if self._open.pop(span_id, None) is None and span_id in self._cut_off:
            return
        if self._then is not None:
            self._then.on_end(span)

    def shutdown(self) -> None:
        """Forget all."""
        self._open.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export the ended spans. False if it took longer than ``timeout_millis``."""
        return self._then is None or self._then.force_flush(timeout_millis)

    def __len__(self) -> int:
        return len(self._open)

    def snapshot(self) -> list[OpenSpan]:
        """The open spans, the oldest first. For any thread."""
        found = []
        for span_id, (span_ref, thread, greenlet_ref) in self._open.copy().items():
            span = span_ref()
            if span is None:
                self._open.pop(span_id, None)
            else:
                greenlet = None if greenlet_ref is None else greenlet_ref()
                found.append(OpenSpan(span, thread, greenlet))
        return found

    def cut_off(self) -> int:
        """Hand the open spans on as errors, because the process ends. Return their number.

        The spans themselves are left to their owners; if one of them ends later, it is not handed on again.
        """
        count = 0
        for each in self.snapshot():
            span_id = each.span.get_span_context().span_id
            self._cut_off.add(span_id)
            if self._open.pop(span_id, None) is None:
                self._cut_off.discard(span_id)  # its owner has just ended it
            elif self._then is not None:
                self._then.on_end(_cut_short(each.span))
                count += 1
        return count

    def _make_room(self) -> bool:
        """Forget dropped spans. True if there is room for one more."""
        if self.left_out % _FIRST_SWEEP:  # a look at all of them takes its time: not at each start
            self.left_out += 1
            return False
        count = len(self.snapshot())
        self._room = min(max(_FIRST_SWEEP, 2 * count), LIMIT)
        if count >= LIMIT:
            self.left_out += 1
        return count < LIMIT


def _cut_short(span: Span) -> ReadableSpan:
    """``span`` as it is, ended now as an error. One that is an error already keeps its reason."""
    said = dict(span.attributes or {})
    said.setdefault(conventions.ERROR_TYPE, conventions.STOPPED)
    status = span.status
    if status.status_code is not StatusCode.ERROR:
        status = Status(StatusCode.ERROR, _STOPPED)
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=said,
        events=tuple(span.events),
        links=tuple(span.links),
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=status,
        start_time=span.start_time,
        end_time=clock.now(span),
    )
