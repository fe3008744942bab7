"""ExportQueue: Cinder's threads put items in, and a native thread sends them in batches.

The SDK's own processors don't fit into Cinder. They have no common deadline for all signals, no
patience with a failing collector and no counts of what they drop, and they log from their threads.
Under eventlet these are greenthreads as well: a span that ends in a ``tpool`` thread does not wake
them, and a flush from there raises ``greenlet.error``.

Here the exporter works in a thread of the operating system. Each signal has a queue and a thread of
its own, so that none waits for another's collector. The spans' queue is in this module, the others
are in `otel_cinder.export.logs` and `otel_cinder.export.metrics`. `otel_cinder.export.delivery`
sends what they take out.

A queue is bounded in items and in bytes.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otel_cinder.export.delivery import FAILING_WAIT_S, Batches, Delivery, Load
from otel_cinder.export.encoding import Packed, pack
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.signals import SPANS, Signal
from otel_cinder.export.worker import Worker
from otel_cinder.patching.internal_errors import log_internal_error

QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Bytes that may wait in a queue."""

SPARE_BYTES: Final = 200
"""Bytes that an item takes beside its texts."""

Item = TypeVar("Item")


class ExportQueue(Worker, Generic[Item]):
    """Queues items of one signal and exports them in batches.

    Args:
        signal: what the items are.
        load_exporters: see `Delivery`.
        endpoint: where the items go, for messages.
        queue_size: items that wait at most; newer ones are dropped and counted.
        batch_size: items per export.
        delay: seconds between exports.
        queue_bytes: bytes that wait at most.
        batches: the batches' shape; default: lists of items.
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
        queue_bytes: int = QUEUE_BYTES,
        batches: Batches | None = None,
    ) -> None:
        super().__init__(signal.noun, delay)
        self.endpoint = endpoint
        self.delivery = Delivery(
            signal, endpoint, load_exporters, batches or _Lists(self), self._silencer
        )
        self._queue: collections.deque[Item] = collections.deque()
        self.queue_size = queue_size
        self._batch_size = min(batch_size, queue_size)
        self._queue_bytes = queue_bytes
        # Plain numbers: Cinder's threads must not take a lock. Adding a number at hand is never
        # interrupted by another thread.
        self._bytes = 0
        self.taken = 0
        """Items that were queued, so far."""

    @property
    def sent(self) -> int:
        """Items that were sent, so far; with two exporters, each counts twice."""
        return self.delivery.sent

    @property
    def failed(self) -> dict[str, int]:
        """Items lost to failed exports, so far, by the ``error.type``."""
        return self.delivery.failed

    @property
    def overflowed(self) -> int:
        """Items lost to a full queue, so far."""
        return self.delivery.overflowed

    @property
    def dropped(self) -> int:
        """Items lost to a full queue or a failed export, so far."""
        return self.delivery.dropped

    @property
    def waiting(self) -> int:
        """Items that wait to be sent."""
        return len(self._queue) + self.delivery.pending_count

    @property
    def patience(self) -> float:
        """Seconds that a flush may wait for this collector, after the last exports."""
        return self.delivery.patience

    def put(self, item: Item, size: int = 0) -> None:
        """Queue ``item``. Never blocks and never raises: it runs inside Cinder's requests.

        Args:
            size: bytes of the item, by `bytes_of`.
        """
        try:
            if self._stopping:
                return
            if not self._started:
                self.start_quietly()
            count = len(self._queue)
            if count < self.queue_size and self._bytes + size <= self._queue_bytes:
                self._queue.append(item)
                self._bytes += size
                self.taken += 1
            else:
                self._overflow()
            if not self._woken and (
                count + 1 >= self._batch_size or self._bytes >= self.delivery.batch_bytes
            ):
                self._wake()
            if not self._watched:
                self._watch()
        except Exception as error:
            log_internal_error("export", error)

    def start_quietly(self) -> None:
        """Start the thread. Never raises."""
        try:
            self.start()
        except Exception as error:  # no thread to be had; the next to put something in tries again
            log_internal_error("export", error)

    def bytes_of(self, item: Item) -> int:  # noqa: ARG002 - what is small is bounded by its number
        """About how many bytes of the queue's ``item`` takes: the same at each time."""
        return 0

    def request(self, batch: Sequence[Item]) -> Any:
        """``batch`` as an exporter takes it."""
        return batch

    def _overflow(self) -> None:
        if not self.overflowed:
            by_number = len(self._queue) >= self.queue_size
            limit = self.queue_size if by_number else f"{self._queue_bytes >> 20} MiB"
            self.delivery.reports.full(limit, by_number=by_number)
        self.delivery.overflowed += 1

    def _take(self) -> list[Item]:
        """The next batch: at least one item, if there is any."""
        batch: list[Item] = []
        size = 0
        while self._queue and len(batch) < self._batch_size:
            more = self.bytes_of(self._queue[0])
            if batch and size + more > self.delivery.batch_bytes:
                break
            batch.append(self._queue.popleft())
            size += more
        self._bytes -= size
        return batch

    # The worker's

    def _load(self) -> None:
        self.delivery.load()

    def _begin(self) -> None:
        self._silencer.spread()

    def _work(self, *, asked: bool) -> None:
        delivery = self.delivery
        while delivery.is_pending or self._queue:
            if not delivery.is_pending:
                delivery.begin(self._take())
            if not delivery.attempt(asked=asked, deadline=self._deadline):
                return

    def _end(self) -> None:
        self.delivery.close(self.waiting)

    def _pause(self) -> float:
        return self.delivery.pause(self._delay)

    def _is_to_sleep_on(self) -> bool:
        return self.delivery.is_too_early


class _Lists(Generic[Item]):
    """Batches that are lists of a queue's items."""

    def __init__(self, queue: ExportQueue[Item]) -> None:
        self.request = queue.request
        self._bytes_of = queue.bytes_of

    def count(self, batch: Sequence[Item]) -> int:
        return len(batch)

    def size(self, batch: Sequence[Item]) -> int:
        return sum(map(self._bytes_of, batch))

    def halves(self, batch: Sequence[Item]) -> list[Sequence[Item]]:
        half = len(batch) // 2
        return [batch[:half], batch[half:]] if half else [batch]

    def joined(self, batches: Sequence[Sequence[Item]]) -> list[Item]:
        return [item for batch in batches for item in batch]


class BatchSpanProcessor(ExportQueue[ReadableSpan | Packed], SpanProcessor):
    """The spans' queue, as the SDK's providers know it. For the arguments see `ExportQueue`."""

    def __init__(self, load_exporters: Sequence[Load], endpoint: str, **sizes: Any) -> None:
        super().__init__(SPANS, load_exporters, endpoint, **sizes)
        self._packs = False

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        if span.context is not None and span.context.trace_flags.sampled:
            if not self._started:
                self.start_quietly()  # after which it is known how to pack
            item: ReadableSpan | Packed = span
            if self._packs and len(self._queue) < self.queue_size:
                item = pack(span)
            self.put(item, self.bytes_of(item))

    def _load(self) -> None:
        super()._load()
        exporters = self.delivery.exporters
        self._packs = bool(exporters) and all(exporter.takes_packed for exporter in exporters)

    def bytes_of(self, item: ReadableSpan | Packed) -> int:
        return SPARE_BYTES + (len(item[0]) if isinstance(item, tuple) else _texts_of(item))

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Export all queued items. False if it took longer than ``timeout_millis``."""
        return flush([self], timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 5000) -> None:
        """Export all queued items and end the thread, in at most ``timeout_millis``."""
        shutdown([self], timeout_millis / 1000)


def _texts_of(span: ReadableSpan) -> int:
    attributes = [span.attributes, *(event.attributes for event in span.events)]
    return sum(SPARE_BYTES + text_in(mapping) for mapping in attributes)


def text_in(value: Any) -> int:
    """About how many bytes the value of an attribute takes, or a mapping of attributes."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(str(key)) + text_in(item) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return sum(map(text_in, value))
    return 8


def flush(queues: Sequence[ExportQueue[Any]], timeout: float) -> bool:
    """Export all items of all ``queues``, at the same time.

    False if that took over ``timeout`` s, or a collector could not take it.

    Queues with the first one's endpoint share its collector. If that has failed, they are given no
    more time, although they may not have tried yet.
    """
    patience = [min(timeout, queue.patience) for queue in queues]
    events = [queue.ask(FAILING_WAIT_S) for queue in queues]
    return _wait_for_all(queues, events, patience)


def shutdown(queues: Sequence[ExportQueue[Any]], timeout: float) -> None:
    """Export all items of all ``queues``, as `flush` does, and end their threads."""
    patience = [min(timeout, queue.patience) for queue in queues]
    events = [queue.ask_to_end(FAILING_WAIT_S) for queue in queues]
    _wait_for_all(queues, events, patience)
    for queue in queues:
        queue.withdraw()


def _wait_for_all(
    queues: Sequence[ExportQueue[Any]], events: Sequence[Any], patience: Sequence[float]
) -> bool:
    begin = time.monotonic()
    in_time = True
    for queue, done, seconds in zip(queues, events, patience, strict=True):
        if queue is not queues[0] and queue.endpoint == queues[0].endpoint:
            seconds = min(seconds, queues[0].patience)  # noqa: PLW2901 - it's this queue's
        if done is None:
            in_time = in_time and not queue.waiting
        elif done.wait(max(seconds - (time.monotonic() - begin), 0)):
            in_time = in_time and not queue.delivery.is_pending
        else:
            queue.delivery.give_up(time.monotonic() - begin, queue.waiting)
            in_time = False
    failure_log.write()
    return in_time
