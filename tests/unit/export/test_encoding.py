"""Spans as OTLP: our encoder's output equals that of the exporter's own, to the last field."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
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
from otel_cinder.export import encoding, results
from otel_cinder.export.otlp_http import OtlpHttpExporter
from otel_cinder.export.queues import BatchSpanProcessor
from otel_cinder.export.signals import SPANS
from otel_cinder.spans.runtime import runtime
from tests.receiver import Receiver

REMOTE = SpanContext(
    0xABC << 100,
    0xDEF << 40,
    True,
    TraceFlags(1),
    TraceState([("otelcinder", "1:2:f"), ("b", "c")]),
)


@pytest.fixture(scope="module")
def spans() -> Sequence[ReadableSpan]:
    """Spans of two services and two scopes, with everything that a span can have."""
    kept = InMemorySpanExporter()
    for service in ("cinder-api", "cinder-volume"):
        resource = Resource({"service.name": service, "worker": 3}, "https://schema.example/1")
        provider = TracerProvider(
            resource=resource, span_limits=SpanLimits(max_events=2, max_links=1, max_attributes=9)
        )
        provider.add_span_processor(SimpleSpanProcessor(kept))
        for tracer in (
            provider.get_tracer("otel_cinder", "1.2"),
            provider.get_tracer(
                "another", schema_url="https://schema.example/2", attributes={"a": 1}
            ),
        ):
            _make(tracer)
    return kept.get_finished_spans()


def encode_spans(spans: Sequence[ReadableSpan]) -> Any:
    """As the exporter's own encoder does, with what older ones leave out of a scope."""
    request = trace_encoder.encode_spans(spans)
    for group in request.resource_spans:
        for scoped in group.scope_spans:
            if scoped.scope.name == "another" and not scoped.schema_url:
                scoped.schema_url = "https://schema.example/2"
                scoped.scope.attributes.add(key="a").value.int_value = 1
    return request


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
    """A request with packed spans, all or some of them, equals one without."""
    packed = [encoding.pack(span) for span in spans]
    assert {type(one) for one in packed} == {tuple}
    assert encoding.encode(packed) == encode_spans(spans)
    mixed = [one if number % 3 else span for number, (one, span) in enumerate(zip(packed, spans))]
    assert encoding.encode(mixed) == encode_spans(spans)


def test_no_spans() -> None:
    """Nothing is an empty request."""
    assert encoding.encode([]) == encode_spans([])


def test_the_exporter_encodes_by_it(
    spans: Sequence[ReadableSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our exporters use it; the SDK's own are let be."""
    batches: list[Sequence[ReadableSpan]] = []
    original = encoding.encode
    monkeypatch.setattr(encoding, "encode", lambda some: batches.append(some) or original(some))
    otel_cinder.instrument()
    try:
        with Receiver() as receiver, pytest.MonkeyPatch.context() as environment:
            environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
            exporter = OtlpHttpExporter(SPANS, os.environ, grpc=False)
            assert exporter.deliver(spans) is results.TAKEN
            assert receiver.requests == [encode_spans(spans)]
        assert batches == [spans]
        assert trace_exporter.encode_spans is trace_encoder.encode_spans
    finally:
        otel_cinder.uninstrument()


def test_spans_wait_packed_for_an_otlp_exporter() -> None:
    """The queue holds bytes, from the first span on; a stop sends them."""
    with Receiver() as receiver, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        environment.setenv("OTEL_METRICS_EXPORTER", "none")
        otel_cinder.instrument()
        try:
            runtime.start_span("first", Context()).end()
            runtime.start_span("second", Context(), attributes={"a": [1, 2]}).end()
            process = runtime._process
            assert process is not None
            assert process.spans is not None
            waiting = list(process.spans._queue)
        finally:
            otel_cinder.uninstrument()
        received = {span.name: span.attributes for span in receiver.spans()}
    assert len(waiting) == 2
    for one in waiting:
        assert isinstance(one, tuple)
        assert isinstance(one[0], bytes)
    assert received == {"first": {}, "second": {"a": [1, 2]}}


class Keeps(SpanExporter):
    """An exporter that wants spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep them."""
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


def test_where_another_exporter_listens_nothing_is_packed() -> None:
    """An exporter that does not encode by this module gets spans, and so does one beside it."""
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    otlp = OtlpHttpExporter(SPANS, where, grpc=False)
    keeps = Keeps()
    assert otlp.takes_packed
    queue = BatchSpanProcessor(
        [lambda: lambda: otlp, lambda: lambda: keeps], "x", queue_size=9, batch_size=9, delay=60
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    for name in ("first", "second"):
        provider.get_tracer("test").start_span(name).end()
        queue.force_flush()
    queue.shutdown()
    assert [span.name for span in keeps.spans] == ["first", "second"]


def test_unknown_values_are_left_to_the_exporters_own(
    spans: Sequence[ReadableSpan],
) -> None:
    """A value for which it has no place is encoded as before."""
    odd = ReadableSpan(
        "odd", spans[0].context, attributes={"bytes": b"\x00\xff", "none": None}, start_time=1
    )
    with pytest.raises(TypeError, match="bytes"):
        encoding.encode([odd])
    assert encoding.encode_spans([odd]) == encode_spans([odd])
    assert encoding.pack(odd) is odd
    beside = encoding.pack(spans[0])
    request = encoding.encode_spans([odd, beside])
    assert [
        span.name
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ] == ["odd", spans[0].name]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("more", [{}, {"bytes": b"\x00"}], ids=["ours", "the exporter's own"])
def test_no_attribute_is_nan_or_infinite(number: float, more: dict[str, Any]) -> None:
    """Such a number is left out of spans, events and links, and counted; the rest is there."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    attributes = {"number": number, "numbers": [1.5, number], "half": 0.5}
    span = provider.get_tracer("test").start_span("s", links=[Link(REMOTE, attributes)])
    span.set_attributes({**attributes, **more})
    span.add_event("cinder.scheduler.choice", attributes)
    span.end()
    (made,) = kept.get_finished_spans()
    request = encoding.encode_spans([made])
    packed = encoding.encode_spans([encoding.pack(made)])  # type: ignore[list-item]
    assert request == packed
    (exported,) = request.resource_spans[0].scope_spans[0].spans
    for owner in (exported, *exported.events, *exported.links):
        values = {each.key: each.value.double_value for each in owner.attributes}
        assert {name: value for name, value in values.items() if name not in more} == {"half": 0.5}
        assert owner.dropped_attributes_count == 2
