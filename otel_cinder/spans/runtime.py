"""Runtime: starts spans and takes measurements, and flushes them when the process stops.

Nothing is built before the first span of a process. cinder-api's and cinder-volume's parents, and
uWSGI's master, load everything and then fork; a parent's providers would export nothing in a child.
The process id gives away a fork that Python does not see (uWSGI's).
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Tracer

from otel_cinder import notices, redaction
from otel_cinder.export import interrupts
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.settings import Settings
from otel_cinder.spans import announcement, clock
from otel_cinder.spans.configuration import Configuration
from otel_cinder.spans.native_locks import NativeLocks
from otel_cinder.spans.process import Process
from otel_cinder.spans.service import SERVICE, Service

_LOG = logging.getLogger("otel_cinder")

_BEFORE_THE_END: Final = 3.0
"""Open spans are exported this many seconds before a process is ended."""

FLUSH_TIMEOUT: Final = 5.0
"""Seconds that a stopping process waits until its spans have left."""


class Runtime(Configuration):
    """Starts spans for the seams. One exists per interpreter, `runtime`; each fork builds a `Process`."""

    def __init__(self) -> None:
        super().__init__()
        self._locks = NativeLocks()
        self._on = False
        self._announced: dict[int, object] = {}
        """The processes that have logged that they are traced: this one and its ancestors."""
        self._process: Process | None = None
        self._processes: dict[int, Process] = {}

    def start(
        self,
        settings: Settings,
        tracer_provider: trace.TracerProvider | None,
        patches: PatchSet,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Get ready to build at the first span, and to flush at the end."""
        redaction.leave_out_texts(not settings.texts)
        self.configure(settings, tracer_provider, meter_provider, patches)
        self._announced.clear()
        self._on = True
        # oslo.service's and cotyledon's children leave by os._exit, which skips atexit.
        patches.wrap("runtime", "os:_exit", self._end_then_exit)
        self._locks = NativeLocks()

    def stop(self) -> None:
        """Flush, end the export thread, forget everything."""
        self._on = False
        process, self._process = self._process, None
        self._processes.clear()
        self.forget()
        interrupts.not_at_exit(self._end_at_exit)
        if process is not None and process.pid == os.getpid():
            process.shutdown(FLUSH_TIMEOUT)
        self._locks.undo()
        notices.tell()
        redaction.leave_out_texts(False)

    def begin(self, service: Service) -> None:
        """Make the tracer of ``service``, which starts in this process now.

        Its first request or message then finds it, and the process exports its metrics from now
        on, although its first work may come in days.
        """
        self.tracer(otel_context.set_value(SERVICE, service, Context()))

    def announce(self, service: Service | None = None) -> None:
        """Log the line of `announcement`, once in each process. Never raises.

        Called when a service starts, and with the first span at the latest. The line belongs to no
        request.
        """
        try:
            me = object()
            # Of threads that come here at the same time, setdefault lets one go on.
            if self._on and self._announced.setdefault(os.getpid(), me) is me:
                self._log_announcement(service)
        except Exception as error:
            log_internal_error("runtime", error)

    def _log_announcement(self, service: Service | None) -> None:
        notices.tell()
        token = otel_context.attach(Context())
        try:
            # oslo.log names the request of the thread on a record that has no context itself.
            _LOG.info("%s", announcement.text(self, service), extra={"context": None})
        finally:
            otel_context.detach(token)

    def start_span(
        self,
        name: str,
        context: Context,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        start_time: int | None = None,
    ) -> Span:
        """Start a span of the service at work in ``context``, as a child of its current span.

        Args:
            start_time: in nanoseconds since the epoch; default: now. For work that began before
                there was a tracer: the first one of a process takes a second to make.
        """
        return clock.start(self.tracer(context), name, context, kind, attributes, links, start_time)

    @property
    def measuring(self) -> bool:
        """True if `measure` has an effect; for callers whose values are expensive."""
        process = self._current()
        return process is not None and bool(process.metrics or process.instruments)

    def measure(
        self,
        name: str,
        value: float,
        attributes: Mapping[str, Any],
        context: Context | None = None,
    ) -> None:
        """Record ``value`` (in the metric's unit) of the metric ``name``. Never blocks or raises.

        Args:
            attributes: must not be changed afterwards: they are read later, in another thread.
            context: whose span is the exemplar and whose service it belongs to; default: current.
        """
        try:
            process = self._process
            if process is None or process.pid != os.getpid():
                process = self._current()
                if process is None:
                    return
            if process.metrics is not None:
                where = otel_context.get_current() if context is None else context
                # Not the context itself: the queue would keep spans, and tokens, in it alive.
                span = trace.get_current_span(where).get_span_context()
                process.metrics.put((where.get(SERVICE), name, value, attributes, span))
            elif process.instruments is not None:
                where = otel_context.get_current() if context is None else context
                process.instruments.record(name, value, attributes, where)
        except Exception as error:
            log_internal_error("metrics", error)

    def emit_log(self, record: LogRecord, context: Context | None = None) -> None:
        """Export ``record``, which has its span's ids already. Never blocks or raises.

        Args:
            context: whose service it belongs to; default: current.
        """
        try:
            process = self._current() if self.logs_exported else None
            if process is not None and process.logs is not None:
                where = otel_context.get_current() if context is None else context
                process.logs.put((where.get(SERVICE), record))
        except Exception as error:
            log_internal_error("logs", error)

    def tracer(self, context: Context) -> Tracer:
        """The tracer of the service at work in ``context``, in this process."""
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._build()
        service: Any = context.get(SERVICE)
        return process.tracers.get(service) or process.tracer(service)

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Export all that this process has recorded; False if it took longer than ``timeout`` s."""
        process = self._process
        if process is None or process.pid != os.getpid():
            return True
        return process.flush(timeout)

    def end(self) -> bool:
        """Export all data because the process ends; open spans become errors. False as for `flush`.

        Never raises.
        """
        try:
            process = self._process
            if process is not None and process.pid == os.getpid():
                process.open.cut_off()
            return self.flush()
        except Exception as error:
            log_internal_error("runtime", error)
            return False

    def hurry(self, grace: float = math.inf) -> list[Any]:
        """Export at once, and from now on without delay. Returns an event for each queue.

        For a process that may be ended at any moment. Does not wait.

        Args:
            grace: seconds after which it is ended. What is open shortly before counts as an error.
        """
        process = self._process
        if process is None or process.pid != os.getpid():
            return []
        return process.hurry(max(grace - _BEFORE_THE_END, grace / 2))

    @property
    def patience(self) -> float:
        """Seconds that a flush may wait, after the last exports."""
        process = self._process
        return process.patience if process is not None else 0

    @property
    def dropped(self) -> int:
        """Spans that this process could not send."""
        process = self._process
        return process.spans.dropped if process and process.spans else 0

    def _current(self) -> Process | None:
        """The `Process` of this process; None once stopped: a wrapper may still be running."""
        process = self._process
        if process is not None and process.pid == os.getpid():
            return process
        return self._build() if self._on else None

    def _build(self) -> Process:
        pid = os.getpid()
        self._locks.exchange()
        # Two threads may come here at once. No lock, which a fork could leave locked: setdefault
        # lets one of them win, and the loser's has started nothing yet.
        process = self._processes.setdefault(pid, Process(self, self._locks.exchange))
        for other in [known for known in self._processes if known != pid]:
            parents = self._processes.pop(other, None)
            if parents is not None:
                parents.withdraw()
        self._process = process
        interrupts.not_at_exit(self._end_at_exit)
        interrupts.at_exit(self._end_at_exit)
        self.announce()
        return process

    def _end_at_exit(self) -> None:
        give_back = interrupts.hold()
        try:
            self.end()
        finally:
            give_back()

    def _end_then_exit(
        self, wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        give_back: Callable[[], None] | None = None
        try:
            give_back = interrupts.hold()
            self.end()
        except Exception as error:
            log_internal_error("runtime", error)
        try:
            return wrapped(*args, **kwargs)
        finally:  # behind a stand-in, which may return
            try:
                if give_back is not None:
                    give_back()
            except Exception as error:
                log_internal_error("runtime", error)


def end_span(span: Span) -> None:
    """End ``span`` now. Errors of a host's span processor do not reach Cinder."""
    try:
        clock.end(span)
    except Exception as error:
        log_internal_error("runtime", error)


runtime = Runtime()


def flush(timeout_s: float = FLUSH_TIMEOUT) -> bool:
    """Export all that this process has recorded; False if it took longer than ``timeout_s``."""
    return runtime.flush(timeout_s)
