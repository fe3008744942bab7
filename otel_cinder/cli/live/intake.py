"""What arrives at `live`: taken at once, and read when the view has time for it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading.endpoint import Endpoint, Export
from otel_cinder.reading.forwarder import Forwarder
from otel_cinder.reading.operations import Operation, Operations
from otel_cinder.reading.otlp_json import to_json_line
from otel_cinder.reading.records import logs_of
from otel_cinder.reading.story import one_line
from otel_cinder.reading.trace import spans_of
from otel_cinder.reading.words import Words

_MOST_BYTES: Final = 16 << 20
"""Of what has not been read: a few seconds of thousands of spans."""

_FEW_BYTES: Final = 4 << 20
_OLDEST_S: Final = 3.0
"""So old may be what waits, if that is more than a few bytes: what is late is of less use than what is new."""

_MOST_NOTICES: Final = 100
_SLICE_S: Final = 0.1
"""For so long it reads before the view is drawn again."""


class Intake(Endpoint):
    """An endpoint whose exports wait, within bounds, to be read by one thread.

    ``save`` gets each export of spans and log records as a line of OTLP/JSON before it is answered.
    Each request wakes who waits for ``woken``, a file descriptor to select on.
    """

    def __init__(
        self, address: tuple[str, int], words: Words, forward: str | None, save: Path | None
    ) -> None:
        super().__init__(address[1], address[0])
        self._words = words
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Message, int, float]] = deque()
        self._bytes = 0
        self._notices: deque[str] = deque(maxlen=_MOST_NOTICES)
        self._path = save
        self._file: IO[str] | None = save.open("a", encoding="utf-8") if save else None
        self._forward_to = forward or ""
        self._lost = 0
        self._not_told = 0
        self._forwarder = (
            Forwarder(forward, self._cannot_forward, self._forwards) if forward else None
        )
        self.overrun = 0
        """Spans that came faster than they could be read."""
        self.woken, self._wake = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(self._wake, False)

    def stop(self) -> None:
        """Close the port, pass on what waits, and close the file."""
        super().stop()
        if self._forwarder is not None:
            self._forwarder.drain()
        with self._lock:
            if self._file is not None:
                with contextlib.suppress(OSError):  # what was written was flushed line by line
                    self._file.close()
                self._file = None

    def accept(self, export: Export) -> None:
        """Keep an export of spans or of log records until it is read."""
        if self._forwarder is not None:
            self._forwarder.pass_on(export)
        if isinstance(export.message, (ExportTraceServiceRequest, ExportLogsServiceRequest)):
            self._save(export.message)
            with self._lock:
                self._waiting.append((export.message, len(export.body), time.monotonic()))
                self._bytes += len(export.body)
                while self._is_overrun():
                    message, size, _ = self._waiting.popleft()
                    self._bytes -= size
                    self.overrun += _spans_in(message)
        self.wake()

    def refuse(self, client: str, sentence: str) -> None:
        """Say that somebody was refused, and why."""
        host = client.rpartition(":")[0]  # each connection has another port
        self._say(self._words.say("live_refused", client=host, why=sentence))

    def read_into(self, operations: Operations) -> list[Operation]:
        """Read what waits, for a tenth of a second at most; the operations that it belongs to."""
        touched: dict[str, Operation] = {}
        until = time.monotonic() + _SLICE_S
        while time.monotonic() < until:
            with self._lock:
                if not self._waiting:
                    break
                message, size, _ = self._waiting.popleft()
                self._bytes -= size
            if isinstance(message, ExportTraceServiceRequest):
                found = operations.add_spans(spans_of(message), size)
            else:
                found = operations.add_logs(logs_of(message), size)  # type: ignore[arg-type]
            touched.update((operation.trace_id, operation) for operation in found)
        return list(touched.values())

    @property
    def is_read(self) -> bool:
        """Return whether nothing waits."""
        return not self._waiting

    def notices(self) -> list[str]:
        """What is to be said and has not been, each once."""
        with self._lock:
            said = list(dict.fromkeys(self._notices))
            self._notices.clear()
        return said

    def wake(self) -> None:
        """Wake who waits."""
        try:
            os.write(self._wake, b".")
        except BlockingIOError:
            return  # it is about to wake anyway

    def _is_overrun(self) -> bool:
        if len(self._waiting) < 2 or self._bytes <= _FEW_BYTES:
            return False
        return self._bytes > _MOST_BYTES or time.monotonic() - self._waiting[0][2] > _OLDEST_S

    def _say(self, sentence: str) -> None:
        with self._lock:
            self._notices.append(one_line(sentence))
        self.wake()

    def _save(self, message: Message) -> None:
        if self._file is None:
            return
        problem = self._write(to_json_line(message))
        if problem:
            self._say(self._words.say("live_save_lost", path=self._path, reason=problem))

    def _write(self, line: str) -> str:
        """Add a line to the file; what went wrong, if anything did."""
        with self._lock:
            file = self._file
            if file is None:
                return ""
            try:
                file.write(f"{line}\n")
                file.flush()
            except OSError as error:
                self._file = None
                return error.strerror or str(error)
        return ""

    def _cannot_forward(self, problem: str) -> None:
        url, _, reason = problem.partition(": ")
        self._lost += 1
        self._not_told += 1
        # The first at once, then each tenth: not a sentence an export.
        if self._lost == 1 or self._not_told >= 10:
            self._not_told = 0
            text = self._words.say("live_forward_lost", url=url, count=self._lost, reason=reason)
            self._say(text)

    def _forwards(self) -> None:
        if self._lost:
            self._say(self._words.say("live_forward_well", count=self._lost))
            self._lost = self._not_told = 0


def _spans_in(message: Message) -> int:
    if not isinstance(message, ExportTraceServiceRequest):
        return 0
    return sum(
        len(scoped.spans) for group in message.resource_spans for scoped in group.scope_spans
    )
