"""OTLP over gRPC to a real server with scripted answers."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_cinder.export import exporters
from otel_cinder.export.encoding import pack
from otel_cinder.export.results import TAKEN, Result, Verdict
from otel_cinder.export.signals import SPANS
from tests.unit import scripts
from tests.unit.export import collectors

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

Respond = Callable[[ExportTraceServiceRequest, Any], ExportTraceServiceResponse]


class Server(TraceServiceServicer):
    """Keeps requests, and answers by a function."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.port = 0
        self.requests: list[ExportTraceServiceRequest] = []
        self.metadata: dict[str, Any] = {}

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> Any:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        return self.respond(request, context)


@contextlib.contextmanager
def serving(respond: Respond) -> Iterator[Server]:
    """A server of gRPC on a free port."""
    listener = grpc.server(ThreadPoolExecutor(2))
    server = Server(respond)
    add_TraceServiceServicer_to_server(server, listener)
    server.port = listener.add_insecure_port("127.0.0.1:0")
    listener.start()
    try:
        yield server
    finally:
        listener.stop(None).wait()


def aborting(code: grpc.StatusCode, details: str = "", *metadata: tuple[str, bytes]) -> Respond:
    """Fails each request."""

    def respond(_request: Any, context: Any) -> Any:
        context.set_trailing_metadata(metadata)
        context.abort(code, details)

    return respond


def taking(_request: Any, _context: Any) -> ExportTraceServiceResponse:
    """Accepts every export."""
    return ExportTraceServiceResponse()


def span(**attributes: str) -> ReadableSpan:
    provider = TracerProvider(shutdown_on_exit=False)
    span: Any = provider.get_tracer("test").start_span("a", attributes=attributes)
    span.end()
    return span


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Sends a span to a port, and returns the result."""

    def send(port: int, batch: Any = None, scheme: str = "http", **settings: str) -> Result:
        monkeypatch.setenv(ENDPOINT, f"{scheme}://127.0.0.1:{port}")
        for name, value in settings.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
        exporter = exporters.factory(SPANS, "otlp", "grpc")()
        try:
            return exporter.deliver(batch or [span()])
        finally:
            exporter.shutdown()

    return send


Deliver = Callable[..., Result]


def test_spans_arrive(deliver: Deliver) -> None:
    """Packed ones, too, with the headers that are set."""
    with serving(taking) as server:
        assert deliver(server.port, [pack(span()), span()], HEADERS="x-a=b") is TAKEN
    (request,) = server.requests
    assert len(request.resource_spans[0].scope_spans[0].spans) == 1
    assert server.metadata["x-a"] == "b"


def test_partial_success(deliver: Deliver) -> None:
    """A partial success, which the SDK's exporter ignores, is counted with its reason."""

    def respond(_request: Any, _context: Any) -> ExportTraceServiceResponse:
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = 1
        response.partial_success.error_message = "too old"
        return response

    with serving(respond) as server:
        answered = deliver(server.port)
    assert (answered.verdict, answered.rejected, answered.raw) == (Verdict.TAKEN, 1, "too old")


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("CANCELLED", Verdict.AGAIN),
        ("UNKNOWN", Verdict.LOST),
        ("INVALID_ARGUMENT", Verdict.LOST),
        ("DEADLINE_EXCEEDED", Verdict.AGAIN),
        ("NOT_FOUND", Verdict.LOST),
        ("ALREADY_EXISTS", Verdict.LOST),
        ("PERMISSION_DENIED", Verdict.LOST),
        ("UNAUTHENTICATED", Verdict.LOST),
        ("RESOURCE_EXHAUSTED", Verdict.LOST),
        ("FAILED_PRECONDITION", Verdict.LOST),
        ("ABORTED", Verdict.AGAIN),
        ("OUT_OF_RANGE", Verdict.AGAIN),
        ("UNIMPLEMENTED", Verdict.LOST),
        ("INTERNAL", Verdict.LOST),
        ("UNAVAILABLE", Verdict.AGAIN),
        ("DATA_LOSS", Verdict.AGAIN),
    ],
)
def test_statuses(code: str, verdict: Verdict, deliver: Deliver) -> None:
    """OTLP's table decides about retries; each call sends once, and the kind is the status."""
    with serving(aborting(grpc.StatusCode[code], "why not")) as server:
        answered = deliver(server.port)
    assert (answered.verdict, answered.kind) == (verdict, code)
    assert answered.raw == f"{code}: why not"
    assert len(server.requests) == 1


@pytest.mark.parametrize("key", ["google.rpc.retryinfo-bin", "grpc-status-details-bin"])
@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_retry_info(code: str, key: str, deliver: Deliver) -> None:
    """The server's retry delay is obeyed, also if the server has no room."""
    info = RetryInfo(retry_delay=Duration(seconds=7, nanos=500_000_000))
    packed = info.SerializeToString()
    if key == "grpc-status-details-bin":
        status = Status(code=grpc.StatusCode[code].value[0])
        status.details.add().Pack(info)
        packed = status.SerializeToString()
    with serving(aborting(grpc.StatusCode[code], "", (key, packed))) as server:
        answered = deliver(server.port)
    assert (answered.verdict, answered.wait) == (Verdict.AGAIN, 7.5)


def test_too_large(deliver: Deliver) -> None:
    """A message over the server's 4 MiB, which the server itself refuses, is halved."""
    with serving(taking) as server:
        answered = deliver(server.port, [span(text="x" * 5_000_000)])
    assert (answered.verdict, answered.kind) == (Verdict.TOO_LARGE, "RESOURCE_EXHAUSTED")
    assert "max_recv_msg_size_mib" in answered.advice


def test_nothing_listens(deliver: Deliver) -> None:
    """A refused connection is reported at once, as for HTTP."""
    with serving(taking) as server:
        pass
    begin = time.monotonic()
    answered = deliver(server.port)
    assert time.monotonic() - begin < 5
    assert (answered.verdict, answered.kind) == (Verdict.AGAIN, "UNAVAILABLE")
    assert answered.advice == f"Start the collector, or correct {ENDPOINT}"
    assert not answered.answered


@pytest.mark.parametrize(
    "answer",
    [
        collectors.answer(400, b"400 Bad Request", "text/plain"),
        b"<!DOCTYPE HTML>\n<html><head><title>Error response</title></head></html>\n",
    ],
    ids=["with a head", "without"],
)
def test_port_of_http(deliver: Deliver, answer: bytes) -> None:
    """A server of HTTP at the port is reported as one, also if it answers HTTP/2 without a head."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with collectors.listening(serve) as port:
        answered = deliver(port)
    assert answered.advice.startswith(f"Set {ENDPOINT} to the collector's port for OTLP over gRPC")


def test_tls_to_a_port_without(deliver: Deliver) -> None:
    """https:// where http:// belongs."""
    with serving(taking) as server:
        answered = deliver(server.port, scheme="https")
    assert answered.advice == f"Check {ENDPOINT} and its http:// or https://"


def test_name_does_not_resolve(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unresolvable name is reported as one."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://nonexistent.invalid:4317")
    answered = deliver(1)
    assert answered.what == "its name does not resolve"
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in answered.advice


def test_later_export_meets_a_collector_that_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was away the next try reaches it, without gRPC's own growing patience."""
    with serving(taking) as server:
        port = server.port
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{port}")
    exporter = exporters.factory(SPANS, "otlp", "grpc")()
    for _ in range(4):
        assert exporter.deliver([span()]).verdict is Verdict.AGAIN
    listener = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Server(taking), listener)
    assert listener.add_insecure_port(f"127.0.0.1:{port}") == port
    listener.start()
    try:
        assert exporter.deliver([span()]) is TAKEN
    finally:
        listener.stop(None).wait()
        exporter.shutdown()


def test_unknown_release_of_the_exporter_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the SDK's exporter lacks a private attribute that we use, it is used as it is."""
    monkeypatch.setattr("otel_cinder.export.otlp_grpc._USED", ("_no_such_thing",))
    exporter = exporters.factory(SPANS, "otlp", "grpc")()
    assert not hasattr(exporter, "deliver")
    exporter.shutdown()


def test_process_exports_in_halves() -> None:
    """A whole process: 100 spans of 100 kB to a server that takes 4 MiB, all arrive."""
    with serving(taking) as server:
        ran = scripts.run(
            scripts.EXPORTED,
            """
            for _ in range(100):
                span = runtime.start_span("a", otel_context.get_current())
                span.set_attribute("text", "x" * 100_000)
                span.end()
            print(flush(30), runtime.dropped)
            """,
            env={
                ENDPOINT: f"http://127.0.0.1:{server.port}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_METRICS_EXPORTER": "none",
            },
        )
    assert ran.stdout.strip() == "True 0"
    assert ran.stderr == ""
    sent = [len(one.resource_spans[0].scope_spans[0].spans) for one in server.requests]
    assert sum(sent) == 100
