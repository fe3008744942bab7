"""The export queues and their exporters, from the SDK's standard ``OTEL_*`` environment variables."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry._logs import get_logger_provider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.metrics import Meter
from opentelemetry.sdk import environment_variables as env
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.util._importlib_metadata import entry_points

from otel_cinder import notices, redaction
from otel_cinder.export.delivery import Load
from otel_cinder.export.logs import LogQueue
from otel_cinder.export.metrics import MetricQueue
from otel_cinder.export.native_thread import threads_are_green
from otel_cinder.export.queues import BatchSpanProcessor
from otel_cinder.export.signals import LOGS, METRICS, SPANS, Signal

_HTTP: Final = "http/protobuf"
_GRPC: Final = "grpc"

_OURS: Final = "otlp_proto_http"
"""The entry point of the SDK's exporter that ours replaces."""

_LONGEST_S: Final = 3600
"""A wait of more than an hour is a typing error, and could overflow."""

_LOGS_SINCE: Final = (1, 39)
"""The release of the SDK whose exporters take ``ReadableLogRecord``."""


def disabled(signal: Signal, environ: Mapping[str, str]) -> bool:
    """True if the environment switches the export of this signal off."""
    if environ.get(env.OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return True
    return not configured(signal, environ)


def destination(signal: Signal, environ: Mapping[str, str]) -> str:
    """A signal's destination without credentials, as the end of "spans go ...".

    Such as ``to http://c:4318 (http/protobuf)`` or ``nowhere``.
    """
    names = configured(signal, environ)
    if not names:
        return f"nowhere (OTEL_{signal.word}_EXPORTER=none)"
    where = endpoint(signal, environ)
    return f"to {where} ({protocol(signal, environ)})" if "otlp" in names else f"to {where}"


def check(environ: Mapping[str, str]) -> None:
    """Warn of standard variables that don't have the effect that they seem to have."""
    setting = environ.get(env.OTEL_SDK_DISABLED, "").strip()
    if setting.lower() not in ("", "true", "false", "0", "no", "off"):
        notices.warn(
            "Set %s=true to switch the export off: %r counts as false.",
            env.OTEL_SDK_DISABLED,
            setting[:40],
        )
    for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"):
        if environ.get(name, "").strip():
            notices.warn(
                "Set OTEL_EXPORTER_OTLP_ENDPOINT and its like for otel-cinder: it does not read "
                "the file that %s names.",
                name,
            )


def spans(environ: Mapping[str, str]) -> BatchSpanProcessor:
    """The spans' queue. Exporters are built in the export threads, here and below."""
    return BatchSpanProcessor(
        _loads(SPANS, environ),
        endpoint(SPANS, environ),
        queue_size=_positive(environ, env.OTEL_BSP_MAX_QUEUE_SIZE, 2048),
        batch_size=_positive(environ, env.OTEL_BSP_MAX_EXPORT_BATCH_SIZE, 512),
        delay=_seconds(environ, env.OTEL_BSP_SCHEDULE_DELAY, 5000),
    )


def metrics(
    environ: Mapping[str, str],
    resource: Callable[[Any], Resource],
    prepare: Callable[[], None],
    observe: Callable[[Meter], None],
) -> MetricQueue:
    """The metrics' queue. For the arguments see there."""
    return MetricQueue(
        _loads(METRICS, environ),
        endpoint(METRICS, environ),
        interval=_seconds(environ, env.OTEL_METRIC_EXPORT_INTERVAL, 60_000),
        resource=resource,
        prepare=prepare,
        observe=observe,
    )


def logs(environ: Mapping[str, str], resource: Callable[[Any], Resource]) -> LogQueue:
    """The log records' queue. For the arguments see there."""
    return LogQueue(
        _loads(LOGS, environ),
        endpoint(LOGS, environ),
        resource,
        queue_size=_positive(environ, env.OTEL_BLRP_MAX_QUEUE_SIZE, 2048),
        batch_size=_positive(environ, env.OTEL_BLRP_MAX_EXPORT_BATCH_SIZE, 512),
        delay=_seconds(environ, env.OTEL_BLRP_SCHEDULE_DELAY, 1000),
    )


def logs_are_wanted(environ: Mapping[str, str]) -> bool:
    """True if log records are to be exported, and can be, and have no other exporter yet."""
    if disabled(LOGS, environ) or not isinstance(get_logger_provider(), ProxyLoggerProvider):
        return False
    if _version(sdk_version) < _LOGS_SINCE:
        notices.warn(
            "Install opentelemetry-sdk %d.%d or newer to export log records: OTEL_LOGS_EXPORTER is "
            "ignored because %s is too old for it.",
            *_LOGS_SINCE,
            sdk_version,
        )
        return False
    return True


def _version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def configured(signal: Signal, environ: Mapping[str, str]) -> list[str]:
    """The names in ``OTEL_<signal>_EXPORTER``, or the default one; empty for ``none``."""
    setting = environ.get(f"OTEL_{signal.word}_EXPORTER", "").strip() or signal.default
    return [
        name for name in (part.strip() for part in setting.split(",")) if name not in ("", "none")
    ]


def _loads(signal: Signal, environ: Mapping[str, str]) -> list[Load]:
    by = protocol(signal, environ)
    names = configured(signal, environ)
    return [functools.partial(factory, signal, name, by, environ) for name in names]


def protocol(signal: Signal, environ: Mapping[str, str]) -> str:
    """The signal's protocol, if it is exported by OTLP: ``http/protobuf`` or ``grpc``."""
    name = signal.setting(environ, "PROTOCOL") or _HTTP
    if name not in (_HTTP, _GRPC):
        _warn_once(
            os.getpid(),
            f"OTEL_EXPORTER_OTLP_PROTOCOL={name!r} is not supported, so {_HTTP} is used; set it to "
            f"{_HTTP} or {_GRPC}.",
        )
        return _HTTP
    if name == _GRPC and threads_are_green():
        _warn_once(
            os.getpid(),
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is refused because gRPC hangs under eventlet, so "
            f"{_HTTP} is used; set it to {_HTTP} and the endpoint to the collector's HTTP port "
            "(4318).",
        )
        return _HTTP
    return name


@functools.lru_cache
def _warn_once(_pid: int, message: str) -> None:
    """Warn once in each process, not for each signal."""
    notices.warn("%s", message)


def factory(
    signal: Signal, name: str, by: str, environ: Mapping[str, str] = os.environ
) -> Callable[[], Any]:
    """Import an exporter, and return its factory.

    Args:
        name: as ``OTEL_<signal>_EXPORTER`` has it.
        by: the protocol, which decides if the name is ``otlp``.

    Raises:
        ValueError: it is not installed, or sends nothing.
        ImportError: and others, as its module raises.
    """
    installed = name
    if name == "otlp":
        installed = "otlp_proto_grpc" if by == _GRPC else _OURS
    if installed == _OURS and not _credentials_are_provided(signal, environ):
        return functools.partial(_http_exporter, signal, environ)
    make = _installed(signal, name, installed)
    if installed == "otlp_proto_grpc":
        return functools.partial(_grpc_exporter, make, signal, variable(signal, environ))
    return make


def _grpc_exporter(make: Callable[[], Any], signal: Signal, variable: str) -> Any:
    from otel_cinder.export.otlp_grpc import OtlpGrpcExporter

    stock = make()
    if not OtlpGrpcExporter.fits(stock):
        return stock
    stock.shutdown()
    return OtlpGrpcExporter(make, signal, variable)


def _http_exporter(signal: Signal, environ: Mapping[str, str]) -> Any:
    from otel_cinder.export.otlp_http import OtlpHttpExporter

    exporter = OtlpHttpExporter(signal, environ, grpc=not threads_are_green())
    if signal is METRICS:
        # It reads the variables for temporality and aggregation. Its other settings are not used.
        stock: Any = _installed(signal, _OURS, _OURS)
        exporter.take_preferences_of(
            stock(endpoint="http://localhost", headers={"a": "b"}, timeout=1)
        )
    return exporter


def _installed(signal: Signal, name: str, installed: str) -> Callable[[], Any]:
    group = f"opentelemetry_{signal.word.lower()}_exporter"
    for entry_point in entry_points(group=group, name=installed):
        exporter: Callable[[], Any] = entry_point.load()
        if isinstance(exporter, type) and not hasattr(exporter, "export"):
            # A reader, such as prometheus', which waits to be asked.
            raise ValueError(f"OTEL_{signal.word}_EXPORTER names {name!r}, which sends nothing")
        return exporter
    extra = "; pip install 'otel-cinder[grpc]'" if installed.endswith("_grpc") else ""
    raise ValueError(f"OTEL_{signal.word}_EXPORTER names {name!r}, which is not installed{extra}")


def _credentials_are_provided(signal: Signal, environ: Mapping[str, str]) -> bool:
    """True if a package of the operator's makes the HTTP session of the SDK's exporter."""
    return any(
        environ.get(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{name}CREDENTIAL_PROVIDER")
        for name in ("", f"{signal.word}_")
    )


def variable(signal: Signal, environ: Mapping[str, str]) -> str:
    """The variable that sets the signal's OTLP endpoint, or would set it."""
    own = f"OTEL_EXPORTER_OTLP_{signal.word}_ENDPOINT"
    return own if environ.get(own, "").strip() else env.OTEL_EXPORTER_OTLP_ENDPOINT


def endpoint(signal: Signal, environ: Mapping[str, str]) -> str:
    """The destination of a signal's items, for messages."""
    names = configured(signal, environ)
    if not any(name.startswith("otlp") for name in names):
        return ", ".join(names)
    port = 4317 if protocol(signal, environ) == _GRPC else 4318
    url = signal.setting(environ, "ENDPOINT") or f"http://localhost:{port}"
    return redaction.masked(url.partition("?")[0], 200)


def _seconds(environ: Mapping[str, str], name: str, default_ms: int) -> float:
    return min(_positive(environ, name, default_ms) / 1000, _LONGEST_S)


def _positive(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name, "").strip()
    if not value:
        return default
    if value.isdecimal() and int(value) > 0:
        return int(value)
    notices.warn(
        "Set %s to a positive whole number: %r is none, so the default %d is used.",
        name,
        value,
        default,
    )
    return default
