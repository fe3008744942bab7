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
from _queue import Empty, SimpleQueue
from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_cinder.core import redaction
from otel_cinder.core.patching import complain

_LOG = logging.getLogger(__name__)

_EXPORTERS_LOGGERS: Final = (
    "opentelemetry.",
    "charset_normalizer",
    "grpc",
    "py.warnings",
    "requests",
    "urllib3",
)
"""Beginnings of the names of loggers that exporters write to. See `_Hush`."""

_FAILING_WAIT: Final = 2.0
"""Seconds that a flush waits where the last export has failed: time for one more try."""

_UNANSWERED_WAIT: Final = 0.2
"""Seconds that a flush waits where one has waited in vain already, and nothing has left since."""


def real(module: str) -> Any:
    """The module as it was before eventlet patched it; the module itself without eventlet."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return patcher.original(module)
    __import__(module)
    return sys.modules[module]


class _Hush(logging.Filter):
    """Keeps what exporters log in our thread away from the host's log handlers.

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
            self.reason = redaction.text(record.getMessage(), 300)
        return False

    def spread(self) -> None:
        """Put it on every logger there is that an exporter may write to."""
        for name in [*_known_loggers(), "py.warnings"]:
            logging.getLogger(name).addFilter(self)

    def withdraw(self) -> None:
        """Take it off again."""
        for name in [*_known_loggers(), "py.warnings"]:
            logging.getLogger(name).removeFilter(self)


def _known_loggers() -> list[str]:
    return [
        name
        for name in list(logging.root.manager.loggerDict)
        if name.startswith(_EXPORTERS_LOGGERS)
    ]


class BatchSpanProcessor(SpanProcessor):
    """Queues ended spans and exports them in batches.

    Args:
        load_exporters: each is called once in the export thread, and gives what makes an exporter;
            what either raises is warned of.
        endpoint: where the spans go, for messages.
        queue_size: spans kept while they can't be sent; newer ones are dropped and counted.
        batch_size: spans per export.
        delay: seconds between exports.
    """

    def __init__(
        self,
        load_exporters: Sequence[Callable[[], Callable[[], SpanExporter]]],
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
        self._load_exporters = load_exporters
        self._endpoint = endpoint
        self._queue: collections.deque[ReadableSpan] = collections.deque()
        self._queue_size = queue_size
        self._batch_size = min(batch_size, queue_size)
        self._delay = delay
        # Not an Event: a signal handler that flushes may interrupt the very thread that is waking
        # the export thread, and would wait for the lock inside for ever. This one has none.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._woken = False
        self._ended = self._event()
        self._flushes: collections.deque[Any] = collections.deque()
        self._started = False
        self._stopping = False
        self._failing = False
        self._unanswered = False
        self._news: collections.deque[tuple[str, tuple[Any, ...]]] = collections.deque()
        self._sending = 0
        self.dropped = 0
        """Spans lost to a full queue or a failed export, so far."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span. Never blocks and never raises: it runs inside Cinder's requests."""
        try:
            if span.context is not None and span.context.trace_flags.sampled:
                self._take(span)
            if self._news:
                self._tell()
        except Exception as error:  # no thread to be had, a log handler that raises
            complain("export", error)

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Export what is queued. False if it took longer than ``timeout_millis``."""
        if not self._started or self._ended.is_set():
            self._tell()
            return not self._queue
        done = self._event()
        self._flushes.append(done)
        return self._wait_for(done, timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 5000) -> None:
        """Export what is queued and end the thread, in at most ``timeout_millis``."""
        self._stopping = True
        if self._started:
            self._wait_for(self._ended, timeout_millis / 1000)
        self._hush.withdraw()

    def _take(self, span: ReadableSpan) -> None:
        if self._stopping:
            return
        if len(self._queue) < self._queue_size:
            self._queue.append(span)
        else:
            if not self.dropped:
                self._report(
                    "otel-cinder drops spans because %d wait to be sent to %s; raise "
                    "OTEL_BSP_MAX_QUEUE_SIZE, or look at what keeps the collector.",
                    self._queue_size,
                    self._endpoint,
                )
            self.dropped += 1
        if not self._started:
            self._start()
        if len(self._queue) >= self._batch_size and not self._woken:
            self._wake()

    def _wake(self) -> None:
        self._woken = True
        self._wakes.put(None)

    def _wait_for(self, done: Any, timeout: float) -> bool:
        if self._unanswered:
            timeout = min(timeout, _UNANSWERED_WAIT)
        elif self._failing:
            timeout = min(timeout, _FAILING_WAIT)
        self._wake()
        answered = bool(done.wait(timeout))
        if not answered:
            if not self._unanswered:
                self._report(
                    "otel-cinder has waited %g s for %s and leaves %d spans unsent (%s); check "
                    "the collector and OTEL_EXPORTER_OTLP_ENDPOINT.",
                    timeout,
                    self._endpoint,
                    len(self._queue) + self._sending,
                    self._hush.reason or "no answer",
                )
            self._unanswered = True
        self._tell()
        return answered

    def _start(self) -> None:
        with self._lock:
            if not self._started:
                # Not a threading.Thread: under eventlet those of the unpatched module would stand
                # in the patched one's books (Cinder joins the two), and fall out with KeyErrors.
                self._start_thread(self._run, ())
                self._started = True

    def _run(self) -> None:
        self._hush.thread = real("_thread").get_ident()
        try:
            # The context of the request that happened to start the thread is not ours.
            otel_context.attach(otel_context.Context())
            with suppress_instrumentation():
                self._export_until_stopped(self._make_exporters())
        except Exception as error:
            self._stopping = True
            self._report(
                "otel-cinder exports no more because of %s: %s; Cinder is not affected. "
                "Please report it.",
                type(error).__name__,
                redaction.text(error),
            )
        finally:
            self._ended.set()

    def _make_exporters(self) -> list[SpanExporter]:
        exporters = []
        for load in self._load_exporters:
            try:
                make = load()
                self._hush.spread()  # what is imported by now is what will log
                exporters.append(make())
            except Exception as error:  # a bad certificate path, a missing package, ...
                self._report(
                    "otel-cinder exports less than it was told to because an exporter could not "
                    "be made (%s: %s); check OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*.",
                    type(error).__name__,
                    redaction.text(error),
                )
        self._hush.spread()
        return exporters

    def _export_until_stopped(self, exporters: Sequence[SpanExporter]) -> None:
        while True:
            self._sleep()
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            stopping = self._stopping
            while self._queue:
                count = min(self._batch_size, len(self._queue))
                self._export(exporters, [self._queue.popleft() for _ in range(count)])
            for done in flushes:
                done.set()
            if stopping:
                for exporter in exporters:
                    exporter.shutdown()
                return

    def _sleep(self) -> None:
        try:
            self._wakes.get(timeout=self._delay)
            while not self._wakes.empty():
                self._wakes.get_nowait()
        except Empty:
            pass
        self._woken = False

    def _export(self, exporters: Sequence[SpanExporter], batch: list[ReadableSpan]) -> None:
        self._sending = len(batch)
        reason = ""
        for exporter in exporters:
            reason = self._try(exporter, batch) or reason
        self._sending = 0
        if reason:
            if not self._failing:
                self._report(
                    "otel-cinder can't export to %s (%s); Cinder is not affected and spans "
                    "are dropped until it answers. Check the collector and "
                    "OTEL_EXPORTER_OTLP_ENDPOINT.",
                    self._endpoint,
                    reason,
                )
        else:
            self._unanswered = False
            if self._failing:
                self._report(
                    "otel-cinder exports to %s again; %d spans were lost so far.",
                    self._endpoint,
                    self.dropped,
                )
        self._failing = bool(reason)

    def _try(self, exporter: SpanExporter, batch: list[ReadableSpan]) -> str:
        """Export a batch by one exporter; returns why it failed, or an empty string."""
        self._hush.reason = ""
        try:
            if exporter.export(batch) is SpanExportResult.SUCCESS:
                return ""
            reason = self._hush.reason or "no reason given"
        except Exception as error:
            reason = f"{type(error).__name__}: {redaction.text(error)}"
        if "encod" in reason.lower() and len(batch) > 1:
            # One span that can't be encoded must not take the others with it.
            half = len(batch) // 2
            reasons = [self._try(exporter, part) for part in (batch[:half], batch[half:])]
            return next(filter(None, reasons), "")
        self.dropped += len(batch)
        return reason

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
