"""The export queue and its exporters, from the SDK's standard ``OTEL_*`` environment variables."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.sdk import environment_variables as env
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter
from opentelemetry.util._importlib_metadata import entry_points

from otel_cinder.core import redaction
from otel_cinder.core.exporting import BatchSpanProcessor, real

_LOG = logging.getLogger(__name__)

_HTTP: Final = "http/protobuf"
_GRPC: Final = "grpc"


def disabled(environ: Mapping[str, str]) -> bool:
    """Whether the environment says that nothing is to be exported."""
    return environ.get(env.OTEL_SDK_DISABLED, "").strip().lower() == "true" or not _names(environ)


def processor(environ: Mapping[str, str]) -> BatchSpanProcessor:
    """The queue with its exporters, which are built in the export thread."""
    names = _names(environ)
    protocol = _protocol(environ)
    return BatchSpanProcessor(
        [functools.partial(_exporter, name, protocol) for name in names],
        _endpoint(environ, names),
        queue_size=_positive(environ, env.OTEL_BSP_MAX_QUEUE_SIZE, 2048),
        batch_size=_positive(environ, env.OTEL_BSP_MAX_EXPORT_BATCH_SIZE, 512),
        # A longer wait than an hour is a slip of the pen, and overflows the wait.
        delay=min(_positive(environ, env.OTEL_BSP_SCHEDULE_DELAY, 5000) / 1000, 3600),
    )


def _names(environ: Mapping[str, str]) -> list[str]:
    said = environ.get(OTEL_TRACES_EXPORTER, "").strip() or "otlp"
    return [name for name in (part.strip() for part in said.split(",")) if name not in ("", "none")]


def _protocol(environ: Mapping[str, str]) -> str:
    said = (
        environ.get(env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, "").strip()
        or environ.get(env.OTEL_EXPORTER_OTLP_PROTOCOL, "").strip()
        or _HTTP
    )
    if said not in (_HTTP, _GRPC):
        _LOG.warning(
            "OTEL_EXPORTER_OTLP_PROTOCOL=%r is not supported, so %s is used; set it to %s or %s.",
            said,
            _HTTP,
            _HTTP,
            _GRPC,
        )
        return _HTTP
    if said == _GRPC and real("threading") is not sys.modules["threading"]:
        _LOG.warning(
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is refused because gRPC hangs under eventlet, so %s "
            "is used; set it to %s and the endpoint to the collector's HTTP port (4318).",
            _HTTP,
            _HTTP,
        )
        return _HTTP
    return said


def _exporter(name: str, protocol: str) -> Callable[[], SpanExporter]:
    """What makes an exporter. Runs in the export thread: it imports requests, or grpc."""
    if name == "otlp":
        name = "otlp_proto_grpc" if protocol == _GRPC else "otlp_proto_http"
    if name == "console":
        return ConsoleSpanExporter
    for entry_point in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: Callable[[], SpanExporter] = entry_point.load()
        return exporter
    raise ValueError(f"OTEL_TRACES_EXPORTER names {name!r}, which is not installed")


def _endpoint(environ: Mapping[str, str], names: list[str]) -> str:
    """Where the spans go, for messages."""
    if not any(name.startswith("otlp") for name in names):
        return ", ".join(names)
    said = (
        environ.get(env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
        or environ.get(env.OTEL_EXPORTER_OTLP_ENDPOINT)
        or "http://localhost:4318"
    )
    return redaction.text(said.partition("?")[0], 200)


def _positive(environ: Mapping[str, str], name: str, default: int) -> int:
    said = environ.get(name, "").strip()
    if not said:
        return default
    if said.isdecimal() and int(said) > 0:
        return int(said)
    _LOG.warning(
        "%s=%r is not a positive whole number, so its default %d is used.", name, said, default
    )
    return default
