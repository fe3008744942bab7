"""What Cinder's services have recorded of a command's trace, and whether more is to come."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.cli.run.child import Told
from otel_cinder.cli.run.marking import RESPONSE_HEADER
from otel_cinder.reading.endpoint import Endpoint, Export
from otel_cinder.reading.records import LogLine, logs_of
from otel_cinder.reading.sources import Records
from otel_cinder.reading.trace import SpanRecord, Trace, spans_of

if TYPE_CHECKING:
    from otel_cinder.reading.backends import Backend

_POLL_S = 0.5
_SETTLE_S = 1.0
"""What belongs to a span that has arrived may be in the next export: log records, most of all."""
_UNANNOUNCED_S = 12.0
"""How long to wait if no answer has named a trace: twice OTEL_BSP_SCHEDULE_DELAY, and a little."""

Traced = TypeVar("Traced", SpanRecord, LogLine)

_RESPONSE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Source(Protocol):
    """Where the services' spans come from."""

    nothing_came: str
    """Of `Words.sentences`: why there is no span of a trace that Cinder has recorded."""
    untraced: str
    """The same if no answer said that Cinder has."""

    @property
    def where(self) -> str:
        """The endpoint to send to, or the backend that is asked, as a text."""

    def records(self) -> Records:
        """The spans of the command's trace that have come, and its log records."""

    def wait(self, seconds: float) -> None:
        """Wait until more may have come, and no longer than that."""


class Listening(Endpoint):
    """The services send to this process, which keeps what belongs to one trace."""

    nothing_came = "run_nothing_came_here"
    untraced = "run_untraced_here"

    def __init__(self, address: tuple[str, int], trace_id: str) -> None:
        host, port = address
        super().__init__(port, host)
        self._trace_id = trace_id
        self._changed = threading.Condition()
        self._came = Records()

    @property
    def where(self) -> str:
        """The endpoint to send to."""
        return self.endpoint

    def accept(self, export: Export) -> None:
        """Keep the spans and log records of the trace; other traces' are not kept."""
        message = export.message
        with self._changed:
            if isinstance(message, ExportTraceServiceRequest):
                self._came.spans += self._ours(spans_of(message))
            elif isinstance(message, ExportLogsServiceRequest):
                self._came.logs += self._ours(logs_of(message))
            self._changed.notify_all()

    def records(self) -> Records:
        """What has come."""
        with self._changed:
            return Records([*self._came.spans], [*self._came.logs])

    def wait(self, seconds: float) -> None:
        """Wait for the next export, for no longer than so many seconds."""
        with self._changed:
            self._changed.wait(seconds)

    def _ours(self, records: Sequence[Traced]) -> list[Traced]:
        return [record for record in records if record.trace_id == self._trace_id]


class Asking:
    """The services send to a backend, which is asked; raises SourceError when it can't be."""

    nothing_came = "run_nothing_came_there"
    untraced = "run_untraced_there"

    def __init__(self, backend: Backend, trace_id: str) -> None:
        self.where = f"{backend.name} ({backend.shown})"
        self._backend = backend
        self._trace_id = trace_id

    def records(self) -> Records:
        """What the backend has now."""
        return self._backend.records(self._trace_id)

    def wait(self, seconds: float) -> None:
        """Leave the backend alone for so many seconds."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Answers:
    """What the answers to a command's requests have said of traces (`traceresponse`)."""

    count: int
    """All requests that had an answer, or none."""
    recorded: frozenset[str]
    """Ids of the spans that the services record for them."""
    left_out: int
    """Answers whose service has not sampled the request."""

    @property
    def named(self) -> bool:
        """Return whether a traced service has answered."""
        return bool(self.recorded or self.left_out)


def answers_of(told: Told, trace_id: str) -> Answers:
    """What is known from the answers."""
    recorded, left_out = set(), 0
    for span in told.records.spans:
        said = span.attributes.get(RESPONSE_HEADER) or ("",)
        found = _RESPONSE.fullmatch(said[0])
        if found and found[1] == trace_id:
            if int(found[3], 16) & 1:
                recorded.add(found[2])
            else:
                left_out += 1
    return Answers(len(told.records.spans), frozenset(recorded), left_out)


def await_end(
    source: Source,
    answers: Answers,
    seconds: float,
    tell: Callable[[Records], None],
) -> None:
    """Wait until the work that the command has started has ended.

    Args:
        seconds: how long to wait at most.
        tell: is called with what has come so far, at least once.
    """
    limit = seconds if answers.named else min(seconds, _UNANNOUNCED_S)
    deadline = time.monotonic() + limit
    settled, before = 0.0, -1
    while True:
        records = source.records()
        tell(records)
        now = time.monotonic()
        count = len(records.spans) + len(records.logs)
        ended = has_ended(Trace(records.spans), answers)
        if count != before or not ended:
            before, settled = count, now + _SETTLE_S
        left_out = answers.left_out and not answers.recorded
        if left_out or now >= deadline or (ended and now >= settled):
            return
        source.wait(min(_POLL_S, max(0.05, deadline - now)))


def has_ended(trace: Trace, answers: Answers) -> bool:
    """Return whether every request has come, and nothing below it is still to come."""
    arrived = {span.span_id for span in trace.spans}
    return bool(arrived) and answers.recorded <= arrived and not trace.unfinished()
