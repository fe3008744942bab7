"""A small OTLP/HTTP endpoint on loopback, and OTLP/JSON as a line of text.

    with Receiver() as receiver:
        ...  # export to receiver.endpoint
        receiver.wait_for(lambda spans: len(spans) == 21, timeout=10)

The demo shows what arrives here; tests use it as a collector that can be told to fail.
"""

from __future__ import annotations

import base64
import gzip
import json
import socketserver
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.cli.trace import SpanRecord, spans_of

if TYPE_CHECKING:
    from typing_extensions import Self

_FORWARD_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 30.0
_ID_KEYS = ("traceId", "spanId", "parentSpanId")


class Receiver:
    """An OTLP/HTTP endpoint on 127.0.0.1 that keeps what it accepts.

    ``port`` 0 picks a free one, which stays the same over ``stop()`` and ``start()``.
    ``forward_to`` is the base URL of another OTLP/HTTP endpoint that gets every accepted body
    too; what goes wrong there is kept in ``forward_errors``. ``start()`` raises OSError when the
    port is taken.
    """

    def __init__(self, port: int = 0, forward_to: str | None = None) -> None:
        self._port = port
        self._forward_to = forward_to.rstrip("/") if forward_to else None
        self._changed = threading.Condition()
        self._requests: list[ExportTraceServiceRequest] = []
        self._spans: list[SpanRecord] = []
        self._forward_errors: list[str] = []
        self._forwarding = 0
        self._attempts = 0
        self._status = 200
        self._hang_seconds = 0.0
        self._stopping = threading.Event()
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
        self._stopping.clear()
        self._server = _Server(("127.0.0.1", self._port), self)
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
        self._stopping.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._forwarding, timeout=_FORWARD_TIMEOUT_S + 1)

    @property
    def endpoint(self) -> str:
        """The base URL, fit for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        """Every accepted trace export, in order of arrival; a copy."""
        with self._changed:
            return list(self._requests)

    @property
    def attempts(self) -> int:
        """How many requests came in, whatever the answer was."""
        with self._changed:
            return self._attempts

    @property
    def forward_errors(self) -> list[str]:
        """One sentence for each request that could not be forwarded; a copy."""
        with self._changed:
            return list(self._forward_errors)

    def spans(self) -> list[SpanRecord]:
        """The spans of all accepted exports, in order of arrival."""
        with self._changed:
            return list(self._spans)

    def wait_for(self, predicate: Callable[[list[SpanRecord]], bool], timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until the spans satisfy ``predicate``; say whether."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(predicate(list(self._spans))), timeout)

    def clear(self) -> None:
        """Forget everything that arrived."""
        with self._changed:
            self._requests.clear()
            self._spans.clear()
            self._forward_errors.clear()
            self._attempts = 0

    def respond(self, status: int = 200, hang_seconds: float = 0) -> None:
        """Answer with this status from now on, after hanging for so long.

        Only exports that are answered with 200 are kept, and only once they are answered.
        """
        with self._changed:
            self._status = status
            self._hang_seconds = hang_seconds

    def _arrived(self) -> int | None:
        """Count a request, hang if told to; the status to answer with, None to hang up."""
        with self._changed:
            self._attempts += 1
            status, hang_seconds = self._status, self._hang_seconds
            self._changed.notify_all()
        if hang_seconds and self._stopping.wait(hang_seconds):
            return None
        return status

    def _accept(self, request: ExportTraceServiceRequest) -> None:
        spans = spans_of(request)
        with self._changed:
            self._requests.append(request)
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
            with urllib.request.urlopen(request, timeout=_FORWARD_TIMEOUT_S) as response:  # noqa: S310
                response.read()
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            problem = f"{url}: {reason}"
        finally:
            with self._changed:
                if problem is not None:
                    self._forward_errors.append(problem)
                self._forwarding -= 1
                self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which takes seconds where DNS is away.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

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
        status = receiver._arrived()
        if status is None:
            return
        if not path.startswith("/v1/"):
            status = 404
        if status != 200:
            self._answer(status)
            return
        try:
            export = self._parse(body) if path == "/v1/traces" else None
        except (OSError, EOFError, ValueError, zlib.error, DecodeError):
            self._answer(400)
            return
        # Counted before the answer, so that stop() never misses a forward that is about to start.
        forwards = receiver._begin_forward()
        try:
            if export is not None:
                receiver._accept(export)
            self._answer(200)
        finally:
            if forwards:
                receiver._forward(path, body, self._payload_headers())

    def _parse(self, body: bytes) -> ExportTraceServiceRequest:
        match self.headers.get("Content-Encoding", "").lower():
            case "gzip":
                body = gzip.decompress(body)
            case "deflate":
                body = zlib.decompress(body)
        if self._is_json():
            return from_json_line(body.decode())
        return ExportTraceServiceRequest.FromString(body)

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


def to_json_line(request: ExportTraceServiceRequest) -> str:
    """Write an export as one line of OTLP/JSON, as the collector's file exporter does.

    Ids are hex and enums are numbers (OTLP specification, "JSON Protobuf Encoding").
    """
    data = MessageToDict(request, use_integers_for_enums=True)
    for ids in _holders_of_ids(data):
        for key in _ID_KEYS:
            if key in ids:
                ids[key] = base64.b64decode(ids[key]).hex()
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def from_json_line(line: str) -> ExportTraceServiceRequest:
    """Read one line of OTLP/JSON; raises ValueError when it is something else."""
    data = json.loads(line)
    try:
        for ids in _holders_of_ids(data):
            for key in _ID_KEYS:
                if key in ids:
                    ids[key] = base64.b64encode(bytes.fromhex(ids[key])).decode()
        return ParseDict(data, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ParseError, AttributeError, TypeError) as error:
        raise ValueError(f"not OTLP/JSON: {error}") from error


def _holders_of_ids(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in data.get("resourceSpans", ()):
        for scoped in group.get("scopeSpans", ()):
            for span in scoped.get("spans", ()):
                yield span
                yield from span.get("links", ())
