"""The seams' measurements, sampled or not."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import webob
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from taskflow import engines
from taskflow.patterns import linear_flow

import otel_cinder
from otel_cinder.settings import Settings
from otel_cinder.spans import carrier
from tests.unit.recording import Recorder
from tests.unit.seams.applications import Api, load
from tests.unit.seams.atoms import Fails, Succeeds
from tests.unit.seams.test_rpc import Endpoint, Wire

VOLUMES = "/v3/aaaa-1111/volumes"

Found = dict[str, list[tuple[dict[str, Any], float]]]


class Meters:
    """Instrumented, with measurements that can be read."""

    def __init__(self, *, sampled: bool) -> None:
        self._reader = InMemoryMetricReader()
        self.recorder = Recorder(None if sampled else ALWAYS_OFF)
        otel_cinder.instrument(
            tracer_provider=self.recorder.provider,
            meter_provider=MeterProvider([self._reader], shutdown_on_exit=False),
            settings=Settings(),
        )

    def read(self) -> Found:
        """Metric -> its attributes and the number of its measurements, or its sum."""
        measured: Found = {}
        data = self._reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            measured[metric.name] = [
                (dict(point.attributes), getattr(point, "count", None) or point.value)
                for point in metric.data.data_points
            ]
        return measured

    def exemplars(self) -> dict[str, set[int]]:
        """Metric -> the trace ids that its exemplars name; to be asked once."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: {
                exemplar.trace_id
                for point in metric.data.data_points
                for exemplar in point.exemplars
            }
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
        }


@pytest.fixture(params=[True, False], ids=["sampled", "unsampled"])
def meters(request: pytest.FixtureRequest) -> Iterator[Meters]:
    """Instrumented, sampled and not."""
    yield Meters(sampled=request.param)
    otel_cinder.uninstrument()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A broker with a cinder-volume on it."""
    wire = Wire()
    wire.serve("cinder-volume", "node@lvm")
    yield wire
    wire.stop()


def run(*tasks: Any) -> None:
    engine = engines.load(linear_flow.Flow("volume_create_api").add(*tasks))
    engine.run()


def test_flow_and_its_tasks(meters: Meters) -> None:
    """Flow and tasks are measured by name and final state, each once."""
    run(Succeeds(name="one"), Succeeds(name="two"))
    measured = meters.read()
    flow = {"taskflow.flow.name": "volume_create_api"}
    assert measured["taskflow.flow.duration"] == [({**flow, "taskflow.flow.state": "SUCCESS"}, 1)]
    task = {"taskflow.task.class": "Succeeds", "taskflow.task.state": "SUCCESS", **flow}
    assert measured["taskflow.task.duration"] == [(task, 2)]


def test_flow_that_fails(meters: Meters) -> None:
    """A flow that reverts is measured as such, and so is each task that did."""
    with pytest.raises(ValueError, match="no space"):
        run(Succeeds(), Fails())
    measured = meters.read()
    ((flow, _),) = measured["taskflow.flow.duration"]
    assert flow["taskflow.flow.state"] == "REVERTED"
    tasks = {
        (attributes["taskflow.task.class"], attributes["taskflow.task.state"]): count
        for attributes, count in measured["taskflow.task.duration"]
    }
    assert tasks == {
        ("Succeeds", "SUCCESS"): 1,
        ("Fails", "FAILURE"): 1,
        ("Fails", "REVERTED"): 1,
        ("Succeeds", "REVERTED"): 1,
    }


def test_request(meters: Meters, tmp_path: pathlib.Path) -> None:
    """A request is measured by its route, without an id, and by how it was answered."""
    app = load(Api(), tmp_path)
    webob.Request.blank(VOLUMES).get_response(app)
    ((attributes, count),) = meters.read()["http.server.request.duration"]
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/v3/{project_id}/volumes",
        "url.scheme": "http",
    }
    assert count == 1


def test_request_that_raises(meters: Meters, tmp_path: pathlib.Path) -> None:
    """An application that raises counts as 500, by the exception's class."""

    def raises(_request: webob.Request) -> webob.Response:
        raise KeyError("x")

    app = load(Api(raises), tmp_path)
    with pytest.raises(KeyError):
        webob.Request.blank(VOLUMES).get_response(app)
    ((attributes, _),) = meters.read()["http.server.request.duration"]
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (500, "KeyError")


def test_made_up_method(meters: Meters, tmp_path: pathlib.Path) -> None:
    """A method that a client invented is _OTHER."""
    webob.Request.blank(VOLUMES, method="BREW").get_response(load(Api(), tmp_path))
    ((attributes, _),) = meters.read()["http.server.request.duration"]
    assert attributes["http.request.method"] == "_OTHER"


def in_request(meters: Meters, work: Callable[[], Any]) -> None:
    with meters.recorder.tracer.start_as_current_span("request"):
        work()


def wait_for(meters: Meters, *names: str) -> Found:
    """A cast has no answer: wait until all of its handling has been measured."""
    deadline = time.monotonic() + 10
    while not (measured := meters.read()).keys() >= set(names) and time.monotonic() < deadline:
        time.sleep(0.01)
    return measured


def test_cast(meters: Meters, wire: Wire) -> None:
    """A cast is measured where it is sent and where it is handled, and so is its wait."""
    in_request(meters, lambda: wire.client("cinder-volume").cast({}, "create_volume"))
    measured = wait_for(meters, "messaging.process.duration", "messaging.client.consumed.messages")
    attributes = {
        "messaging.system": "fake",
        "messaging.destination.template": "cinder-volume",
        "rpc.method": "cinder-volume/create_volume",
    }
    sent = {**attributes, "messaging.operation.name": "cast"}
    handled = {**attributes, "messaging.operation.name": "process"}
    assert measured["messaging.client.operation.duration"] == [(sent, 1)]
    assert measured["messaging.client.sent.messages"] == [(sent, 1)]
    assert measured["messaging.process.duration"] == [(handled, 1)]
    assert measured["messaging.client.consumed.messages"] == [(handled, 1)]
    assert measured["cinder.rpc.queue.duration"] == [({"rpc.method": attributes["rpc.method"]}, 1)]


def test_message_counts_when_it_is_taken_up(
    meters: Meters, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a message is handled it is among those taken up, and not among those handled."""
    begun, go_on = threading.Event(), threading.Event()

    def create_volume(*_args: Any, **_kwargs: Any) -> None:
        begun.set()
        go_on.wait(30)
        raise ValueError("no space")

    monkeypatch.setattr(Endpoint, "create_volume", create_volume)
    in_request(meters, lambda: wire.client("cinder-volume").cast({}, "create_volume"))
    assert begun.wait(30)
    measured = meters.read()
    go_on.set()
    taken = {
        "messaging.system": "fake",
        "messaging.operation.name": "process",
        "messaging.destination.template": "cinder-volume",
        "rpc.method": "cinder-volume/create_volume",
    }
    assert measured["messaging.client.consumed.messages"] == [(taken, 1)]
    assert measured["cinder.rpc.queue.duration"] == [({"rpc.method": taken["rpc.method"]}, 1)]
    assert "messaging.process.duration" not in measured
    measured = wait_for(meters, "messaging.process.duration")
    assert measured["messaging.process.duration"] == [({**taken, "error.type": "ValueError"}, 1)]
    assert measured["messaging.client.consumed.messages"] == [(taken, 1)]


def test_fan_out_is_distinguished_from_casts(meters: Meters, wire: Wire) -> None:
    """A fan-out is marked on both sides, since one send has several receivers."""
    wire.serve("cinder-volume", "other@lvm")
    client = wire.client("cinder-volume", fanout=True)
    in_request(meters, lambda: client.cast({}, "create_volume"))
    for _ in range(2):
        wire.next_handled()
    measured = wait_for(meters, "messaging.client.consumed.messages")
    for name, count in (
        ("messaging.client.sent.messages", 1),
        ("messaging.client.consumed.messages", 2),
    ):
        ((attributes, counted),) = measured[name]
        assert (attributes["cinder.rpc.fanout"], counted) == (True, count)


def test_messages_count_alike_on_both_sides(meters: Meters, wire: Wire) -> None:
    """A cast outside of traces counts on both sides, a request's periodic fan-out on none."""
    wire.client("cinder-volume").cast({}, "create_volume")
    client = wire.client("cinder-volume", fanout=True)
    in_request(meters, lambda: client.cast({}, "report_state"))
    for _ in range(2):
        wire.next_handled()
    measured = wait_for(meters, "messaging.client.consumed.messages")
    for name in ("messaging.client.sent.messages", "messaging.client.consumed.messages"):
        ((attributes, count),) = measured[name]
        assert (attributes["rpc.method"], count) == ("cinder-volume/create_volume", 1)


def test_call_that_fails(meters: Meters, wire: Wire) -> None:
    """A call is measured on both sides, with the class of its error."""

    def call() -> None:
        with pytest.raises(KeyError):
            wire.client("cinder-volume").call({}, "get_volume")

    in_request(meters, call)
    attributes = {
        "rpc.system.name": "oslo.messaging",
        "rpc.method": "cinder-volume/get_volume",
        "error.type": "KeyError",
    }
    measured = wait_for(meters, "rpc.server.call.duration")
    assert measured["rpc.client.call.duration"] == [(attributes, 1)]
    assert measured["rpc.server.call.duration"] == [(attributes, 1)]


def test_wait_by_clocks_that_disagree(
    meters: Meters, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that came before it was sent is counted, and not among the waits."""
    ahead = f"{time.time_ns() // 1000 + 60_000_000:016d}"
    monkeypatch.setattr(carrier, "_now", lambda: ahead)
    in_request(meters, lambda: wire.client("cinder-volume").call({}, "create_volume"))
    measured = meters.read()
    assert measured["cinder.rpc.clock_skews"] == [
        ({"rpc.method": "cinder-volume/create_volume"}, 1)
    ]
    assert "cinder.rpc.queue.duration" not in measured


@pytest.mark.parametrize("stamp", [0, 10**16 - 1, 10**19])
def test_time_that_no_clock_says(meters: Meters, wire: Wire, stamp: int) -> None:
    """A stamp of 1970, or of a million years hence, is in no histogram and no counter."""
    span_id = "b7ad6b7169203331"
    context = {
        "traceparent": f"00-0af7651916cd43dd8448eb211c80319c-{span_id}-01",
        "tracestate": f"otelcinder={span_id}:{stamp:016d}",
    }
    wire.client("cinder-volume").call(context, "create_volume")
    measured = wait_for(meters, "rpc.server.call.duration")
    assert not {"cinder.rpc.queue.duration", "cinder.rpc.clock_skews"}.intersection(measured)


def test_chatter_is_not_measured(meters: Meters, wire: Wire) -> None:
    """Periodic messages between services are not measured."""
    wire.client("cinder-volume").cast({}, "report_state")
    wire.next_handled()
    time.sleep(0.05)
    assert not [name for name in meters.read() if name.startswith(("messaging", "rpc"))]


@pytest.mark.parametrize("meters", [True], indirect=True)
def test_exemplars_name_the_trace(meters: Meters, tmp_path: pathlib.Path) -> None:
    """A measurement of a sampled request leads to its trace."""
    webob.Request.blank(VOLUMES).get_response(load(Api(), tmp_path))
    run(Succeeds())
    request, flow = (
        meters.recorder[name].context.trace_id
        for name in ("GET /v3/{project_id}/volumes", "volume_create_api")
    )
    exported = meters.exemplars()
    assert exported["http.server.request.duration"] == {request}
    assert exported["taskflow.task.duration"] == {flow}
