"""What the contrib instrumentations of clients get for a tracer.

It looks the real one up at each span, so after every fork and by the service at work, and lets them
trace only what a recorded span asks for: an outgoing call of nobody's is no trace.
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
"""Says of a span what may be said of the attributes that the instrumentation has for it."""

Fail = Callable[[Span, BaseException], None]
"""Says of a span what may be said of what was raised in it."""


class ClientTracers(trace.TracerProvider):
    """Hands an instrumentation a tracer of ours.

    Args:
        seam: named in complaints.
        is_on: whether there is to be a span at all.
        describe: gets each attribute that the instrumentation sets, instead of the span.
        fail: gets what the call has raised, which goes on unchanged.
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
        """A span around the call, where a recorded one is current; else one that takes nothing."""
        try:
            context = otel_context.get_current()
            begins = trace.get_current_span(context).is_recording() and self._is_on()
            span = runtime.start_span(name, context, kind) if begins else trace.INVALID_SPAN
            said = _Said(span, self._seam, self._describe)
        except Exception as error:
            log_internal_error(self._seam, error)
            begins = False
        if not begins:
            yield trace.INVALID_SPAN
            return
        said.set_attributes(attributes or {})
        token = attach(self._seam, trace.set_span_in_context(span, context))
        try:
            yield cast("Span", said)
        except BaseException as error:
            try:
                self._fail(span, error)
            except Exception as problem:
                log_internal_error(self._seam, problem)
            raise
        finally:
            detach(self._seam, token)
            end_span(span)


class _Said:
    """The span as the instrumentation sees it: what it says of it, `Describe` says."""

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
