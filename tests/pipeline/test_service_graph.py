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
def collector(tmp_path: Path) -> Iterator[Collector]:
    """The collector for one host, which soon gives up waiting for a receiver's span."""
    sink = Sink()
    sink.start()
    collector = Collector("all-in-one", tmp_path, JAEGER_ENDPOINT=sink.address, EDGE_WAIT="2s")
    try:
        collector.start()
        yield collector
    finally:
        collector.kill()
        sink.stop()


def sent(kind: "Span.SpanKind.ValueType", **values: Any) -> Span:
    """Return a span of somebody who calls, or sends."""
    made = span(os.urandom(16), **values)
    made.kind = kind
    return made


def edges(collector: Collector) -> dict[tuple[str, ...], int]:
    """Return how often who has called whom."""
    return collector.counted("traces_service_graph_request_total", "client", "server")


def test_who_is_not_heard_of_is_called_by_what_the_sender_knows(collector: Collector) -> None:
    """A cast that nobody takes up went to its queue, a request to its server; nobody is `unknown`."""
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
