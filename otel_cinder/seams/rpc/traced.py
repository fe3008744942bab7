"""Shared by sending and handling, of RPC messages and of notifications."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext

from otel_cinder import conventions
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.stack_room import call_with_room
from otel_cinder.seams.rpc import destinations
from otel_cinder.spans import carrier
from otel_cinder.spans.calls import attach, detach
from otel_cinder.spans.carrier import Arrival
from otel_cinder.spans.failures import class_of, record_failure
from otel_cinder.spans.local_root import roots_of
from otel_cinder.spans.runtime import end_span, runtime

SEAM: Final = "rpc"

_TAKEN: Final = otel_context.create_key("otel-cinder-rpc-taken")
"""Context key: the server that has taken a message up, and when, in ns since the epoch."""


class Measured:
    """Measures one message's sending or handling: how long it takes, and how it ends.

    Args:
        kind: what is done: a key of `_DURATIONS`.
        method: as `destinations.called` says it.
    """

    __slots__ = ("_attributes", "_kind", "_started", "error")

    def __init__(
        self, kind: str, topic: str, method: str, transport: Any, *, fanout: bool = False
    ) -> None:
        self._kind = kind
        self.error = ""
        """Class of its error, if it failed."""
        system = destinations.system(transport)
        self._attributes = _attributes(kind, system, topic, method, fanout)
        self._started = time.perf_counter()

    def take_up(self, context: Context, count: int = 1) -> None:
        """Count the messages taken up now, before their handling ends."""
        if self._kind == "process":
            runtime.measure(conventions.MESSAGING_CONSUMED, count, self._attributes, context)

    def end(self, context: Context) -> None:
        """Measure it."""
        seconds = time.perf_counter() - self._started
        said = self._attributes
        if self.error:
            said = {**said, conventions.ERROR_TYPE: self.error}
        runtime.measure(_DURATIONS[self._kind], seconds, said, context)
        if self._kind in ("cast", "notify"):
            runtime.measure(conventions.MESSAGING_SENT, 1, said, context)


@functools.lru_cache(maxsize=1024)
def _attributes(kind: str, system: str, topic: str, method: str, fanout: bool) -> Mapping[str, Any]:
    """The same few hundred all day; read later, in another thread, and so not to be changed."""
    if kind in ("call", "answer"):
        return rpc(method)
    said: dict[str, Any] = {
        conventions.MESSAGING_SYSTEM: system,
        conventions.MESSAGING_OPERATION_NAME: kind,
        conventions.MESSAGING_TEMPLATE: topic,
        **of_method(method),
    }
    if fanout:
        said[conventions.FANOUT] = True
    return said


_DURATIONS: Final = {
    "cast": conventions.MESSAGING_SEND_DURATION,
    "notify": conventions.MESSAGING_SEND_DURATION,
    "process": conventions.MESSAGING_PROCESS_DURATION,
    "call": conventions.RPC_CLIENT_DURATION,
    "answer": conventions.RPC_SERVER_DURATION,
}
"""Operation on a message -> the metric of its duration."""


class Operation:
    """One message's sending or handling: the context, span and measurement around it."""

    __slots__ = ("args", "context", "kwargs", "measured", "span")

    def __init__(self, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.context = context
        """The host's function is called in it."""
        self.span: Span | None = None
        self.measured: Measured | None = None

    def enter(self, span: Span) -> None:
        """Make ``span`` current: it ends when the host's function does."""
        self.span = span
        self.context = trace.set_span_in_context(span, self.context)

    def inject(self, sent_context: dict[str, Any], *, fanout: bool) -> None:
        """Send the current span along in a copy of the message's context."""
        sent = self.current
        keys = carrier.inject(sent, fanout=fanout, roots=roots_of(sent, self.context))
        self.args, self.kwargs = with_context(self.args, self.kwargs, {**sent_context, **keys})

    @property
    def current(self) -> SpanContext:
        """The current span's context, which may be invalid."""
        return trace.get_current_span(self.context).get_span_context()

    def fail(self, error: BaseException) -> None:
        """Record what really went wrong: unwrapped, and a remote exception by its own class."""
        error, name = unwrapped(error)
        if self.measured is not None:
            self.measured.error = name
        if self.span is not None:
            record_failure(self.span, error, error_type=name)


def message_wrapper(
    seam: str,
    begin: Callable[[Operation, Any], None],
    returned: Callable[[Operation, Any], None] | None = None,
) -> Callable[..., Any]:
    """A wrapper that calls the host's function in an operation, then ends its span and measures it.

    Args:
        seam: for log messages.
        begin: sets the operation up; gets the host's instance, too. Its errors are logged.
        returned: gets the function's result. Its errors are logged.
    """

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        operation: Operation | None = None
        try:
            operation = Operation(otel_context.get_current(), args, kwargs)
            begin(operation, instance)
        except Exception as error:
            log_internal_error(seam, error)
        if operation is None:
            return wrapped(*args, **kwargs)
        token = attach(seam, operation.context)
        try:
            result = wrapped(*operation.args, **operation.kwargs)
        except BaseException as error:
            _guarded(seam, operation.fail, error)
            raise
        else:
            if returned is not None:
                _guarded(seam, returned, operation, result)
            return result
        finally:
            detach(seam, token)
            if operation.span is not None:
                end_span(operation.span)
            if operation.measured is not None:
                _guarded(seam, operation.measured.end, operation.context)

    return wrapper


def _guarded(seam: str, function: Callable[..., None], *args: Any) -> None:
    """Never raises."""
    try:
        function(*args)
    except Exception as error:
        log_internal_error(seam, error)


def is_recorded(parent: SpanContext) -> bool:
    """Return whether a message is to have a span under ``parent``, which may be invalid."""
    return (parent.trace_flags.sampled or not parent.is_valid) and not instrumented_by_another()


def unwrapped(error: BaseException) -> tuple[BaseException, str]:
    """An error as its sender knows it, and the name of its class."""
    exc_info = getattr(error, "exc_info", None)
    if type(error).__name__ == "ExpectedException" and exc_info:
        error = exc_info[1]
    # oslo.messaging's RemoteError has it, for a class that the sender may not import.
    name = getattr(error, "exc_type", None) or class_of(error)[1]
    return error, str(name)


def taken_up(
    wrapped: Callable[..., Any], server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Pass the server that has taken the message, and the time, to the dispatcher."""
    token = None
    try:
        token = otel_context.attach(otel_context.set_value(_TAKEN, (server, time.time_ns())))
    except Exception as error:
        log_internal_error(SEAM, error)
    try:
        return call_with_room(wrapped, *args, **kwargs)
    finally:
        if token is not None:
            otel_context.detach(token)


def taken(context: Context) -> tuple[Any, int]:
    """The server that has taken a message up, and the time, in ns; None and now if unknown."""
    found: Any = context.get(_TAKEN)
    return found or (None, time.time_ns())


class Wait(NamedTuple):
    """The time between a message's sending and its taking up."""

    attribute: str
    """Of a wait, or of what is none by the clocks."""
    metric: str
    seconds: float


def wait(received: int, sent: float) -> Wait:
    """The wait of a message.

    Args:
        received: in ns, and
        sent: in s since the epoch, each by the clock of its host.
    """
    seconds = round(received / 1e9 - sent, 6)
    if seconds >= 0:
        return Wait(conventions.QUEUE_DURATION, conventions.RPC_QUEUE_DURATION, seconds)
    return Wait(conventions.CLOCK_SKEW, conventions.RPC_CLOCK_SKEWS, -seconds)


def carries(sent_context: Mapping[str, Any], current: SpanContext) -> bool:
    """Return whether a message already carries the current span: another tracer is on."""
    found = sent_context.get(carrier.TRACEPARENT)
    return current.is_valid and isinstance(found, str) and f"{current.span_id:016x}" in found


def instrumented_by_another() -> bool:
    """Return whether opentelemetry-instrumentation-oslo-messaging makes these spans: the context is still
    carried, but spans are left to it.

    Not so osprofiler: it knows no messages, and what it makes of their handling is in traces of its
    own, with ids of its own.
    """
    module = sys.modules.get("opentelemetry.instrumentation.oslo_messaging")
    other = getattr(module, "OsloMessagingInstrumentor", None)
    return other is not None and bool(getattr(other(), "is_instrumented_by_opentelemetry", False))


def take(incoming: Any) -> Arrival:
    """Take the keys out of a message, so that no code behind us sees them.

    The context is replaced, not changed: on ``fake://`` all who get a fan-out share it.
    """
    found = incoming.ctxt
    if not isinstance(found, dict) or found.keys().isdisjoint(carrier.KEYS):
        return carrier.NOTHING
    incoming.ctxt = rest = dict(found)
    for key in carrier.KEYS:
        rest.pop(key, None)
    return carrier.extract(found)


def placed(
    context: Context, arrival: Arrival, *, again: bool = False
) -> tuple[Context, Mapping[str, str]]:
    """Where a message that nobody waits for is handled; and its cast's id, if that is elsewhere.

    The cast is deep in its service. So the handling is placed below the request or message in which
    the cast was sent, and each service is as deep in the trace as the one before.

    Args:
        context: with the sender's span, the cast.
        again: whether another attempt is asked for. That is placed beside the first one.
    """
    remote, roots = arrival.remote, arrival.roots
    if roots is None or runtime.settings.under_cast:
        return context, {}
    span_id = roots.entry if again else roots.sender
    parent = SpanContext(remote.trace_id, span_id, True, remote.trace_flags, remote.trace_state)
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
    return context, {conventions.CAST_SPAN: f"{remote.span_id:016x}"}


def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Target, context and message of a send."""
    names = ("target", "ctxt", "message")
    target, sent_context, message = (
        args[i] if i < len(args) else kwargs[name] for i, name in enumerate(names)
    )
    return target, sent_context, message


def with_context(
    args: tuple[Any, ...], kwargs: dict[str, Any], sent_context: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a send, with another context."""
    if len(args) > 1:
        return (args[0], sent_context, *args[2:]), kwargs
    return args, {**kwargs, "ctxt": sent_context}


def rpc(method: str) -> dict[str, Any]:
    """The attributes of a remote call."""
    return {conventions.RPC_SYSTEM: "oslo.messaging", **of_method(method)}


def of_method(method: str) -> dict[str, Any]:
    """The method as an attribute, where a message names one."""
    return {conventions.RPC_METHOD: method} if "/" in method else {}
