"""OTLP over HTTP to collectors of all kinds, over real sockets."""

from __future__ import annotations

import gzip
import pathlib
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_cinder.export import results
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.otlp_http import ANSWER_LIMIT, OtlpHttpExporter
from otel_cinder.export.results import TAKEN, Result, SettingError, Verdict
from otel_cinder.export.signals import LOGS, SPANS
from tests.unit.export import collectors
from tests.unit.export.collectors import answer, collector

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)


def span(name: str = "a", **attributes: str) -> ReadableSpan:
    provider = TracerProvider(shutdown_on_exit=False)
    span: Any = provider.get_tracer("test").start_span(name, attributes=attributes)
    span.end()
    return span


def deliver(endpoint: str, *, grpc: bool = True, batch: Any = None, **settings: str) -> Result:
    """Sends a span there with ``OTEL_EXPORTER_OTLP_*`` settings, and returns the result."""
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in settings.items()}
    environ = {ENDPOINT: endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "10", **environ}
    exporter = OtlpHttpExporter(SPANS, environ, grpc=grpc)
    try:
        return exporter.deliver(batch or [span()])
    finally:
        exporter.shutdown()


# Requests


def test_request_is_otlps() -> None:
    """A POST of protobuf to /v1/traces below the endpoint; the connection is used again."""
    with collector(answer()) as listener:
        exporter = OtlpHttpExporter(SPANS, {ENDPOINT: f"{listener.endpoint}/otlp/"}, grpc=True)
        assert exporter.deliver([span("a")]) is TAKEN
        assert exporter.deliver([span("b")]) is TAKEN
        exporter.shutdown()
    assert listener.requests[0].startswith(b"POST /otlp/v1/traces HTTP/1.1\r\n")
    assert listener.header("content-type") == "application/x-protobuf"
    assert listener.header("user-agent").startswith("otel-cinder/")
    sent = [ExportTraceServiceRequest.FromString(body) for body in listener.bodies]
    names = [one.resource_spans[0].scope_spans[0].spans[0].name for one in sent]
    assert names == ["a", "b"]


def test_signals_own_settings_win() -> None:
    """OTEL_EXPORTER_OTLP_TRACES_* come before those for all signals; its endpoint is taken whole."""
    with collector(answer()) as listener:
        answered = deliver(
            "http://127.0.0.1:1",
            TRACES_ENDPOINT=f"{listener.endpoint}/mine?token=1",
            HEADERS="x-a=all",
            TRACES_HEADERS="x-a=own,x-b=two%20words",
            COMPRESSION="none",
            TRACES_COMPRESSION="gzip",
        )
    assert answered is TAKEN
    assert listener.requests[0].startswith(b"POST /mine?token=1 HTTP/1.1\r\n")
    assert (listener.header("x-a"), listener.header("x-b")) == ("own", "two words")


@pytest.mark.parametrize(
    ("compression", "decompress"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
def test_compression(compression: str, decompress: Any) -> None:
    """OTEL_EXPORTER_OTLP_COMPRESSION compresses, with the right header."""
    with collector(answer()) as listener:
        assert deliver(listener.endpoint, COMPRESSION=compression) is TAKEN
    assert listener.header("content-encoding") == compression
    assert ExportTraceServiceRequest.FromString(decompress(listener.bodies[0])).resource_spans


def test_credentials_of_the_url() -> None:
    """User and password of the endpoint's URL become a header, unless that is set."""
    with collector(answer()) as listener:
        host = listener.endpoint.replace("//", "//me:s%40crt@")
        assert deliver(host) is TAKEN
        assert listener.header("authorization") == "Basic bWU6c0BjcnQ="
        assert deliver(host, HEADERS="Authorization=Bearer 1") is TAKEN
        assert listener.header("authorization") == "Bearer 1"


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (
            {"ENDPOINT": "collector:4318"},
            f"Write http:// or https:// before the host in {ENDPOINT}",
        ),
        (
            {"ENDPOINT": "127.0.0.1:4318"},
            f"Write http:// or https:// before the host in {ENDPOINT}",
        ),
        ({"ENDPOINT": "grpc://a:4317"}, f"Write http:// or https:// before the host in {ENDPOINT}"),
        ({"ENDPOINT": "http://"}, f"Write http:// or https:// before the host in {ENDPOINT}"),
        (
            {"TRACES_ENDPOINT": "a/v1/traces"},
            "Write http:// or https:// before the host in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ),
        ({"ENDPOINT": "http://a:port"}, f"Correct the port in {ENDPOINT}"),
        ({"ENDPOINT": "http://a:99999"}, f"Correct the port in {ENDPOINT}"),
    ],
)
def test_settings_that_make_no_exporter(settings: dict[str, str], advice: str) -> None:
    """A wrong setting raises advice when the exporter is created."""
    with pytest.raises(SettingError) as raised:
        deliver("http://127.0.0.1:1", **settings)
    assert str(raised.value) == advice


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("COMPRESSION", "zip", "does not compress, because it does not know 'zip'."),
        ("TIMEOUT", "soon", "uses 10 because 'soon' is none."),
        ("TIMEOUT", "-1", "uses 10 because '-1' is none."),
        ("HEADERS", "x-a=Secret1%0ab", "leaves out the header x-a, because it contains characters"),
    ],
)
def test_settings_that_are_done_without(
    name: str, value: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed one is reported once for all signals, and the export goes on without it."""
    with collector(answer()) as listener:
        for _ in range(2):
            assert deliver(listener.endpoint, **{name: value}) is TAKEN
    failure_log.write()
    (message,) = caplog.messages
    assert message.startswith(("Set ", "Correct "))
    assert f"OTEL_EXPORTER_OTLP_{name}" in message
    assert said in message
    assert "Secret1" not in message


def test_longest_timeout_is_bounded() -> None:
    """A timeout in milliseconds, as the specification has it, does not keep the thread for hours."""
    environ = {ENDPOINT: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}
    assert OtlpHttpExporter(SPANS, environ, grpc=True)._timeout == results.LONGEST_S


# Answers


def test_empty_answer_is_success() -> None:
    """Of whatever type."""
    for kind in ("application/x-protobuf", "text/plain", ""):
        with collector(answer(kind=kind)) as listener:
            assert deliver(listener.endpoint) is TAKEN


def partial(rejected: int, message: str) -> bytes:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (partial(2, "too old"), "application/x-protobuf"),
        (
            b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}',
            "application/json",
        ),
    ],
)
def test_partial_success(body: bytes, kind: str) -> None:
    """Rejected items of a request are counted, with the reason."""
    with collector(answer(200, body, kind)) as listener:
        answered = deliver(listener.endpoint)
    assert answered.verdict is Verdict.TAKEN
    assert (answered.kind, answered.rejected, answered.raw) == ("rejected", 2, "too old")


def test_partial_success_of_logs() -> None:
    """Each signal has a field of its own for it."""
    body = ExportLogsServiceResponse()
    body.partial_success.rejected_log_records = 1
    with collector(answer(200, body.SerializeToString())) as listener:
        exporter = OtlpHttpExporter(LOGS, {ENDPOINT: listener.endpoint}, grpc=True)
        assert exporter.deliver([]).rejected == 1
        exporter.shutdown()
    assert listener.requests[0].startswith(b"POST /v1/logs ")


def test_warning_of_full_success() -> None:
    """A message without rejected items: accepted, with a warning to log."""
    with collector(answer(200, partial(0, "use the new endpoint"))) as listener:
        answered = deliver(listener.endpoint)
    assert (answered.verdict, answered.rejected) == (Verdict.TAKEN, 0)
    assert (answered.kind, answered.raw) == ("warning", "use the new endpoint")


@pytest.mark.parametrize(
    ("body", "kind", "verdict"),
    [
        (b"<html><title>Welcome to nginx!</title></html>", "text/html", Verdict.LOST),
        (b"OK", "text/plain", Verdict.TAKEN),
        (b"\xff\xff\xff", "application/x-protobuf", Verdict.TAKEN),
        (b"[1]", "application/json", Verdict.TAKEN),
    ],
)
def test_success_that_is_no_otlp(body: bytes, kind: str, verdict: Verdict) -> None:
    """A web page has taken nothing; another odd answer may have, and is doubted."""
    with collector(answer(200, body, kind)) as listener:
        answered = deliver(listener.endpoint)
    assert (answered.verdict, answered.kind) == (verdict, "not_otlp")
    assert answered.advice.startswith(f"Check that {ENDPOINT} names a collector's port")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, Verdict.AGAIN) for status in (429, 502, 503, 504)),
        *((status, Verdict.LOST) for status in (301, 308, 400, 401, 403, 404, 405, 407, 408)),
        *((status, Verdict.LOST) for status in (415, 500, 501, 505)),
        (413, Verdict.TOO_LARGE),
    ],
)
def test_statuses(status: int, verdict: Verdict) -> None:
    """OTLP's table decides about retries; the kind of the error is the status."""
    with collector(answer(status)) as listener:
        answered = deliver(listener.endpoint)
    assert (answered.verdict, answered.kind) == (verdict, str(status))
    assert answered.answered
    assert len(listener.requests) == 1


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (Status(message="no tenant").SerializeToString(), "application/x-protobuf", "no tenant"),
        (b'{"code": 3, "message": "no tenant"}', "application/json", "no tenant"),
        (b"<h1>no</h1> <p>tenant\n</p>", "text/html", "no tenant"),
        (b"no tenant\n", "", "no tenant"),
        (b"password=Secret1", "text/plain", "password=***"),
        (b"\xff\xfe", "application/octet-stream", ""),
        (b"\xff\xfe", "application/x-protobuf", ""),
        (b"[]", "application/json", ""),
    ],
)
def test_collectors_message_is_reported(body: bytes, kind: str, said: str) -> None:
    """The reason of a refusal, from OTLP's own message or any other body, secrets masked."""
    with collector(answer(400, body, kind, "Bad Request")) as listener:
        assert deliver(listener.endpoint).raw == f"400 Bad Request {said}".strip()


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1e9, 1e10),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0, 0),
        ("soon", 0, 0),
        ("-1", 0, 0),
    ],
)
def test_retry_after(header: str, least: float, most: float) -> None:
    """Retry-After sets the wait, in seconds or as a date."""
    with collector(answer(503, retry_after=header)) as listener:
        assert least <= deliver(listener.endpoint).wait <= most


# Advice


@pytest.mark.parametrize(
    ("status", "settings", "advice"),
    [
        (404, {"ENDPOINT": "{}/v1/traces"}, f"Take the path out of {ENDPOINT}: /v1/traces is"),
        (404, {"TRACES_ENDPOINT": "{}"}, "Add the path (/v1/...) to OTEL_EXPORTER_OTLP_TRACES_"),
        (404, {}, f"Check that {ENDPOINT} names a collector's port for OTLP over HTTP (4318)"),
        (401, {}, "Correct OTEL_EXPORTER_OTLP_HEADERS"),
        (403, {}, "Correct OTEL_EXPORTER_OTLP_HEADERS"),
        (413, {}, "Raise the collector's limit of a request's size"),
        (503, {}, "Look at the collector's load and log"),
        (400, {}, "Look at the collector's log"),
    ],
)
def test_advice_for_a_status(status: int, settings: dict[str, str], advice: str) -> None:
    """It names the likely mistake, and the variable that is set."""
    with collector(answer(status)) as listener:
        settings = {name: value.format(listener.endpoint) for name, value in settings.items()}
        assert deliver(listener.endpoint, **settings).advice.startswith(advice)


def test_redirect_is_reported_and_not_followed() -> None:
    """Its target is reported; neither spans nor credentials are sent there."""
    with collector(answer(308, location="https://other:4318/v1/traces")) as listener:
        answered = deliver(listener.endpoint)
    assert answered.advice == f"Set {ENDPOINT} to where it redirects"
    assert answered.raw == "308 https://other:4318/v1/traces"


@pytest.mark.parametrize(
    ("grpc", "or_else"), [(True, ", or OTEL_EXPORTER_OTLP_PROTOCOL to grpc"), (False, "")]
)
def test_grpc_port_is_recognised(grpc: bool, or_else: str) -> None:
    """A server of gRPC is reported as one, without its raw bytes; gRPC is advised only if it works."""

    import grpc as grpc_library

    server = grpc_library.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        answered = deliver(f"http://127.0.0.1:{port}", grpc=grpc)
    finally:
        server.stop(None).wait()
    assert answered.verdict is Verdict.LOST
    assert answered.advice == (
        f"Set {ENDPOINT} to the collector's port for OTLP over HTTP (4318){or_else}"
    )
    assert answered.raw == "BadStatusLine"


def test_peer_without_http_is_reported() -> None:
    """Another protocol's greeting stays out of the log."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        connection.recv(65536)

    with collectors.listening(serve) as port:
        answered = deliver(f"http://127.0.0.1:{port}")
    assert (answered.verdict, answered.raw) == (Verdict.LOST, "BadStatusLine")
    assert answered.what == "what answers there speaks no HTTP"


def test_nothing_listens() -> None:
    """A refused connection is tried again, and reported with the address."""
    with collector(answer()) as listener:
        pass
    answered = deliver(listener.endpoint)
    assert (answered.verdict, answered.kind) == (Verdict.AGAIN, "ConnectionRefusedError")
    assert answered.advice == f"Start the collector, or correct {ENDPOINT}"
    assert answered.what == f"nothing listens at 127.0.0.1:{listener.port}"
    assert not answered.answered


def test_name_does_not_resolve() -> None:
    """An unresolvable name is reported as one."""
    answered = deliver("http://nonexistent.invalid:4318")
    assert (answered.verdict, answered.kind) == (Verdict.AGAIN, "gaierror")
    assert answered.advice.startswith(f"Correct the host's name in {ENDPOINT}")
    assert answered.what == "the name in nonexistent.invalid:4318 does not resolve"


def test_connection_that_is_closed_without_an_answer() -> None:
    """It may be taken later."""

    def serve(connection: socket.socket) -> None:
        collectors.read(connection)

    with collectors.listening(serve) as port:
        answered = deliver(f"http://127.0.0.1:{port}")
    assert (answered.verdict, answered.kind) == (Verdict.AGAIN, "RemoteDisconnected")


def test_idle_connection_that_was_closed_is_made_anew() -> None:
    """After the collector closed an idle connection, the next batch still arrives, once."""
    requests = []

    def serve(connection: socket.socket) -> None:
        requests.append(collectors.read(connection))
        connection.sendall(answer())

    with collectors.listening(serve) as port:
        exporter = OtlpHttpExporter(SPANS, {ENDPOINT: f"http://127.0.0.1:{port}"}, grpc=True)
        assert exporter.deliver([span()]) is TAKEN
        time.sleep(0.1)
        assert exporter.deliver([span()]) is TAKEN
        exporter.shutdown()
    assert len(requests) == 2


# Bounds


def test_large_answer_is_not_read() -> None:
    """Of an answer without an end hardly more than an answer of OTLP may have is read."""
    sent = []

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        collectors.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n")
        while True:
            sent.append(connection.send(b"x" * 65536))

    with collectors.listening(serve) as port:
        answered = deliver(f"http://127.0.0.1:{port}")
    assert answered.kind == "not_otlp"
    assert sum(sent) < 100 * ANSWER_LIMIT


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["nothing", "header", "body", "chunks", "continue"],
)
def test_answer_that_does_not_end(begin: bytes, drop: bytes) -> None:
    """However it comes, drop by drop, an export ends after its timeout."""

    def serve(connection: socket.socket) -> None:
        collectors.read(connection)
        connection.sendall(begin)
        while drop:
            connection.sendall(drop)
            time.sleep(0.05)
        connection.recv(1)

    with collectors.listening(serve) as port:
        begun = time.monotonic()
        answered = deliver(f"http://127.0.0.1:{port}", TIMEOUT="0.5")
        took = time.monotonic() - begun
    assert (answered.verdict, answered.kind) == (Verdict.AGAIN, "TimeoutError")
    assert answered.what == "it does not answer in time"
    assert took < 10


def test_collector_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is not read ends after its timeout, too."""

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        time.sleep(15)

    large = [span(text="x" * 100_000) for _ in range(200)]
    with collectors.listening(serve) as port:
        answered = deliver(f"http://127.0.0.1:{port}", TIMEOUT="0.5", batch=large)
    assert (answered.verdict, answered.kind) == (Verdict.AGAIN, "TimeoutError")


def test_answer_before_all_is_read() -> None:
    """A collector's 413 is read, also if it does not read the rest of the request."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer(413, connection="close"))
        time.sleep(0.2)

    large = [span(text="x" * 100_000) for _ in range(200)]
    with collectors.listening(serve) as port:
        answered = deliver(f"http://127.0.0.1:{port}", batch=large)
    assert (answered.verdict, answered.kind) == (Verdict.TOO_LARGE, "413")


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate for 127.0.0.1, and its key."""
    return collectors.certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


def test_tls(tls: tuple[pathlib.Path, pathlib.Path]) -> None:
    """With its authority's certificate a collector is trusted, over several requests."""
    with collector(answer(), context=collectors.server_context(*tls)) as listener:
        environ = {
            ENDPOINT: listener.endpoint.replace("http:", "https:"),
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tls[0]),
        }
        exporter = OtlpHttpExporter(SPANS, environ, grpc=True)
        assert exporter.deliver([span(text="x" * 1_000_000)]) is TAKEN
        assert exporter.deliver([span()]) is TAKEN
        exporter.shutdown()
    assert len(listener.requests) == 2


def test_certificate_of_the_environment(
    tls: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE is used if no certificate is set for OTLP."""
    with collector(answer(), context=collectors.server_context(*tls)) as listener:
        environ = {
            ENDPOINT: listener.endpoint.replace("http:", "https:"),
            "REQUESTS_CA_BUNDLE": str(tls[0]),
        }
        exporter = OtlpHttpExporter(SPANS, environ, grpc=True)
        assert exporter.deliver([span()]) is TAKEN
        exporter.shutdown()


def test_certificate_that_is_not_trusted(tls: tuple[pathlib.Path, pathlib.Path]) -> None:
    """The message names the variable for its authority."""
    with collector(answer(), context=collectors.server_context(*tls)) as listener:
        answered = deliver(listener.endpoint.replace("http:", "https:"))
    assert (answered.verdict, answered.kind) == (Verdict.AGAIN, "SSLCertVerificationError")
    assert answered.advice.startswith("Set OTEL_EXPORTER_OTLP_CERTIFICATE to the certificate")
    assert answered.what.startswith("its certificate is not trusted (self")


def test_certificate_of_another_name(tmp_path: pathlib.Path) -> None:
    """An expired certificate is reported as one: no other authority helps."""
    cert, key = collectors.certificate(tmp_path, "DNS:elsewhere.example")
    with collector(answer(), context=collectors.server_context(cert, key)) as listener:
        endpoint = listener.endpoint.replace("http:", "https:")
        answered = deliver(endpoint, CERTIFICATE=str(cert))
    assert answered.advice == f"Write the name that its certificate is for in {ENDPOINT}"


def test_tls_to_a_port_without() -> None:
    """https:// where http:// belongs: as most servers answer it, and where one says nothing."""

    def says_so(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer(400))

    def waits(connection: socket.socket) -> None:
        collectors.read(connection)

    with collectors.listening(says_so) as port, collectors.listening(waits) as other:
        answered = deliver(f"https://127.0.0.1:{port}")
        silent = deliver(f"https://127.0.0.1:{other}", TIMEOUT="0.5")
    assert (answered.verdict, answered.advice) == (Verdict.LOST, f"Write http:// in {ENDPOINT}")
    assert silent.verdict is Verdict.AGAIN
    assert silent.advice.endswith(f", or write http:// in {ENDPOINT} if it speaks no TLS")


def test_no_tls_to_a_port_with(tls: tuple[pathlib.Path, pathlib.Path]) -> None:
    """http:// where https:// belongs: as OpenSSL answers it, and as servers in Go do."""

    def openssl(connection: socket.socket) -> None:
        collectors.read(connection)
        connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    said = b"Client sent an HTTP request to an HTTPS server.\n"
    with collectors.listening(openssl) as port, collector(answer(400, said, "")) as go:
        for endpoint in (f"http://127.0.0.1:{port}", go.endpoint):
            answered = deliver(endpoint)
            assert answered.verdict is Verdict.LOST
            assert answered.advice == f"Write https:// in {ENDPOINT}"


def test_client_certificate(tls: tuple[pathlib.Path, pathlib.Path]) -> None:
    """It is sent if the collector asks for one; without one, the variables are named."""
    context = collectors.server_context(*tls)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls[0])
    with collector(answer(), context=context) as listener:
        endpoint = listener.endpoint.replace("http:", "https:")
        given = {"CLIENT_CERTIFICATE": str(tls[0]), "CLIENT_KEY": str(tls[1])}
        assert deliver(endpoint, CERTIFICATE=str(tls[0]), **given) is TAKEN
        answered = deliver(endpoint, CERTIFICATE=str(tls[0]))
    assert answered.advice == (
        "Set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY"
    )


def test_certificate_that_is_not_there() -> None:
    """Named when the exporter is made."""
    with pytest.raises(SettingError) as raised:
        deliver("https://127.0.0.1:1", CERTIFICATE="/no/such.pem")
    assert str(raised.value) == (
        "Correct OTEL_EXPORTER_OTLP_CERTIFICATE (/no/such.pem): No such file or directory"
    )


# Proxies


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[collectors.Listener]:
    """A proxy that refuses everything, by the environment."""
    with collector(answer(403, b"denied by policy", "text/plain")) as listener:
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://me:Secret1@127.0.0.1:{listener.port}")
        yield listener


def test_proxy_is_named(proxy: collectors.Listener) -> None:
    """A proxy gets the whole URL, and errors name it without its password."""
    answered = deliver("http://collector.example:4318")
    assert proxy.requests[0].startswith(b"POST http://collector.example:4318/v1/traces HTTP/1.1")
    assert proxy.header("proxy-authorization") == "Basic bWU6U2VjcmV0MQ=="
    assert answered.advice.endswith(
        f"; if the proxy 127.0.0.1:{proxy.port} is not meant, add collector.example to NO_PROXY"
    )
    assert "Secret1" not in str(answered)


def test_proxy_that_lets_nothing_through(proxy: collectors.Listener) -> None:
    """For TLS it is asked for a tunnel, which it refuses."""
    answered = deliver("https://collector.example:4318")
    assert proxy.requests[0].startswith(b"CONNECT collector.example:4318 HTTP/1.")
    assert proxy.header("authorization") == ""
    assert answered.what == "the proxy does not let it through"
    assert "NO_PROXY" in answered.advice


def test_tls_through_a_proxy(
    tls: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tunnel leads to the collector, whose certificate is checked."""
    context = collectors.server_context(*tls)
    requests = []

    def serve(connection: socket.socket) -> None:
        requests.append(collectors.read(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as inside:
            requests.append(collectors.read(inside))  # type: ignore[arg-type]
            inside.sendall(answer())

    with collectors.listening(serve) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert deliver("https://127.0.0.1:4318", CERTIFICATE=str(tls[0])) is TAKEN
    assert requests[0].startswith(b"CONNECT 127.0.0.1:4318 ")
    assert requests[1].startswith(b"POST /v1/traces HTTP/1.1")


def test_no_proxy_is_honoured(proxy: collectors.Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host in NO_PROXY is contacted directly."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with collector(answer()) as listener:
        assert deliver(listener.endpoint) is TAKEN
    assert proxy.requests == []


def test_unencodable_item_is_reported() -> None:
    """A batch with a text that no encoding has is not sent as it is."""
    with collector(answer()) as listener:
        answered = deliver(listener.endpoint, batch=[span("\ud800")])
    assert answered.verdict is Verdict.MALFORMED
    assert listener.requests == []
