"""Spans as plain data, and the traces they make: what every command that shows a trace works on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

# Indexed by the numbers of opentelemetry/proto/trace/v1/trace.proto.
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")

STILL_RUNNING: Final = "cinder.still_running"
"""Attribute of a still-running span: it shows another span, which has not ended."""


@dataclass(frozen=True)
class EventRecord:
    """Something that happened at one moment of a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LinkRecord:
    """Another span that a span refers to."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SpanRecord:
    """One span as it arrived over OTLP; ids are lower-case hex, times are in ns since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str = "internal"
    service: str = ""
    resource: Mapping[str, Any] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    status: str = "unset"
    status_message: str = ""
    events: tuple[EventRecord, ...] = ()
    links: tuple[LinkRecord, ...] = ()
    scope: str = ""

    @property
    def shows(self) -> str | None:
        """The id of the open span that a still-running span shows; None for any other span."""
        is_one = self.attributes.get(STILL_RUNNING) is True and bool(self.links)
        return self.links[0].span_id if is_one else None

    @property
    def duration_ns(self) -> int:
        """The span's duration in ns; never negative, even if a clock was set back."""
        return max(0, self.end_ns - self.start_ns)


class Trace:
    """The spans of one trace id, put in their places.

    A span whose parent did not arrive is an orphan: it is kept, and drawn beside the roots.
    A span that was exported twice counts once. A still-running span counts until its open span has
    ended and arrived, or until a later still-running span of the same has.
    """

    def __init__(self, records: Iterable[SpanRecord]) -> None:
        by_id = _without_outdated({record.span_id: record for record in records})
        self.spans: tuple[SpanRecord, ...] = tuple(sorted(by_id.values(), key=_by_start))
        self.trace_id: str = self.spans[0].trace_id if self.spans else ""
        self._by_id = by_id
        self._children: dict[str, list[SpanRecord]] = defaultdict(list)
        for span in self.spans:
            if span.parent_id is not None and span.parent_id in by_id:
                self._children[span.parent_id].append(span)
        self.roots: tuple[SpanRecord, ...] = tuple(s for s in self.spans if s.parent_id is None)
        self.orphans: tuple[SpanRecord, ...] = self._find_orphans()

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def root(self) -> SpanRecord | None:
        """The span that the trace began with, if it arrived and is the only one."""
        return self.roots[0] if len(self.roots) == 1 else None

    @property
    def is_whole(self) -> bool:
        """Return whether there is exactly one root and every other span's parent arrived."""
        return len(self.roots) == 1 and not self.orphans

    @property
    def services(self) -> tuple[str, ...]:
        """The services that took part, in the order in which they joined."""
        return tuple(dict.fromkeys(span.service for span in self.spans))

    @property
    def start_ns(self) -> int:
        """When the earliest span began."""
        return min((span.start_ns for span in self.spans), default=0)

    @property
    def end_ns(self) -> int:
        """When the last span ended."""
        return max((max(span.start_ns, span.end_ns) for span in self.spans), default=0)

    def get(self, span_id: str | None) -> SpanRecord | None:
        """The span with this id, if it arrived."""
        return None if span_id is None else self._by_id.get(span_id)

    def parent(self, span: SpanRecord) -> SpanRecord | None:
        """The span's parent, if it arrived."""
        return self.get(span.parent_id)

    def children(self, span: SpanRecord) -> tuple[SpanRecord, ...]:
        """The span's children, earliest first."""
        return tuple(self._children.get(span.span_id, ()))

    def tops(self) -> tuple[SpanRecord, ...]:
        """The spans at which drawing starts: the roots, then the orphans."""
        return self.roots + self.orphans

    def cast(self, span: SpanRecord) -> SpanRecord | None:
        """The span that sent the message which ``span`` handles, if it arrived."""
        if span.kind != "consumer":
            return None
        linked = filter(None, (self.get(link.span_id) for link in span.links))
        return next(linked, None) or self.parent(span)

    def taken_up(self) -> set[str]:
        """The ids of the spans whose message has been taken up, as far as has arrived.

        A receiver's span is below the sender's, or linked to it.
        """
        receivers = [
            s for s in self.spans if s.kind in ("consumer", "server") or s.shows is not None
        ]
        parents = {span.parent_id for span in receivers if span.parent_id is not None}
        return parents.union(link.span_id for span in receivers for link in span.links)

    def unfinished(self) -> list[SpanRecord]:
        """What more is to come of: messages that no receiver's span has come for, and open spans.

        A notification may have no receiver.
        """
        taken_up = self.taken_up()
        return [
            span
            for span in self.spans
            if span.shows is not None
            or (
                span.kind in ("producer", "client")
                and "rpc.method" in span.attributes
                and span.span_id not in taken_up
            )
        ]

    def walk(self) -> Iterator[tuple[int, SpanRecord]]:
        """Every span once, parents before children, with its depth."""
        seen: set[str] = set()
        for top in self.tops():
            yield from self._walk_from(top, seen)

    def _walk_from(self, top: SpanRecord, seen: set[str]) -> Iterator[tuple[int, SpanRecord]]:
        waiting = [(0, top)]
        while waiting:
            depth, span = waiting.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            yield depth, span
            waiting.extend((depth + 1, child) for child in reversed(self.children(span)))

    def _find_orphans(self) -> tuple[SpanRecord, ...]:
        orphans = [s for s in self.spans if s.parent_id is not None and not self.parent(s)]
        seen: set[str] = set()
        for top in (*self.roots, *orphans):
            seen.update(span.span_id for _, span in self._walk_from(top, seen))
        # What is still unseen hangs in a circle of parents: broken data, but not to be lost.
        for span in self.spans:
            if span.span_id not in seen:
                orphans.append(span)
                seen.update(s.span_id for _, s in self._walk_from(span, seen))
        return tuple(orphans)


def _without_outdated(by_id: dict[str, SpanRecord]) -> dict[str, SpanRecord]:
    """Leave out still-running spans whose own span has arrived, or that a later one replaces."""
    newest: dict[str, SpanRecord] = {}
    for record in by_id.values():
        of = record.shows
        if of is not None and (of not in newest or newest[of].end_ns < record.end_ns):
            newest[of] = record
    return {
        span_id: record
        for span_id, record in by_id.items()
        if (of := record.shows) is None or (of not in by_id and newest[of] is record)
    }


def traces_of(records: Iterable[SpanRecord]) -> list[Trace]:
    """Sort spans into traces, the trace that began first coming first."""
    groups: dict[str, list[SpanRecord]] = defaultdict(list)
    for record in records:
        groups[record.trace_id].append(record)
    return sorted((Trace(group) for group in groups.values()), key=lambda trace: trace.start_ns)


def spans_of(request: ExportTraceServiceRequest) -> list[SpanRecord]:
    """The spans of one OTLP export, in the order in which they were written."""
    records: list[SpanRecord] = []
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_spans:
            records.extend(_record(span, resource, scoped.scope.name) for span in scoped.spans)
    return records


def _record(span: Span, resource: Mapping[str, Any], scope: str) -> SpanRecord:
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        # Absent is written as no bytes, or by some exporters as eight zero bytes.
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else None,
        name=span.name,
        kind=_named(_KINDS, span.kind),
        service=str(resource.get("service.name", "")),
        resource=resource,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        status=_named(_STATUSES, span.status.code),
        status_message=span.status.message,
        events=tuple(
            EventRecord(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ),
        links=tuple(
            LinkRecord(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes))
            for link in span.links
        ),
        scope=scope,
    )


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else names[0]


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case kind:
            return getattr(value, kind)


def _by_start(span: SpanRecord) -> tuple[int, int]:
    # Of two spans that began in the same tick, the longer one is the likelier parent.
    return span.start_ns, -span.end_ns
