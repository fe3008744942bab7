"""Outgoing HTTP through real requests, to a real server. SQL: tests/integration/test_clients.py."""

from __future__ import annotations

import logging
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import oslo_messaging  # noqa: F401  what the seam waits for
import pytest
import requests
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from requests.sessions import Session

import otel_cinder
from otel_cinder.seams import clients
from otel_cinder.settings import Settings
from otel_cinder.spans.runtime import flush, runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.recording import Recorder

SEND = Session.send

Instrument = Callable[..., Recorder]


class Server(ThreadingHTTPServer):
    """Answers with the status at the end of the path, and keeps the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        status = self.path.partition("?")[0].rpartition("/")[2]
        self.send_response(int(status) if status.isdecimal() else 200)
        self.send_header("X-Subject-Token", "answer-secret")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Keystone, as far as requests sees it."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def spans(instrumented: Instrument) -> Recorder:
    """Instrumented, clients as well."""
    return instrumented(clients=True)


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    yield
    otel_cinder.uninstrument()
    assert Session.send is SEND
    assert not RequestsInstrumentor().is_instrumented_by_opentelemetry


def test_request_is_a_client_span(spans: Recorder, server: Server) -> None:
    """A request below a span is a CLIENT span with the stable names; its server gets the context."""
    with spans.tracer.start_as_current_span("task"):
        requests.get(f"{server.url}/v3/auth/tokens", timeout=5)
    span = spans["GET"]
    assert span.kind is SpanKind.CLIENT
    assert spans.children(spans["task"]) == ["GET"]
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "url.full": f"{server.url}/v3/auth/tokens",
        "server.address": "127.0.0.1",
        "server.port": server.server_port,
        "http.response.status_code": 200,
        **(
            {"network.protocol.version": "1.0"}
            if "network.protocol.version" in span.attributes
            else {}
        ),
    }
    ((_, headers),) = server.asked
    assert headers["traceparent"] == f"00-{1:032x}-{span.context.span_id:016x}-01"


def test_request_outside_of_a_trace_is_no_span(spans: Recorder, server: Server) -> None:
    """Outside of a trace (periodic work) there is no span, and the server gets no context."""
    requests.get(server.url, timeout=5)
    assert not list(spans)
    assert "traceparent" not in server.asked[0][1]


def test_unsampled_trace_goes_on_unsampled(instrumented: Instrument, server: Server) -> None:
    """A trace that is not sampled has no span here, and the next service gets sampled=0."""
    spans = instrumented(sampler=ALWAYS_OFF, clients=True)
    with spans.tracer.start_as_current_span("task"):
        requests.get(server.url, timeout=5)
    assert not list(spans)
    assert server.asked[0][1]["traceparent"].endswith("-00")


def test_off_by_default(instrumented: Instrument, server: Server) -> None:
    """Without OTEL_CINDER_CLIENTS requests is not touched."""
    spans = instrumented()
    assert Session.send is SEND
    with spans.tracer.start_as_current_span("task"):
        requests.get(server.url, timeout=5)
    assert [span.name for span in spans] == ["task"]


@pytest.mark.parametrize("names", ["", "http", "http/dup", "database,http"])
def test_no_secret_is_recorded(
    instrumented: Instrument, server: Server, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    """No credentials, query, fragment or header, whatever settings the contrib package has."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", ".*")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE", ".*")
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", names)
    spans = instrumented(clients=True)
    with spans.tracer.start_as_current_span("task"):
        requests.get(
            server.url.replace("//", "//admin:hunter2@") + "/v3/users?password=hunter2#hunter2",
            headers={"X-Auth-Token": "hunter2", "User-Agent": "hunter2"},
            timeout=5,
        )
    attributes = dict(spans["GET"].attributes or {})
    assert attributes["url.full"] == f"{server.url}/v3/users"
    assert "hunter2" not in str(attributes)
    assert "answer-secret" not in str(attributes)
    assert not {
        key for key in attributes if key.startswith(("http.request.header", "http.url", "net."))
    }


def test_long_url_is_bounded(spans: Recorder, server: Server) -> None:
    """An URL has 512 characters at most."""
    with spans.tracer.start_as_current_span("task"):
        requests.get(f"{server.url}/{'x' * 5000}", timeout=5)
    assert len(str((spans["GET"].attributes or {})["url.full"])) == 512


def test_error_answer(spans: Recorder, server: Server) -> None:
    """An error status makes the span an error of that type; the caller gets the answer."""
    with spans.tracer.start_as_current_span("task"):
        answer = requests.get(f"{server.url}/503", timeout=5)
    assert answer.status_code == 503
    span = spans["GET"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "503"
    assert (span.attributes or {})["http.response.status_code"] == 503


def test_failure_is_recorded_without_its_query(spans: Recorder, server: Server) -> None:
    """A connection that fails is an error by its class, and its message has no query string."""
    with Server() as gone:
        url = gone.url
    with (
        spans.tracer.start_as_current_span("task"),
        pytest.raises(requests.ConnectionError) as raised,
    ):
        requests.get(f"{url}/v3/auth?name=tenant", timeout=5)
    span = spans["GET"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "ConnectionError"
    assert "/v3/auth" in (span.status.description or "")
    assert "tenant" not in (span.status.description or "")
    assert "tenant" in str(raised.value)
    assert not span.events


def test_service_at_work_owns_the_span(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The span belongs to the service of its request; exporting makes no span."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
        otel_cinder.instrument(settings=Settings(clients=True))
        context = otel_context.set_value(SERVICE, Service("cinder-volume", "h@lvm"))
        task = runtime.start_span("task", context)
        token = otel_context.attach(trace.set_span_in_context(task, context))
        requests.get(server.url, timeout=5)
        # The export that carries the first spans, by requests, must not make another.
        assert flush()
        otel_context.detach(token)
        task.end()
        assert flush()
        assert flush()
        services = {span.name: span.service for span in receiver.spans()}
        assert len(receiver.spans()) == 2
        otel_cinder.uninstrument()
    assert services == {"GET": "cinder-volume", "task": "cinder-volume"}


def test_baggage_of_a_caller_is_not_there(spans: Recorder, server: Server) -> None:
    """The trace travels; baggage travels only if code in Cinder's process set some."""
    with spans.tracer.start_as_current_span("task"):
        assert not baggage.get_all()
        requests.get(server.url, timeout=5)
    assert "baggage" not in server.asked[0][1]


def test_no_metrics_of_their_own(spans: Recorder, server: Server) -> None:
    """The contrib package's histograms lead nowhere."""
    cells = dict(
        zip(
            Session.send.__code__.co_freevars,
            (cell.cell_contents for cell in Session.send.__closure__ or ()),
            strict=True,
        )
    )
    histogram = cells["duration_histogram_new"] or cells["duration_histogram_old"]
    assert type(histogram).__name__ == "NoOpHistogram"


def test_uninstrumented_requests_is_as_it_was(spans: Recorder, server: Server) -> None:
    """After uninstrument() Session.send is the very function that it was."""
    assert Session.send is not SEND
    otel_cinder.uninstrument()
    assert Session.send is SEND


def test_host_that_traces_requests_is_left_alone(instrumented: Instrument, server: Server) -> None:
    """If the host has instrumented requests, only its spans are made, also afterwards."""
    host = Recorder()
    RequestsInstrumentor().instrument(tracer_provider=host.provider)
    try:
        spans = instrumented(clients=True)
        with spans.tracer.start_as_current_span("task"):
            requests.get(server.url, timeout=5)
        assert [span.name for span in spans] == ["task"]
        otel_cinder.uninstrument()
        requests.get(server.url, timeout=5)
        assert len(host) == 2
    finally:
        RequestsInstrumentor().uninstrument()


def test_host_that_traces_requests_later(spans: Recorder, server: Server) -> None:
    """If the host instruments requests after us, only its spans are made."""
    host = Recorder()
    ours = Session.send
    RequestsInstrumentor().instrument(tracer_provider=host.provider)
    try:
        with spans.tracer.start_as_current_span("task"):
            requests.get(server.url, timeout=5)
    finally:
        RequestsInstrumentor().uninstrument()
    assert Session.send is ours
    assert [span.name for span in spans] == ["task"]
    assert len(host) == 1


@pytest.mark.parametrize("missing", ["requests", "dbapi"])
def test_missing_package_is_reported_once(
    instrumented: Instrument,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    missing: str,
) -> None:
    """Without the extra, one sentence says what to do; the installed part is used."""
    installed = clients._installed
    monkeypatch.setattr(clients, "_installed", lambda name: name != missing and installed(name))
    with caplog.at_level(logging.WARNING, "otel_cinder"):
        instrumented(clients=True)
    (record,) = caplog.records
    assert f"opentelemetry-instrumentation-{missing} is not installed" in record.getMessage()
    assert "pip install 'otel-cinder[clients]'" in record.getMessage()
    assert (Session.send is SEND) == (missing == "requests")


@pytest.mark.complains
def test_our_failure_is_not_the_requests(
    spans: Recorder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a span can't be started or described, the request is made all the same, and once."""
    with spans.tracer.start_as_current_span("task"):
        monkeypatch.setattr(clients, "_place", lambda _url: 1 / 0)
        assert requests.get(server.url, timeout=5).ok
        monkeypatch.setattr(runtime, "start_span", lambda *_args, **_kwargs: 1 / 0)
        assert requests.get(server.url, timeout=5).ok
    assert len(server.asked) == 2


# Late


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_https_and_the_order_of_imports(tmp_path: Path, eventlet: bool) -> None:
    """We do not import requests before Cinder does; then it is traced, and speaks TLS."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    argv += f" -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    subprocess.run(argv.split(), check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with Server() as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        ran = scripts.run(
            "import sys",
            "from otel_cinder import activation; activation.activate()",
            "early = [m for m in ('requests', 'ssl', 'urllib3') if m in sys.modules]",
            scripts.EVENTLET if eventlet else "",
            f"URL, CERT = {server.url.replace('http:', 'https:')!r}, {str(cert)!r}",
            """
            import json
            import oslo_messaging
            import requests
            from opentelemetry import trace, context as otel_context
            from otel_cinder.spans.runtime import runtime
            span = runtime.start_span("task", otel_context.get_current())
            with trace.use_span(span):
                status = requests.get(URL, verify=CERT, timeout=5).status_code
            print(json.dumps([early, status]))
            """,
            env={
                "OTEL_CINDER_ENABLED": "true",
                "OTEL_CINDER_CLIENTS": "true",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "none",
            },
        )
        server.shutdown()
        thread.join()
    assert ran.said == [[], 200]
    assert "RecursionError" not in ran.stderr
    ((_, headers),) = server.asked
    assert "traceparent" in headers


def test_late_drivers_are_wrapped() -> None:
    """PyMySQL, imported after the instrumentation, is wrapped; before it, nothing imports it."""
    ran = scripts.run(
        """
        import json, sys
        import otel_cinder, oslo_messaging
        from otel_cinder.settings import Settings
        otel_cinder.instrument(settings=Settings(clients=True))
        before = "pymysql" in sys.modules
        import pymysql
        wrapped = pymysql.connect is not pymysql.connections.Connection
        otel_cinder.uninstrument()
        print(json.dumps([before, wrapped, pymysql.connect is pymysql.connections.Connection]))
        """
    )
    assert ran.said == [False, True, True]


# Statements

STATEMENTS = {
    "SELECT volumes.id AS volumes_1 \nFROM volumes \nWHERE volumes.id = %(id_1)s": (
        "SELECT volumes",
        "SELECT volumes.id AS volumes_1 \nFROM volumes \nWHERE volumes.id = %(id_1)s",
    ),
    "INSERT INTO `t 1` (`a 2`) VALUES ('it''s \\' x', \"y\")": (
        "INSERT t",
        "INSERT INTO `t 1` (`a 2`) VALUES (?, ?)",
    ),
    "update v set n=4711, m=-1.5e3, h=0xFF where id = 'unclosed": (
        "UPDATE v",
        "update v set n=?, m=-?, h=? where id = ?",
    ),
    "SELECT 1": ("SELECT", "SELECT ?"),
    "": ("", ""),
    "UPDATE": ("UPDATE", "UPDATE"),
    "/* hi */ SELECT": ("", "/* hi */ SELECT"),
}


@pytest.mark.parametrize("text", STATEMENTS)
def test_statements_lose_their_values(text: str) -> None:
    """Values that are written into a statement are masked; names and placeholders stay."""
    summary, masked = STATEMENTS[text]
    assert (clients._summary(clients._without_values(text)), clients._without_values(text)) == (
        summary,
        masked,
    )


def test_long_statements_keep_both_ends() -> None:
    """A long statement loses its columns and keeps its tables and conditions."""
    text = f"SELECT a, {'b, ' * 2000} c FROM volumes WHERE d = %s"
    shortened = clients._shortened(text)
    assert len(shortened) == clients.STATEMENT_LIMIT
    assert shortened.startswith("SELECT a, b")
    assert shortened.endswith("FROM volumes WHERE d = %s")


def test_cost_of_statements_grows_with_their_length() -> None:
    """The cost of masking a statement grows only with its length."""
    import time

    begin = time.process_time()
    for quotes in ("'\\" * 16_000, '"\\' * 16_000, "'\\" * 15_999 + "'"):
        clients._without_values(quotes)
    for text in ("'" * 30_001, "`" * 30_001, "0" * 30_000, "''\\" * 10_000, " from" * 6_000):
        clients._summary(clients._without_values(text))
    assert time.process_time() - begin < 0.5


def test_status_has_both_places(spans: Recorder) -> None:
    """The status names both places; PyMySQL's as it is."""
    state = {
        row.target: row.state
        for row in otel_cinder.instrumentor.CinderInstrumentor().status()
        if row.seam == clients.SEAM
    }
    assert state == {
        "requests:sessions.Session.send": "on",
        "pymysql:connect": "on" if "pymysql" in sys.modules else "waiting",
    }
