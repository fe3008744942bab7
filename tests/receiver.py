"""An OTLP receiver that keeps all signals, and can be told to fail, as collectors do."""

from __future__ import annotations

import threading
from typing import TypeVar

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from otel_cinder.reading import receiver
from otel_cinder.reading.endpoint import Export
from otel_cinder.reading.records import LogLine, logs_of
from tests.metric_points import MetricPoint, points_of

Request = TypeVar("Request", bound=Message)


class Receiver(receiver.Receiver):
    """Keeps what it accepts, of all signals; answers with errors, or late, when told to."""

    def __init__(
        self, port: int = 0, forward_to: str | None = None, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(port, forward_to, host)
        self._exports: list[Export] = []
        self._attempts = 0
        self._status = receiver.OK
        self._hang_seconds = 0.0
        self._path = ""
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listen; does nothing when it already listens."""
        self._stopping.clear()
        super().start()

    def stop(self) -> None:
        """Close the port. Answers that hang are given up once forwarding is done."""
        super().stop()
        self._stopping.set()

    @property
    def attempts(self) -> int:
        """How many requests came in, whatever the answer was."""
        with self._changed:
            return self._attempts

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
            return [export.body for export in self._exports]

    def metrics(self) -> list[MetricPoint]:
        """The points of all accepted exports, in order of arrival: cumulative ones come again."""
        return [point for request in self.metric_requests for point in points_of(request)]

    def logs(self) -> list[LogLine]:
        """The log records of all accepted exports, in order of arrival."""
        return [line for request in self.log_requests for line in logs_of(request)]

    def clear(self) -> None:
        """Forget everything that arrived."""
        super().clear()
        with self._changed:
            self._attempts = 0
            self._exports.clear()

    def accept(self, export: Export) -> None:
        """Keep an export, and hand it on to be forwarded."""
        if export.message is not None:
            with self._changed:
                self._exports.append(export)
        super().accept(export)

    def respond(self, status: int = receiver.OK, hang_seconds: float = 0, path: str = "") -> None:
        """Answer with this status from now on, after hanging for so long; all paths, or one alone.

        Only exports that are answered with 200 are kept, and only once they are answered.
        """
        with self._changed:
            self._status = status
            self._path = path
            self._hang_seconds = hang_seconds

    def admit(self, path: str) -> int | None:
        """Count a request, hang if told to; the status to answer with, None to hang up."""
        with self._changed:
            self._attempts += 1
            status, hang_seconds = self._status, self._hang_seconds
            if self._path not in ("", path):
                status, hang_seconds = receiver.OK, 0
            self._changed.notify_all()
        if hang_seconds and self._stopping.wait(hang_seconds):
            return None
        return status

    def _of(self, kind: type[Request]) -> list[Request]:
        with self._changed:
            messages = [export.message for export in self._exports]
        return [message for message in messages if isinstance(message, kind)]
