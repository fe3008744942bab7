"""A small OTLP/HTTP endpoint, by default on the loopback, that keeps the spans that arrive.

    with Receiver() as receiver:
        ...  # export to receiver.endpoint
        receiver.wait_for(lambda spans: len(spans) == 21, timeout=10)

The demo shows what arrives here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading.endpoint import OK, Endpoint, Export
from otel_cinder.reading.forwarder import Forwarder
from otel_cinder.reading.otlp_json import from_json_line, to_json_line
from otel_cinder.reading.trace import SpanRecord, spans_of

__all__ = ["OK", "Receiver", "from_json_line", "to_json_line"]


class Receiver(Endpoint):
    """An OTLP/HTTP endpoint that takes all signals and keeps the spans.

    ``port`` and ``host`` are as `Endpoint` takes them.
    ``forward_to`` is the base URL of another OTLP/HTTP endpoint that gets every accepted body
    too; what goes wrong there is kept in ``forward_errors``, but not that it has no place for
    metrics or logs, as Jaeger. ``start()`` raises OSError when the port is taken.
    """

    def __init__(
        self, port: int = 0, forward_to: str | None = None, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(port, host)
        self._changed = threading.Condition()
        self._requests: list[ExportTraceServiceRequest] = []
        self._spans: list[SpanRecord] = []
        self._forward_errors: list[str] = []
        self._forwarder = (
            Forwarder(forward_to, self._cannot_forward, tries=1) if forward_to else None
        )

    def stop(self) -> None:
        """Close the port, once forwarding is done; what arrived stays readable."""
        super().stop()
        if self._forwarder is not None:
            self._forwarder.drain()

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        """Every accepted trace export, in order of arrival; a copy."""
        with self._changed:
            return list(self._requests)

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
        """Wait up to ``timeout`` seconds until the spans satisfy ``predicate``; say whether.

        It is asked again whenever an export of any signal arrives.
        """
        with self._changed:
            return self._changed.wait_for(lambda: bool(predicate(list(self._spans))), timeout)

    def clear(self) -> None:
        """Forget everything that arrived."""
        with self._changed:
            self._requests.clear()
            self._spans.clear()
            self._forward_errors.clear()

    def accept(self, export: Export) -> None:
        """Keep an export, and hand it on to be forwarded."""
        request = export.message
        with self._changed:
            if isinstance(request, ExportTraceServiceRequest):
                self._requests.append(request)
                self._spans.extend(spans_of(request))
            self._changed.notify_all()
        # Before the answer, so that stop() never misses one that is about to be forwarded.
        if self._forwarder is not None:
            self._forwarder.pass_on(export)

    def _cannot_forward(self, problem: str) -> None:
        with self._changed:
            self._forward_errors.append(problem)
            self._changed.notify_all()
