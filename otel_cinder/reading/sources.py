"""Traces from a file or from standard input, whatever wrote them.

Known are OTLP/JSON, one export a line as the collector's file exporter writes it or one alone, and what
Jaeger and Tempo answer.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading.jaeger_json import spans_of_jaeger
from otel_cinder.reading.otlp_json import from_data
from otel_cinder.reading.records import LogLine, logs_of
from otel_cinder.reading.story import with_logs
from otel_cinder.reading.trace import SpanRecord, Trace, spans_of, traces_of
from otel_cinder.reading.words import words

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_TRACE_ID = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?", re.IGNORECASE)
_REQUEST_ID = re.compile(r"req-[0-9A-Za-z-]{1,64}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

REQUEST_KEYS = ("openstack.request_id", "openstack.global_request_id")
RESOURCE_KEYS = (
    "cinder.volume.id",
    "cinder.snapshot.id",
    "cinder.backup.id",
    "cinder.attachment.id",
    "cinder.group.id",
    "cinder.group_snapshot.id",
)


class SourceError(Exception):
    """The reason why there is no trace to show: one sentence that begins with the advice.

    ``found`` is False if everything worked but there is no such trace. ``sentence`` names one of
    `Words.sentences`, and ``given`` fills its places; as a text, the error is in English.
    """

    def __init__(self, sentence: str, /, *, found: bool = True, **given: object) -> None:
        super().__init__(words().sentence(sentence, **given))
        self.sentence = sentence
        self.found = found
        self.given = given


@dataclass
class Records:
    """The spans and log lines of a file."""

    spans: list[SpanRecord] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    bad_lines: int = 0
    """Lines that were neither."""
    other: int = 0
    """Exports of metrics, which no trace is made of."""

    def traces(self) -> list[Trace]:
        """The traces, each with its log lines, the one that began first coming first."""
        return traces_of(with_logs(self.spans, self.logs))


def keys_of(wanted: str) -> tuple[str, ...]:
    """The attributes that may hold an id; none for a trace's own. Raises SourceError."""
    if _TRACE_ID.fullmatch(wanted):
        return ()
    if _REQUEST_ID.fullmatch(wanted):
        return REQUEST_KEYS
    if _UUID.fullmatch(wanted):
        return RESOURCE_KEYS
    raise SourceError("no_id", wanted=wanted)


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id."""
    return any(form.fullmatch(text) for form in (_TRACE_ID, _REQUEST_ID, _UUID))


def with_id(traces: Iterable[Trace], wanted: str) -> list[Trace]:
    """The traces with this id, or about what has it; raises SourceError."""
    keys = keys_of(wanted)
    if not keys:
        return [trace for trace in traces if trace.trace_id == wanted.lower().rjust(32, "0")]
    return [
        trace
        for trace in traces
        if any(span.attributes.get(key) == wanted for span in trace.spans for key in keys)
    ]


def read(source: str, name: str = "") -> Records:
    """Read a file, or standard input for ``-``; ``name`` is for messages. Raises SourceError."""
    name = name or source
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise SourceError("cannot_read", name=name, why=error.strerror) from None
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise SourceError("broken_gzip", name=name, why=error) from None
    if content.startswith(_ZSTD):
        raise SourceError("zstd", name=name)
    return parse(content.decode("utf-8", "replace"), name)


def parse(text: str, name: str) -> Records:
    """Read what a file held; ``name`` is for messages. Raises SourceError."""
    records = Records()
    if not text.strip():
        raise SourceError("empty", found=False, name=name)
    try:
        take(json.loads(text), records)
    except (ValueError, RecursionError):
        for line in filter(str.strip, text.splitlines()):
            _take_line(line, records)
    if not records.spans:
        if records.bad_lines:
            raise SourceError("neither", name=name)
        raise SourceError("no_spans", found=False, name=name)
    return records


def _take_line(line: str, records: Records) -> None:
    try:
        take(json.loads(line), records)
    except (ValueError, RecursionError):
        records.bad_lines += 1


def take(data: Any, records: Records) -> None:
    """Add what one JSON document holds; raises ValueError when it is none of the known ones."""
    if not isinstance(data, dict):
        raise ValueError("no object")  # noqa: TRY004 - as for everything else here
    if isinstance(data.get("result"), dict):  # Jaeger's /api/v3/traces
        data = data["result"]
    elif isinstance(data.get("trace"), dict):  # Tempo's /api/v2/traces
        data = {"resourceSpans": [], **data["trace"]}
    if "batches" in data:  # Tempo's /api/traces
        data = {"resourceSpans": data["batches"]}
    if "resourceSpans" in data:
        records.spans += spans_of(from_data(data, ExportTraceServiceRequest))
    elif "resourceLogs" in data:
        records.logs += logs_of(from_data(data, ExportLogsServiceRequest))
    elif "resourceMetrics" in data:
        records.other += 1
    elif "data" in data:
        records.spans += spans_of_jaeger(data)
    else:
        raise ValueError("neither OTLP/JSON nor Jaeger's")
