"""Tracers for the contrib instrumentations of clients.

They look up the real tracer for each span, so that forks and several services work. They trace a
call only in a recorded span: an outgoing call alone makes no trace.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.spans.calls import attach, detach
from otel_cinder.spans.runtime import end_span, runtime

Describe = Callable[[Span, Mapping[str, Any]], None]
"""Sets those of an instrumentation's attributes on a span that may be recorded."""

Fail = Callable[[Span, BaseException], None]
"""Records an exception on a span."""


class ClientTracers(trace.TracerProvider):
    """Hands an instrumentation a tracer of ours.

    Args:
        seam: for log messages.
        is_on: returns False to suppress spans.
        describe: gets each attribute that the instrumentation sets, instead of the span.
        fail: gets an exception of the call, which goes on unchanged.
    """

    def __init__(
        self, seam: str, is_on: Callable[[], bool], describe: Describe, fail: Fail
    ) -> None:
        self._tracer = _ClientTracer(seam, is_on, describe, fail)

    def get_tracer(self, *_args: Any, **_kwargs: Any) -> trace.Tracer:
        return self._tracer


class _ClientTracer(trace.NoOpTracer):
    def __init__(
        self, seam: str, is_on: Callable[[], bool], describe: Describe, fail: Fail
    ) -> None:
        self._seam = seam
        self._is_on = is_on
        self._describe = describe
        self._fail = fail

    @contextlib.contextmanager
    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.CLIENT,
        attributes: Mapping[str, Any] | None = None,
        **_kwargs: Any,
    ) -> Iterator[Span]:
        """A span around the call if the current one is recorded; else a span without effect."""
        try:
            context = otel_context.get_current()
            begins = trace.get_current_span(context).is_recording() and self._is_on()
            span = runtime.start_span(name, context, kind) if begins else trace.INVALID_SPAN
            described = _DescribedSpan(span, self._seam, self._describe)
        except Exception as error:
            log_internal_error(self._seam, error)
            begins = False
        if not begins:
            yield trace.INVALID_SPAN
            return
        described.set_attributes(attributes or {})
        token = attach(self._seam, trace.set_span_in_context(span, context))
        try:
            yield cast("Span", described)
        except BaseException as error:
            try:
                self._fail(span, error)
            except Exception as problem:
                log_internal_error(self._seam, problem)
            raise
        finally:
            detach(self._seam, token)
            end_span(span)


class _DescribedSpan:
    """The instrumentation's view of a span: `Describe` sets its attributes."""

    def __init__(self, span: Span, seam: str, describe: Describe) -> None:
        self._span = span
        self._seam = seam
        self._describe = describe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        try:
            self._describe(self._span, attributes)
        except Exception as error:
            log_internal_error(self._seam, error)
