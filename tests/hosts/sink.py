"""An OTLP/HTTP endpoint that keeps no more of what comes than how often each name was there."""

from __future__ import annotations

import collections
import gzip
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import Self


class Sink:
    """Counts spans and metrics by their names, and log records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.spans: collections.Counter[str] = collections.Counter()
        self.metrics: collections.Counter[str] = collections.Counter()
        self.logs = 0
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """The base URL, fit for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, path: str, body: bytes) -> None:
        """Take an export; raises what a body that is none does."""
        with self._lock:
            if path == "/v1/traces":
                traces = ExportTraceServiceRequest.FromString(body)
                self.spans.update(
                    span.name
                    for resource in traces.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
            elif path == "/v1/metrics":
                metrics = ExportMetricsServiceRequest.FromString(body)
                self.metrics.update(
                    metric.name
                    for resource in metrics.resource_metrics
                    for scope in resource.scope_metrics
                    for metric in scope.metrics
                )
            else:
                logs = ExportLogsServiceRequest.FromString(body)
                self.logs += sum(
                    len(scope.log_records)
                    for resource in logs.resource_logs
                    for scope in resource.scope_logs
                )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which takes seconds where DNS is away.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a process that was killed hangs up."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.sink.count(self.path, body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the terminal quiet."""
