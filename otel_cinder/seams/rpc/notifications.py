"""oslo.messaging's notifications: PRODUCER spans where Cinder tells the world, CONSUMER spans where
a listener is told.

There are none as long as no notification driver is configured, or only one that does not send
(``log``, ``noop``). Their payloads are never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from otel_cinder import conventions, redaction
from otel_cinder.cinder.requests import context_attributes
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams.rpc import destinations
from otel_cinder.seams.rpc.traced import (
    Measured,
    arguments,
    carries,
    instrumented_by_another,
    run,
    take,
    taken,
    taken_up,
    wait,
    with_context,
)
from otel_cinder.spans import carrier
from otel_cinder.spans.carrier import Arrival
from otel_cinder.spans.local_root import LocalRoot, enter
from otel_cinder.spans.runtime import runtime

SEAM: Final = "notifications"

_EVENT: Final = re.compile(r"[A-Za-z][\w.-]{0,127}")
"""``volume.create.start``: what may be a part of a name. Others than Cinder send notifications."""

_TEXT_LIMIT: Final = 128
_TOPIC: Final = "notifications"
"""oslo.messaging's default; for a listener on several topics, which does not know by which it came."""


def patch(patches: PatchSet) -> None:
    """Patch sending and dispatching."""
    listener, dispatcher = "oslo_messaging.notify.listener", "oslo_messaging.notify.dispatcher"
    patches.wrap(SEAM, "oslo_messaging.transport:Transport._send_notification", _send)
    for batch in ("", "Batch"):
        # The dispatcher does not know which listener's it is.
        patches.wrap(SEAM, f"{listener}:{batch}NotificationServer._process_incoming", taken_up)
    patches.wrap(SEAM, f"{dispatcher}:NotificationDispatcher.dispatch", _dispatch)
    patches.wrap(SEAM, f"{dispatcher}:BatchNotificationDispatcher.dispatch", _dispatch)


def _send(
    wrapped: Callable[..., Any],
    transport: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Send a notification of a request in a span, and with it in the notification's context."""
    context: Context | None = None
    span: Span | None = None
    measured: Measured | None = None
    try:
        context = otel_context.get_current()
        current = trace.get_current_span(context).get_span_context()
        if current.is_valid or runtime.settings.periodic:
            target, sent_context, message = arguments(args, kwargs)
            measured = Measured("notify", str(target.topic), "", transport)
            if isinstance(sent_context, dict) and not carries(sent_context, current):
                recorded = current.trace_flags.sampled or not current.is_valid
                if recorded and not instrumented_by_another():
                    span = _start_sent(context, transport, target, sent_context, message)
                    context = trace.set_span_in_context(span, context)
                sent = current if span is None else span.get_span_context()
                keys = carrier.inject(sent, fanout=False)
                args, kwargs = with_context(args, kwargs, {**sent_context, **keys})
    except Exception as error:
        log_internal_error(SEAM, error)
    return run(span, context, measured, wrapped, args, kwargs)


def _start_sent(
    context: Context, transport: Any, target: Any, sent_context: Any, message: Any
) -> Span:
    attributes = {
        **destinations.published(transport, target.exchange, str(target.topic), sends=True),
        conventions.MESSAGING_OPERATION_NAME: "notify",
        conventions.MESSAGING_OPERATION_TYPE: "send",
        **_about(message),
        **context_attributes(sent_context),
    }
    name = _name(str(target.topic), message)
    return runtime.start_span(f"notify {name}", context, SpanKind.PRODUCER, attributes)


def _dispatch(
    wrapped: Callable[..., Any],
    _dispatcher: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Dispatch a notification, or a batch of them, in a span, without the keys in the context."""
    context: Context | None = None
    span: Span | None = None
    measured: Measured | None = None
    try:
        context = base = otel_context.get_current()
        incoming = args[0] if args else kwargs["incoming"]
        batch = list(incoming) if isinstance(incoming, (list, tuple)) else [incoming]
        arrivals = [take(each) for each in batch]
        remotes = [each.remote for each in arrivals if each.remote.is_valid]
        current = trace.get_current_span(base).get_span_context()
        doubled = current.is_valid and current.trace_id in {each.trace_id for each in remotes}
        if (remotes or runtime.settings.periodic) and not doubled:
            server, received = taken(base)
            topic = _topic(server, batch)
            measured = Measured("process", topic, "", getattr(server, "transport", None))
            if len(remotes) == len(batch) == 1:
                parent = trace.NonRecordingSpan(remotes[0])
                context = trace.set_span_in_context(parent, context)
            sampled = any(each.trace_flags.sampled for each in remotes) or not remotes
            if sampled and not instrumented_by_another():
                span = _start_received(context, server, received, topic, batch, remotes)
                context = trace.set_span_in_context(span, context)
                context = enter(context, LocalRoot(span, is_http=False))
            measured.take_up(context, len(batch))
            _say_wait(span, received, arrivals)
    except Exception as error:
        log_internal_error(SEAM, error)
    return run(span, context, measured, _given_back(wrapped, span, measured), args, kwargs)


def _start_received(
    context: Context,
    server: Any,
    received: int,
    topic: str,
    batch: Sequence[Any],
    remotes: Sequence[SpanContext],
) -> Span:
    transport = getattr(server, "transport", None)
    attributes: dict[str, Any] = {
        **destinations.published(transport, _exchange(server), topic, sends=False),
        conventions.MESSAGING_OPERATION_NAME: "process",
        conventions.MESSAGING_OPERATION_TYPE: "process",
    }
    name = topic.partition(".")[0]
    if len(batch) == 1:
        (only,) = batch
        name = _name(topic, only.message)
        attributes |= _about(only.message)
        if isinstance(only.ctxt, dict):
            attributes |= context_attributes(only.ctxt)
    else:
        attributes[conventions.MESSAGING_BATCH] = len(batch)
    links = [Link(remote) for remote in remotes]
    return runtime.start_span(
        f"process {name}", context, SpanKind.CONSUMER, attributes, links, received
    )


def _given_back(
    wrapped: Callable[..., Any], span: Span | None, measured: Measured | None
) -> Callable[..., Any]:
    """Dispatch, and say so where a listener gave a notification back: oslo.messaging keeps what it
    raised to itself, and logs it.
    """

    def dispatch(*args: Any, **kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        try:
            if result == "requeue" or (isinstance(result, set) and result):
                if span is not None:
                    span.set_status(Status(StatusCode.ERROR, "a listener gave it back"))
                    span.set_attribute(conventions.ERROR_TYPE, "requeue")
                if measured is not None:
                    measured.error = "requeue"
        except Exception as error:
            log_internal_error(SEAM, error)
        return result

    return dispatch


def _say_wait(span: Span | None, received: int, arrivals: Sequence[Arrival]) -> None:
    """The wait of a single one. Not among the metric's: a listener may be away for days."""
    if span is not None and len(arrivals) == 1 and arrivals[0].sent is not None:
        name, _, seconds = wait(received, arrivals[0].sent)
        span.set_attribute(name, seconds)


def _name(topic: str, message: Any) -> str:
    """``notifications/volume.create.start``; the topic alone where the event's type is no name."""
    event = message.get("event_type") if isinstance(message, dict) else None
    base = topic.partition(".")[0]
    named = isinstance(event, str) and _EVENT.fullmatch(event)
    return f"{base}/{event}" if named else base


def _about(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        return {}
    return {
        attribute: redaction.identifier(message[key], _TEXT_LIMIT)
        for key, attribute in _OF_MESSAGE.items()
        if isinstance(message.get(key), str)
    }


_OF_MESSAGE: Final = {
    "event_type": conventions.NOTIFICATION_EVENT,
    "priority": conventions.NOTIFICATION_PRIORITY,
    "message_id": conventions.MESSAGING_MESSAGE_ID,
}


def _topic(server: Any, batch: Sequence[Any]) -> str:
    """Topic and priority of what came, as far as the listener knows them."""
    topics = {str(target.topic) for target in getattr(server, "targets", ())}
    (topic,) = topics if len(topics) == 1 else (_TOPIC,)
    messages = (each.message for each in batch)
    found = {str(m.get("priority")).lower() for m in messages if isinstance(m, dict)}
    known = found & _PRIORITIES
    return f"{topic}.{known.pop()}" if len(found) == len(known) == 1 else topic


_PRIORITIES: Final = frozenset({"audit", "debug", "info", "warn", "error", "critical", "sample"})


def _exchange(server: Any) -> str | None:
    exchanges = {target.exchange for target in getattr(server, "targets", ())}
    return exchanges.pop() if len(exchanges) == 1 else None
