"""Marks the requests of a command: this runs in each Python that the command starts.

It is imported there under another name, from a folder on PYTHONPATH (see `otel_cinder.cli.run.child`),
beside OpenTelemetry's packages and no others of this virtualenv. So it needs nothing but those and the
standard library. It never raises into the command and never writes to its output.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

OWN = "own"
"""In the folder: OpenTelemetry's packages, which come before the command's own."""
SHARED = "shared"
"""In the folder: what these need. The command's own come before."""
RECORDED = "spans.jsonl"
"""In the folder: OTLP/JSON lines, one for each request that has ended, and lines with `STAGE`."""
STAGE = "otel_cinder_run"
"""Key of a line that says how far the marking is."""
STARTED, MARKED, FAILED = "started", "marked", "failed"

TRACEPARENT = "TRACEPARENT"
"""Variable with the context of the command's span (OpenTelemetry, "Environment Variables as Context
Propagation Carriers")."""

RESPONSE_HEADER = "http.response.header.traceresponse"

_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_QUERY = re.compile(r"[?#][^\s'\")]*")
_CREDENTIALS = re.compile(r"(?<=//)[^/\s@]*@")


def begin(folder: str, when_imported: Callable[[str, Callable[[], None]], None]) -> None:
    """Wait for requests, which is imported by clients of OpenStack and few others."""
    note(folder, STARTED)
    when_imported("requests", lambda: _mark(folder))


def note(folder: str, stage: str, why: str = "") -> None:
    """Tell the process that has started the command."""
    _append(folder, {STAGE: stage, "why": why})


def export(
    service: str,
    name: str,
    kind: int,
    context: tuple[str, str, str | None],
    times: tuple[int, int],
    attributes: Mapping[str, Any],
    error: str | None = None,
) -> dict[str, Any]:
    """A span as one export of OTLP/JSON.

    Args:
        kind: OTLP's number: 1 is internal, 3 a client.
        context: ids of the trace, of the span and of its parent, as hex.
        times: begin and end, in ns since the epoch.
        error: why it failed; None if it did not.
    """
    span = {
        "traceId": context[0],
        "spanId": context[1],
        "parentSpanId": context[2] or "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(times[0]),
        "endTimeUnixNano": str(times[1]),
        "attributes": _pairs(attributes),
        "status": {} if error is None else {"code": 2, "message": error},
    }
    scope = {"scope": {"name": "otel_cinder"}, "spans": [span]}
    resource = {"attributes": _pairs({"service.name": service})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def without_secrets(text: str) -> str:
    """A text whose URLs have neither credentials nor a query string."""
    return _QUERY.sub("", _CREDENTIALS.sub("", text))


def _pairs(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": without_secrets(str(value))}


def _append(folder: str, line: Mapping[str, Any]) -> None:
    # One write to its end: several processes may write at once.
    flags = os.O_WRONLY | os.O_APPEND
    with suppress(OSError):  # the folder has gone: the command has left this process behind
        file = os.open(os.path.join(folder, RECORDED), flags)  # noqa: PTH118 - at interpreter start
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)


def _mark(folder: str) -> None:
    try:
        found = _FORM.fullmatch(os.environ.get(TRACEPARENT, ""))
        if found is None:
            return  # somebody has taken it away
        with _undisturbed(folder):
            _instrument(folder, found[1], found[2])
        note(folder, MARKED)
    except Exception as error:
        version = ".".join(map(str, sys.version_info[:2]))
        note(folder, FAILED, f"Python {version}: {type(error).__name__}: {error}")


@contextmanager
def _undisturbed(folder: str) -> Iterator[None]:
    """With our packages at hand and the caller's OpenTelemetry settings out of sight."""
    import logging

    path = list(sys.path)
    if "opentelemetry.trace" not in sys.modules:  # a command that has its own keeps it
        sys.path[:] = [f"{folder}/{OWN}", *path, f"{folder}/{SHARED}"]
    # What OpenTelemetry has to say would go to the command's stderr.
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    settings = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    writes = sys.dont_write_bytecode
    for name in settings:
        del os.environ[name]
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
    sys.dont_write_bytecode = True  # beside packages that are not this Python's
    try:
        yield
    finally:
        del os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"]
        os.environ.update(settings)
        sys.dont_write_bytecode = writes
        # What it imports later is found by its own path, which would follow the general one. That is
        # as before: stevedore keeps a file for each that it has seen.
        found = sys.modules.get("opentelemetry")
        if found is not None:
            found.__path__ = list(found.__path__)
        sys.path[:] = path


def _instrument(folder: str, trace_id: str, parent_id: str) -> None:
    from opentelemetry import propagate
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    from opentelemetry.trace import Span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    program = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""  # noqa: PTH119
    service = program if program and not program.startswith("-") else "python"
    draw = random.SystemRandom()  # a fork does not repeat its parent's

    class Ids(IdGenerator):
        """One trace for the whole command, also in threads, whose context is empty."""

        def generate_trace_id(self) -> int:
            return int(trace_id, 16)

        def generate_span_id(self) -> int:
            return draw.getrandbits(64) or 1

    class Lines(SpanProcessor):
        """Writes each request when it has ended: the command may leave in any way."""

        def on_end(self, span: ReadableSpan) -> None:
            with suppress(Exception):  # never into the command
                _append(folder, _recorded(service, span, parent_id))

    def answered(span: Span, _request: Any, response: Any) -> None:
        traceresponse = getattr(response, "headers", {}).get("traceresponse")
        if traceresponse:
            span.set_attribute(RESPONSE_HEADER, [traceresponse[:64]])

    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource({}),
        id_generator=Ids(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(Lines())
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    RequestsInstrumentor().instrument(
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
        response_hook=answered,
        skip_dep_check=True,
    )


def _recorded(service: str, span: Any, parent_id: str) -> dict[str, Any]:
    attributes = dict(span.attributes or {})
    url = without_secrets(str(attributes.get("url.full", "")))
    parent = f"{span.parent.span_id:016x}" if span.parent else parent_id
    status = span.status.description if span.status.status_code.name == "ERROR" else None
    if status is None and attributes.get("error.type"):
        status = ""
    return export(
        service,
        f"{span.name} {url.partition('://')[2]}".strip(),
        3,
        (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent),
        (span.start_time, span.end_time),
        attributes,
        None if status is None else without_secrets(status),
    )
