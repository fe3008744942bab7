"""ExportQueue: what Cinder's threads put in leaves in batches from a native thread.

The SDK's own processors can't be used inside Cinder. Under eventlet their threads are greenthreads:
a span that ends in a ``tpool`` thread does not wake them, and a flush from there raises
``greenlet.error``. Here the exporter works in a thread of the operating system. Each signal
has a queue and a thread of its own, so that none waits for another's collector: the spans' stands
here, the others in `otel_cinder.export.logs` and `otel_cinder.export.metrics`.

A queue is bounded in items and in bytes. What a collector can't take now is kept and tried again for
a minute; what is too large for it is halved.
"""

from __future__ import annotations

import collections
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otel_cinder import redaction
from otel_cinder.export import answers
from otel_cinder.export.answers import Answer, SettingError, Verdict
from otel_cinder.export.encoding import Packed, pack
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.native_thread import LogSilencer, unpatched
from otel_cinder.export.worker import Worker
from otel_cinder.patching.internal_errors import log_internal_error

BATCH_BYTES: Final = 3 * 1024 * 1024
"""Bytes of a batch: gRPC takes requests of 4 MiB, and there are resources to add."""

_LEAST_BATCH_BYTES: Final = 64 * 1024
"""To which a collector's smaller limit may bring that down."""

_LEAST_HALVED_BYTES: Final = 16 * 1024
"""What is that small and yet too large is not halved."""

QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Bytes that may wait in a queue."""

_KEPT_S: Final = 60.0
"""Seconds for which a batch is kept that a collector can't take now. Beside another exporter it is
not: that one would have to wait."""

_QUIET_S: Final = 2.0
"""Seconds for which a failure that passes is not told."""

_LONGEST_WAIT_S: Final = 5.0
"""Seconds between two tries at most, unless the collector wants to be left alone for longer."""

_FAILING_WAIT: Final = 2.0
"""Seconds that a flush waits, or tries again, where the last export has failed."""

_UNANSWERED_WAIT: Final = 0.2
"""Seconds that a flush waits where one has waited in vain already, and nothing has left since."""

SPARE_BYTES: Final = 200
"""What an item takes beside its texts."""

Item = TypeVar("Item")


class Exporter(Protocol):
    """What sends batches, in one native thread."""

    takes_packed: bool
    """Whether it takes what `encoding.pack` makes among its spans."""

    def deliver(self, batch: Any) -> Answer:
        """Send a batch once, and say what became of it. Never raises."""

    def shutdown(self) -> None:
        """Let go of everything."""


Load = Callable[[], Callable[[], Any]]
"""Imports an exporter, and gives what makes it: an `Exporter`, or one of the SDK's kind."""


class Signal(NamedTuple):
    """A kind of what is exported: how messages call it, and how the ``OTEL_*`` variables do."""

    noun: str
    word: str
    """As in ``OTEL_EXPORTER_OTLP_<word>_ENDPOINT``."""
    default: str
    """What ``OTEL_<word>_EXPORTER`` is where it is not set."""
    more_room: str = "Look at what keeps the collector"
    """What to do where the queue is full."""
    or_else: str = ""
    """What to do where the collector takes none, beside looking at it."""

    def setting(self, environ: Mapping[str, str], name: str) -> str:
        """What ``OTEL_EXPORTER_OTLP_*`` says for this signal, or else for all of them."""
        own = environ.get(f"OTEL_EXPORTER_OTLP_{self.word}_{name}", "").strip()
        return own or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


SPANS: Final = Signal(
    "spans",
    "TRACES",
    "otlp",
    more_room="Raise OTEL_BSP_MAX_QUEUE_SIZE, or look at what keeps the collector",
)
METRICS: Final = Signal(
    "metrics", "METRICS", "otlp", or_else=", or set OTEL_METRICS_EXPORTER=none if it takes none"
)
LOGS: Final = Signal(
    "log records",
    "LOGS",
    "none",
    more_room="Raise OTEL_BLRP_MAX_QUEUE_SIZE, or look at what keeps the collector",
)


class _Foreign:
    """An exporter of the SDK's kind, which knows success and failure, and logs why."""

    takes_packed = False

    def __init__(self, exporter: Any, hush: LogSilencer) -> None:
        self._exporter = exporter
        self._hush = hush
        self.shutdown = exporter.shutdown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)

    def deliver(self, batch: Any) -> Answer:
        self._hush.reason = ""
        kind = "_OTHER"
        try:
            if self._exporter.export(batch).name == "SUCCESS":
                return answers.TAKEN
            raw = self._hush.reason or "no reason given"
        except Exception as error:
            kind = type(error).__qualname__
            raw = f"{type(error).__name__}: {answers.said(error)}"
        return Answer(
            Verdict.MALFORMED if "encod" in raw.lower() else Verdict.LOST,
            kind,
            "Check the collector and OTEL_EXPORTER_OTLP_ENDPOINT",
            "the exporter fails",
            raw,
        )


class _Held(NamedTuple):
    """Batches that are on their way, or to be tried again."""

    deliveries: list[tuple[Exporter, Any]]
    since: float
    """Since when, by the monotonic clock."""
    kind: str = "_OTHER"
    """The ``error.type`` if they are lost."""


class ExportQueue(Worker, Generic[Item]):
    """Queues items of one signal and exports them in batches.

    Args:
        signal: what the items are.
        load_exporters: each is called once, in the thread that starts the export thread; what it,
            or what it gives, raises is warned of.
        endpoint: where the items go, for messages.
        queue_size: items kept while they can't be sent; newer ones are dropped and counted.
        batch_size: items per export.
        delay: seconds between exports.
        queue_bytes: bytes kept while they can't be sent.
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
    ) -> None:
        super().__init__(signal.noun, delay)
        self._signal = signal
        self._load_exporters = load_exporters
        self._made_exporters: list[Exporter] | None = None
        self._unmade = "_OTHER"
        """Why there is no exporter: the ``error.type`` of what is lost by that."""
        self.endpoint = endpoint
        self._queue: collections.deque[Item] = collections.deque()
        self.queue_size = queue_size
        self._batch_size = min(batch_size, queue_size)
        self._queue_bytes = queue_bytes
        self._batch_bytes = BATCH_BYTES
        self._held: _Held | None = None
        self._tries = 0
        """Exports that have failed in a row, to be tried again."""
        self._not_before = 0.0
        """When the next try is due, by the monotonic clock."""
        self._failing = False
        self._unanswered = False
        self._sleep_for: Callable[[float], None] = unpatched("time").sleep
        self._said: set[str] = set()
        """Which kinds of failure were told since the last success."""
        self._noticed: set[str] = set()
        """Which of the rest, which keep nothing from being exported, were told ever."""
        # Plain numbers: no lock is to be taken in Cinder's threads. An addition of a number at hand
        # is never interrupted by another thread.
        self._bytes = 0
        self.taken = 0
        """Items that were queued, so far."""
        self.overflowed = 0
        """Items lost to a full queue, so far."""
        self.sent = 0
        """Items that were sent, so far; with two exporters, each counts twice."""
        self.failed: dict[str, int] = {}
        """Items lost to failed exports, so far, by the ``error.type``."""

    @property
    def _exporters(self) -> list[Exporter]:
        return self._made_exporters or []

    @property
    def dropped(self) -> int:
        """Items lost to a full queue or a failed export, so far."""
        return self.overflowed + sum(list(self.failed.values()))

    @property
    def waiting(self) -> int:
        """Items that wait to be sent."""
        return len(self._queue) + self._holds

    @property
    def patience(self) -> float:
        """Seconds that a flush may wait, after what was seen of the collector."""
        if self._unanswered:
            return _UNANSWERED_WAIT
        return _FAILING_WAIT if self._failing else math.inf

    @property
    def keeps_some(self) -> bool:
        """Whether a batch could not be sent, and waits to be tried again."""
        return self._held is not None

    def put(self, item: Item, size: int = 0) -> None:
        """Queue ``item``. Never blocks and never raises: it runs inside Cinder's requests.

        Args:
            size: what `_bytes_of` says of the item.
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
                count + 1 >= self._batch_size or self._bytes >= self._batch_bytes
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

    def give_up(self, waited: float) -> None:
        """Take note that a flush has waited ``waited`` seconds in vain."""
        if not self._unanswered:
            failure_log.add(
                "Check the collector and OTEL_EXPORTER_OTLP_ENDPOINT%s. otel-cinder gave up on %s "
                "after %.1g s; %d %s were not sent%s.",
                self._signal.or_else,
                self.endpoint,
                waited,
                self.waiting,
                self._signal.noun,
                f" ({self._hush.reason})" if self._hush.reason else " (no answer)",
            )
        self._unanswered = True

    # What is in the queue

    def _bytes_of(self, item: Item) -> int:  # noqa: ARG002 - what is small is bounded by its number
        """About how many bytes of the queue's ``item`` takes: the same at each time."""
        return 0

    def _overflow(self) -> None:
        if not self.overflowed:
            by_number = len(self._queue) >= self.queue_size
            failure_log.add(
                "%s. otel-cinder drops %s because %s wait to be sent to %s.",
                self._signal.more_room if by_number else METRICS.more_room,
                self._signal.noun,
                self.queue_size if by_number else f"{self._queue_bytes >> 20} MiB",
                self.endpoint,
            )
        self.overflowed += 1

    def _take(self) -> list[Item]:
        """The next batch: at least one item, if there is any."""
        batch: list[Item] = []
        size = 0
        while self._queue and len(batch) < self._batch_size:
            more = self._bytes_of(self._queue[0])
            if batch and size + more > self._batch_bytes:
                break
            batch.append(self._queue.popleft())
            size += more
        self._bytes -= size
        return batch

    # Making exporters

    def _load(self) -> None:
        if self._made_exporters is None:
            made = list(self._made())
            self._see_made(made)
            self._made_exporters = made

    def _see_made(self, made: Sequence[Exporter]) -> None:
        """Take note of the exporters, before anything is queued for them."""

    def _made(self) -> Iterator[Exporter]:
        for load in self._load_exporters:
            try:
                make = load()
                self._hush.spread()  # what is imported by now is what will log
                with self._hush.during():
                    exporter = make()
                if self._hush.reason:
                    self._tell_of_setting(self._hush.reason)
                yield exporter if hasattr(exporter, "deliver") else _Foreign(exporter, self._hush)
            except Exception as error:  # a bad certificate path, a missing package, ...
                self._unmade = type(error).__qualname__
                self._tell_of_no_exporter(error)

    def _tell_of_no_exporter(self, error: Exception) -> None:
        is_told = isinstance(error, SettingError)
        advice = f"Check OTEL_{self._signal.word}_EXPORTER and OTEL_EXPORTER_OTLP_*"
        raw = f"{type(error).__name__}: {redaction.masked(error)}"
        failure_log.add(
            "%s. otel-cinder could not create an exporter, so its %s are not exported; Cinder is "
            "not affected.%s",
            redaction.masked(error) if is_told else advice,
            self._signal.noun,
            "" if is_told else _in_brackets(raw),
        )

    def _tell_of_setting(self, complaint: str) -> None:
        """Warn of what the SDK said of a setting; not of the value, which may be a credential."""
        failure_log.add(
            "Check OTEL_EXPORTER_OTLP_HEADERS (name=value,name=value) and the other "
            "OTEL_EXPORTER_OTLP_* variables. otel-cinder exports %s, but ignores a malformed "
            "setting (%s).",
            self._signal.noun,
            complaint.partition(": ")[0],  # the value comes behind it
        )

    # In the thread

    def _begin(self) -> None:
        self._hush.spread()

    def _work(self, *, asked: bool) -> None:
        while self._held or self._queue:
            if self._held is None:
                batch = self._take()
                self._hold([(exporter, batch) for exporter in self._exporters], batch)
            if not self._send_held(asked=asked):
                return

    def _end(self) -> None:
        if self.waiting:
            self._lose(self.waiting, self._held.kind if self._held else "_OTHER")
        for exporter in self._exporters:
            exporter.shutdown()

    def _pause(self) -> float:
        if self._held is None:
            return self._delay
        return max(self._not_before - time.monotonic(), 0)

    def _is_to_sleep_on(self) -> bool:
        return self._held is not None and time.monotonic() < self._not_before

    def _form(self, batch: Sequence[Any]) -> Any:
        """``batch`` as an exporter takes it."""
        return batch

    def _size(self, batch: Sequence[Any]) -> int:
        """How many are lost where ``batch`` is."""
        return len(batch)

    def _bytes_in(self, batch: Sequence[Any]) -> int:
        """About how many bytes a request with ``batch`` has."""
        return sum(map(self._bytes_of, batch))

    def _halves(self, batch: Sequence[Any]) -> list[Any]:
        """``batch`` in two, if there is more than one in it."""
        half = len(batch) // 2
        return [batch[:half], batch[half:]] if half else [batch]

    def _joined(self, batches: Sequence[Any]) -> Any:
        """One batch of several."""
        return [item for batch in batches for item in batch]

    @property
    def _holds(self) -> int:
        held = self._held
        return max((self._size(batch) for _, batch in held.deliveries), default=0) if held else 0

    def _hold(self, deliveries: Sequence[tuple[Exporter, Any]], batch: Sequence[Any]) -> None:
        """Have ``deliveries`` sent next, which are ``batch`` for each exporter."""
        if not deliveries:
            self._lose(self._size(batch), self._unmade)
            return
        self._held = _Held(list(deliveries), time.monotonic())

    def _send_held(self, *, asked: bool) -> bool:
        """Try to send what is held. Says whether to go on at once."""
        held = self._held
        if held is None:
            return True
        if not asked and time.monotonic() < self._not_before:
            return False
        results = [(each[0], *self._deliver(*each)) for each in held.deliveries]
        answer = max((answer for _, _, answer in results), key=_badness)
        left = [(exporter, rest) for exporter, rest, _ in results if rest]
        if left:
            self._held = held._replace(deliveries=left, kind=answer.kind)
            return self._try_again(answer, asked=asked)
        self._held = None
        self._tries, self._not_before = 0, 0.0
        self._judge(answer)
        return True

    def _try_again(self, answer: Answer, *, asked: bool) -> bool:
        """See when to try again. Says whether that is now."""
        self._tries += 1
        self._failing = True
        wait = min(answer.wait, _KEPT_S) or _backoff(self._tries)
        self._not_before = time.monotonic() + wait
        if asked and answer.answered and self._not_before < self._deadline:
            self._sleep_for(wait)
            return True
        held = self._held
        if held is not None:
            now = time.monotonic()
            if asked or self._tries > 1 or now - held.since > _QUIET_S:
                self._tell_of_failure(answer)
            if now - held.since >= _KEPT_S:
                self._give_up_held()
        return False

    def _give_up_held(self) -> None:
        if self._held is not None:
            self._lose(self._holds, self._held.kind)
            self._held = None

    def _deliver(self, exporter: Exporter, batch: Any) -> tuple[Any, Answer]:
        """Send a batch, in halves where need be: what is left of it for another try, and why."""
        worst = answers.TAKEN
        parts = [batch]
        while parts:
            part = parts.pop()
            answer = exporter.deliver(self._form(part))
            halves = self._halves(part) if self._is_to_halve(answer, part) else []
            if len(halves) > 1:
                parts += reversed(halves)
            elif answer.verdict is Verdict.AGAIN and len(self._exporters) == 1:
                return self._joined([part, *reversed(parts)]), answer
            else:
                self._count(part, answer)
                worst = max(worst, answer, key=_badness)
        return None, worst

    def _is_to_halve(self, answer: Answer, batch: Any) -> bool:
        if answer.verdict is not Verdict.TOO_LARGE:
            return answer.verdict is Verdict.MALFORMED
        size = self._bytes_in(batch)
        # So that the next ones fit. Where hardly anything does, nothing is to be had by halving.
        self._batch_bytes = min(max(size // 2, _LEAST_BATCH_BYTES), self._batch_bytes)
        return size > _LEAST_HALVED_BYTES

    def _count(self, batch: Any, answer: Answer) -> None:
        size = self._size(batch)
        lost = min(answer.rejected, size) if answer.verdict is Verdict.TAKEN else size
        self.sent += size - lost
        self._lose(lost, answer.kind)

    def _lose(self, count: int, kind: str) -> None:
        if count:
            self.failed[kind] = self.failed.get(kind, 0) + count

    def _judge(self, answer: Answer) -> None:
        """Take note of how exporting fares, after nothing of a batch is left."""
        self._failing = answer.verdict in (Verdict.LOST, Verdict.AGAIN)
        if self._failing:
            self._tell_of_failure(answer)
            return
        self._unanswered = False
        if self._said:
            failure_log.add(
                "otel-cinder exports to %s again; %d %s were lost so far.",
                self.endpoint,
                self.dropped,
                self._signal.noun,
            )
            self._said.clear()
        if answer.kind and answer.kind not in self._noticed:
            self._noticed.add(answer.kind)
            failure_log.add(
                "%s. otel-cinder exports %s to %s, but %s; Cinder is not affected.%s",
                answer.advice,
                self._signal.noun,
                self.endpoint,
                answer.what,
                _in_brackets(answer.raw),
            )

    def _tell_of_failure(self, answer: Answer) -> None:
        if answer.kind not in self._said:
            self._said.add(answer.kind)
            again = self._held is not None
            failure_log.add(
                "%s%s. otel-cinder can't export %s to %s: %s. Cinder is not affected; %s.%s",
                answer.advice,
                self._signal.or_else,
                self._signal.noun,
                self.endpoint,
                answer.what,
                "they are tried again for a minute, then dropped" if again else "they are dropped",
                _in_brackets(answer.raw),
            )


def _badness(answer: Answer) -> tuple[bool, bool, bool]:
    return answer.verdict is Verdict.AGAIN, answer.verdict is Verdict.LOST, bool(answer.kind)


def _backoff(tries: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(2.0 ** (tries - 1), _LONGEST_WAIT_S) * random.uniform(0.8, 1.2)


def _in_brackets(raw: str) -> str:
    return f" ({raw})" if raw else ""


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
            self.put(item, self._bytes_of(item))

    def _see_made(self, made: Sequence[Exporter]) -> None:
        self._packs = bool(made) and all(each.takes_packed for each in made)

    def _bytes_of(self, item: ReadableSpan | Packed) -> int:
        return SPARE_BYTES + (len(item[0]) if isinstance(item, tuple) else _texts_of(item))

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Export what is queued. False if it took longer than ``timeout_millis``."""
        return flush([self], timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 5000) -> None:
        """Export what is queued and end the thread, in at most ``timeout_millis``."""
        shutdown([self], timeout_millis / 1000)


def _texts_of(span: ReadableSpan) -> int:
    attributes = [span.attributes, *(event.attributes for event in span.events)]
    return sum(SPARE_BYTES + text_in(each) for each in attributes)


def text_in(value: Any) -> int:
    """About how many bytes a value of an attribute takes, or all of some attributes."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(str(key)) + text_in(each) for key, each in value.items())
    if isinstance(value, (tuple, list)):
        return sum(map(text_in, value))
    return 8


def flush(queues: Sequence[ExportQueue[Any]], timeout: float) -> bool:
    """Export what is in all of ``queues``, at the same time.

    False if that took over ``timeout`` s, or a collector could not take it.

    The first one's collector is the others' where they have the same endpoint: if it has failed
    there, the others, which may not have tried yet, are not waited for any longer.
    """
    patience = [min(timeout, queue.patience) for queue in queues]
    asked = [queue.ask(_FAILING_WAIT) for queue in queues]
    return _wait_for_all(queues, asked, patience)


def shutdown(queues: Sequence[ExportQueue[Any]], timeout: float) -> None:
    """Export what is in all of ``queues``, as `flush` does, and end their threads."""
    patience = [min(timeout, queue.patience) for queue in queues]
    asked = [queue.ask_to_end(_FAILING_WAIT) for queue in queues]
    _wait_for_all(queues, asked, patience)
    for queue in queues:
        queue.withdraw()


def _wait_for_all(
    queues: Sequence[ExportQueue[Any]], asked: Sequence[Any], patience: Sequence[float]
) -> bool:
    begin = time.monotonic()
    in_time = True
    for queue, done, seconds in zip(queues, asked, patience, strict=True):
        if queue is not queues[0] and queue.endpoint == queues[0].endpoint:
            seconds = min(seconds, queues[0].patience)  # noqa: PLW2901 - it's this queue's
        if done is None:
            in_time = in_time and not queue.waiting
        elif done.wait(max(seconds - (time.monotonic() - begin), 0)):
            in_time = in_time and not queue.keeps_some
        else:
            queue.give_up(time.monotonic() - begin)
            in_time = False
    failure_log.tell()
    return in_time
