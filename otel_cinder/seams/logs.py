"""Log lines as events of the span in which they were written, and the trace's ids on every record.

The ids have the names that opentelemetry-instrumentation-logging gives them. They are on the
record, where oslo.log's format strings find them, and among the values that Cinder's request context
gives to oslo.log: there ``logging_user_identity_format`` and JSON find them.

With ``OTEL_LOGS_EXPORTER`` the lines leave as OTLP log records instead of events.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import functools
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext

from otel_cinder import conventions, redaction
from otel_cinder.export.native_thread import unpatched
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet, stand_in
from otel_cinder.spans import clock
from otel_cinder.spans.failures import (
    class_of,
    exception_attributes,
    reasons_of,
    stacktrace_of,
)
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE, Service

SEAM: Final = "logs"

EVENTS: Final = 64
"""Lines of any level that one span takes, its first ones."""

MORE: Final = ((logging.WARNING, 16), (logging.ERROR, 16))
"""Further lines that it takes from a level on: what tells of a failure comes last. All of them leave
room for other events among the 128 that the SDK keeps. The rest is counted in ``log.dropped``."""

_ROOM: Final = EVENTS + sum(room for _, room in MORE)

_LINES: Final = "_otel_cinder_lines"
"""Attribute of a span: its `_Lines`, which goes when the span goes."""

_IDS: Final = "_otel_cinder_ids"
"""Attribute of a span: its ids as log records have them."""

_NAME_LIMIT: Final = 256

_LOGGING: Final = logging.Logger.handle.__code__.co_filename
_PLACE: Final = re.compile(
    r"%(?:\((?P<name>\w+)\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?(?P<kind>[diouxXeEfFgGcrsa%])"
)
"""The place of an argument in a template."""
_PROBE: Final = "otelcinderprobe"
_LONGEST: Final = 2048

_DEEPEST: Final = 32
"""Functions between a handler and the one that logs."""
_LEFT_OUT: Final = "…"

_STATES: Final = str(Path("taskflow", "listeners", "logging.py"))
"""What logs "transitioned into state", in the name of a logger of Cinder's."""

_OURS: Final = ("otel_cinder", "opentelemetry")

_SEVERITIES: Final = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
    (logging.DEBUG, SeverityNumber.DEBUG),
)

_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("otel-cinder-log", default=False)
"""True while a record is being taken or handled. What is logged meanwhile, by an argument's ``__str__``
or a handler that sends messages, is no line of Cinder's work, and could go on for ever. Greenthreads
have one each."""

Handle = Callable[[logging.Logger, logging.LogRecord], None]
Values = Callable[[Any], Any]


def patch(patches: PatchSet) -> None:
    """Patch the way from loggers to their handlers.

    ``Logger.callHandlers`` sees what a handler would get: after the logger's level and its filters,
    `otel_cinder.export.queues`'s among them, and behind every adapter of oslo.log's.
    """
    records = _Records(patches)
    # Not by wrapt, which costs as much as all that is done for a record outside of spans.
    patches.replace(SEAM, "logging:Logger.callHandlers", records.around)
    patches.replace(
        SEAM, "oslo_context.context:RequestContext.get_logging_values", records.with_trace
    )


class _Records:
    def __init__(self, patches: PatchSet) -> None:
        self._patches = patches
        self._names: dict[Service | None, str] = {}
        self._outside: dict[str, Any] = {}
        """The attributes of a record outside of every request."""

    def around(self, original: Handle) -> Handle:
        """``Logger.callHandlers`` that takes each record before the handlers do."""
        patches, take = self._patches, self._take

        def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802
            token = None
            if patches.enabled:
                try:
                    token = take(record)
                except Exception as error:
                    _log_internal_error(error)
            try:
                original(self, record)
            finally:
                if token is not None:
                    _recording.reset(token)

        # Of a line that can't be formatted logging prints the stack, up to the last frame that is
        # not its own, by the file: this one is to pass for its own, or it would be all that is seen.
        callHandlers.__code__ = callHandlers.__code__.replace(co_filename=_LOGGING)
        return stand_in(callHandlers, original)

    def with_trace(self, original: Values) -> Values:
        """``RequestContext.get_logging_values`` with the trace's ids.

        ``logging_user_identity_format`` puts a ``-`` for what is not among them, so that a string
        that names the trace there outlives tracing; and oslo.log's JSON has all of them.
        """
        patches = self._patches

        def get_logging_values(self: Any) -> Any:
            values = original(self)
            if patches.enabled:
                try:
                    for name, said in _ids(trace.get_current_span()).items():
                        values.setdefault(name, said)
                except Exception as error:
                    _log_internal_error(error)
            return values

        return stand_in(get_logging_values, original)

    def _take(self, record: logging.LogRecord) -> contextvars.Token[bool] | None:
        """Put the ids on ``record``, and record it, if it is to be; a token to give back then."""
        context = otel_context.get_current()
        span = trace.get_current_span(context) if context else trace.INVALID_SPAN
        said = record.__dict__
        # There already: by opentelemetry-instrumentation-logging, or in another process.
        if "otelTraceID" not in said:
            # Most records of an idle service are written outside of every request: the short way.
            said.update(
                self._said_in(context, span) if context else self._outside or self._said_outside()
            )
        if record.levelno < runtime.settings.log_level:
            return None
        exported = runtime.logs_exported
        if not context and not exported:
            return None
        if not (exported or span.is_recording()) or _recording.get() or _is_ours(record.name):
            return None
        token = _recording.set(True)
        try:
            if exported:
                _emit(record, context)
            elif not _repeats_spans(record):
                _add(record, span)
        except Exception as error:
            _log_internal_error(error)
        return token

    def _said_in(self, context: Context, span: Span) -> dict[str, Any]:
        service: Any = context.get(SERVICE)
        return {**_ids(span), "otelServiceName": self._name(service)}

    def _said_outside(self) -> dict[str, Any]:
        self._outside = self._said_in(_EMPTY, trace.INVALID_SPAN)
        return self._outside

    def _name(self, service: Service | None) -> str:
        """Return the attributes that a span's resource has, or would have, for ``service``. Never raises: a format string
        that does not find its names loses the line.
        """
        name = self._names.get(service)
        if name is None:
            # At once: what is asked below may log, and come back here.
            name = self._names[service] = ""
            try:
                provider: Any = runtime.tracer_provider
                resource = getattr(provider, "resource", None) or runtime.resource(service)
                name = str(resource.attributes.get(conventions.SERVICE_NAME, ""))
            except Exception as error:
                _log_internal_error(error)
            self._names[service] = name
        return name


def _ids(span: Span) -> Mapping[str, Any]:
    """Ids and sampling of a span as opentelemetry-instrumentation-logging writes them."""
    if span is trace.INVALID_SPAN:
        return _NO_IDS
    # Kept with the span: oslo.log asks twice for each line, and we once more.
    kept = getattr(span, "__dict__", None)
    said: Mapping[str, Any] | None = kept.get(_IDS) if kept else None
    if said is None:
        said = _ids_of(span.get_span_context())
        if kept is not None:
            kept[_IDS] = said
    return said


def _ids_of(found: SpanContext) -> Mapping[str, Any]:
    if not found.is_valid:
        return _NO_IDS
    return {
        "otelTraceID": f"{found.trace_id:032x}",
        "otelSpanID": f"{found.span_id:016x}",
        "otelTraceSampled": found.trace_flags.sampled,
    }


_NO_IDS: Final = {"otelTraceID": "0", "otelSpanID": "0", "otelTraceSampled": False}


_EMPTY: Final = Context()


class _Lines:
    """Counts the lines of one span, which threads may share, greenthreads and tpool's among them."""

    __slots__ = ("_dropped", "_lock", "_more", "_room", "_severe", "late")

    def __init__(self) -> None:
        self._room = EVENTS
        self._more = [room for _, room in MORE]
        self._dropped = 0
        self._severe = 0
        self._lock = unpatched("_thread").allocate_lock()  # like the span's own, see `runtime`
        self.late: collections.deque[tuple[int, Mapping[str, Any], int | None]] = (
            collections.deque()
        )
        """Lines that wait for the span's lock: level, attributes, time."""

    def put_off(self, span: Span, record: logging.LogRecord) -> None:
        """Keep a line until the next one of ``span``, or its end."""
        said = _said(record) if len(self.late) < _ROOM else {}  # no room: it will be counted
        self.late.append((record.levelno, said, clock.own_now(span)))
        span.__dict__[clock.LATE] = self.catch_up

    def catch_up(self, span: Span) -> None:
        """Give ``span`` the lines that were put off."""
        with contextlib.suppress(IndexError):  # another thread was faster
            while self.late:
                level, said, when = self.late.popleft()
                if self.one_more(span, level):
                    span.add_event(conventions.LOG_EVENT, said, when)

    def one_more(self, span: Span, level: int) -> bool:
        """Return whether ``span`` takes another of this level; else it says how many it has not taken."""
        with self._lock:
            self._room -= 1
            if self._room >= 0:
                return True
            for place, (least, _) in enumerate(MORE):
                if level >= least and self._more[place]:
                    self._more[place] -= 1
                    return True
            self._dropped += 1
            span.set_attribute(conventions.LOG_DROPPED, self._dropped)
            if level >= logging.WARNING:
                self._severe += 1
                span.set_attribute(conventions.LOG_DROPPED_WARNINGS, self._severe)
        return False


def _repeats_spans(record: logging.LogRecord) -> bool:
    """True for TaskFlow's lines about states of tasks and flows, which have spans that say so."""
    settings = runtime.settings
    return (
        str(record.pathname).endswith(_STATES)
        and settings.log_level > logging.DEBUG
        and "flows" not in settings.disabled_seams
    )


def _never() -> bool:
    """For a lock that can't be asked: Python's own RLock, before 3.14, which no thread holds here."""
    return False


def _add(record: logging.LogRecord, span: Span) -> None:
    """Make ``record`` an event of ``span``, as long as there are not too many."""
    of_span = span.__dict__
    # Two threads may come here at once: setdefault lets one of them win.
    lines = of_span.get(_LINES) or of_span.setdefault(_LINES, _Lines())
    lock = getattr(span, "_lock", None)
    if lock is not None and getattr(lock, "locked", _never)():
        # By another thread, for a moment. Or by this one: a finalizer logs, which the garbage
        # collector runs in the midst of the span's own work. Then we'd wait for ourselves.
        lines.put_off(span, record)
        return
    if lines.late:
        lines.catch_up(span)
    if lines.one_more(span, record.levelno):
        clock.add_event(span, conventions.LOG_EVENT, _said(record))


def _said(record: logging.LogRecord) -> Mapping[str, Any]:
    """What an event says: few words, since viewers cut it after some."""
    said: dict[str, Any] = {
        **_source(record.name, record.pathname, record.lineno),
        conventions.LOG_LEVEL: _short(record.levelname),
        conventions.LOG_MESSAGE: _message(record),
        **_resource(record),
    }
    error = _error_of(record)
    if error is not None:
        said[conventions.LOG_REASON] = reasons_of(error)
    return said


def _emit(record: logging.LogRecord, context: Context) -> None:
    """Export ``record`` with the ids of the span in ``context``, sampled or not."""
    error, exc_info = _error_of(record), record.exc_info
    attributes = {
        **_where(record.name, record.pathname, record.lineno, record.funcName),
        **(exception_attributes(error) if error is not None else {}),
        **_resource(record),
    }
    stacktrace = stacktrace_of(exc_info[1], exc_info[2]) if exc_info and exc_info[1] else ""
    if stacktrace:
        attributes[conventions.EXCEPTION_STACKTRACE] = stacktrace
    exported = LogRecord(
        timestamp=int(record.created * 1e9),
        observed_timestamp=time.time_ns(),
        context=context,  # which has the ids
        severity_number=_severity(record.levelno),
        severity_text=_short(record.levelname),
        body=_message(record),
        attributes=attributes,
    )
    exported.context = _EMPTY  # it'd keep the span, and all that is in it, while the record waits
    runtime.emit_log(exported, context)


def _error_of(record: logging.LogRecord) -> BaseException | None:
    """The exception that is logged, or being handled: Cinder often says that something has failed, and
    goes on, without saying by what.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error is None and record.levelno >= logging.WARNING:
        error = sys.exc_info()[1]
    return error


def _resource(record: logging.LogRecord) -> Mapping[str, str]:
    resource = record.__dict__.get("resource")  # put there by oslo.log, as "[volume-<id>] "
    if not isinstance(resource, str) or not resource:
        return {}
    return {conventions.LOG_RESOURCE: redaction.identifier(resource.strip(" []"), _NAME_LIMIT)}


@functools.lru_cache(maxsize=1024)
def _source(logger: object, path: object, line: object) -> Mapping[str, str]:
    """Logger and place of a line in short: the same whenever it is written, so worked out once."""
    attributes = {conventions.LOG_LOGGER: _short(logger)}
    if path:
        file = re.split(r"[/\\]", str(path))[-1]
        attributes[conventions.LOG_SOURCE] = _short(f"{file}:{line}")
    return attributes


@functools.lru_cache(maxsize=1024)
def _where(logger: object, path: object, line: object, function: object) -> Mapping[str, Any]:
    """Logger and place of a line as OTLP's log records have them."""
    attributes: dict[str, Any] = {conventions.LOG_LOGGER: _short(logger)}
    if path:
        attributes[conventions.CODE_FILE] = _short(path)
    if isinstance(line, int):
        attributes[conventions.CODE_LINE] = line
    if function:
        attributes[conventions.CODE_FUNCTION] = _short(function)
    return attributes


def _message(record: logging.LogRecord) -> str:
    """The line as a handler would write it, secrets masked; its template if it does not fit.

    The template as well where free texts are left out.
    """
    if redaction.texts_are_left_out():
        return _template(record.msg)
    try:
        return redaction.text(_formatted(record))
    except Exception:  # the arguments are the host's, and their __str__ its code
        return redaction.text(record.msg)


def _formatted(record: logging.LogRecord) -> object:
    """The line, without the secrets that the template or a structure names, to their last character."""
    args: Any = record.args
    if not args:
        return redaction.without_secrets(record.msg)
    template = str(record.msg)
    try:
        return template % _named(template, args)
    except Exception:  # a %d that got the mask, say
        return record.getMessage()


def _named(template: str, args: Any) -> Any:
    """Arguments of a log call, masked by what the template or their own names say of them."""
    promised = _promised(template)
    if isinstance(args, dict):
        named: Any = redaction.without_secrets(args)
        return {
            name: redaction.masked_unless_harmless(item) if name in promised else item
            for name, item in named.items()
        }
    return tuple(
        redaction.masked_unless_harmless(arg)
        if place in promised
        else redaction.without_secrets(arg)
        for place, arg in enumerate(args)
    )


@functools.lru_cache(maxsize=1024)
def _promised(template: str) -> frozenset[object]:
    """Return the arguments that a template calls secrets, by place or name: ``password %s``."""
    places = [found for found in _PLACE.finditer(template) if found["kind"] != "%"]
    if any("*" in found[0] for found in places):
        return frozenset()  # a width that is an argument itself

    def said_at(chosen: re.Match[str]) -> str:
        return _PLACE.sub(
            lambda found: _PROBE if found.start() == chosen.start() else "7", template
        )

    return frozenset(
        found["name"] or place
        for place, found in enumerate(places)
        if found["kind"] in "sra" and _PROBE not in redaction.masked(said_at(found), _LONGEST)
    )


def _template(said: object) -> str:
    """Return the logged text if the source has it word for word; else a sign that something was logged."""
    if isinstance(said, BaseException):
        return ".".join(class_of(said))
    template = getattr(said, "msgid", said)  # of one that is translated later
    if isinstance(template, str) and _is_in_source(template):
        return redaction.plain(template[: redaction.MESSAGE_LIMIT])
    return _LEFT_OUT


def _is_in_source(said: str) -> bool:
    """Return whether a function that is at work has this text among its constants."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_DEEPEST):
        if frame is None:
            break
        if said in frame.f_code.co_consts:
            return True
        frame = frame.f_back
    return False


def _short(value: object) -> str:
    return redaction.plain(str(value)[:_NAME_LIMIT])


def _severity(level: int) -> SeverityNumber:
    return next((number for least, number in _SEVERITIES if level >= least), SeverityNumber.TRACE)


def _is_ours(name: str) -> bool:
    return name.startswith(_OURS) and name.partition(".")[0] in _OURS


def _log_internal_error(error: Exception) -> None:
    token = _recording.set(True)  # what it says comes here, too
    try:
        log_internal_error(SEAM, error)
    finally:
        _recording.reset(token)
