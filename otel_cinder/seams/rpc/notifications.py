"""oslo.messaging's notifications: PRODUCER spans where Cinder sends one, CONSUMER spans where a
listener handles it.

Without a notification driver that sends (``log`` and ``noop`` do not) there are none. Payloads are
never read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from otel_cinder import conventions, redaction
from otel_cinder.cinder.requests import context_attributes
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams.rpc import destinations
from otel_cinder.seams.rpc.traced import (
    Measured,
    Operation,
    arguments,
    carries,
    instrumented_by_another,
    is_recorded,
    message_wrapper,
    placed,
    take,
    taken,
    taken_up,
    wait,
)
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
    send = message_wrapper(SEAM, _begin_send)
    dispatch = message_wrapper(SEAM, _begin_dispatch, _mark_given_back)
    listener, dispatcher = "oslo_messaging.notify.listener", "oslo_messaging.notify.dispatcher"
    patches.wrap(SEAM, "oslo_messaging.transport:Transport._send_notification", send)
    for batch in ("", "Batch"):
        # The dispatcher does not know which listener's it is.
        patches.wrap(SEAM, f"{listener}:{batch}NotificationServer._process_incoming", taken_up)
    patches.wrap(SEAM, f"{dispatcher}:NotificationDispatcher.dispatch", dispatch)
    patches.wrap(SEAM, f"{dispatcher}:BatchNotificationDispatcher.dispatch", dispatch)


def _begin_send(operation: Operation, transport: Any) -> None:
    """Send a notification of a request in a span, and with it in the notification's context."""
    context, current = operation.context, operation.current
    if not (current.is_valid or runtime.settings.periodic):
        return
    target, sent_context, message = arguments(operation.args, operation.kwargs)
    operation.measured = Measured("notify", str(target.topic), "", transport)
    if isinstance(sent_context, dict) and not carries(sent_context, current):
        if is_recorded(current):
            operation.enter(_start_sent(context, transport, target, sent_context, message))
        operation.inject(sent_context, fanout=False)


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


def _begin_dispatch(operation: Operation, _dispatcher: Any) -> None:
    """Dispatch a notification, or a batch of them, in a span, without the keys in the context."""
    incoming = operation.args[0] if operation.args else operation.kwargs["incoming"]
    batch = list(incoming) if isinstance(incoming, (list, tuple)) else [incoming]
    arrivals = [take(each) for each in batch]
    remotes = [each.remote for each in arrivals if each.remote.is_valid]
    current = operation.current
    doubled = current.is_valid and current.trace_id in {each.trace_id for each in remotes}
    if doubled or not (remotes or runtime.settings.periodic):
        return
    server, received = taken(operation.context)
    topic = _topic(server, batch)
    operation.measured = Measured("process", topic, "", getattr(server, "transport", None))
    if len(remotes) == len(batch) == 1:
        parent = trace.NonRecordingSpan(remotes[0])
        operation.context = trace.set_span_in_context(parent, operation.context)
    sampled = any(each.trace_flags.sampled for each in remotes) or not remotes
    if sampled and not instrumented_by_another():
        span = _start_received(operation.context, server, received, topic, batch, arrivals)
        operation.span = span
        roots = arrivals[0].roots if len(batch) == 1 else None
        root = LocalRoot(span, is_http=False, sent_in=roots)
        operation.context = enter(operation.context, root)
    operation.measured.take_up(operation.context, len(batch))
    _say_wait(operation.span, received, arrivals)


def _start_received(
    context: Context,
    server: Any,
    received: int,
    topic: str,
    batch: Sequence[Any],
    arrivals: Sequence[Arrival],
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
        context, cast = placed(context, arrivals[0])
        attributes |= cast
    else:
        attributes[conventions.MESSAGING_BATCH] = len(batch)
    links = [Link(each.remote) for each in arrivals if each.remote.is_valid]
    return runtime.start_span(
        f"process {name}", context, SpanKind.CONSUMER, attributes, links, received
    )


def _mark_given_back(operation: Operation, result: Any) -> None:
    """Mark what a listener gave back as failed: oslo.messaging only logs what the listener raised."""
    if result == "requeue" or (isinstance(result, set) and result):
        if operation.span is not None:
            operation.span.set_status(Status(StatusCode.ERROR, "a listener gave it back"))
            operation.span.set_attribute(conventions.ERROR_TYPE, "requeue")
        if operation.measured is not None:
            operation.measured.error = "requeue"


def _say_wait(span: Span | None, received: int, arrivals: Sequence[Arrival]) -> None:
    """Record the wait of a single notification. The metric leaves it out: a listener may be off for days."""
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
    """The notifications' topic and priority, as far as the listener knows them."""
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
