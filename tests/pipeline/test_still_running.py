"""Still-running spans in a collector: they are passed on, and only their real spans are counted."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.processes import wait_until
from tests.pipeline.certificates import loopback
from tests.pipeline.otlp import Client, Sink, request, span
from tests.pipeline.programs import Collector, Jaeger

HANDLING, DRIVER = "process cinder-volume/create_volume", "RBDDriver.create_volume"
EDGE = ("cinder-api", "cinder-volume")


@dataclass
class Road:
    """A collector that counts spans, who sends to it, and what it sends to."""

    collector: Collector
    client: Client
    sink: Sink


@pytest.fixture(params=["all-in-one", "gateway"])
def road(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Road]:
    """The collector in each of the roles in which it counts spans; it keeps only what is a reason."""
    role = request.param
    certificates = loopback(tmp_path) if role == "gateway" else None
    sink = Sink(certificates)
    collector = Collector(
        role,
        tmp_path,
        certificates=certificates,
        JAEGER_ENDPOINT=sink.address,
        SAMPLING_PERCENTAGE=0,
    )
    collector.settings["GATEWAY_PEERS"] = f"[{collector.peer}]"
    client = Client(collector.otlp_grpc, certificates)
    try:
        sink.start()
        collector.start()
        yield Road(collector, client, sink)
    finally:
        client.close()
        collector.kill()
        sink.stop()


def becomes(
    expected: Counter[tuple[str, ...]], collector: Collector, name: str, *labels: str
) -> None:
    """Wait until all this has been counted; nothing else has."""

    def count() -> Counter[tuple[str, ...]]:
        return collector.counted(f"traces_{name}", *labels)

    wait_until(lambda: count() >= expected, 60, name)
    assert count() == expected


def test_what_still_runs_is_counted_once_it_has_ended(road: Road) -> None:
    """Two still-running spans and then the real ones make one call, one duration and one edge."""
    trace_id = os.urandom(16)
    cast = span(trace_id, "cast cinder-volume/create_volume")
    cast.kind = Span.SPAN_KIND_PRODUCER
    told = [
        span(trace_id, f"still running {DRIVER}", seconds=seconds, cinder__still_running=True)
        for seconds in (10, 30)
    ]
    handling, driver = span(trace_id, HANDLING), span(trace_id, DRIVER)
    handling.kind = Span.SPAN_KIND_CONSUMER
    driver.parent_span_id = handling.span_id
    for each in (handling, *told):
        each.parent_span_id = cast.span_id

    road.client.export(request([cast], "cinder-api"))
    for each in told:
        road.client.send(each)
    wait_until(lambda: len(road.sink.spans()) == 3, 60, "the still-running spans")
    road.client.send(driver, handling)
    wait_until(lambda: len(road.sink.spans()) == 5, 60, "the real spans")
    once = Counter({(name,): 1 for name in (cast.name, HANDLING, DRIVER)})
    becomes(once, road.collector, "span_metrics_calls_total", "span_name")
    becomes(once, road.collector, "span_metrics_duration_milliseconds_count", "span_name")
    becomes(Counter({EDGE: 1}), road.collector, "service_graph_request_total", "client", "server")


@pytest.mark.parametrize("storage", ["memory", "badger"])
def test_jaeger_finds_what_still_runs_by_its_tag(storage: str, tmp_path: Path) -> None:
    """Each storage knows the tag of a still-running span, and a volume's id."""
    jaeger = Jaeger(storage, tmp_path)
    stuck, ended = os.urandom(16), os.urandom(16)
    try:
        jaeger.start()
        client = Client(jaeger.otlp_grpc)
        client.send(
            span(stuck, cinder__still_running=True, cinder__volume__id="stuck"),
            span(ended, cinder__volume__id="ended"),
        )
        client.close()
        tags = {"cinder.still_running": "true"}, {"cinder.volume.id": "stuck"}
        for each in tags:
            found = jaeger.search("cinder-volume", each)
            assert [trace.trace_id for trace in found] == [stuck.hex()]
    finally:
        jaeger.kill()
