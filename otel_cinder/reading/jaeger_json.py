"""Jaeger's own JSON: what its page downloads, and ``/api/traces`` answers.

``data`` holds traces, each with its spans and the processes that they came from. Times are in µs, and
lists are JSON in a string.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from otel_cinder.reading.trace import EventRecord, LinkRecord, SpanRecord

_LISTS = frozenset(
    {
        "cinder.cause",
        "cinder.scheduler.hosts_rejected",
        "taskflow.flow.states",
        "taskflow.task.provides",
    }
)
"""Attributes that are lists, which Jaeger has as JSON."""

_MICROSECOND = 1_000


def spans_of_jaeger(data: Mapping[str, Any]) -> list[SpanRecord]:
    """The spans of all traces in ``data``; raises ValueError when it is something else."""
    try:
        return [
            _span(span, trace.get("processes") or {})
            for trace in data["data"] or ()
            for span in trace["spans"]
        ]
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"not Jaeger's JSON: {error!r}") from error


def _span(span: Mapping[str, Any], processes: Mapping[str, Any]) -> SpanRecord:
    process = processes.get(span.get("processID", ""), span.get("process") or {})
    resource = _attributes(process.get("tags") or ())
    resource.setdefault("service.name", process.get("serviceName", ""))
    attributes = _attributes(span.get("tags") or ())
    status, message = _status(attributes)
    parent, links = _references(span)
    start = _nanoseconds(span["startTime"])
    attributes.pop("otel.scope.version", None)
    return SpanRecord(
        trace_id=str(span["traceID"]).lower().rjust(32, "0"),
        span_id=str(span["spanID"]).lower().rjust(16, "0"),
        parent_id=parent,
        name=str(span.get("operationName", "")),
        kind=str(attributes.pop("span.kind", "internal")),
        service=str(resource["service.name"]),
        resource=resource,
        start_ns=start,
        end_ns=start + _nanoseconds(span.get("duration", 0)),
        status=status,
        status_message=message,
        scope=str(attributes.pop("otel.scope.name", "")),
        attributes=attributes,
        events=tuple(_event(log) for log in span.get("logs") or ()),
        links=links,
    )


def _status(attributes: dict[str, Any]) -> tuple[str, str]:
    code = str(attributes.pop("otel.status_code", "")).lower()
    failed = attributes.pop("error", False) in (True, "true")
    message = str(attributes.pop("otel.status_description", ""))
    return "error" if failed or code == "error" else "ok" if code == "ok" else "unset", message


def _references(span: Mapping[str, Any]) -> tuple[str | None, tuple[LinkRecord, ...]]:
    """The parent, and what else is referred to.

    The parent is the first CHILD_OF within the trace. Where a span has its parent among its links too,
    as the handling of a message has, Jaeger keeps the link alone: the first FOLLOWS_FROM.
    """
    references = [
        (
            each.get("refType"),
            str(each["traceID"]).lower().rjust(32, "0"),
            str(each["spanID"]).lower().rjust(16, "0"),
        )
        for each in span.get("references") or ()
    ]
    own = str(span["traceID"]).lower().rjust(32, "0")
    within = [each for each in references if each[1] == own]
    within.sort(key=lambda each: each[0] != "CHILD_OF")  # stable: the first of each kind stays so
    parent = within[0] if within else None
    links = tuple(LinkRecord(each[1], each[2]) for each in references if each != parent)
    return parent[2] if parent else None, links


def _event(log: Mapping[str, Any]) -> EventRecord:
    attributes = _attributes(log.get("fields") or ())
    return EventRecord(str(attributes.pop("event", "")), _nanoseconds(log["timestamp"]), attributes)


def _nanoseconds(microseconds: Any) -> int:
    value = float(microseconds)
    if not math.isfinite(value):
        raise TypeError("a time that is no number")
    return int(microseconds * _MICROSECOND)


def _attributes(tags: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(tag["key"]): _value(str(tag["key"]), tag.get("value")) for tag in tags}


def _value(key: str, value: Any) -> Any:
    if key in _LISTS and isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
