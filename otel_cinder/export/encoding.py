"""Spans as an OTLP request, in a quarter of the time that the exporter's own encoder takes.

That encoder makes a message for each attribute, and protobuf copies each message into the next. Here
messages are filled in their final place. The result is the same, and the exporter's own encoder takes
over for any value that this one does not know. There is one difference: an attribute that is NaN or
infinite is left out, and counted as dropped. JSON has no such numbers, so that Jaeger's API answers
500 for the trace, and for every search that finds it.

A span can be packed as soon as it ends. Then a string of bytes waits for the next export. The span
itself, some twenty objects, would survive young collections of Python's garbage collector, and so
cause full ones, which go through everything that Cinder has in memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind

# OTLP's numbers, trace.proto of opentelemetry-proto 1.x.
_KINDS: Final = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_KNOWS_IF_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200

Packed = tuple[bytes, Resource, InstrumentationScope | None]
"""A span as an OTLP message, with its resource and scope."""


def load() -> None:
    """Import everything that encoding needs."""
    _messages()
    _exporters_own()


@functools.cache
def _exporters_own() -> Callable[[Sequence[ReadableSpan]], Any]:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    return encode_spans


def encode_spans(spans: Sequence[ReadableSpan | Packed]) -> Any:
    """``spans`` as an ExportTraceServiceRequest, by the exporters' own encoder where need be."""
    try:
        return encode(spans)
    except Exception:  # a value that OTLP has no place for: the exporters' own knows what to do
        request = _exporters_own()([span for span in spans if not isinstance(span, tuple)])
        _leave_out_no_numbers(request)
        request.MergeFrom(encode([span for span in spans if isinstance(span, tuple)]))
        return request


def pack(span: ReadableSpan) -> Packed | ReadableSpan:
    """A span that has ended, for `encode`; as it is, if it has a value that can't be encoded."""
    try:
        message = _add_span(_messages().Span, span)
        return message.SerializePartialToString(), span.resource, span.instrumentation_scope
    except Exception:
        return span


def encode(spans: Sequence[ReadableSpan | Packed]) -> Any:
    """``spans`` as an ExportTraceServiceRequest. Raises for a value that can't be encoded."""
    request = _messages().Request()
    resources: dict[int, Any] = {}
    scopes: dict[tuple[int, int], Any] = {}
    for span in spans:
        if isinstance(span, tuple):
            packed, resource, scope = span
        else:
            resource, scope = span.resource, span.instrumentation_scope
        # By identity: to hash a resource, the SDK writes all of it as JSON.
        place = id(resource), id(scope)
        of_scope = scopes.get(place)
        if of_scope is None:
            of_resource = resources.get(place[0])
            if of_resource is None:
                of_resource = resources[place[0]] = request.resource_spans.add()
                _add_resource(of_resource, resource)
            of_scope = scopes[place] = of_resource.scope_spans.add()
            _add_scope(of_scope, scope)
        if isinstance(span, tuple):
            of_scope.spans.add().MergeFromString(packed)
        else:
            _add_span(of_scope.spans.add, span)
    return request


class _Messages(NamedTuple):
    Request: Any
    Span: Any


@functools.cache
def _messages() -> _Messages:
    # Late: protobuf takes its time, and a process may never export.
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    return _Messages(ExportTraceServiceRequest, Span)


def _add_resource(message: Any, resource: Resource) -> None:
    message.resource.SetInParent()
    _add_attributes(message.resource, resource.attributes)
    message.schema_url = resource.schema_url or ""


def _add_scope(message: Any, scope: InstrumentationScope | None) -> None:
    message.scope.SetInParent()
    if scope is not None:
        message.scope.name = scope.name
        message.scope.version = scope.version or ""
        _add_attributes(message.scope, scope.attributes)
        message.schema_url = scope.schema_url or ""


def _add_span(make: Callable[..., Any], span: ReadableSpan) -> Any:
    context, parent = span.get_span_context(), span.parent
    if context is None:
        raise TypeError("a span without a context")
    message = make(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
        dropped_attributes_count=span.dropped_attributes,
        dropped_events_count=span.dropped_events,
        dropped_links_count=span.dropped_links,
        flags=_flags(parent),
    )
    if parent is not None:
        message.parent_span_id = parent.span_id.to_bytes(8, "big")
    if context.trace_state:
        message.trace_state = ",".join(f"{k}={v}" for k, v in context.trace_state.items())
    message.status.SetInParent()
    if span.status.status_code.value:
        message.status.code = span.status.status_code.value
        message.status.message = span.status.description or ""
    _add_attributes(message, span.attributes)
    for event in span.events:
        _add_event(message.events, event)
    for link in span.links:
        _add_link(message.links, link)
    return message


def _add_event(messages: Any, event: Event) -> None:
    message = messages.add(
        name=event.name,
        time_unix_nano=event.timestamp,
        dropped_attributes_count=event.dropped_attributes,
    )
    _add_attributes(message, event.attributes)


def _add_link(messages: Any, link: Link) -> None:
    message = messages.add(
        trace_id=link.context.trace_id.to_bytes(16, "big"),
        span_id=link.context.span_id.to_bytes(8, "big"),
        dropped_attributes_count=link.dropped_attributes,
        flags=_flags(link.context),
    )
    _add_attributes(message, link.attributes)


def _flags(context: SpanContext | None) -> int:
    is_remote = context is not None and context.is_remote
    return _KNOWS_IF_REMOTE | _IS_REMOTE if is_remote else _KNOWS_IF_REMOTE


class _NoNumberError(ValueError):
    """A float is NaN or infinite."""


def _add_attributes(owner: Any, attributes: Mapping[str, Any] | None) -> None:
    messages = owner.attributes
    for key, value in (attributes or {}).items():
        message = messages.add()
        message.key = key
        try:
            _set(message.value, value)
        except _NoNumberError:
            del messages[-1]
            owner.dropped_attributes_count += 1


def _set(message: Any, value: Any) -> None:
    """Put ``value`` into an AnyValue."""
    kind = type(value)
    if kind is str:
        message.string_value = value
    elif kind is bool:
        message.bool_value = value
    elif kind is int:
        message.int_value = value
    elif kind is float:
        if not math.isfinite(value):
            raise _NoNumberError
        message.double_value = value
    elif kind in (tuple, list):
        message.array_value.SetInParent()
        for item in value:
            _set(message.array_value.values.add(), item)
    else:
        raise TypeError(f"an attribute of class {kind.__name__}")


def _leave_out_no_numbers(request: Any) -> None:
    """Drop the same attributes as `_add_attributes`, from the other encoder's request."""
    for of_resource in request.resource_spans:
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                for owner in (span, *span.events, *span.links):
                    for index in reversed(range(len(owner.attributes))):
                        if not _is_finite(owner.attributes[index].value):
                            del owner.attributes[index]
                            owner.dropped_attributes_count += 1


def _is_finite(value: Any) -> bool:
    """False if an AnyValue is NaN or infinite, or contains such a number."""
    parts = [*value.array_value.values, *(pair.value for pair in value.kvlist_value.values)]
    return math.isfinite(value.double_value) and all(map(_is_finite, parts))
