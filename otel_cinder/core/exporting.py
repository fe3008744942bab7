"""BatchSpanProcessor: export from a real operating-system thread, off eventlet's hub.

The SDK's own processor of the same name can't be used inside Cinder. Under eventlet its thread is a
greenthread: a span that ends in a ``tpool`` thread does not wake it, and a flush from there raises
``greenlet.error``. This one takes its thread, locks and events from the unpatched modules, so that
it works the same with and without eventlet. The exporter lives wholly in that thread.
"""

from __future__ import annotations

import collections
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_LOG = logging.getLogger(__name__)

_EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.sdk.trace.export",
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "requests",
)
"""Loggers that exporters write to. See `_Hush`."""


def real(module: str) -> Any:
    """The module as it was before eventlet patched it; the module itself without eventlet."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return patcher.original(module)
    __import__(module)
    return sys.modules[module]


class _Hush(logging.Filter):
    """Keeps what the exporter logs in our thread away from the host's log handlers.

    Their locks are eventlet's where eventlet rules, and must not be taken in a foreign thread.
    The first warning of an export is kept: it is the reason in our own, which a thread of the
    host's writes. (The last one only says that the exporter has given up.)
    """

    def __init__(self, get_ident: Callable[[], int]) -> None:
        super().__init__()
        self._get_ident = get_ident
        self.thread: int | None = None
        self.reason = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if self._get_ident() != self.thread:
            return True
        if record.levelno >= logging.WARNING and not self.reason:
            self.reason = record.getMessage()[:300]
        return False


class BatchSpanProcessor(SpanProcessor):
    """Queues ended spans and exports them in batches.

    Args:
        build_exporters: called once, in the export thread; what it raises is warned of.
        endpoint: where the spans go, for messages.
        queue_size: spans kept while they can't be sent; newer ones are dropped and counted.
        batch_size: spans per export.
        delay: seconds between exports.
    """

    def __init__(
        self,
        build_exporters: Callable[[], Sequence[SpanExporter]],
        endpoint: str,
        *,
        queue_size: int,
        batch_size: int,
        delay: float,
    ) -> None:
        threads = real("threading")
        self._event = threads.Event
        self._lock = threads.Lock()
        self._start_thread = real("_thread").start_new_thread
        self._hush = _Hush(real("_thread").get_ident)
        self._build_exporters = build_exporters
        self._endpoint = endpoint
        self._queue: collections.deque[ReadableSpan] = collections.deque()
        self._queue_size = queue_size
        self._batch_size = min(batch_size, queue_size)
        self._delay = delay
        self._wake = self._event()
        self._ended = self._event()
        self._flushes: collections.deque[Any] = collections.deque()
        self._started = False
        self._stopping = False
        self._news: collections.deque[tuple[str, tuple[Any, ...]]] = collections.deque()
        self._sending = 0
        self.dropped = 0
        """Spans lost to a full queue or a failed export, so far."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span. Takes no lock that a greenthread could wait on; never blocks."""
        if span.context is None or not span.context.trace_flags.sampled or self._stopping:
            return
        if len(self._queue) >= self._queue_size:
            if not self.dropped:
                self._report(
                    "otel-cinder drops spans because %d wait to be sent to %s; raise "
                    "OTEL_BSP_MAX_QUEUE_SIZE, or look at what keeps the collector.",
                    self._queue_size,
                    self._endpoint,
                )
            self.dropped += 1
        else:
            self._queue.append(span)
        if not self._started:
            self._start()
        if len(self._queue) >= self._batch_size and not self._wake.is_set():
            self._wake.set()
        if self._news:
            self._tell()

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Export what is queued. False if it took longer than ``timeout_millis``."""
        if not self._started or self._ended.is_set():
            return True
        done = self._event()
        self._flushes.append(done)
        self._wake.set()
        flushed = bool(done.wait(timeout_millis / 1000))
        if not flushed:
            self._give_up(timeout_millis)
        self._tell()
        return flushed

    def shutdown(self, timeout_millis: int = 5000) -> None:
        """Export what is queued and end the thread, in at most ``timeout_millis``."""
        self._stopping = True
        if not self._started:
            return
        self._wake.set()
        if not self._ended.wait(timeout_millis / 1000):
            self._give_up(timeout_millis)
        for name in _EXPORTER_LOGGERS:
            logging.getLogger(name).removeFilter(self._hush)
        self._tell()

    def _give_up(self, timeout_millis: int) -> None:
        self._report(
            "otel-cinder has waited %g s for %s and leaves %d spans unsent (%s); check the "
            "collector and OTEL_EXPORTER_OTLP_ENDPOINT.",
            timeout_millis / 1000,
            self._endpoint,
            len(self._queue) + self._sending,
            self._hush.reason or "no answer",
        )

    def _start(self) -> None:
        with self._lock:
            if self._started:
                return
            self._started = True
            for name in _EXPORTER_LOGGERS:
                logging.getLogger(name).addFilter(self._hush)
            # Not a threading.Thread: under eventlet those of the unpatched module would stand in
            # the patched one's books (Cinder joins the two), and fall out of them with KeyErrors.
            self._start_thread(self._run, ())

    def _run(self) -> None:
        self._hush.thread = real("_thread").get_ident()
        try:
            # The context of the request that happened to start the thread is not ours.
            otel_context.attach(otel_context.Context())
            with suppress_instrumentation():
                self._export_until_stopped()
        finally:
            self._ended.set()

    def _export_until_stopped(self) -> None:
        exporters: Sequence[SpanExporter] = ()
        try:
            exporters = self._build_exporters()
        except Exception as error:  # a bad certificate path, a missing package, ...
            self._stopping = True
            self._queue.clear()
            self._report(
                "otel-cinder exports nothing because its exporter could not be made "
                "(%s: %s); check the OTEL_EXPORTER_* settings.",
                type(error).__name__,
                error,
            )
        failing = False
        while True:
            self._wake.wait(self._delay)
            self._wake.clear()
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            stopping = self._stopping
            while self._queue:
                count = min(self._batch_size, len(self._queue))
                batch = [self._queue.popleft() for _ in range(count)]
                failing = self._export(exporters, batch, failing)
            for done in flushes:
                done.set()
            if stopping:
                for exporter in exporters:
                    exporter.shutdown()
                return

    def _export(
        self, exporters: Sequence[SpanExporter], batch: list[ReadableSpan], failing: bool
    ) -> bool:
        """Export one batch; returns whether it failed."""
        reason = ""
        self._sending = len(batch)
        for exporter in exporters:
            self._hush.reason = ""
            try:
                if exporter.export(batch) is not SpanExportResult.SUCCESS:
                    reason = self._hush.reason or "no reason given"
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
        self._sending = 0
        if reason:
            self.dropped += len(batch)
            if not failing:
                self._report(
                    "otel-cinder can't export to %s (%s); Cinder is not affected and spans "
                    "are dropped until it answers. Check the collector and "
                    "OTEL_EXPORTER_OTLP_ENDPOINT.",
                    self._endpoint,
                    reason,
                )
        elif failing:
            self._report(
                "otel-cinder exports to %s again; %d spans were lost so far.",
                self._endpoint,
                self.dropped,
            )
        return bool(reason)

    def _report(self, message: str, *arguments: Any) -> None:
        self._news.append((message, arguments))

    def _tell(self) -> None:
        """Log, in a thread of the host's, what the export thread has to say."""
        while self._news:
            try:
                message, arguments = self._news.popleft()
            except IndexError:  # another thread was quicker
                return
            _LOG.warning(message, *arguments)
