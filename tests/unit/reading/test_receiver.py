"""The OTLP endpoint, with the SDK's own exporter as its client."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_cinder.reading.receiver import from_json_line, to_json_line
from tests.receiver import Receiver

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    with Receiver() as receiver:
        yield receiver


def export(endpoint: str, *, compression: Compression = Compression.NoCompression) -> str:
    """Export a span `child` below `parent`, with an event and a link; returns the trace id."""
    provider = TracerProvider(resource=Resource({"service.name": "cinder-api"}))
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("parent", kind=trace.SpanKind.SERVER) as parent:
        links = [trace.Link(parent.get_span_context())]
        with tracer.start_as_current_span("child", links=links, attributes={"n": 3}) as child:
            child.add_event("something", {"list": ["a", "b"]})
    provider.shutdown()
    return f"{parent.get_span_context().trace_id:032x}"


def body(name: str = "span") -> bytes:
    """An export of one span."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"\x01" * 16, span_id=b"\x02" * 8, name=name
    )
    return bytes(request.SerializeToString())


def post(receiver: Receiver, data: bytes, path: str = "/v1/traces", timeout: float = 10) -> int:
    """Send a body; returns the HTTP status."""
    url = receiver.endpoint + path
    return requests.post(url, data=data, headers=PROTOBUF, timeout=timeout).status_code


@pytest.mark.parametrize("compression", list(Compression))
def test_the_sdk_can_export_to_it(receiver: Receiver, compression: Compression) -> None:
    """Exports of the SDK's exporter arrive, compressed or not."""
    trace_id = export(receiver.endpoint, compression=compression)
    assert receiver.wait_for(lambda spans: len(spans) == 2, timeout=5)
    child, parent = receiver.spans()
    assert {child.trace_id, parent.trace_id} == {trace_id}
    assert child.parent_id == parent.span_id
    assert (parent.kind, parent.service, parent.parent_id) == ("server", "cinder-api", None)
    assert child.attributes == {"n": 3}
    assert child.events[0].attributes == {"list": ["a", "b"]}
    assert child.links[0].span_id == parent.span_id


def test_json_lines_are_what_the_collector_writes(receiver: Receiver) -> None:
    """A line has hex ids, numeric enums and camel case, and reads back as the same message."""
    trace_id = export(receiver.endpoint)
    for request in receiver.requests:
        line = to_json_line(request)
        assert "\n" not in line
        [span] = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert span["traceId"] == trace_id
        assert len(span["spanId"]) == 16
        assert span["kind"] in (1, 2)
        assert from_json_line(line) == request


@pytest.mark.parametrize("line", ["", "[]", "3", "{", '{"resourceSpans": 3}', "null"])
def test_other_text_is_not_a_line(line: str) -> None:
    """Anything but OTLP/JSON raises ValueError."""
    with pytest.raises(ValueError):
        from_json_line(line)


def test_json_is_accepted_over_http(receiver: Receiver) -> None:
    """OTLP/JSON may be posted as well."""
    line = to_json_line(ExportTraceServiceRequest.FromString(body("json")))
    answer = requests.post(
        f"{receiver.endpoint}/v1/traces",
        data=line,
        headers={"Content-Type": "application/json"},
        timeout=5,
    )
    assert (answer.status_code, answer.json()) == (200, {})
    assert [span.name for span in receiver.spans()] == ["json"]


def metrics_body(name: str = "m") -> bytes:
    """An export of one metric."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    metric.gauge.data_points.add(as_int=1).exemplars.add(trace_id=b"\x01" * 16)
    return bytes(request.SerializeToString())


def logs_body(text: str = "line") -> bytes:
    """An export of one log record."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"\x01" * 16)
    record.body.string_value = text
    return bytes(request.SerializeToString())


def test_all_signals_are_kept(receiver: Receiver) -> None:
    """Metrics and logs are kept beside the spans, and each signal's requests apart."""
    assert post(receiver, metrics_body(), "/v1/metrics") == 200
    assert post(receiver, logs_body(), "/v1/logs") == 200
    assert post(receiver, body()) == 200
    assert [point.name for point in receiver.metrics()] == ["m"]
    assert [line.body for line in receiver.logs()] == ["line"]
    assert len(receiver.metric_requests) == len(receiver.log_requests) == 1
    assert len(receiver.requests) == len(receiver.spans()) == 1
    assert receiver.bodies == [metrics_body(), logs_body(), body()]
    receiver.clear()
    assert receiver.metrics() == receiver.logs() == receiver.bodies == []


def test_bodies_are_uncompressed(receiver: Receiver) -> None:
    """Compressed exports are kept uncompressed, so that tests can search them."""
    answer = requests.post(
        f"{receiver.endpoint}/v1/logs",
        data=gzip.compress(logs_body("needle")),
        headers={**PROTOBUF, "Content-Encoding": "gzip"},
        timeout=5,
    )
    assert answer.status_code == 200
    assert b"needle" in receiver.bodies[0]


@pytest.mark.parametrize(
    ("path", "kind", "data"),
    [
        ("/v1/metrics", ExportMetricsServiceRequest, metrics_body()),
        ("/v1/logs", ExportLogsServiceRequest, logs_body()),
    ],
)
def test_json_of_other_signals(receiver: Receiver, path: str, kind: Any, data: bytes) -> None:
    """OTLP/JSON with hex ids is read as the same message."""
    message = MessageToDict(kind.FromString(data))
    text = json.dumps(message).replace("AQEBAQEBAQEBAQEBAQEBAQ==", "01" * 16)
    answer = requests.post(
        receiver.endpoint + path,
        data=text,
        headers={"Content-Type": "application/json"},
        timeout=5,
    )
    assert answer.status_code == 200
    assert [*receiver.metric_requests, *receiver.log_requests] == [kind.FromString(data)]


def test_unknown_signals_are_taken_without_being_kept(receiver: Receiver) -> None:
    """A signal that is none of the three is answered with 200; other paths are not found."""
    assert post(receiver, b"whatever", "/v1/profiles") == 200
    assert post(receiver, b"whatever", "/elsewhere") == 404
    assert post(receiver, b"whatever", "/v1/metrics") == 400
    assert receiver.requests == receiver.bodies == []


def test_waiting_wakes_for_every_signal(receiver: Receiver) -> None:
    """wait_for looks again when metrics arrive."""
    sender = threading.Timer(0.1, post, [receiver, metrics_body(), "/v1/metrics"])
    sender.start()
    assert receiver.wait_for(lambda _: bool(receiver.metrics()), timeout=5)
    sender.join()


def test_one_path_can_fail_alone(receiver: Receiver) -> None:
    """With a path, only requests to that path are refused."""
    receiver.respond(503, path="/v1/metrics")
    assert post(receiver, metrics_body(), "/v1/metrics") == 503
    assert post(receiver, body()) == 200
    assert receiver.metrics() == []


@pytest.mark.parametrize(("path", "problems"), [("/v1/metrics", 0), ("/v1/traces", 1)])
def test_forwarding_where_there_is_no_place_for_it(
    receiver: Receiver, path: str, problems: int
) -> None:
    """That the next endpoint has no place for metrics is no problem; for traces it is."""
    receiver.respond(404, path=path)
    with Receiver(forward_to=receiver.endpoint) as first:
        post(first, metrics_body(), "/v1/metrics")
        post(first, body())
    assert len(first.forward_errors) == problems
    assert len(receiver.bodies) == 1


def test_nonsense_is_refused(receiver: Receiver) -> None:
    """A body that is no export gets 400, and the receiver lives on."""
    assert post(receiver, b"\xff\xff\xff") == 400
    assert post(receiver, body()) == 200
    assert len(receiver.spans()) == 1


def test_it_can_fail_on_request(receiver: Receiver) -> None:
    """With 503 nothing is kept, but the attempt is counted; then all is well again."""
    receiver.respond(503)
    assert post(receiver, body()) == 503
    assert (receiver.attempts, receiver.requests) == (1, [])
    receiver.respond()
    assert post(receiver, body()) == 200
    assert len(receiver.requests) == 1


def test_it_can_hang_on_request(receiver: Receiver) -> None:
    """A hanging receiver keeps clients waiting, and stop() does not wait for the hang's end."""
    receiver.respond(hang_seconds=60)
    with pytest.raises(requests.Timeout):
        post(receiver, body(), timeout=0.3)
    began = time.monotonic()
    receiver.stop()
    assert time.monotonic() - began < 5
    assert receiver.spans() == []


def test_it_can_go_down_and_come_back(receiver: Receiver) -> None:
    """stop() closes the port, start() opens the same one, and what had arrived is still there."""
    endpoint = receiver.endpoint
    post(receiver, body("before"))
    receiver.stop()
    with pytest.raises(requests.ConnectionError):
        post(receiver, body())
    receiver.start()
    assert receiver.endpoint == endpoint
    post(receiver, body("after"))
    assert [span.name for span in receiver.spans()] == ["before", "after"]
    receiver.clear()
    assert receiver.spans() == []


def test_a_port_in_use_is_reported_at_once(receiver: Receiver) -> None:
    """A port in use raises OSError."""
    other = Receiver(port=int(receiver.endpoint.rpartition(":")[2]))
    with pytest.raises(OSError, match="in use"):
        other.start()


def test_waiting_ends_with_the_timeout(receiver: Receiver) -> None:
    """wait_for says no when nothing comes."""
    assert receiver.wait_for(bool, timeout=0.05) is False


def test_what_arrives_is_forwarded(receiver: Receiver) -> None:
    """The next endpoint gets the same bodies, compressed as they were."""
    with Receiver(forward_to=receiver.endpoint) as first:
        export(first.endpoint, compression=Compression.Gzip)
    assert len(receiver.spans()) == 2
    assert first.forward_errors == []


def test_no_proxy_gets_what_is_forwarded_on_this_host(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With http_proxy set, an endpoint on the loopback is still asked directly."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    first = Receiver(forward_to=receiver.endpoint)
    monkeypatch.delenv("http_proxy")
    with first:
        assert post(first, body()) == 200
    assert first.forward_errors == []
    assert len(receiver.spans()) == 1


def test_forwarding_to_nowhere_is_remembered(receiver: Receiver) -> None:
    """Only an unreachable endpoint's own spans are lost."""
    receiver.stop()
    with Receiver(forward_to=receiver.endpoint) as first:
        assert post(first, body()) == 200
    assert len(first.spans()) == 1
    [problem] = first.forward_errors
    assert "refused" in problem


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0"])
def test_it_listens_where_it_is_told(host: str) -> None:
    """An address of IPv4 or IPv6, a name, or all of the host's."""
    if ":" in host and not Path("/proc/net/if_inet6").exists():
        pytest.skip("This host has no IPv6.")
    with Receiver(host=host) as receiver:
        assert len(export(receiver.endpoint)) == 32
        assert receiver.wait_for(lambda spans: len(spans) == 2, timeout=10)
