"""ExportQueue: what Cinder's threads put in leaves in batches from a native thread.

The SDK's own processors can't be used inside Cinder. Under eventlet their threads are greenthreads:
a span that ends in a ``tpool`` thread does not wake them, and a flush from there raises
``greenlet.error``. Here the exporter works in a thread of the operating system. Each signal
has a queue and a thread of its own, so that none waits for another's collector: the spans' stands
here, the others in `otel_cinder.core.logs` and `otel_cinder.core.metrics`.
"""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otel_cinder.core import redaction
from otel_cinder.core.encoding import Packed, encodes_packed, pack
from otel_cinder.core.native import Worker
from otel_cinder.core.patching import complain

_FAILING_WAIT: Final = 2.0
"""Seconds that a flush waits where the last export has failed: time for one more try."""

_UNANSWERED_WAIT: Final = 0.2
"""Seconds that a flush waits where one has waited in vain already, and nothing has left since."""

Item = TypeVar("Item")

Load = Callable[[], Callable[[], Any]]
"""Imports an exporter, and gives what makes it."""


class Signal(NamedTuple):
    """A kind of what is exported: how messages call it, and how the ``OTEL_*`` variables do."""

    noun: str
    word: str
    """As in ``OTEL_EXPORTER_OTLP_<word>_ENDPOINT``."""
    default: str
    """What ``OTEL_<word>_EXPORTER`` is where it is not set."""
    more_room: str = ""
    """What to do where the queue is full, beside looking at the collector."""
    or_else: str = ""
    """What to do where the collector takes none, beside looking at it."""


SPANS: Final = Signal("spans", "TRACES", "otlp", more_room="raise OTEL_BSP_MAX_QUEUE_SIZE, or ")
METRICS: Final = Signal(
    "metrics", "METRICS", "otlp", or_else=", or set OTEL_METRICS_EXPORTER=none if it takes none"
)
LOGS: Final = Signal("log records", "LOGS", "none", more_room="raise OTEL_BLRP_MAX_QUEUE_SIZE, or ")


class ExportQueue(Worker, Generic[Item]):
    """Queues items of one signal and exports them in batches.

    Args:
        signal: what the items are.
        load_exporters: each is called once, in the thread that starts the export thread where
            threads are green, else in that one; what it, or what it gives, raises is warned of.
        endpoint: where the items go, for messages.
        queue_size: items kept while they can't be sent; newer ones are dropped and counted.
        batch_size: items per export.
        delay: seconds between exports.
    """

    def __init__(
        self,
        signal: Signal,
        load_exporters: Sequence[Load],
        endpoint: str,
        *,
        queue_size: int,
        batch_size: int,
        delay: float,
    ) -> None:
        super().__init__(signal.noun, delay)
        self._signal = signal
        self._load_exporters = load_exporters
        self._made_exporters: list[Any] | None = None
        self.endpoint = endpoint
        self._queue: collections.deque[Item] = collections.deque()
        self.queue_size = queue_size
        self._batch_size = min(batch_size, queue_size)
        self._failing = False
        self._unanswered = False
        self._sending = 0
        # Plain numbers: no lock is to be taken in Cinder's threads.
        self.taken = 0
        """Items that were queued, so far."""
        self.overflowed = 0
        """Items lost to a full queue, so far."""
        self.sent = 0
        """Items that were sent, so far; with two exporters, each counts twice."""
        self.failed: dict[str, int] = {}
        """Items lost to failed exports, so far, by the class of the error."""

    @property
    def _exporters(self) -> list[Any]:
        return self._made_exporters or []

    @property
    def dropped(self) -> int:
        """Items lost to a full queue or a failed export, so far."""
        return self.overflowed + sum(list(self.failed.values()))

    @property
    def waiting(self) -> int:
        """Items that wait to be sent."""
        return len(self._queue)

    @property
    def patience(self) -> float:
        """Seconds that a flush may wait, after what was seen of the collector."""
        if self._unanswered:
            return _UNANSWERED_WAIT
        return _FAILING_WAIT if self._failing else math.inf

    def put(self, item: Item) -> None:
        """Queue ``item``. Never blocks and never raises: it runs inside Cinder's requests."""
        try:
            if self._stopping:
                return
            if len(self._queue) < self.queue_size:
                self._queue.append(item)
                self.taken += 1
            else:
                self._overflow()
            if not self._started:
                self.start()
            if len(self._queue) >= self._batch_size and not self._woken:
                self._wake()
            if self._news:
                self.tell()
        except Exception as error:  # no thread to be had, a log handler that raises
            complain("export", error)

    def give_up(self, waited: float) -> None:
        """Take note that a flush has waited ``waited`` seconds in vain."""
        if not self._unanswered:
            self._report(
                "otel-cinder has waited %.1g s for %s and leaves %d %s unsent (%s); check "
                "the collector and OTEL_EXPORTER_OTLP_ENDPOINT%s.",
                waited,
                self.endpoint,
                len(self._queue) + self._sending,
                self._signal.noun,
                self._hush.reason or "no answer",
                self._signal.or_else,
            )
        self._unanswered = True

    def _load(self) -> None:
        if self._made_exporters is None:
            self._made_exporters = list(self._made())

    def _made(self) -> Iterator[Any]:
        for load in self._load_exporters:
            try:
                make = load()
                self._hush.spread()  # what is imported by now is what will log
                with self._hush.during():
                    exporter = make()
                if self._hush.reason:
                    self._tell_of_setting(self._hush.reason)
                yield exporter
            except Exception as error:  # a bad certificate path, a missing package, ...
                self._report(
                    "otel-cinder exports less than it was told to because an exporter could not "
                    "be made (%s: %s); check OTEL_%s_EXPORTER and OTEL_EXPORTER_OTLP_*.",
                    type(error).__name__,
                    redaction.text(error),
                    self._signal.word,
                )

    def _tell_of_setting(self, complaint: str) -> None:
        """Warn of what the SDK said of a setting; not of the value, which may be a credential."""
        self._report(
            "otel-cinder exports %s without a part of its settings because that is malformed "
            "(%s); check OTEL_EXPORTER_OTLP_HEADERS, which is name=value,name=value, and the "
            "other OTEL_EXPORTER_OTLP_*.",
            self._signal.noun,
            complaint.partition(": ")[0],  # the value comes behind it
        )

    def _begin(self) -> None:
        self._hush.spread()

    def _work(self, *, asked: bool) -> None:  # noqa: ARG002 - what waits is sent in any case
        while self._queue:
            count = min(self._batch_size, len(self._queue))
            batch = [self._queue.popleft() for _ in range(count)]
            self._export([(exporter, batch) for exporter in self._exporters])

    def _end(self) -> None:
        for exporter in self._exporters:
            exporter.shutdown()

    def _send(self, exporter: Any, batch: Sequence[Any]) -> Any:
        """Export a batch by one exporter; its result is an enum that has a SUCCESS."""
        return exporter.export(batch)

    def _size(self, batch: Sequence[Any]) -> int:
        """How many are lost where ``batch`` is."""
        return len(batch)

    def _overflow(self) -> None:
        if not self.overflowed:
            self._report(
                "otel-cinder drops %s because %d wait to be sent to %s; %slook at what keeps the "
                "collector.",
                self._signal.noun,
                self.queue_size,
                self.endpoint,
                self._signal.more_room,
            )
        self.overflowed += 1

    def _export(self, deliveries: Sequence[tuple[Any, Sequence[Any]]]) -> None:
        """Export to each exporter what is for it, and take note of how that went."""
        self._sending = max((self._size(batch) for _, batch in deliveries), default=0)
        reason = ""
        for exporter, batch in deliveries:
            reason = self._try(exporter, batch) or reason
        self._sending = 0
        if reason:
            if not self._failing:
                self._report(
                    "otel-cinder can't export to %s (%s); Cinder is not affected and %s "
                    "are dropped until it answers. Check the collector and "
                    "OTEL_EXPORTER_OTLP_ENDPOINT%s.",
                    self.endpoint,
                    reason,
                    self._signal.noun,
                    self._signal.or_else,
                )
        else:
            self._unanswered = False
            if self._failing:
                self._report(
                    "otel-cinder exports to %s again; %d %s were lost so far.",
                    self.endpoint,
                    self.dropped,
                    self._signal.noun,
                )
        self._failing = bool(reason)

    def _try(self, exporter: Any, batch: Sequence[Any]) -> str:
        """Export a batch by one exporter; returns why it failed, or an empty string."""
        self._hush.reason = ""
        kind = "_OTHER"
        try:
            if self._send(exporter, batch).name == "SUCCESS":
                self.sent += self._size(batch)
                return ""
            reason = self._hush.reason or "no reason given"
        except Exception as error:
            kind = type(error).__qualname__
            reason = f"{type(error).__name__}: {redaction.text(error)}"
        if "encod" in reason.lower() and len(batch) > 1:
            # One item that can't be encoded must not take the others with it.
            half = len(batch) // 2
            reasons = [self._try(exporter, part) for part in (batch[:half], batch[half:])]
            return next(filter(None, reasons), "")
        self.failed[kind] = self.failed.get(kind, 0) + self._size(batch)
        return reason


class BatchSpanProcessor(ExportQueue[ReadableSpan | Packed], SpanProcessor):
    """The spans' queue, as the SDK's providers know it. For the arguments see `ExportQueue`."""

    def __init__(self, load_exporters: Sequence[Load], endpoint: str, **sizes: Any) -> None:
        super().__init__(SPANS, load_exporters, endpoint, **sizes)
        self._packs = False

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        if span.context is not None and span.context.trace_flags.sampled:
            has_room = len(self._queue) < self.queue_size
            self.put(pack(span) if self._packs and has_room else span)

    def _begin(self) -> None:
        super()._begin()
        exporters = self._exporters
        self._packs = bool(exporters) and all(encodes_packed(each) for each in exporters)

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Export what is queued. False if it took longer than ``timeout_millis``."""
        return flush([self], timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 5000) -> None:
        """Export what is queued and end the thread, in at most ``timeout_millis``."""
        shutdown([self], timeout_millis / 1000)


def flush(queues: Sequence[ExportQueue[Any]], timeout: float) -> bool:
    """Export what is in all of ``queues``, at the same time; False if that took over ``timeout`` s.

    The first one's collector is the others' where they have the same endpoint: if it has failed
    there, the others, which may not have tried yet, are not waited for any longer.
    """
    asked = [queue.ask() for queue in queues]
    return _wait_for_all(queues, asked, timeout)


def shutdown(queues: Sequence[ExportQueue[Any]], timeout: float) -> None:
    """Export what is in all of ``queues``, as `flush` does, and end their threads."""
    asked = [queue.ask_to_end() for queue in queues]
    _wait_for_all(queues, asked, timeout)
    for queue in queues:
        queue.withdraw()


def _wait_for_all(queues: Sequence[ExportQueue[Any]], asked: Sequence[Any], timeout: float) -> bool:
    begin = time.monotonic()
    in_time = True
    for queue, done in zip(queues, asked, strict=True):
        patience = min(timeout, queue.patience)
        if queue.endpoint == queues[0].endpoint:
            patience = min(patience, queues[0].patience)
        if done is None:
            in_time = in_time and not queue.waiting
        elif not done.wait(max(patience - (time.monotonic() - begin), 0)):
            queue.give_up(time.monotonic() - begin)
            in_time = False
        queue.tell()
    return in_time
