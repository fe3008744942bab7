"""The operations that are under way: spans and log lines as they come, sorted into traces, within bounds.

Operations are kept while there is room. Then the oldest that have ended go first, and are counted.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from otel_cinder.reading.records import LogLine
from otel_cinder.reading.sources import REQUEST_KEYS, RESOURCE_KEYS
from otel_cinder.reading.story import Story, name_of, waited_ns, with_logs
from otel_cinder.reading.trace import SpanRecord, Trace
from otel_cinder.reading.words import Words

MOST_SPANS: Final = 20_000
MOST_BYTES: Final = 32 << 20
"""As they came, in protobuf."""

_MOST_OF_ONE: Final = 4_000
"""Spans, and log lines, of one operation."""

_MOST_OPERATIONS: Final = 1_000
_SILENT_S: Final = 60.0
"""After so long nobody waits for a parent that is missing."""

_CALL_SILENT_S: Final = 5.0
"""After so long nobody waits for the other side of a call that was answered."""

_REMEMBERED: Final = 31
"""Durations of a stage that its median is taken from."""

_FEWEST: Final = 3
_MOST_STAGES: Final = 2_000
_LEAST_SLOWER_NS: Final = 100_000_000

_ID_KEYS = (*REQUEST_KEYS, *RESOURCE_KEYS)


class Usual:
    """How long each stage usually takes, by its name: the median of the last ones."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[int]] = {}

    def add(self, name: str, duration_ns: int) -> int | None:
        """Take a duration; the median of those before if this one was slower, or else None."""
        median = self.slower(name, duration_ns)
        if name not in self._seen and len(self._seen) >= _MOST_STAGES:
            self._seen.pop(next(iter(self._seen)))
        self._seen.setdefault(name, deque(maxlen=_REMEMBERED)).append(duration_ns)
        return median

    def slower(self, name: str, duration_ns: int) -> int | None:
        """The median in ns, if ``duration_ns`` is more than twice that, and 0.1 s more; else None."""
        seen = self._seen.get(name, ())
        if len(seen) < _FEWEST or duration_ns < _LEAST_SLOWER_NS:
            return None
        median = round(statistics.median(seen))
        is_slower = duration_ns > max(2 * median, median + _LEAST_SLOWER_NS)
        return median if is_slower else None


def of_wait(key: str) -> str:
    """The key of the wait before something: of a message's handling, by its name or its span's id."""
    return f"wait {key}"


class Operation:
    """A trace that may still grow. Times are by the monotonic clock, in s."""

    def __init__(self, trace_id: str, now: float) -> None:
        self.trace_id = trace_id
        self.last_seen = now
        self.has_error = False
        self.ids: set[str] = set()
        """Of requests, volumes and what else it is about."""
        self.services: set[str] = set()
        self.slower: dict[str, int] = {}
        """By span id, or `of_wait` of one: the usual duration in ns of a span or wait that took longer."""
        self.arrived: dict[str, float] = {}
        """By id of a still-running span: when it came."""
        self.bytes = 0
        self.left_out = 0
        self._spans: dict[str, SpanRecord] = {}
        self._logs: deque[LogLine] = deque(maxlen=_MOST_OF_ONE)
        self._version = 0
        self._trace: tuple[int, Trace] | None = None
        self._story: tuple[int, Words, Story] | None = None
        self._open: tuple[int, str] | None = None

    @property
    def size(self) -> int:
        """Spans and log lines."""
        return len(self._spans) + len(self._logs)

    def add(self, span: SpanRecord, now: float) -> bool:
        """Take a span; False if it was there already."""
        known = self._spans.get(span.span_id)
        self._spans[span.span_id] = span
        if len(self._spans) > _MOST_OF_ONE:
            oldest = next(iter(self._spans))
            for kept in (self._spans, self.arrived, self.slower):
                kept.pop(oldest, None)
            self.left_out += 1
        self._version += 1
        self.last_seen = now
        if span.shows is not None:
            self.arrived[span.span_id] = now
        self.services.add(span.service)
        code = span.attributes.get("http.response.status_code")
        refused = span.kind == "server" and isinstance(code, int) and code >= 400
        self.has_error = self.has_error or span.status == "error" or refused
        for key in _ID_KEYS:
            if key in span.attributes and len(self.ids) < 100:
                self.ids.add(str(span.attributes[key]))
        return known is None

    def add_log(self, line: LogLine, now: float) -> None:
        """Take a log line."""
        self.left_out += len(self._logs) == _MOST_OF_ONE
        self._logs.append(line)
        self._version += 1
        self.last_seen = now

    def trace(self) -> Trace:
        """Its spans, with the log lines at those they belong to."""
        if self._trace is None or self._trace[0] != self._version:
            self._trace = self._version, Trace(with_logs(self._spans.values(), self._logs))
        return self._trace[1]

    def story(self, words: Words) -> Story:
        """What is to be told of it by now."""
        kept = self._story
        if kept is None or kept[0] != self._version or kept[1] is not words:
            kept = self._story = self._version, words, Story(self.trace(), words)
        return kept[2]

    def loose_logs(self) -> list[LogLine]:
        """The log lines of spans that have not come yet."""
        return [line for line in self._logs if line.span_id not in self._spans]

    def is_over(self, now: float) -> bool:
        """Return whether nothing more is to come, as far as can be seen."""
        if self._open is None or self._open[0] != self._version:
            self._open = self._version, _open(self.trace())
        silent = now - self.last_seen
        match self._open[1]:
            case "parent":
                return silent >= _SILENT_S
            case "call":
                return silent >= _CALL_SILENT_S
            case why:
                return not why

    @property
    def only_reads(self) -> bool:
        """Return whether it only asked for something: a GET or a HEAD, and nothing came of it."""
        roots = self.trace().tops()
        return all(
            str(s.attributes.get("http.request.method", "")) in ("GET", "HEAD") for s in roots
        )


def _open(trace: Trace) -> str:
    """Why an operation is not over: ``running``, ``message``, ``parent``, ``call``; empty if it is."""
    if not trace.spans or any(span.shows for span in trace.spans):
        return "running"
    if unanswered(trace):
        return "message"
    if any(not _enters(span) for span in trace.orphans):
        return "parent"
    taken_up = trace.taken_up()
    calls = (s for s in trace.spans if s.kind == "client" and "rpc.method" in s.attributes)
    return "call" if any(call.span_id not in taken_up for call in calls) else ""


def _enters(span: SpanRecord) -> bool:
    """Return whether a span without a parent here is a request whose caller has a span elsewhere."""
    return span.kind == "server" and "rpc.method" not in span.attributes


def unanswered(trace: Trace) -> list[SpanRecord]:
    """The messages that were sent, and that no service has taken up yet, as far as is known."""
    taken_up = trace.taken_up()
    return [
        span
        for span in trace.spans
        if span.kind == "producer"
        and span.span_id not in taken_up
        and span.status != "error"
        and "oslo_messaging.notification.event_type" not in span.attributes
        and span.attributes.get("cinder.rpc.fanout") is not True
    ]


class Operations:
    """All operations that are remembered, the one that came first at the beginning."""

    def __init__(
        self,
        most_spans: int = MOST_SPANS,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.usual = Usual()
        self.spans_seen = 0
        self.operations_dropped = 0
        self._dropped = 0
        self._most_spans = most_spans
        self._most_bytes = most_bytes
        self._clock = clock
        self._by_id: dict[str, Operation] = {}
        self._size = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Operation]:
        """Those of which a span has come."""
        return (each for each in self._by_id.values() if each.services)

    @property
    def dropped(self) -> int:
        """Spans and log lines that went with operations, or that were too many for one."""
        return self._dropped + sum(operation.left_out for operation in self._by_id.values())

    def get(self, trace_id: str) -> Operation | None:
        """The operation with this trace id, if it is remembered."""
        return self._by_id.get(trace_id)

    def add_spans(self, spans: Iterable[SpanRecord], size: int) -> list[Operation]:
        """Take spans that came together in ``size`` bytes; the operations that they belong to."""
        together = list(spans)
        each_size = size // max(1, len(together))
        touched: dict[str, Operation] = {}
        for span in together:
            operation = self._operation(span.trace_id)
            touched[span.trace_id] = operation
            before = operation.size
            self._add(operation, span)
            self._grow(operation, operation.size - before, each_size)
        self._make_room(keep=touched)
        return list(touched.values())

    def add_logs(self, lines: Iterable[LogLine], size: int) -> list[Operation]:
        """Take log lines that came together; the operations that they belong to. Others are not kept."""
        together = list(lines)
        each_size = size // max(1, len(together))
        touched: dict[str, Operation] = {}
        for line in together:
            if any(c != "0" for c in line.trace_id):
                operation = self._operation(line.trace_id)
                touched[line.trace_id] = operation
                before = operation.size
                operation.add_log(line, self._clock())
                self._grow(operation, operation.size - before, each_size)
        self._make_room(keep=touched)
        return list(touched.values())

    def _add(self, operation: Operation, span: SpanRecord) -> None:
        self.spans_seen += 1
        is_new = operation.add(span, self._clock())
        if not is_new or span.shows is not None or span.status == "error":
            return
        median = self.usual.add(name_of(span), span.duration_ns)
        if median is not None:
            operation.slower[span.span_id] = median
        waited = waited_ns(span)
        median = None if waited is None else self.usual.add(of_wait(name_of(span)), waited)
        if median is not None:
            operation.slower[of_wait(span.span_id)] = median

    def _grow(self, operation: Operation, count: int, size: int) -> None:
        self._size += count
        operation.bytes += size
        self._bytes += size

    def _operation(self, trace_id: str) -> Operation:
        found = self._by_id.get(trace_id)
        if found is None:
            found = self._by_id[trace_id] = Operation(trace_id, self._clock())
        return found

    def _is_full(self, part: float = 1.0) -> bool:
        return (
            self._size > part * self._most_spans
            or self._bytes > part * self._most_bytes
            or len(self._by_id) > part * _MOST_OPERATIONS
        )

    def _make_room(self, keep: dict[str, Operation]) -> None:
        """Drop what ended, the oldest first; then what still runs; then what has just come."""
        if not self._is_full():
            return
        now = self._clock()
        everything = list(self._by_id.values())
        others = [op for op in everything if op.trace_id not in keep]
        over = [op for op in others if op.is_over(now)]
        for operation in dict.fromkeys([*over, *others, *everything]):
            # Some room more, so that this is not done for each span.
            if not self._is_full(0.9) or len(self._by_id) == 1:
                return
            self._drop(operation)

    def _drop(self, operation: Operation) -> None:
        del self._by_id[operation.trace_id]
        self._size -= operation.size
        self._bytes -= operation.bytes
        self.operations_dropped += 1
        self._dropped += operation.size + operation.left_out
