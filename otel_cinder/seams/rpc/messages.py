"""The spans of messages: where they are sent, and where they are handled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from otel_cinder import conventions, redaction
from otel_cinder.cinder.requests import is_rescheduled, message_attributes
from otel_cinder.cinder.services import is_periodic, service_of
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams.rpc import destinations, stamps
from otel_cinder.seams.rpc.destinations import topic_name
from otel_cinder.seams.rpc.traced import (
    SEAM,
    Measured,
    Operation,
    Wait,
    arguments,
    carries,
    is_recorded,
    message_wrapper,
    of_method,
    placed,
    rpc,
    take,
    taken,
    taken_up,
    wait,
)
from otel_cinder.spans.carrier import Arrival
from otel_cinder.spans.local_root import LocalRoot, enrich, enter
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE


def patch(patches: PatchSet) -> None:
    """Patch sending and dispatching."""
    send = message_wrapper(SEAM, _begin_send)
    dispatch = message_wrapper(SEAM, _begin_dispatch)
    patches.wrap(SEAM, "oslo_messaging.transport:Transport._send", send)
    # The dispatcher does not know which server's it is: the topic is the server's.
    patches.wrap(SEAM, "oslo_messaging.rpc.server:RPCServer._process_incoming", taken_up)
    patches.wrap(SEAM, "oslo_messaging.rpc.dispatcher:RPCDispatcher.dispatch", dispatch)
    stamps.patch(patches, SEAM)


def _begin_send(operation: Operation, transport: Any) -> None:
    """Send a message in a span, and with it in the message's context."""
    context, current = operation.context, operation.current
    target, sent_context, message = arguments(operation.args, operation.kwargs)
    waits = bool(
        operation.kwargs.get("wait_for_reply") or (len(operation.args) > 3 and operation.args[3])
    )
    topic = topic_name(target.topic)
    method = destinations.called(topic, message)
    fanout = bool(target.fanout)
    # As its receiver will: what is sent and what is taken up are compared.
    if _is_asked_for(method, in_trace=current.is_valid, fanout=fanout):
        kind = "call" if waits else "cast"
        operation.measured = Measured(kind, topic, method, transport, fanout=fanout)
    # Outside of a trace nothing is marked: whose request it is, its receiver says.
    if (
        (current.is_valid or runtime.settings.periodic)
        and isinstance(sent_context, dict)
        and not carries(sent_context, current)
    ):
        if is_recorded(current):
            asked = message_attributes(topic, sent_context, message)
            operation.enter(_start_sent(context, transport, target, method, asked, waits))
            enrich(asked, context)
        operation.inject(sent_context, fanout=fanout)


def _start_sent(
    context: Context,
    transport: Any,
    target: Any,
    method: str,
    asked: Mapping[str, Any],
    waits: bool,
) -> Span:
    attributes: dict[str, Any] = {
        **destinations.destination(transport, target),
        conventions.MESSAGING_OPERATION_NAME: "call" if waits else "cast",
        conventions.MESSAGING_OPERATION_TYPE: "send",
        **rpc(method),
        **asked,
    }
    if target.fanout:
        attributes[conventions.FANOUT] = True
    return runtime.start_span(
        method if waits else f"cast {method}",
        context,
        SpanKind.CLIENT if waits else SpanKind.PRODUCER,
        attributes,
    )


def _begin_dispatch(operation: Operation, dispatcher: Any) -> None:
    """Dispatch a message in a span under the sender's, and without the keys in its context."""
    context, current = operation.context, operation.current
    incoming = operation.args[0] if operation.args else operation.kwargs["incoming"]
    server, received = taken(context)
    target = getattr(server, "_target", None)
    arrival = take(incoming)
    remote, sent, fanout, roots = arrival
    waited = None if sent is None else wait(received, sent)
    topic = topic_name(getattr(target, "topic", None))
    method = destinations.called(topic, incoming.message)
    is_call = _is_call(incoming)
    transport = getattr(server, "transport", None)
    if _is_asked_for(method, in_trace=remote.is_valid, fanout=fanout):
        kind = "answer" if is_call else "process"
        operation.measured = Measured(kind, topic, method, transport, fanout=fanout)
    service = service_of(getattr(target, "topic", ""), dispatcher.endpoints)
    if service is not None:
        context = otel_context.set_value(SERVICE, service, context)
    if isinstance(incoming.ctxt, dict):
        context = redaction.with_known_values(context, incoming.ctxt.get("auth_token"))
    operation.context = context
    if not (current.is_valid and remote.is_valid and current.trace_id == remote.trace_id):
        # Otherwise another tracer's span of this message is current already.
        # Unsampled, a fan-out's parent stays: what it decided is not decided again.
        if remote.is_valid and not (fanout and remote.trace_flags.sampled):
            parent = trace.NonRecordingSpan(remote)
            operation.context = context = trace.set_span_in_context(parent, context)
        asked: dict[str, Any] = {}
        if operation.measured and is_recorded(remote):
            asked = _ask(topic, incoming)
            said = asked if waited is None else {**asked, waited.attribute: waited.seconds}
            operation.span = _start_received(
                context, transport, target, method, said, arrival, is_call, received
            )
        span = operation.span or trace.get_current_span(context)
        root = LocalRoot(span, asked, is_http=False, sent_in=roots)
        operation.context = enter(context, root)
    if operation.measured is not None:
        operation.measured.take_up(operation.context)
    if waited is not None:
        _measure_wait(waited, method, operation.context)


def _ask(topic: str, incoming: Any) -> dict[str, Any]:
    if not (isinstance(incoming.ctxt, dict) and isinstance(incoming.message, dict)):
        return {}
    return message_attributes(topic, incoming.ctxt, incoming.message)


def _is_asked_for(method: str, *, in_trace: bool, fanout: bool) -> bool:
    """False for periodic messages, also when a request triggered them as a fan-out: a search for the
    request would find the traces of all its receivers.
    """
    if runtime.settings.periodic or (in_trace and not fanout):
        return True
    return not is_periodic(method.rpartition("/")[2])


def _start_received(
    context: Context,
    transport: Any,
    target: Any,
    method: str,
    said: Mapping[str, Any],
    arrival: Arrival,
    is_call: bool,
    received: int,
) -> Span:
    remote, fanout = arrival.remote, arrival.fanout
    attributes: dict[str, Any] = {
        **destinations.source(transport, target, fanout=fanout),
        conventions.MESSAGING_OPERATION_NAME: "process",
        conventions.MESSAGING_OPERATION_TYPE: "process",
        **rpc(method),
        **said,
    }
    if fanout:
        attributes[conventions.FANOUT] = True
    if not is_call:
        again = is_rescheduled(method.partition("/")[0], said)
        context, cast = placed(context, arrival, again=again)
        attributes |= cast
    return runtime.start_span(
        method if is_call else f"process {method}",
        context,
        SpanKind.SERVER if is_call else SpanKind.CONSUMER,
        attributes,
        [Link(remote)] if remote.is_valid else (),
        start_time=received,
    )


def _measure_wait(waited: Wait, method: str, context: Context) -> None:
    value = 1 if waited.metric == conventions.RPC_CLOCK_SKEWS else waited.seconds
    runtime.measure(waited.metric, value, of_method(method), context)


def _is_call(incoming: Any) -> bool:
    """Return whether the sender waits for an answer. The drivers keep it under different names."""
    if hasattr(incoming, "reply_q"):  # RabbitMQ
        return bool(incoming.reply_q)
    return bool(getattr(incoming, "_reply_q", None) or getattr(incoming, "_reply_to", None))
