"""OTLP/JSON: an export as text, as the collector's file exporter writes it.

Ids are hex and enums are numbers (OTLP specification, "JSON Protobuf Encoding").
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_ID_KEYS = ("traceId", "spanId", "parentSpanId")
_BASE64_LENGTHS = (12, 24)  # of 8 and 16 bytes

Request = TypeVar("Request", bound=Message)


def to_json_line(request: Message) -> str:
    """Write an export as one line of OTLP/JSON, as the collector's file exporter does."""
    data = MessageToDict(request, use_integers_for_enums=True)
    for ids in _holders_of_ids(data):
        for key in _ID_KEYS:
            if key in ids:
                ids[key] = base64.b64decode(ids[key]).hex()
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def from_json_line(line: str) -> ExportTraceServiceRequest:
    """Read one line of OTLP/JSON; raises ValueError when it is something else."""
    return from_json(line, ExportTraceServiceRequest)


def from_json(text: str, kind: type[Request]) -> Request:
    """Read OTLP/JSON as a message of ``kind``; raises ValueError when it is something else."""
    return from_data(json.loads(text), kind)


def from_data(data: Any, kind: type[Request]) -> Request:
    """Read decoded OTLP/JSON, which is changed; raises ValueError when it is something else."""
    if not isinstance(data, dict):
        raise ValueError("not OTLP/JSON: no object")  # noqa: TRY004 - as everything else here
    try:
        for ids in _holders_of_ids(data):
            for key in _ID_KEYS:
                if key in ids:
                    ids[key] = base64.b64encode(_id(ids[key])).decode()
        return ParseDict(data, kind(), ignore_unknown_fields=True)
    except (ParseError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"not OTLP/JSON: {error}") from error


def _id(text: str) -> bytes:
    """The bytes of an id, which OTLP/JSON has in hex; Tempo has it in base64, as protobuf does."""
    if len(text) in _BASE64_LENGTHS and text.endswith("="):
        return base64.b64decode(text, validate=True)
    return bytes.fromhex(text)


def _holders_of_ids(data: Any) -> Iterator[dict[str, Any]]:
    """Every object in ``data``: spans, links, exemplars and log records have ids, at any depth."""
    if isinstance(data, dict):
        yield data
        data = list(data.values())
    if isinstance(data, list):
        for each in data:
            yield from _holders_of_ids(each)
