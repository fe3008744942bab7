"""Traces from spans."""

from __future__ import annotations

from dataclasses import replace

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_cinder.reading.trace import (
    STILL_RUNNING,
    LinkRecord,
    SpanRecord,
    Trace,
    spans_of,
    traces_of,
)
from tests.unit.cli.samples import volume_create


def span(span_id: str, parent_id: str | None = None, start: int = 0, end: int = 1) -> SpanRecord:
    """A span with nothing but its place."""
    return SpanRecord("a" * 32, span_id, parent_id, f"s{span_id}", start_ns=start, end_ns=end)


def names(spans: tuple[SpanRecord, ...]) -> list[str]:
    """The spans' names."""
    return [span.name for span in spans]


def test_a_create_is_one_whole_trace_of_21_spans_and_three_services() -> None:
    """Spans in any order make one whole trace with its services in order of appearance."""
    [trace] = traces_of(reversed(volume_create()))
    assert len(trace) == 21
    assert trace.is_whole
    assert trace.services == ("cinder-api", "cinder-scheduler", "cinder-volume")
    assert trace.root is not None
    assert trace.root.name == "POST /v3/{project_id}/volumes"


def test_children_come_in_the_order_in_which_they_began() -> None:
    """Children are sorted by start, not by arrival."""
    trace = Trace([span("1"), span("3", "1", 9), span("2", "1", 5)])
    assert names(trace.children(trace.roots[0])) == ["s2", "s3"]


def test_a_handling_knows_its_cast_wherever_it_is() -> None:
    """By its link; or by its parent, in a trace of an older sender's. What did not arrive is none."""
    linked = (LinkRecord("a" * 32, "2"),)
    cast = replace(span("2", "1"), kind="producer")
    beside = replace(span("3", "1", 1), kind="consumer", links=linked)
    below = replace(span("4", "2", 2), kind="consumer")
    lost = replace(span("5", "9", 3), kind="consumer", links=(LinkRecord("a" * 32, "8"),))
    trace = Trace([span("1"), cast, beside, below, lost])
    assert [trace.cast(handling) for handling in (beside, below)] == [cast, cast]
    assert [trace.cast(other) for other in (lost, cast)] == [None, None]
    assert trace.taken_up() == {"1", "2", "8", "9"}


def test_a_span_without_its_parent_is_an_orphan_that_keeps_its_children() -> None:
    """A missing span makes the trace not whole, and loses nothing below it."""
    trace = Trace([span("1"), span("3", "2", 5), span("4", "3", 6)])
    assert not trace.is_whole
    assert names(trace.orphans) == ["s3"]
    assert [(depth, s.name) for depth, s in trace.walk()] == [(0, "s1"), (0, "s3"), (1, "s4")]


def test_two_roots_are_not_a_whole_trace() -> None:
    """A trace has one beginning."""
    trace = Trace([span("1"), span("2")])
    assert not trace.is_whole
    assert trace.root is None


def test_more_is_to_come_of_messages_and_of_open_spans() -> None:
    """A message without a receiver's span, and a still-running span, but not a notification."""
    rpc = {"rpc.method": "cinder-volume/create_volume"}
    cast = replace(span("2", "1"), kind="producer", attributes=rpc)
    call = replace(span("3", "1"), kind="client", attributes=rpc)
    event = {"oslo_messaging.notification.event_type": "volume.create.start"}
    notification = replace(span("4", "1"), kind="producer", attributes=event)
    served = replace(span("5", "3"), kind="server", attributes=rpc)
    shown = replace(
        span("7", "1"), attributes={STILL_RUNNING: True}, links=(LinkRecord("a" * 32, "6"),)
    )
    spans = (span("1"), cast, call, notification)
    assert [each.span_id for each in Trace(spans).unfinished()] == ["2", "3"]
    assert [each.span_id for each in Trace((*spans, served, shown)).unfinished()] == ["2", "7"]
    handled = replace(span("6", "1"), kind="consumer", links=(LinkRecord("a" * 32, "2"),))
    received = (handled, *spans, served, shown)
    assert Trace(received).unfinished() == []


def test_spans_in_a_circle_are_drawn_once() -> None:
    """Parents that go round in a circle are kept, and end no loop."""
    trace = Trace([span("1"), span("2", "3"), span("3", "2"), span("4", "4")])
    assert sorted(s.name for _, s in trace.walk()) == ["s1", "s2", "s3", "s4"]
    assert not trace.is_whole


def test_a_span_that_was_exported_twice_counts_once() -> None:
    """An exporter that retries does not double a span."""
    assert len(Trace([span("1"), span("2", "1"), span("2", "1")])) == 2


def test_clock_skew_makes_no_negative_times() -> None:
    """A child that seems to begin before its parent, or to end before it begins, is harmless."""
    trace = Trace([span("1", start=100, end=200), span("2", "1", start=90, end=80)])
    assert trace.is_whole
    assert trace.start_ns == 90
    assert trace.spans[0].duration_ns == 0


def test_no_spans_make_no_trace() -> None:
    """Without spans, a Trace is empty and its methods still work."""
    assert traces_of([]) == []
    assert not Trace([]).is_whole
    assert Trace([]).services == ()


def test_traces_are_kept_apart_by_their_id() -> None:
    """The trace that began first comes first."""
    later = replace(span("1", start=50), trace_id="b" * 32)
    assert [t.trace_id for t in traces_of([later, span("1", start=10)])] == ["a" * 32, "b" * 32]


def test_every_kind_of_attribute_value_is_read() -> None:
    """OTLP's values become Python's, and unknown enum numbers do not raise."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "cinder-api"
    wire = group.scope_spans.add().spans.add(
        trace_id=b"\x01" * 16, span_id=b"\x02" * 8, parent_span_id=bytes(8), name="n", kind=99
    )
    wire.attributes.add(key="none")
    wire.attributes.add(key="int").value.int_value = -3
    values = wire.attributes.add(key="list").value.array_value.values
    values.add().bool_value = True
    wire.attributes.add(key="map").value.kvlist_value.values.add(key="k").value.double_value = 0.5
    wire.links.add(trace_id=b"\x03" * 16, span_id=b"\x04" * 8)
    wire.events.add(name="e", time_unix_nano=7)
    [record] = spans_of(request)
    assert record.attributes == {"none": None, "int": -3, "list": [True], "map": {"k": 0.5}}
    assert (record.kind, record.service, record.parent_id) == ("unspecified", "cinder-api", None)
    assert record.links[0].span_id == "04" * 8
    assert record.events[0].time_ns == 7


def test_kinds_have_their_names() -> None:
    """Kinds are lower-case words."""
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    scoped.spans.add(kind=Span.SPAN_KIND_PRODUCER)
    scoped.spans.add(kind=Span.SPAN_KIND_SERVER)
    assert [record.kind for record in spans_of(request)] == ["producer", "server"]
