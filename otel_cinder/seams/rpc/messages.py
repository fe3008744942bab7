"""The spans of messages: where they are sent, and where they are handled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from otel_cinder import conventions, redaction
from otel_cinder.cinder.requests import message_attributes
from otel_cinder.cinder.services import is_periodic, service_of
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams.rpc import destinations, stamps
from otel_cinder.seams.rpc.destinations import topic_name
from otel_cinder.seams.rpc.traced import (
    SEAM,
    Measured,
    arguments,
    carries,
    instrumented_by_another,
    of_method,
    rpc,
    run,
    take,
    taken,
    taken_up,
    wait,
    with_context,
)
from otel_cinder.spans import carrier
from otel_cinder.spans.local_root import LocalRoot, enrich, enter
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE


def patch(patches: PatchSet) -> None:
    """Patch sending and dispatching."""
    patches.wrap(SEAM, "oslo_messaging.transport:Transport._send", _send)
    # The dispatcher does not know which server's it is: the topic is the server's.
    patches.wrap(SEAM, "oslo_messaging.rpc.server:RPCServer._process_incoming", taken_up)
    patches.wrap(SEAM, "oslo_messaging.rpc.dispatcher:RPCDispatcher.dispatch", _dispatch)
    stamps.patch(patches, SEAM)


def _send(
    wrapped: Callable[..., Any],
    transport: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Send a message in a span, and with it in the message's context."""
    context: Context | None = None
    span: Span | None = None
    measured: Measured | None = None
    try:
        context = otel_context.get_current()
        current = trace.get_current_span(context).get_span_context()
        target, sent_context, message = arguments(args, kwargs)
        waits = bool(kwargs.get("wait_for_reply") or (len(args) > 3 and args[3]))
        topic = topic_name(target.topic)
        method = destinations.called(topic, message)
        fanout = bool(target.fanout)
        # As its receiver will: what is sent and what is taken up are compared.
        if _is_asked_for(method, in_trace=current.is_valid, fanout=fanout):
            kind = "call" if waits else "cast"
            measured = Measured(kind, topic, method, transport, fanout=fanout)
        # Outside of a trace nothing is marked: whose request it is, its receiver says.
        if (
            (current.is_valid or runtime.settings.periodic)
            and isinstance(sent_context, dict)
            and not carries(sent_context, current)
        ):
            recorded = current.trace_flags.sampled or not current.is_valid
            if recorded and not instrumented_by_another():
                asked = message_attributes(topic, sent_context, message)
                span = _start_sent(context, transport, target, method, asked, waits)
                enrich(asked, context)
                context = trace.set_span_in_context(span, context)
            sent = current if span is None else span.get_span_context()
            keys = carrier.inject(sent, fanout=fanout)
            args, kwargs = with_context(args, kwargs, {**sent_context, **keys})
    except Exception as error:
        log_internal_error(SEAM, error)
    return run(span, context, measured, wrapped, args, kwargs)


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


def _dispatch(
    wrapped: Callable[..., Any],
    dispatcher: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Dispatch a message in a span under the sender's, and without the keys in its context."""
    context: Context | None = None
    span: Span | None = None
    measured: Measured | None = None
    try:
        context = base = otel_context.get_current()
        incoming = args[0] if args else kwargs["incoming"]
        server, received = taken(base)
        target = getattr(server, "_target", None)
        remote, sent, fanout = take(incoming)
        topic = topic_name(getattr(target, "topic", None))
        method = destinations.called(topic, incoming.message)
        is_call = _is_call(incoming)
        transport = getattr(server, "transport", None)
        in_trace = remote.is_valid
        if _is_asked_for(method, in_trace=in_trace, fanout=fanout):
            kind = "answer" if is_call else "process"
            measured = Measured(kind, topic, method, transport, fanout=fanout)
        service = service_of(getattr(target, "topic", ""), dispatcher.endpoints)
        if service is not None:
            context = otel_context.set_value(SERVICE, service, context)
        if isinstance(incoming.ctxt, dict):
            context = redaction.with_known_values(context, incoming.ctxt.get("auth_token"))
        current = trace.get_current_span(base).get_span_context()
        if not (current.is_valid and remote.is_valid and current.trace_id == remote.trace_id):
            # Otherwise another tracer's span of this message is current already.
            # Unsampled, a fan-out's parent stays: what it decided is not decided again.
            if remote.is_valid and not (fanout and remote.trace_flags.sampled):
                parent = trace.NonRecordingSpan(remote)
                context = trace.set_span_in_context(parent, context)
            asked: dict[str, Any] = {}
            sampled = remote.trace_flags.sampled or not remote.is_valid
            if measured and sampled and not instrumented_by_another():
                asked = _ask(topic, incoming)
                span = _start_received(
                    context, transport, target, method, asked, remote, is_call, fanout, received
                )
                context = trace.set_span_in_context(span, context)
            root = LocalRoot(span or trace.get_current_span(context), asked, is_http=False)
            context = enter(context, root)
        if measured is not None:
            measured.take_up(context)
        if sent is not None:
            _say_wait(span, method, received, sent, context)
    except Exception as error:
        log_internal_error(SEAM, error)
    return run(span, context, measured, wrapped, args, kwargs)


def _ask(topic: str, incoming: Any) -> dict[str, Any]:
    if not (isinstance(incoming.ctxt, dict) and isinstance(incoming.message, dict)):
        return {}
    return message_attributes(topic, incoming.ctxt, incoming.message)


def _is_asked_for(method: str, *, in_trace: bool, fanout: bool) -> bool:
    """Not what is sent all day; nor what is that and goes to all who listen, by the way of a
    request: a search for the request would find each of these traces.
    """
    if runtime.settings.periodic or (in_trace and not fanout):
        return True
    return not is_periodic(method.rpartition("/")[2])


def _start_received(
    context: Context,
    transport: Any,
    target: Any,
    method: str,
    asked: Mapping[str, Any],
    remote: SpanContext,
    is_call: bool,
    fanout: bool,
    received: int,
) -> Span:
    attributes: dict[str, Any] = {
        **destinations.source(transport, target, fanout=fanout),
        conventions.MESSAGING_OPERATION_NAME: "process",
        conventions.MESSAGING_OPERATION_TYPE: "process",
        **rpc(method),
        **asked,
    }
    if fanout:
        attributes[conventions.FANOUT] = True
    return runtime.start_span(
        method if is_call else f"process {method}",
        context,
        SpanKind.SERVER if is_call else SpanKind.CONSUMER,
        attributes,
        [Link(remote)] if remote.is_valid else (),
        start_time=received,
    )


def _say_wait(span: Span | None, method: str, received: int, sent: float, context: Context) -> None:
    name, metric, seconds = wait(received, sent)
    if span is not None:
        span.set_attribute(name, seconds)
    value = 1 if metric == conventions.RPC_CLOCK_SKEWS else seconds
    runtime.measure(metric, value, of_method(method), context)


def _is_call(incoming: Any) -> bool:
    """Return whether the sender waits for an answer. The drivers keep it under different names."""
    if hasattr(incoming, "reply_q"):  # RabbitMQ
        return bool(incoming.reply_q)
    return bool(getattr(incoming, "_reply_q", None) or getattr(incoming, "_reply_to", None))
