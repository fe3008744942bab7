"""How many operations are open, and since when."""

from __future__ import annotations

import json
import weakref
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind

import otel_cinder
from otel_cinder import conventions
from otel_cinder.spans.health import Health
from otel_cinder.spans.operations import Operations
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.sampling import Tally
from otel_cinder.spans.still_running import tell_more
from tests.receiver import Receiver
from tests.unit.spans.test_still_running import Looked

CALL = {"code.function.name": "cinder.volume.drivers.rbd.RBDDriver.create_volume"}


class Request:
    """Knows its route before it ends."""

    def so_far(self) -> tuple[str, dict[str, Any]]:
        """As the http seam does."""
        return "", {"http.route": "/v3/{project_id}/volumes", "openstack.request_id": "req-1"}


def observed(operations: Operations, name: str) -> list[tuple[int, dict[str, Any]]]:
    """A metric's values, in whole seconds."""
    return [(int(value), dict(kind)) for value, kind in operations.counts()[name]()]


def test_open_operations_are_counted_by_kind() -> None:
    """Messages by method, requests by route, calls by driver's method; how old the oldest is."""
    looked = Looked()
    operations = Operations(looked.register)
    attributes = {"rpc.method": "cinder-volume/create_volume", "cinder.volume.id": "v"}
    first = looked.start("process x", 20, kind=SpanKind.CONSUMER, attributes=attributes)
    second = looked.start("process x", 40, kind=SpanKind.CONSUMER, attributes=attributes)
    task = looked.start("CreateVolumeFromSpecTask", 19, first, attributes=CALL)
    call = looked.start("RBDDriver.create_volume", 19, task, attributes=CALL)
    client = looked.start("call", 5, kind=SpanKind.CLIENT, attributes=attributes)
    request = looked.start(
        "GET", 7, kind=SpanKind.SERVER, attributes={"http.request.method": "GET"}
    )
    owner = Request()
    tell_more(request, weakref.ref(owner))
    method = {"rpc.method": "cinder-volume/create_volume"}
    route = {"http.request.method": "GET", "http.route": "/v3/{project_id}/volumes"}
    assert observed(operations, conventions.OPEN_OPERATIONS) == [(2, method), (1, route)]
    assert observed(operations, conventions.OLDEST_OPERATION) == [(40, method), (7, route)]
    assert observed(operations, conventions.OPEN_DRIVER_CALLS) == [(1, CALL)]
    assert observed(operations, conventions.OLDEST_DRIVER_CALL) == [(19, CALL)]
    for span in (call, task, second, first, client, request):
        span.end()
    assert observed(operations, conventions.OPEN_OPERATIONS) == [(0, method), (0, route)]
    assert observed(operations, conventions.OLDEST_DRIVER_CALL) == [(0, CALL)]


def test_a_collection_walks_the_register_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics of one collection share one snapshot; the next collection takes a new one."""
    looked = Looked()
    walks = []
    snapshot = looked.register.snapshot

    def counted() -> list[Any]:
        walks.append(1)
        return snapshot()

    monkeypatch.setattr(looked.register, "snapshot", counted)
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    health = Health(Tally(), None, None, list, Operations(looked.register), None)
    health.observe(meter)
    for collections in (1, 2):
        method = {"rpc.method": f"cinder-volume/method_{collections}"}
        span = looked.start("process x", 20, kind=SpanKind.CONSUMER, attributes=method)
        data = json.loads(reader.get_metrics_data().to_json())
        assert len(walks) == collections
        assert method["rpc.method"] in json.dumps(data)
        span.end()


def test_metrics_of_open_operations_are_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the process's own exporter, with the kind, unit and attributes of the table."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        otel_cinder.instrument()
        attributes = {"rpc.method": "cinder-volume/create_volume"}
        span = runtime.start_span("process x", Context(), SpanKind.CONSUMER, attributes)
        inner = trace.set_span_in_context(span, Context())
        call = runtime.start_span("RBDDriver.create_volume", inner, attributes=CALL)
        assert runtime.flush()
        call.end()
        span.end()
        otel_cinder.uninstrument()
        points = [point for point in receiver.metrics() if point.name.startswith("cinder.open.")]
    assert {point.name for point in points} == {
        conventions.OPEN_OPERATIONS,
        conventions.OLDEST_OPERATION,
        conventions.OPEN_DRIVER_CALLS,
        conventions.OLDEST_DRIVER_CALL,
    }
    for point in points:
        metric = conventions.METRICS[point.name]
        assert (point.kind, point.unit) == metric[:2]
        assert set(point.attributes) <= set(metric.attributes)
    counted = [p.value for p in points if p.name == conventions.OPEN_OPERATIONS]
    assert counted == [1, 0]
