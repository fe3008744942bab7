"""A small OTLP/HTTP endpoint, on the loopback if not told otherwise, for all signals.

    with Receiver() as receiver:
        ...  # export to receiver.endpoint
        receiver.wait_for(lambda spans: len(spans) == 21, timeout=10)

The demo shows what arrives here.
"""

from __future__ import annotations

import gzip
import socket
import socketserver
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading.otlp_json import from_json, from_json_line, to_json_line
from otel_cinder.reading.records import LogLine, MetricPoint, logs_of, points_of
from otel_cinder.reading.trace import SpanRecord, spans_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Receiver", "from_json_line", "to_json_line"]

_FORWARD_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 30.0

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_TRACES: Final = "/v1/traces"
_NOT_FOUND: Final = 404
OK: Final = 200

_SIGNALS: Final[dict[str, type[Message]]] = {
    _TRACES: ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}

Request = TypeVar("Request", bound=Message)


class Receiver:
    """An OTLP/HTTP endpoint that keeps what it accepts, of all signals.

    ``port`` 0 picks a free one, which stays the same over ``stop()`` and ``start()``. ``host`` is the
    address to listen on, of IPv4 or IPv6: others than the loopback's take what any host sends.
    ``forward_to`` is the base URL of another OTLP/HTTP endpoint that gets every accepted body
    too; what goes wrong there is kept in ``forward_errors``, but not that it has no place for
    metrics or logs, as Jaeger. ``start()`` raises OSError when the port is taken.
    """

    def __init__(
        self, port: int = 0, forward_to: str | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._host = host
        self._port = port
        self._forward_to = forward_to.rstrip("/") if forward_to else None
        self._opener = _opener(forward_to or "")
        self._changed = threading.Condition()
        self._requests: list[Message] = []
        self._bodies: list[bytes] = []
        self._spans: list[SpanRecord] = []
        self._forward_errors: list[str] = []
        self._forwarding = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; does nothing when it already listens."""
        if self._server is not None:
            return
        self._server = _Server((self._host, self._port), self)
        self._port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="otlp-receiver",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port, once forwarding is done; what arrived stays readable."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.shutdown()
        server.server_close()
        thread.join()
        with self._changed:
            self._changed.wait_for(lambda: not self._forwarding, timeout=_FORWARD_TIMEOUT_S + 1)

    @property
    def endpoint(self) -> str:
        """The base URL, fit for OTEL_EXPORTER_OTLP_ENDPOINT."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        """Every accepted trace export, in order of arrival; a copy."""
        return self._of(ExportTraceServiceRequest)

    @property
    def metric_requests(self) -> list[ExportMetricsServiceRequest]:
        """Every accepted export of metrics, in order of arrival; a copy."""
        return self._of(ExportMetricsServiceRequest)

    @property
    def log_requests(self) -> list[ExportLogsServiceRequest]:
        """Every accepted export of log records, in order of arrival; a copy."""
        return self._of(ExportLogsServiceRequest)

    @property
    def bodies(self) -> list[bytes]:
        """Every accepted body, of all signals, uncompressed, in order of arrival; a copy."""
        with self._changed:
            return list(self._bodies)

    @property
    def forward_errors(self) -> list[str]:
        """One sentence for each request that could not be forwarded; a copy."""
        with self._changed:
            return list(self._forward_errors)

    def spans(self) -> list[SpanRecord]:
        """The spans of all accepted exports, in order of arrival."""
        with self._changed:
            return list(self._spans)

    def metrics(self) -> list[MetricPoint]:
        """The points of all accepted exports, in order of arrival: cumulative ones come again."""
        return [point for request in self.metric_requests for point in points_of(request)]

    def logs(self) -> list[LogLine]:
        """The log records of all accepted exports, in order of arrival."""
        return [line for request in self.log_requests for line in logs_of(request)]

    def wait_for(self, predicate: Callable[[list[SpanRecord]], bool], timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until the spans satisfy ``predicate``; say whether.

        It is asked again when anything arrives, so it may look at the other signals instead.
        """
        with self._changed:
            return self._changed.wait_for(lambda: bool(predicate(list(self._spans))), timeout)

    def clear(self) -> None:
        """Forget everything that arrived."""
        with self._changed:
            self._requests.clear()
            self._bodies.clear()
            self._spans.clear()
            self._forward_errors.clear()

    def admit(self, path: str) -> int | None:  # noqa: ARG002
        """Return the HTTP status to answer a request with: 200 accepts it, None hangs up.

        Always 200 here. Called for each request, in a thread of its own.
        """
        return OK

    def _of(self, kind: type[Request]) -> list[Request]:
        with self._changed:
            return [request for request in self._requests if isinstance(request, kind)]

    def _accept(self, request: Message, body: bytes) -> None:
        spans = spans_of(request) if isinstance(request, ExportTraceServiceRequest) else []
        with self._changed:
            self._requests.append(request)
            self._bodies.append(body)
            self._spans.extend(spans)
            self._changed.notify_all()

    def _begin_forward(self) -> bool:
        if self._forward_to is None:
            return False
        with self._changed:
            self._forwarding += 1
        return True

    def _forward(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        url = f"{self._forward_to}{path}"
        problem = None
        try:
            request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310
            with self._opener.open(request, timeout=_FORWARD_TIMEOUT_S) as response:
                response.read()
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if path == _TRACES or getattr(error, "code", None) != _NOT_FOUND:
                problem = f"{url}: {reason}"
        finally:
            with self._changed:
                if problem is not None:
                    self._forward_errors.append(problem)
                self._forwarding -= 1
                self._changed.notify_all()


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return an opener that uses the caller's proxy, unless the URL is on this host."""
    if urlsplit(url).hostname in _LOOPBACK:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], receiver: Receiver) -> None:
        self.receiver = receiver
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which takes seconds where DNS is away.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that gave up waiting is what fault tests are about."""


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0 closes after each answer, so that a stopped receiver is gone for clients at once.
    protocol_version = "HTTP/1.0"
    timeout = _READ_TIMEOUT_S

    def do_POST(self) -> None:
        receiver = cast("_Server", self.server).receiver
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        status = receiver.admit(path)
        if status is None:
            return
        if not path.startswith("/v1/"):
            status = _NOT_FOUND
        if status != OK:
            self._answer(status)
            return
        kind = _SIGNALS.get(path)
        plain = body
        export = None
        try:
            if kind is not None:
                plain = self._decompress(body)
                export = self._parse(kind, plain)
        except (OSError, EOFError, ValueError, zlib.error, DecodeError):
            self._answer(400)
            return
        # Counted before the answer, so that stop() never misses a forward that is about to start.
        forwards = receiver._begin_forward()
        try:
            if export is not None:
                receiver._accept(export, plain)
            self._answer(OK)
        finally:
            if forwards:
                receiver._forward(path, body, self._payload_headers())

    def _decompress(self, body: bytes) -> bytes:
        match self.headers.get("Content-Encoding", "").lower():
            case "gzip":
                return gzip.decompress(body)
            case "deflate":
                return zlib.decompress(body)
        return body

    def _parse(self, kind: type[Message], body: bytes) -> Message:
        if self._is_json():
            return from_json(body.decode(), kind)
        return kind.FromString(body)

    def _answer(self, status: int) -> None:
        # An export response without fields, which is what full success looks like.
        body = b"{}" if self._is_json() else b""
        self.send_response(status)
        self.send_header(
            "Content-Type", "application/json" if self._is_json() else "application/x-protobuf"
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _is_json(self) -> bool:
        return str(self.headers.get("Content-Type", "")).startswith("application/json")

    def _payload_headers(self) -> dict[str, str]:
        wanted = ("Content-Type", "Content-Encoding")
        return {name: self.headers[name] for name in wanted if name in self.headers}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the terminal quiet."""
