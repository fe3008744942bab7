"""Log records as plain data, as they arrived over OTLP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_cinder.reading.trace import _attributes, _value

if TYPE_CHECKING:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


@dataclass(frozen=True)
class LogLine:
    """One log record; ids are lower-case hex, empty where there is none, times are in ns."""

    body: Any
    severity: str = ""
    service: str = ""
    resource: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str = ""
    span_id: str = ""
    time_ns: int = 0
    scope: str = ""


def logs_of(request: ExportLogsServiceRequest) -> list[LogLine]:
    """The log records of one OTLP export, in the order in which they were written."""
    lines = []
    for group in request.resource_logs:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_logs:
            lines += [
                LogLine(
                    body=_value(record.body),
                    severity=record.severity_text,
                    service=str(resource.get("service.name", "")),
                    resource=resource,
                    attributes=_attributes(record.attributes),
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    time_ns=record.time_unix_nano,
                    scope=scoped.scope.name,
                )
                for record in scoped.log_records
            ]
    return lines
