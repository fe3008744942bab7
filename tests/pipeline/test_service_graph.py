"""The map of services, where only one side of an exchange is known."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.processes import wait_until
from tests.pipeline.otlp import Client, Sink, request, span
from tests.pipeline.programs import Collector

QUEUE = "openstack:cinder-volume.{host}"


@pytest.fixture
def sink() -> Iterator[Sink]:
    """What stands in for Jaeger."""
    sink = Sink()
    sink.start()
    yield sink
    sink.stop()


@pytest.fixture
def collector(tmp_path: Path, sink: Sink) -> Iterator[Collector]:
    """The collector for one host, which soon gives up waiting for a receiver's span."""
    collector = Collector("all-in-one", tmp_path, JAEGER_ENDPOINT=sink.address, EDGE_WAIT="2s")
    try:
        collector.start()
        yield collector
    finally:
        collector.kill()


def sent(kind: "Span.SpanKind.ValueType", **values: Any) -> Span:
    """Return a span of somebody who calls, or sends."""
    made = span(os.urandom(16), **values)
    made.kind = kind
    return made


def edges(collector: Collector) -> dict[tuple[str, ...], int]:
    """Return how often who has called whom."""
    return collector.counted("traces_service_graph_request_total", "client", "server")


def test_who_is_not_heard_of_is_called_by_what_the_sender_knows(collector: Collector) -> None:
    """A cast without a receiver went to its queue, a request to its server; no node is `unknown`."""
    queue = {"messaging__destination__template": QUEUE}
    cast = sent(Span.SPAN_KIND_PRODUCER, **queue)
    taken = sent(Span.SPAN_KIND_PRODUCER, **queue)
    handled = sent(Span.SPAN_KIND_CONSUMER, **queue)
    handled.trace_id, handled.parent_span_id = taken.trace_id, taken.span_id
    asked = sent(Span.SPAN_KIND_CLIENT, server__address="glance.example")
    statements = [
        sent(Span.SPAN_KIND_CLIENT, db__system__name="mysql", server__address="db.example")
        for _ in range(2)
    ]
    client = Client(collector.otlp_grpc)
    try:
        client.export(request([cast, taken, asked, *statements], "cinder-api"))
        client.export(request([handled], "cinder-volume"))
    finally:
        client.close()
    expected = {
        ("cinder-api", QUEUE): 1,
        ("cinder-api", "cinder-volume"): 1,
        ("cinder-api", "glance.example"): 1,
        ("cinder-api", "mysql"): 2,
    }
    wait_until(lambda: edges(collector).keys() >= expected.keys(), 60, "all edges")
    assert edges(collector) == expected


def test_handling_below_another_span_belongs_to_its_cast(collector: Collector, sink: Sink) -> None:
    """A handling that says its cast's id is called by who cast, whoever its parent is. What Jaeger gets
    has the parent that it was sent with.
    """
    asked = sent(Span.SPAN_KIND_SERVER)
    first, again = sent(Span.SPAN_KIND_PRODUCER), sent(Span.SPAN_KIND_PRODUCER)
    handled = [sent(Span.SPAN_KIND_CONSUMER) for _ in range(2)]
    for cast, handling in zip((first, again), handled, strict=True):
        cast.trace_id = handling.trace_id = asked.trace_id
        handling.parent_span_id = asked.span_id
        said = handling.attributes.add(key="cinder.rpc.cast.span_id")
        said.value.string_value = cast.span_id.hex()
    client = Client(collector.otlp_grpc)
    try:
        client.export(request([asked, first], "cinder-api"))
        client.export(request([again], "cinder-volume"))
        client.export(request(handled, "cinder-scheduler"))
    finally:
        client.close()
    expected = {
        ("cinder-api", "cinder-scheduler"): 1,
        ("cinder-volume", "cinder-scheduler"): 1,
        ("user", "cinder-api"): 1,  # last: once nothing more is waited for
    }
    wait_until(lambda: edges(collector).keys() >= expected.keys(), 60, "all edges")
    assert edges(collector) == expected
    parents = [each.parent_id for each in sink.spans() if each.kind == "consumer"]
    assert parents == [asked.span_id.hex()] * 2
