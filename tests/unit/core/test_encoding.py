"""Spans as OTLP: what our encoder makes is what the exporter's own makes, to the last field."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

import otel_cinder
from otel_cinder.core import encoding

REMOTE = SpanContext(
    0xABC << 100,
    0xDEF << 40,
    True,
    TraceFlags(1),
    TraceState([("otelcinder", "1:2:f"), ("b", "c")]),
)


@pytest.fixture(scope="module")
def spans() -> Sequence[ReadableSpan]:
    """Spans of two services and two scopes, with whatever a span can have."""
    found = InMemorySpanExporter()
    for service in ("cinder-api", "cinder-volume"):
        resource = Resource({"service.name": service, "worker": 3}, "https://schema.example/1")
        provider = TracerProvider(
            resource=resource, span_limits=SpanLimits(max_events=2, max_links=1, max_attributes=9)
        )
        provider.add_span_processor(SimpleSpanProcessor(found))
        for tracer in (
            provider.get_tracer("otel_cinder", "1.2"),
            provider.get_tracer(
                "another", schema_url="https://schema.example/2", attributes={"a": 1}
            ),
        ):
            _make(tracer)
    return found.get_finished_spans()


def _make(tracer: Any) -> None:
    for kind in SpanKind:
        with tracer.start_as_current_span(kind.name, kind=kind):
            pass
    values: dict[str, Any] = {
        "text": "卷 \N{GREEK SMALL LETTER ALPHA}",
        "empty": "",
        "yes": True,
        "no": False,
        "number": -5,
        "zero": 0,
        "large": 2**62,
        "float": 1.5,
        "texts": ["a", "b"],
        "dropped": "beyond the limit",
    }
    remote = set_span_in_context(NonRecordingSpan(REMOTE))
    span = tracer.start_span("remote parent", remote, links=[Link(REMOTE, {"l": 1}), Link(REMOTE)])
    span.set_attributes(values)
    span.set_attribute("numbers", [1, 2])
    for number in range(3):
        span.add_event("log", {"log.message": f"line {number}", "flags": [True, False]}, number + 1)
    span.add_event("bare")
    span.set_status(Status(StatusCode.ERROR, "NoValidBackend: none"))
    span.end()
    with tracer.start_as_current_span("fine") as span:
        span.set_status(StatusCode.OK)
        span.set_attribute("numbers", [1, 2])


def test_it_is_the_same_message(spans: Sequence[ReadableSpan]) -> None:
    """Resources, scopes, spans, events, links, states and limits: as the exporter's own has them."""
    assert len(spans) == 4 * (len(SpanKind) + 2)
    ours = encoding.encode(spans)
    assert ours == encode_spans(spans)
    assert ours.SerializePartialToString() == encode_spans(spans).SerializePartialToString()
    assert len(ours.resource_spans) == 2


def test_packed_spans_are_the_same_message(spans: Sequence[ReadableSpan]) -> None:
    """What was packed at its end, all of it or here and there, is what it would have been."""
    packed = [encoding.pack(span) for span in spans]
    assert {type(one) for one in packed} == {tuple}
    assert encoding.encode(packed) == encode_spans(spans)
    mixed = [one if number % 3 else span for number, (one, span) in enumerate(zip(packed, spans))]
    assert encoding.encode(mixed) == encode_spans(spans)


def test_no_spans() -> None:
    """Nothing is an empty request."""
    assert encoding.encode([]) == encode_spans([])


@pytest.fixture
def instrumented() -> Iterator[None]:
    """Tracing is on for one test."""
    otel_cinder.instrument()
    yield
    otel_cinder.uninstrument()


def test_the_exporter_encodes_by_it(
    instrumented: None, spans: Sequence[ReadableSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While tracing is on the OTLP exporter uses it, and afterwards its own again."""
    asked: list[Sequence[ReadableSpan]] = []
    original = encoding.encode
    monkeypatch.setattr(encoding, "encode", lambda some: asked.append(some) or original(some))
    assert trace_exporter.encode_spans(spans) == encode_spans(spans)
    assert asked == [spans]
    otel_cinder.uninstrument()
    assert trace_exporter.encode_spans is encode_spans


def test_what_it_does_not_know_is_left_to_the_exporters_own(
    instrumented: None, spans: Sequence[ReadableSpan]
) -> None:
    """A value for which it has no place is encoded as before."""
    odd = ReadableSpan(
        "odd", spans[0].context, attributes={"bytes": b"\x00\xff", "none": None}, start_time=1
    )
    with pytest.raises(TypeError, match="bytes"):
        encoding.encode([odd])
    assert trace_exporter.encode_spans([odd]) == encode_spans([odd])
    assert encoding.pack(odd) is odd
    beside = encoding.pack(spans[0])
    request = trace_exporter.encode_spans([odd, beside])  # type: ignore[list-item]
    assert [
        span.name
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ] == ["odd", spans[0].name]


def test_a_release_without_such_a_place_is_let_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exporter that encodes otherwise goes on doing so, and nobody is warned of it."""
    monkeypatch.delattr(trace_exporter, "encode_spans")
    otel_cinder.instrument()
    try:
        assert not hasattr(sys.modules[trace_exporter.__name__], "encode_spans")
        assert "encode_spans" not in caplog.text
    finally:
        otel_cinder.uninstrument()
