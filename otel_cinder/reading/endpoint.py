"""An OTLP/HTTP endpoint: listens, takes an export apart, answers, and hands it on.

Broken or foreign bodies get an answer that says what was wrong with them, and nothing else happens.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import socketserver
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading import grpc_refusal
from otel_cinder.reading.otlp_json import from_json

if TYPE_CHECKING:
    from typing_extensions import Self

TRACES: Final = "/v1/traces"
OK: Final = 200
NOT_FOUND: Final = 404

_BAD, _WRONG_METHOD, _NO_LENGTH, _TOO_LARGE, _WRONG_TYPE = 400, 405, 411, 413, 415
_READ_TIMEOUT_S = 30.0
_LARGEST: Final = 64 << 20
"""Bytes of a body, uncompressed. A collector takes 20 MiB."""

_AT_ONCE: Final = 16
"""Bodies that are taken apart at the same time."""

_TLS_HANDSHAKE: Final = b"\x16\x03"

_SIGNALS: Final[dict[str, type[Message]]] = {
    TRACES: ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}

# Of one connection alone (RFC 9110, "Connection"), or written anew by whoever forwards.
_NOT_PASSED_ON = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization trailer transfer-encoding upgrade "
    "host content-length accept-encoding expect user-agent".split()
)


@dataclass(frozen=True)
class Export:
    """What arrived in one request."""

    path: str
    message: Message | None
    """None for a signal that is not known here."""
    body: bytes
    """Uncompressed."""
    sent: bytes
    """As it came."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that belong to it, and not to the connection."""


class RefusedError(Exception):
    """Why an export is not taken: a sentence, and the HTTP status that goes with it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Endpoint:
    """Listens on a port and takes all signals by OTLP/HTTP: protobuf and JSON, gzip and deflate.

    ``port`` 0 picks a free one, which stays the same over ``stop()`` and ``start()``. ``host`` is the
    address to listen on, of IPv4 or IPv6: others than the loopback's take what any host sends.
    ``start()`` raises OSError when the port is taken.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self._host = host
        self._port = port
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
        """Close the port."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.shutdown()
        server.server_close()
        thread.join()

    @property
    def endpoint(self) -> str:
        """The base URL, fit for OTEL_EXPORTER_OTLP_ENDPOINT."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def admit(self, path: str) -> int | None:  # noqa: ARG002
        """Return the HTTP status to answer a request with: 200 accepts it, None hangs up.

        Always 200 here. Called for each request, in a thread of its own.
        """
        return OK

    def accept(self, export: Export) -> None:
        """Take an export, before it is answered; called in a thread of its own."""

    def refuse(self, client: str, sentence: str) -> None:
        """Take note of what was refused, and from whom."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], receiver: Endpoint) -> None:
        self.receiver = receiver
        self.at_once = threading.BoundedSemaphore(_AT_ONCE)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
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

    def handle(self) -> None:
        """Tell what is no HTTP at all from what is."""
        reading = cast("Any", self.rfile)
        start = bytes(reading.peek(len(grpc_refusal.PREFACE)))
        if start.startswith(b"PRI * "):
            sentence = f"Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf: {self._port_is()}, not gRPC"
            self._receiver.refuse(self._client(), sentence)
            grpc_refusal.refuse(cast("BinaryIO", self.rfile), self.connection, sentence)
        elif start.startswith(_TLS_HANDSHAKE):
            sentence = f"Write http:// instead of https://: {self._port_is()}, without TLS"
            self._receiver.refuse(self._client(), sentence)
            # By an answer in plain text, TLS clients tell a server that speaks none.
            with contextlib.suppress(OSError):
                self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" + sentence.encode())
        else:
            super().handle()

    def do_POST(self) -> None:
        """Take an export."""
        receiver = self._receiver
        path = self.path.partition("?")[0]
        try:
            sent = self._read()
            status = receiver.admit(path)
            if status is None:
                return
            _check(path, status)
            with cast("_Server", self.server).at_once:
                receiver.accept(self._export(path, sent))
        except RefusedError as refused:
            receiver.refuse(self._client(), str(refused))
            self._answer(refused.status, str(refused))
            return
        self._answer(OK)

    def do_GET(self) -> None:
        """Say what this is to whoever looks with a browser."""
        self._answer(_WRONG_METHOD, f"POST to /v1/traces: {self._port_is()}")

    do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - as the base class calls them

    @property
    def _receiver(self) -> Endpoint:
        return cast("_Server", self.server).receiver

    def _client(self) -> str:
        return f"{self.client_address[0]}:{self.client_address[1]}"

    def _port_is(self) -> str:
        return f"port {cast('_Server', self.server).server_port} takes OTLP over HTTP"

    def _read(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if length < 0:
            raise RefusedError(_NO_LENGTH, "Say Content-Length in bytes: it is no number")
        if length > _LARGEST:
            raise _too_large()
        body = self.rfile.read(length)
        if len(body) < length:
            raise RefusedError(
                _BAD, f"Send the whole body: {len(body)} of {length} bytes came before the end"
            )
        return body

    def _read_chunks(self) -> bytes:
        """A body in chunks (RFC 9112, section 7.1), of which only their data matters."""
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(64).partition(b";")[0], 16)
            except ValueError:
                raise RefusedError(_BAD, "Mend the chunked body: a chunk has no size") from None
            if not 0 <= size <= _LARGEST - len(body):
                raise _too_large()
            if size == 0:
                return bytes(body)
            body += self.rfile.read(size)
            self.rfile.readline(64)

    def _export(self, path: str, sent: bytes) -> Export:
        kind = _SIGNALS.get(path)
        if kind is None:
            return Export(path, None, sent, sent, self._headers())
        try:
            plain = self._decompress(sent)
        except (OSError, EOFError, zlib.error) as error:
            encoding = self.headers.get("Content-Encoding")
            raise RefusedError(
                _BAD, f"Mend the body: it is not {encoding}, as it says ({error})"
            ) from None
        try:
            return Export(path, self._parse(kind, plain), plain, sent, self._headers())
        except (ValueError, DecodeError) as error:
            form = "JSON" if self._is_json() else "protobuf"
            raise RefusedError(
                _BAD,
                f"Send {kind.DESCRIPTOR.name} as OTLP has it: the body is none in {form} ({error})",
            ) from None

    def _decompress(self, body: bytes) -> bytes:
        encoding = self.headers.get("Content-Encoding", "").lower()
        if encoding in ("", "identity"):
            return body
        if encoding not in ("gzip", "deflate"):
            raise RefusedError(
                _WRONG_TYPE, f"Send it with gzip, or uncompressed: not with {encoding}"
            )
        if encoding == "gzip" and not body.startswith(b"\x1f\x8b"):
            raise gzip.BadGzipFile("no gzip header")
        unpacking = zlib.decompressobj(wbits=47)  # of gzip or zlib, whatever it says
        plain = unpacking.decompress(body, _LARGEST)
        if unpacking.unconsumed_tail:
            raise _too_large()
        if not unpacking.eof:
            raise EOFError("cut short")
        return plain

    def _parse(self, kind: type[Message], body: bytes) -> Message:
        if self._is_json():
            return from_json(body.decode(), kind)
        sort = self._content_type()
        if sort not in ("", "application/x-protobuf", "application/protobuf"):
            raise RefusedError(
                _WRONG_TYPE,
                f"Send application/x-protobuf or application/json: not {sort[:80]}",
            )
        return kind.FromString(body)

    def _answer(self, status: int, sentence: str = "") -> None:
        is_json = self._is_json()
        if status == OK:
            # An export response without fields, which is what full success looks like.
            body = b"{}" if is_json else b""
        else:
            body = _status(sentence, is_json=is_json, is_plain=self._content_type() == "")
        self.send_response(status)
        sort = "application/json" if is_json else "application/x-protobuf"
        if self._content_type() == "" and status != OK:
            sort = "text/plain; charset=utf-8"
        self.send_header("Content-Type", sort)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _content_type(self) -> str:
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    def _is_json(self) -> bool:
        return self._content_type() == "application/json"

    def _headers(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in _NOT_PASSED_ON
        }

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the terminal quiet."""


def _check(path: str, status: int) -> None:
    if not path.startswith("/v1/"):
        raise RefusedError(
            NOT_FOUND, f"Send to /v1/traces, /v1/logs or /v1/metrics: there is no {path}"
        )
    if status != OK:
        raise RefusedError(status, "")


def _too_large() -> RefusedError:
    return RefusedError(_TOO_LARGE, f"Send smaller batches: {_LARGEST >> 20} MiB are the most")


def _status(sentence: str, *, is_json: bool, is_plain: bool) -> bytes:
    """``google.rpc.Status``, as OTLP/HTTP wants it ("Failures"); plain text for who speaks no OTLP."""
    if is_plain:
        return f"{sentence}\n".encode()
    if is_json:
        import json

        return json.dumps({"message": sentence}, ensure_ascii=False).encode()
    return bytes(Status(message=sentence).SerializeToString())
